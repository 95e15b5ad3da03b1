"""What keeps other pages out: the explorer has no password, for it answers one browser on one machine alone.

A page of another site that the same person opens can send requests to the loopback. It is refused by `Host`
(DNS rebinding: the name is the site's, the address ours), by `Origin` and by Fetch Metadata
(https://www.w3.org/TR/fetch-metadata/), and what is answered may neither be framed nor embedded elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Scripts and styles from this server alone, none inline; pictures of dropped files are blobs of the page.
#: `require-trusted-types-for` makes every sink that parses HTML from text throw.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE_METHODS = frozenset(("GET", "HEAD"))
#: `none`: typed into the address bar.
_OWN_SITES = frozenset(("same-origin", "none"))


def loopback_hosts(port: int, host: str = "127.0.0.1") -> frozenset[str]:
    """What `Host` may say of a server on this port of the loopback; `host` is the address it listens on."""
    names = ("127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host)
    return frozenset((*(f"{name}:{port}" for name in names), *(names if port == 80 else ())))


class SameOriginOnly:
    """An ASGI middleware that answers requests of its own pages alone, and sets `HEADERS` on every answer.

    Args:
        hosts: the values of `Host` that are served.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await _refuse(*refusal, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, f"Host is {', '.join(hosts) or 'missing'}; expected the address that was printed"
        method, own = scope["method"], f"http://{hosts[0].lower()}"
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.lower() != own:
            return 403, f"Origin is {origin}; expected {own}"
        if site is not None and site not in _OWN_SITES and not _is_link(scope, headers):
            return 403, f"Sec-Fetch-Site is {site}; expected a request of the explorer's own page"
        if method not in _SAFE_METHODS and origin is None:
            return 403, f"{method} without Origin; expected {own}"
        return None


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Somebody followed a link to the page itself, from wherever."""
    return scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"


async def _refuse(status: int, text: str, send: Send) -> None:
    body = json.dumps({"error": {"kind": "Refused", "text": text}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
