"""grpc.health.v1: whether the service and each model serve; `Watch` tells each change.

Not the library's own: there a watcher writes while it holds the lock that a change of state needs, so one who
does not read stands in the way of every change, and of the shutdown.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

#: Of the enum `HealthCheckResponse.ServingStatus`.
Status = int
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
#: Calls of Watch at a time: they need no token, and end when their caller wants.
MOST_WATCHERS = 1024


class HealthService(health_pb2_grpc.HealthServicer):
    """States by name; used from the event loop."""

    def __init__(self) -> None:
        self._states: dict[str, Status] = {"": NOT_SERVING}
        self._changed = asyncio.Event()
        self._watchers = 0
        self._ended = False

    def set(self, name: str, state: Status) -> None:
        """Whether `name` serves; after `end` nothing does."""
        if not self._ended and self._states.get(name) != state:
            self._states[name] = state
            self._tell()

    async def serves(self, name: str) -> None:
        """Return once `name` serves."""
        while self._states.get(name) != SERVING:
            await self._changed.wait()

    def end(self) -> None:
        """Nothing serves any more, whatever is said later: callers are to go elsewhere.

        Watchers are told, and left. The server has to stop at once: clients watch anew without a pause.
        """
        self._ended = True
        self._states = dict.fromkeys(self._states, NOT_SERVING)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(  # noqa: N802 (gRPC's name)
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """The state of a service or model. NOT_FOUND: no such."""
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service or model '{request.service}'")
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(  # noqa: N802 (gRPC's name)
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """The state now and each change until `end`; of several changes that were not read the last."""
        if self._watchers >= MOST_WATCHERS:
            said = f"{MOST_WATCHERS} calls of Watch are open; ask Check instead"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
        self._watchers += 1
        try:
            told: Status | None = None
            while True:
                changed, state = self._changed, self._states.get(request.service, UNKNOWN)
                if state != told:
                    await context.write(health_pb2.HealthCheckResponse(status=state))
                    told = state  # and may be another by now
                elif self._ended:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1
