"""The transport to the models, watched: a span and a time for each request, its failures counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from resonance.clients.errors import ResonanceError
from resonance.clients.transport import Tensors, Transport
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.tracing import Tracing


class ObservedTransport:
    """Carries requests as `inner` does. `inner` sends `Tracing.request_headers`, if Triton is to know."""

    def __init__(self, inner: Transport, metrics: GatewayMetrics, tracing: Tracing) -> None:
        self._inner = inner
        self._metrics = metrics
        self._tracing = tracing

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """See `Transport`."""
        started_s = time.monotonic()
        try:
            with self._tracing.request_span(model):
                answer = await self._inner.infer(model, inputs, outputs, timeout_s=timeout_s)
        except ResonanceError:
            self._metrics.inference_ended(model, time.monotonic() - started_s, failed=True)
            raise
        self._metrics.inference_ended(model, time.monotonic() - started_s)
        return answer

    async def close(self) -> None:
        """See `Transport`."""
        await self._inner.close()
