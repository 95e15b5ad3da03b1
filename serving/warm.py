"""A burst of made-up inferences at the start, so that memory has its size before anybody calls.

Triton's processes keep what they once needed (`resonance.serving.binary.MALLOC_SETTINGS`; the shared memory
of a Python model's process never shrinks), and need most where many requests happen to meet. Left to callers,
that is reached by chance, a step of a request at a time, over hours: 4% within half an hour at half load.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from queue import SimpleQueue

from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

from resonance.serving.readiness import Probe, one_line

_log = logging.getLogger(__name__)

#: Requests to each model that meet. On two cores a gateway rarely lets more through by default: six segments
#: each of two uploads, two queries, and live feeds, which are spread over their windows.
AT_ONCE = 16


def warm_up(
    client: InferenceServerClient,
    models: Collection[str],
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send `AT_ONCE` inferences through every model of `models` at the same time, and wait for all answers.

    One that fails, or takes longer than `timeout_s`, is logged: each model has answered its probe before.

    Args:
        headers: what Triton wants to see for its configs (`admin.grpc_headers`).

    Raises:
        InferenceServerException: Triton itself does not answer.
    """
    configs = [client.get_model_config(name, headers=dict(headers or {})).config for name in sorted(models)]
    answers: SimpleQueue[InferenceServerException | None] = SimpleQueue()

    def answered(result: InferResult | None, error: InferenceServerException | None) -> None:
        answers.put(error)

    for probe in map(Probe.of, configs):
        for _ in range(AT_ONCE):
            client.async_infer(probe.name, probe.inputs, answered, client_timeout=timeout_s)
    errors = [answers.get() for _ in range(AT_ONCE * len(configs))]
    failed = [error for error in errors if error is not None]
    if failed:
        _log.warning("warming up, %d of %d: %s", len(failed), len(errors), one_line(failed[0].message()))
