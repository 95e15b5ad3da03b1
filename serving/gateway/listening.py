"""gRPC's own bounds on what callers send, and what it refused by them before any handler was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

#: All headers of a call together; a token and a trace take under 2 KiB. `CallInterceptor` refuses more.
MAX_HEADER_BYTES = 16 * 1024
#: What gRPC's core refuses, without asking anybody.
CORE_HEADER_BYTES = 64 * 1024
#: A call whose caller takes no byte of its answer stays in the core when its handler is long over, with 13 KB
#: of a health check and 95 of GetSpace; no deadline and no cancelling frees it before its connection ends.
MAX_CALLS_PER_CONNECTION = 1024


def core_options() -> list[tuple[str, int]]:
    """Options of a `grpc.aio` server: bound headers and calls, and count those in the core (for
    `RefusedBelow`)."""
    return [
        ("grpc.max_concurrent_streams", MAX_CALLS_PER_CONNECTION),
        # gRPC refuses at random between the two: the same value makes it a limit
        ("grpc.max_metadata_size", CORE_HEADER_BYTES),
        ("grpc.absolute_max_metadata_size", CORE_HEADER_BYTES),
        ("grpc.enable_channelz", 1),
    ]


class CallCounts(Protocol):
    """What reached our side; `CallInterceptor` has it."""

    begun: int
    ended: int


class RefusedBelow(Collector):
    """Calls that ended in gRPC's core before a handler was asked, as of oversized headers.

    The core answers them without asking Python, but counts them in channelz; those that reached a handler
    are known here, and the difference was refused. A streaming call with oversized headers does reach its
    handler, which is cancelled: it counts as a call that ended with CANCELLED.

    Make it right after the server, before the next one.
    """

    def __init__(self, ours: CallCounts) -> None:
        self._ours = ours
        self._id = str(max((int(server["ref"]["serverId"]) for server in _servers()), default=0))
        self._told = 0

    def count(self) -> int:
        """Calls since the start."""
        for server in _servers():
            if server["ref"]["serverId"] == self._id:
                counts = {key: int(server["data"].get(key, 0)) for key in _CORE_COUNTS}
                begun = counts["callsStarted"] - self._ours.begun
                ended = counts["callsSucceeded"] + counts["callsFailed"] - self._ours.ended
                # a request under way is in the first alone, a handler that clears up in the second alone
                self._told = max(self._told, min(begun, ended))  # counters never fall
        return self._told

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One counter."""
        yield CounterMetricFamily(
            "resonance_gateway_refused_below",
            "Calls that gRPC ended before a handler, as of oversized headers",
            value=self.count(),
        )


_CORE_COUNTS = ("callsStarted", "callsSucceeded", "callsFailed")


def _servers() -> list[dict[str, dict[str, str]]]:
    """Channelz's list of this process's servers; grpcio-channelz reads it in the same way."""
    from grpc._cython import cygrpc

    return list(json.loads(cygrpc.channelz_get_servers(0)).get("server", []))
