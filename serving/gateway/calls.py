"""The call that is being answered: whose it is, and what its end will be logged with."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from google.rpc.status_pb2 import Status

from resonance.clients.gateway.faults import trailer_of
from resonance.serving.gateway.callers import Caller

CODES = {code.value[0]: code for code in grpc.StatusCode}
#: How long the end of a call is waited for that its caller does not read.
ABORT_S = 1.0


@dataclass(slots=True)
class Call:
    """One RPC, from when its caller is known.

    Attributes:
        method: as its handler is registered, ``/package.Service/Method``; `method_label` for one that is not.
        media_id, segments, received_bytes: filled in by the handler, for the log.
    """

    method: str
    caller: Caller
    started_s: float = field(default_factory=time.monotonic)
    media_id: str = ""
    segments: int = 0
    received_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.started_s


_current: ContextVar[Call] = ContextVar("resonance_gateway_call")


def current_call() -> Call:
    """The call that this task works on.

    Raises:
        LookupError: outside of a handler.
    """
    return _current.get()


async def abort(context: grpc.aio.ServicerContext, status: Status) -> NoReturn:
    """End the call, whose caller may not be reading, with `status` and its details."""
    try:
        async with asyncio.timeout(ABORT_S):
            await context.abort(CODES[status.code], status.message, trailer_of(status))
    except TimeoutError:  # gRPC tells it once the caller reads; nothing here waits for that
        raise asyncio.CancelledError from None
    raise AssertionError("unreachable: abort raises")


def begin_call(call: Call) -> None:
    """Make `call` the current one of this task, which ends with it."""
    _current.set(call)
