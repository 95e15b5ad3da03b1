"""`/metrics` over HTTP, for few who ask at a time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from resonance.serving.gateway.metrics import GatewayMetrics

#: Connections that are answered at a time; each has a thread. For one more the oldest ends, so that whoever
#: holds all of them keeps no Prometheus and no probe out.
MOST_AT_A_TIME = 64
#: For a request to come, and for each part of the answer to be taken.
TIMEOUT_S = 10.0
#: Where no file can be opened any more, who waits to be accepted is seen again at once, and again.
_FULL_PAUSE_S = 0.2


class MetricsServer:
    """Threads of its own, so that a busy event loop is still seen. They are few, and nobody is waited for.

    Args:
        host, port: where; port 0 picks a free one.
        timeout_s: see `TIMEOUT_S`.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        metrics: GatewayMetrics,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)

        class Server(_Server):
            address_family = found[0][0]

        class Handler(_Handler):
            timeout = timeout_s

        self._server = make_server(host, port, make_wsgi_app(metrics.registry), Server, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.host = host
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop answering; returns once the port is free."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = MOST_AT_A_TIME

    def __init__(self, *given: Any, **named: Any) -> None:
        self._open: dict[socket.socket, None] = {}  # the oldest first
        self._changing = threading.Lock()
        super().__init__(*given, **named)

    def get_request(self) -> tuple[Any, Any]:
        """The next connection; see `_FULL_PAUSE_S`."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_FULL_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer it in a thread, in the place of the oldest where there is none."""
        with self._changing:
            oldest = next(iter(self._open)) if len(self._open) >= MOST_AT_A_TIME else None
            if oldest is not None:
                del self._open[oldest]
            self._open[request] = None
        if oldest is not None:
            with contextlib.suppress(OSError):  # it has just ended
                oldest.shutdown(socket.SHUT_RDWR)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See `process_request`."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: socket.socket) -> None:
        with self._changing:
            self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke off."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
