"""What of a call's requests to models counts as their failure."""

from __future__ import annotations

from typing import Any

import pytest

from resonance.clients.errors import (
    DeadlineExceededError,
    RequestRejectedError,
    ResonanceError,
    ServerFaultError,
)
from resonance.serving.gateway.call_transport import CallTransport
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.tracing import Tracing


class Failing:
    """A transport whose every request fails with `error`."""

    def __init__(self, error: ResonanceError) -> None:
        self.error = error

    async def infer(self, *what: Any, timeout_s: float) -> Any:
        raise self.error

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "remaining_s", "failures"),
    [
        (ServerFaultError("the weights are gone"), None, 1),
        (ServerFaultError("the weights are gone"), 1.0, 1),
        (DeadlineExceededError("no answer for 30 s"), None, 1),
        (DeadlineExceededError("no answer for 30 s"), 60.0, 1),
        (DeadlineExceededError("no answer for 1 s"), 1.0, 0),  # its caller gave it no longer
        (RequestRejectedError("no frame in the clip"), None, 0),
    ],
)
async def test_a_request_fails_for_faults_of_the_model_alone(error, remaining_s, failures):
    metrics = GatewayMetrics(gpu=False)
    transport = CallTransport(Failing(error), metrics, Tracing(None, version=""), lambda: remaining_s)
    with pytest.raises(type(error)):
        await transport.infer("clips", {}, ("Y",), timeout_s=30)
    assert metrics.value("inference_failed_total", model="clips") == failures
    assert metrics.value("inference_seconds_count", model="clips") == 0
