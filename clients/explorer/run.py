"""The explorer as a process: a socket on the loopback, a browser, until interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from resonance.clients.credentials import Credentials
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.taste import unknown_line
from resonance.clients.embedder import Embedder
from resonance.clients.errors import UsageError
from resonance.clients.explorer.app import make_app
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.encoder import EncoderServer
from resonance.clients.explorer.media import MediaShelf
from resonance.clients.explorer.remembered import spaces_folder
from resonance.clients.explorer.security import loopback_hosts
from resonance.clients.explorer.service import Explorer
from resonance.clients.explorer.settings import ExplorerSettings
from resonance.clients.explorer.viewer import Viewer
from resonance.clients.media.text import shown

#: How long answers under way are waited for at the end: a player that is paused would hold them for ever.
_LAST_ANSWERS_S = 2


class _OfUse(logging.Filter):
    """What was cut off because the explorer ends is no error that a person should read about."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens nowhere but on this machine; port 0 picks one.

    Raises:
        UsageError: the host is not this machine's loopback, or the port is taken.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"host {host}; expected 127.0.0.1 or ::1, for the explorer has no password. From elsewhere: "
            f"ssh -L {port}:127.0.0.1:{port} MACHINE"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen()
    except OSError as error:
        opened.close()
        raise UsageError(
            f"port {port} of {host}: {error.strerror}; expected a free one, see --port"
        ) from error
    return opened


def connector(server: str, credentials: Credentials) -> Callable[[float | None], Embedder]:
    """Opens clients of the server, with a deadline in seconds for each request, or the usual one."""

    def connect(timeout_s: float | None) -> Embedder:
        if timeout_s is None:
            return Embedder(server, credentials=credentials)
        return Embedder(server, credentials=credentials, request_timeout_s=timeout_s)

    return connect


async def _check(connect: Callable[[float | None], Embedder]) -> None:
    """Raises UsageError: an address of no known kind, or credentials that contradict it. Nobody is asked."""
    async with connect(None):
        pass


def explore(
    store: str,
    *,
    server: str,
    credentials: Credentials,
    host: str,
    port: int,
    history: Path | None,
    browser: bool,
    tell: Callable[[str], None],
) -> None:
    """Serve until interrupted. `tell`: prints a line for a person.

    Raises:
        UsageError: a host, port, address or history that cannot be used.
        StoreError: the store cannot be opened.
        SpaceMismatchError: it holds vectors of several spaces.
    """
    settings = ExplorerSettings()
    viewer = None if history is None else Viewer.read(history)
    listening = bound_socket(host, port)
    with listening:
        library = open_library(store)
        catalogue = Catalogue(library, settings.browse_timeout_s)
        connect = connector(server, credentials)
        asyncio.run(_check(connect))
        encoder = EncoderServer(server, connect, library.space, spaces_folder())
        taken_port = int(listening.getsockname()[1])
        app = make_app(
            Explorer(catalogue, encoder, settings, viewer),
            MediaShelf(catalogue, settings),
            loopback_hosts(taken_port, host),
        )
        url = f"http://{f'[{host}]' if ':' in host else host}:{taken_port}/"
        tell(f"{store} at {url} (Ctrl+C ends)")
        if viewer is not None and (unknown := viewer.unknown(library)):
            tell(shown(unknown_line(unknown)))
        uvicorn_server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=256,
                timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_OfUse())
        if browser:
            # the socket listens already, so what the browser asks meanwhile waits
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):  # it has shut down by then
            asyncio.run(uvicorn_server.serve(sockets=[listening]))
