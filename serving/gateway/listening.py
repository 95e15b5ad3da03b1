"""gRPC's own bounds on what callers send, and what it refused by them before any handler was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

#: All headers of a call together; a token and a trace take under 2 KiB.
MAX_HEADER_BYTES = 16 * 1024


def header_options() -> list[tuple[str, int]]:
    """Options of a `grpc.aio` server: bound headers, and count calls in the core (for `RefusedBelow`)."""
    return [
        # gRPC refuses at random between the two: the same value makes it a limit
        ("grpc.max_metadata_size", MAX_HEADER_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
        ("grpc.enable_channelz", 1),
    ]


class RefusedBelow(Collector):
    """Calls that gRPC's core refused itself: oversized headers, malformed requests.

    The core answers them without asking Python, but counts them in channelz; those that reached a handler
    are known here, and the difference was refused. One that is on its way between the two is counted, too, so
    under load the number may be too high by as many as are on their way at once; it does not add up.
    Make it right after the server, before the next one.

    Args:
        handled: calls that reached the interceptor since the start.
    """

    def __init__(self, handled: Callable[[], int]) -> None:
        self._handled = handled
        self._id = str(max((int(s["ref"]["serverId"]) for s in _servers()), default=0))
        self._told = 0

    def count(self) -> int:
        """Calls refused below since the start."""
        started = next(
            (int(s["data"].get("callsStarted", 0)) for s in _servers() if s["ref"]["serverId"] == self._id), 0
        )
        self._told = max(self._told, started - self._handled())  # counters never fall
        return self._told

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One counter."""
        yield CounterMetricFamily(
            "resonance_gateway_refused_below",
            "Calls that gRPC refused before a handler: oversized headers, malformed requests",
            value=self.count(),
        )


def _servers() -> list[dict[str, dict[str, str]]]:
    """Channelz's list of this process's servers; grpcio-channelz reads it in the same way."""
    from grpc._cython import cygrpc

    return list(json.loads(cygrpc.channelz_get_servers(0)).get("server", []))
