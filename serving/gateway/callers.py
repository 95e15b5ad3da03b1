"""Who calls: a token's name, a client certificate's subject, or an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from resonance.serving.gateway.tokens import TokenFile, bearer_token, digest_of

_MAX_NAME_CHARACTERS = 256


class CallerKind(StrEnum):
    """How a caller is known."""

    TOKEN = "token"  # noqa: S105 (a kind, not a token)
    CERTIFICATE = "certificate"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a call is counted for.

    Attributes:
        name: the token's name, the certificate's subject, or the address without its port.
        kind: which of them.
        token_digest: of the token that it showed; None where it is known by something else.
    """

    name: str
    kind: CallerKind
    token_digest: bytes | None = field(default=None, repr=False, compare=False)


class Authenticator:
    """Tells callers apart, and refuses those without a token where there are tokens.

    Args:
        tokens: None takes every caller, by certificate or address.
    """

    def __init__(self, tokens: TokenFile | None) -> None:
        self._tokens = tokens

    def caller(
        self,
        metadata: Sequence[tuple[str, str | bytes]],
        peer: str,
        auth_context: Mapping[str, Sequence[bytes]],
        *,
        open_to_all: bool = False,
    ) -> Caller | None:
        """Who calls; None where the caller is to be refused.

        Args:
            metadata: of the call; the keys in lower case.
            peer: as gRPC names it, such as ``ipv4:10.0.0.7:51234``.
            auth_context: what TLS told of the peer.
            open_to_all: no token is asked for.
        """
        if self._tokens is not None and not open_to_all:
            token = bearer_token([value for key, value in metadata if key == "authorization"])
            name = self._tokens.name_of(token) if token is not None else None
            if token is None or name is None:
                return None
            return Caller(name, CallerKind.TOKEN, digest_of(token))
        subject = next(iter(auth_context.get("x509_subject", ())), b"").decode("utf-8", "replace")
        if subject:
            return Caller(subject[:_MAX_NAME_CHARACTERS], CallerKind.CERTIFICATE)
        return Caller(peer_address(peer), CallerKind.ADDRESS)

    def still_admits(self, caller: Caller) -> bool:
        """Whether the token of a caller that was let in is one still; always, where it needed none."""
        if self._tokens is None or caller.token_digest is None:
            return True
        return self._tokens.holds(caller.token_digest)


def peer_address(peer: str) -> str:
    """The address in gRPC's name of a peer, without scheme, port and brackets.

    >>> peer_address("ipv4:10.0.0.7:51234"), peer_address("ipv6:%5B::1%5D:51234")
    ('10.0.0.7', '::1')
    """
    scheme, _, rest = unquote(peer).partition(":")
    if scheme in ("ipv4", "ipv6"):
        rest = rest.rpartition(":")[0].strip("[]")
    return rest[:_MAX_NAME_CHARACTERS]
