"""Triton over gRPC as raw bytes: requests are made before, answers are read only where they are checked.

So the client costs as little as a client can, beside the server that it shares the cores with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from resonance.serving import admin

_SERVICE = "/inference.GRPCInferenceService"
Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What Triton has counted for one model so far. Seconds are summed over requests, so one run of the graph
    for eight requests counts eight times.

    Attributes:
        requests: answered. runs: of the graph. from_cache: answered without one.
        queue_s, input_s, infer_s, output_s: waiting, inputs gathered, computing, answers made.
        total_s: from a request's arrival to its answer.
    """

    requests: int = 0
    runs: int = 0
    from_cache: int = 0
    queue_s: float = 0.0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0
    total_s: float = 0.0

    def __sub__(self, before: Spent) -> Spent:
        pairs = ((getattr(self, name), getattr(before, name)) for name in self.__dataclass_fields__)
        return Spent(*(after - earlier for after, earlier in pairs))

    def __add__(self, other: Spent) -> Spent:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Spent(*(one + two for one, two in pairs))


class TritonWire:
    """One connection; a context manager.

    Args:
        address: ``host:port`` of Triton's gRPC endpoint.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=admin.CHANNEL)
        self._infer = self._channel.unary_unary(f"{_SERVICE}/ModelInfer")
        self._statistics = self._channel.unary_unary(
            f"{_SERVICE}/ModelStatistics", response_deserializer=pb.ModelStatisticsResponse.FromString
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def infer(self, request: bytes, timeout_s: float = 60.0) -> bytes:
        """The answer to a request of `request_of`, for `outputs_of`.

        Raises:
            grpc.aio.AioRpcError: the server refused it or did not answer in time.
        """
        answer: bytes = await self._infer(request, timeout=timeout_s)
        return answer

    async def spent(self) -> dict[str, Spent]:
        """By model, ensembles among them."""
        answer = await self._statistics(pb.ModelStatisticsRequest().SerializeToString(), timeout=10)
        return {model.name: _spent(model) for model in answer.model_stats}


def request_of(model: str, tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A ModelInfer request; all outputs are asked for."""
    request = pb.ModelInferRequest(model_name=model)
    for name, array in tensors.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        raw = serialize_byte_tensor(array).item() if array.dtype == np.object_ else array.tobytes()
        request.raw_input_contents.append(raw)
    data: bytes = request.SerializeToString()
    return data


def outputs_of(answer: bytes) -> Tensors:
    """Numeric outputs of an answer by name."""
    message = pb.ModelInferResponse.FromString(answer)
    return {
        output.name: np.frombuffer(raw, triton_to_np_dtype(output.datatype)).reshape(output.shape)
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    }


def _spent(model: Any) -> Spent:
    stats = model.inference_stats
    return Spent(
        requests=stats.success.count,
        runs=model.execution_count,
        from_cache=stats.cache_hit.count,
        queue_s=stats.queue.ns / 1e9,
        input_s=stats.compute_input.ns / 1e9,
        infer_s=stats.compute_infer.ns / 1e9,
        output_s=stats.compute_output.ns / 1e9,
        total_s=stats.success.ns / 1e9,
    )
