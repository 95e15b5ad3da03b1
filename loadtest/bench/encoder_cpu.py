"""Server CPU time per item through Triton against onnxruntime called in this process on the same items.

The two are measured in alternating rounds of one run, after a warm-up, because the machine's speed
drifts; the medians over the rounds are reported. The server's time is that of the `tritonserver`
process and all its stubs. The client's own time is told apart: it is spent on the same cores, and it
is not the server's.

Bare onnxruntime is measured twice: with as many callers as Triton has, which keeps the machine as busy
(a core runs slower beside a busy neighbour), and with one caller on an otherwise idle machine.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import np_to_triton_dtype

from resonance.serving.process import cpu_seconds

Feeds = dict[str, npt.NDArray[Any]]

CONCURRENCY = 8
ROUNDS = 5
ROUND_S = 2.0  # of bare CPU time: the kernel reports a process's time in steps of 10 ms
WARM_UP_ITEMS = 32


@dataclass(frozen=True, slots=True)
class EncoderCpu:
    """Medians over the rounds, per item; `ratio` is server over bare at the same concurrency,
    `ratio_to_idle` over bare with one caller on an idle machine.

    Attributes:
        items_per_batch: requests that Triton joined in one run of the graph, on average.
        max_abs_difference: largest difference of any output number between the two.
    """

    model: str
    server_cpu_ms_per_item: float
    bare_cpu_ms_per_item: float
    ratio: float
    bare_idle_cpu_ms_per_item: float
    ratio_to_idle: float
    throughput_triton_per_s: float
    throughput_bare_per_s: float
    client_cpu_ms_per_item: float
    items_per_batch: float
    max_abs_difference: float
    items_per_round: int
    rounds: int


@dataclass(frozen=True, slots=True)
class _Round:
    server_cpu_s: float
    own_cpu_s: float
    wall_s: float


def measure_encoder_cpu(
    grpc_address: str,
    server_pid: int,
    model_name: str,
    onnx_path: Path | str,
    inputs: Sequence[Feeds],
    *,
    concurrency: int = CONCURRENCY,
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
) -> EncoderCpu:
    """Measure model `model_name` of the server at `grpc_address` whose process is `server_pid`.

    Args:
        inputs: items, each with a batch axis of 1; used in turn.
        concurrency: requests in flight at any time.
        round_s: how long one round of bare onnxruntime should take.
    """
    arguments = (grpc_address, server_pid, model_name, Path(onnx_path), inputs, concurrency, rounds, round_s)
    return asyncio.run(_measure(*arguments))


async def _measure(
    address: str,
    pid: int,
    name: str,
    path: Path,
    inputs: Sequence[Feeds],
    concurrency: int,
    rounds: int,
    round_s: float,
) -> EncoderCpu:
    session = _session(path)
    async with InferenceServerClient(address) as client:
        difference = await _largest_difference(client, name, session, inputs)
        items = _items_for(session, inputs, round_s)
        await _triton_round(client, pid, name, inputs, WARM_UP_ITEMS, concurrency)
        ours, bare, idle = [], [], []
        before = await _batches(client, name)
        for _ in range(rounds):
            ours.append(await _triton_round(client, pid, name, inputs, items, concurrency))
            bare.append(_bare_round(session, inputs, items, concurrency))
            idle.append(_bare_round(session, inputs, items, 1))
        after = await _batches(client, name)
    server_ms = statistics.median(r.server_cpu_s for r in ours) / items * 1000
    bare_ms = statistics.median(r.own_cpu_s for r in bare) / items * 1000
    return EncoderCpu(
        model=name,
        server_cpu_ms_per_item=server_ms,
        bare_cpu_ms_per_item=bare_ms,
        # Of each pair of neighbouring rounds, so that a slower minute of the machine cancels out.
        ratio=statistics.median(o.server_cpu_s / b.own_cpu_s for o, b in zip(ours, bare, strict=True)),
        bare_idle_cpu_ms_per_item=statistics.median(r.own_cpu_s for r in idle) / items * 1000,
        ratio_to_idle=statistics.median(
            o.server_cpu_s / i.own_cpu_s for o, i in zip(ours, idle, strict=True)
        ),
        throughput_triton_per_s=items / statistics.median(r.wall_s for r in ours),
        throughput_bare_per_s=items / statistics.median(r.wall_s for r in bare),
        client_cpu_ms_per_item=statistics.median(r.own_cpu_s for r in ours) / items * 1000,
        items_per_batch=(after[0] - before[0]) / max(1, after[1] - before[1]),
        max_abs_difference=difference,
        items_per_round=items,
        rounds=rounds,
    )


def _session(path: Path) -> ort.InferenceSession:
    """As the server's backend makes it: one thread, no spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _items_for(session: ort.InferenceSession, inputs: Sequence[Feeds], round_s: float) -> int:
    """How many items make a round of `round_s`, at least one of each input; warms the session up."""
    _bare_round(session, inputs, WARM_UP_ITEMS, 1)
    one = _bare_round(session, inputs, WARM_UP_ITEMS, 1).own_cpu_s / WARM_UP_ITEMS
    return max(len(inputs), round(round_s / max(one, 1e-6)))


def _bare_round(session: ort.InferenceSession, inputs: Sequence[Feeds], items: int, callers: int) -> _Round:
    turns = itertools.islice(itertools.cycle(inputs), items)
    with ThreadPoolExecutor(callers) as pool:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in pool.map(lambda feeds: session.run(None, feeds), turns):
            pass
        return _Round(0.0, time.process_time() - cpu, time.perf_counter() - wall)


async def _triton_round(
    client: InferenceServerClient, pid: int, name: str, inputs: Sequence[Feeds], items: int, concurrency: int
) -> _Round:
    turns = itertools.islice(itertools.cycle(inputs), items)

    async def worker() -> None:
        for feeds in turns:
            await client.infer(name, _tensors(feeds))

    server, cpu, wall = cpu_seconds(pid), time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return _Round(cpu_seconds(pid) - server, time.process_time() - cpu, time.perf_counter() - wall)


async def _largest_difference(
    client: InferenceServerClient, name: str, session: ort.InferenceSession, inputs: Sequence[Feeds]
) -> float:
    outputs = [output.name for output in session.get_outputs()]
    largest = 0.0
    for feeds in inputs:
        result = await client.infer(name, _tensors(feeds))
        for output, expected in zip(outputs, session.run(outputs, feeds), strict=True):
            came = result.as_numpy(output)
            largest = max(largest, float(np.abs(came.astype(np.float64) - expected).max()))
    return largest


async def _batches(client: InferenceServerClient, name: str) -> tuple[int, int]:
    """Requests answered and runs of the graph so far."""
    statistics_of = await client.get_inference_statistics(name)
    model = statistics_of.model_stats[0]
    return int(model.inference_count), int(model.execution_count)


def _tensors(feeds: Feeds) -> list[InferInput]:
    tensors = []
    for name, array in feeds.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors
