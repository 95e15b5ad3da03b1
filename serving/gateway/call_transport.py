"""Requests to Triton of one call: never longer than its caller waits, timed, and with its trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from resonance.clients.errors import DeadlineExceededError, RequestRejectedError
from resonance.clients.transport import Tensors, Transport
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.tracing import Tracing


class CallTransport:
    """A `Transport` over another one.

    A request counts as failed for a fault of the models: not where it was refused for what stands in it, such
    as a clip that decodes to nothing, nor where the caller's own deadline passed.

    Args:
        remaining_s: seconds until the caller's deadline, or None where it has none.
    """

    def __init__(
        self,
        inner: Transport,
        metrics: GatewayMetrics,
        tracing: Tracing,
        remaining_s: Callable[[], float | None],
    ) -> None:
        self._inner, self._metrics, self._tracing = inner, metrics, tracing
        self._remaining_s = remaining_s

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """See `Transport`."""
        remaining_s = self._remaining_s()
        callers_deadline = remaining_s is not None and remaining_s < timeout_s
        if remaining_s is not None:
            if remaining_s <= 0:
                raise DeadlineExceededError(f"model {model}: the call's deadline has passed")
            timeout_s = min(timeout_s, remaining_s)
        started = time.monotonic()
        try:
            with self._tracing.request_span(model):
                answer = await self._inner.infer(model, inputs, outputs, timeout_s=timeout_s)
        except RequestRejectedError:
            raise
        except Exception as error:
            if not (callers_deadline and isinstance(error, DeadlineExceededError)):
                self._metrics.inference_failed(model)
            raise
        self._metrics.inference_ended(model, time.monotonic() - started)
        return answer

    async def close(self) -> None:
        """The connection is shared; whoever made it closes it."""
