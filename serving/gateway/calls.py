"""The call that is being answered: whose it is, and what its end will be logged with."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from resonance.serving.gateway.callers import Caller


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


def begin_call(call: Call) -> None:
    """Make `call` the current one of this task, which ends with it."""
    _current.set(call)
