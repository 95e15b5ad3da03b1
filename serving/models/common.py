"""What the Python models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from resonance.space.descriptor import Descriptor


def descriptor_beside(args: Mapping[str, str]) -> Descriptor:
    """The space of the repository that holds the model being initialised.

    `args["model_repository"]` is the model's own folder; the space stands in its neighbour.
    """
    repository = Path(args["model_repository"]).parent
    return Descriptor.load(repository / "space_descriptor" / "1" / "space.json")


def answer_each(requests: list[Any], answer: Callable[[Any], list[Any]], model: str) -> list[Any]:
    """One response a request: `answer` gives its outputs; a ValueError is that caller's fault alone."""
    responses = []
    for request in requests:
        if request.is_cancelled():
            error = pb_utils.TritonError(f"{model}: the caller is gone", pb_utils.TritonError.CANCELLED)
            responses.append(pb_utils.InferenceResponse(error=error))
            continue
        try:
            responses.append(pb_utils.InferenceResponse(output_tensors=answer(request)))
        except ValueError as fault:
            error = pb_utils.TritonError(f"{model}: {fault}", pb_utils.TritonError.INVALID_ARG)
            responses.append(pb_utils.InferenceResponse(error=error))
        except Exception as fault:  # isolate: raising would fail every request of the batch
            error = pb_utils.TritonError(
                f"{model}: {type(fault).__name__}: {fault}", pb_utils.TritonError.INTERNAL
            )
            responses.append(pb_utils.InferenceResponse(error=error))
    return responses
