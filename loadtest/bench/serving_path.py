"""Encoders along the serving path: bare onnxruntime in this process, Triton, and the gateway before it.

All ways get the same items, in rounds taken in turn, with as many callers. Ratios are of neighbouring rounds,
so a slower minute of the machine cancels out. The server's CPU time is that of its whole process tree, of
readers that have ended too; the client's is told apart: it is spent on the same cores, and not by the server.

A call of the gateway asks for more than an encoder's work: it is read, and its vector is fused. So it stands
beside the same reading and the same graphs, called in this process; `beside` names what is added.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from resonance.clients.credentials import WITHOUT_PROXY
from resonance.export.artifact import cosine
from resonance.loadtest.bench.bare import BLOCK_OUTPUTS, BareModels
from resonance.loadtest.bench.path_items import Item
from resonance.loadtest.bench.triton_wire import Spent, TritonWire, outputs_of, request_of
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import children, cpu_s
from resonance.loadtest.gateway.wire import Wire
from resonance.serving.server import TritonServer
from resonance.space.descriptor import BLOCK_WIDTH
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc

CONCURRENCY = 8
ROUNDS = 5
#: A median's least.
LEAST_ROUNDS = 3
#: Length of a round by the wall clock: the kernel tells a process's time in steps of 10 ms.
ROUND_S = 1.0
WARM_UP_S = 0.3
#: Below this a served vector is not the model's, and no figure of its speed counts.
LEAST_COSINE = 0.999
#: Server CPU per item over bare onnxruntime's; the gateway's way over Triton's.
CPU_BAR, GATEWAY_BAR = 1.15, 1.05
#: Items a second over bare onnxruntime's, where an item takes so long that its client does not count: the
#: client's CPU is at most this share of bare onnxruntime's.
THROUGHPUT_BAR, CLIENT_MOST = 0.95, 0.02
TIMEOUT_S = 60.0


class DisagreementError(Exception):
    """What was served is not what the model says."""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One item one way; ratios are medians over pairs of neighbouring rounds, per item.

    Attributes:
        family: whose models they are. through: ``triton`` or ``gateway``.
        beside: work beside the encoders, which the bare side of the gateway's rows does too.
        cpu_ratio: CPU of the server's processes over that of the same work in this process.
        cpu_ratios: of the rounds.
        throughput_ratio, throughput_ratios: items a second, over bare onnxruntime's on all cores.
        client_ratio: CPU of the client over bare onnxruntime's.
        gateway_share: of the server's CPU, what the gateway and its readers take.
        over_triton: `cpu_ratio` over that of the same item straight to Triton; None there.
        queue_share, input_share, infer_share, output_share: of the time that requests spent at Triton's
            models, summed over those of a call.
        outside_share: of the caller's waiting, what passed outside Triton; None for the gateway, which asks
            several models at once.
        requests_per_run: that Triton joined, on average over the graphs.
        cosine: lowest of the blocks served, or of the titles, with bare onnxruntime's.
        item_ms: CPU of bare onnxruntime for an item; tells a long item from a short one.
        bar, met: of `cpu_ratio` to Triton, of `over_triton` to the gateway.
        throughput_bar, throughput_met: to Triton; None for items whose client counts.
    """

    family: str
    item: str
    through: str
    beside: str
    concurrency: int
    rounds: int
    cpu_ratio: float
    cpu_ratios: list[float]
    throughput_ratio: float
    throughput_ratios: list[float]
    client_ratio: float
    gateway_share: float
    over_triton: float | None
    queue_share: float
    input_share: float
    infer_share: float
    output_share: float
    outside_share: float | None
    requests_per_run: float
    cosine: float
    item_ms: float
    bar: float
    met: bool
    throughput_bar: float | None
    throughput_met: bool | None


@dataclass(frozen=True, slots=True)
class _Round:
    """`waited_s`: of all callers together, for all that they sent. CPU seconds: of this process, of the
    gateway's, of Triton's. What is counted while all callers are busy: `_Saturated`."""

    items: int
    wall_s: float
    own_s: float
    gateway_s: float = 0.0
    triton_s: float = 0.0
    waited_s: float = 0.0

    @property
    def server_ms(self) -> float:
        """CPU an item."""
        return (self.gateway_s + self.triton_s) / self.items * 1000

    @property
    def own_ms(self) -> float:
        """CPU an item."""
        return self.own_s / self.items * 1000

    @property
    def per_s(self) -> float:
        """Items a second."""
        return self.items / self.wall_s


#: Works off so many items.
Arm = Callable[[int], Awaitable[_Round]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often.

    `least_each`: items of a round for each caller at least. Answers come as many at once as shared a run, and
    a run across either end of a round counts on one side of it alone: of 6 times 8 items that is 2 to 4%.
    `enough_s`: no further round of an item begins after this, once `LEAST_ROUNDS` were. The longer a round
    takes, the less its ratios differ.
    """

    concurrency: int = CONCURRENCY
    rounds: int = ROUNDS
    round_s: float = ROUND_S
    least_each: int = 6
    enough_s: float = math.inf


def measure_path(
    server: TritonServer,
    repository: Path,
    items: Sequence[Item],
    *,
    settings: Settings | None = None,
    bare: BareModels | None = None,
    done: Callable[[str], None] = lambda _: None,
) -> list[PathRow]:
    """Each of `items` to Triton, and those with calls to a gateway before it.

    Args:
        server: serves `repository`.
        done: told the name of each item that is measured.

    Raises:
        DisagreementError: a served vector's cosine with bare onnxruntime's is below `LEAST_COSINE`, or an
            answer came from a cache, so nothing was measured.
    """
    chosen, models = settings or Settings(), bare or BareModels(repository)
    most = chosen.concurrency
    flags = ("max-uploads", "max-queries", "max-queued", "max-queued-queries")
    limits = dict.fromkeys(flags, most)
    rows: list[PathRow] = []
    with Stack(repository, triton=server, limits=limits) as stack:
        for item in items:
            rows += asyncio.run(_measure(stack, server.grpc_address, models, item, chosen))
            done(item.name)
    return rows


async def _measure(
    stack: Stack, triton_address: str, bare: BareModels, item: Item, settings: Settings
) -> list[PathRow]:
    requests = [request_of(item.model, feeds) for feeds in item.feeds]
    async with TritonWire(triton_address) as triton, Wire(stack.address, connections=2) as gateway:
        send_triton = _to_triton(triton, requests)
        arms: dict[str, Arm] = {
            "bare": _bare_arm(lambda n: bare.run(item.model, item.feeds[n]), len(item.feeds), settings),
            "triton": _served_arm(stack, send_triton, settings),
        }
        cosines = {"triton": await _cosine_triton(triton, bare, item, requests)}
        if item.calls:
            arms["bare_call"] = _bare_arm(
                lambda n: bare.title(item.called, item.read(n)), len(item.calls), settings
            )
            arms["gateway"] = _served_arm(stack, _to_gateway(gateway, item), settings)
            cosines["gateway"] = await _cosine_gateway(stack.address, bare, item)
        for through, cosine in cosines.items():
            if not cosine >= LEAST_COSINE:  # NaN too
                raise DisagreementError(
                    f"{item.name} through {through}: cosine {cosine:.6f} with bare onnxruntime; expected at "
                    f"least {LEAST_COSINE}: are the served models those of the repository on disk?"
                )
        rounds, spent = await _rounds(triton, arms, settings)
    return _rows(bare.descriptor.name, item, rounds, spent, cosines, settings)


async def _rounds(
    triton: TritonWire, arms: dict[str, Arm], settings: Settings
) -> tuple[dict[str, list[_Round]], dict[str, dict[str, Spent]]]:
    """Rounds of all arms in turn, and what Triton spent on the models in all rounds of an arm."""
    counts: dict[str, int] = {}
    for name, arm in arms.items():
        first = await arm(settings.concurrency)
        warm_up_s = min(WARM_UP_S, settings.round_s)
        once = await arm(max(settings.concurrency, round(warm_up_s * first.per_s)))
        counts[name] = max(settings.least_each * settings.concurrency, round(settings.round_s * once.per_s))
    rounds: dict[str, list[_Round]] = {name: [] for name in arms}
    spent: dict[str, dict[str, Spent]] = {name: {} for name in arms}
    began = time.monotonic()
    for number in range(settings.rounds):
        if number >= LEAST_ROUNDS and time.monotonic() - began > settings.enough_s:
            break
        # there and back: a machine that grows slower favours neither end
        for name in list(arms) if number % 2 == 0 else list(arms)[::-1]:
            before = await triton.spent()
            rounds[name].append(await arms[name](counts[name]))
            for model, now in (await triton.spent()).items():
                change = now - before.get(model, Spent())
                spent[name][model] = spent[name].get(model, Spent()) + change
    return rounds, spent


def _rows(
    family: str,
    item: Item,
    rounds: dict[str, list[_Round]],
    spent: dict[str, dict[str, Spent]],
    cosines: dict[str, float],
    settings: Settings,
) -> list[PathRow]:
    rows: list[PathRow] = []
    for through, beside in (("triton", "bare"), ("gateway", "bare_call")):
        if through not in rounds:
            continue
        pairs = list(zip(rounds[through], rounds[beside], strict=True))
        cpu_ratios = [served.server_ms / alone.own_ms for served, alone in pairs]
        throughput_ratios = [served.per_s / alone.per_s for served, alone in pairs]
        cpu_ratio, throughput_ratio = statistics.median(cpu_ratios), statistics.median(throughput_ratios)
        over_triton = cpu_ratio / rows[0].cpu_ratio if rows else None
        client_ratio = statistics.median(served.own_ms / alone.own_ms for served, alone in pairs)
        is_long = through == "triton" and client_ratio <= CLIENT_MOST
        bar = CPU_BAR if over_triton is None else GATEWAY_BAR
        rows.append(
            PathRow(
                family=family,
                item=item.name,
                through=through,
                beside=item.beside if through == "gateway" else "",
                concurrency=settings.concurrency,
                rounds=len(pairs),
                cpu_ratio=cpu_ratio,
                cpu_ratios=cpu_ratios,
                throughput_ratio=throughput_ratio,
                throughput_ratios=throughput_ratios,
                client_ratio=client_ratio,
                gateway_share=statistics.median(
                    served.gateway_s / (served.gateway_s + served.triton_s) for served, _ in pairs
                ),
                over_triton=over_triton,
                **_time_at_triton(item, through, rounds[through], spent[through]),
                cosine=cosines[through],
                item_ms=statistics.median(alone.own_ms for _, alone in pairs),
                bar=bar,
                met=(over_triton or cpu_ratio) <= bar,
                throughput_bar=THROUGHPUT_BAR if is_long else None,
                throughput_met=throughput_ratio >= THROUGHPUT_BAR if is_long else None,
            )
        )
    return rows


def _time_at_triton(
    item: Item, through: str, rounds: Iterable[_Round], spent: dict[str, Spent]
) -> dict[str, Any]:
    """The shares of a row, from what Triton counted for the models in its rounds."""
    if cached := [model for model, one in spent.items() if one.from_cache]:
        raise DisagreementError(
            f"{item.name} through {through}: Triton answered from its cache for {', '.join(cached)}; "
            "expected every answer to be computed: serve without a response cache"
        )
    # an ensemble's own figures are those of its steps once more
    steps = [one for model, one in spent.items() if one.runs and not model.endswith("_embedding")]
    total = sum(steps, Spent())
    at_models_s = total.queue_s + total.input_s + total.infer_s + total.output_s
    outside = None
    if through == "triton":
        waited_s = sum(one.waited_s for one in rounds)
        outside = max(0.0, 1 - spent[item.model].total_s / waited_s)
    return {
        "queue_share": total.queue_s / at_models_s,
        "input_share": total.input_s / at_models_s,
        "infer_share": total.infer_s / at_models_s,
        "output_share": total.output_s / at_models_s,
        "outside_share": outside,
        "requests_per_run": total.requests / total.runs,
    }


def _bare_arm(run: Callable[[int], object], distinct: int, settings: Settings) -> Arm:
    async def arm(items: int) -> _Round:
        saturated = _Saturated(items, settings.concurrency, lambda: (0.0, 0.0))
        numbers, lock = itertools.count(), threading.Lock()

        def caller() -> None:
            while not saturated.over:
                run(next(numbers) % distinct)
                with lock:
                    saturated.answered()

        with ThreadPoolExecutor(settings.concurrency) as pool:
            for done in [pool.submit(caller) for _ in range(settings.concurrency)]:
                done.result()
        return saturated.round(waited_s=0.0)

    return arm


def _served_arm(stack: Stack, send: Callable[[int], Awaitable[None]], settings: Settings) -> Arm:
    async def arm(items: int) -> _Round:
        saturated = _Saturated(
            items,
            settings.concurrency,
            lambda: (_tree_cpu_s(stack.gateway_pid), _tree_cpu_s(stack.triton_pid)),
        )
        numbers, waited_s = itertools.count(), 0.0

        async def caller() -> None:
            nonlocal waited_s
            while not saturated.over:
                began = time.perf_counter()
                await send(next(numbers))
                waited_s += time.perf_counter() - began
                saturated.answered()

        await asyncio.gather(*itertools.starmap(caller, itertools.repeat((), settings.concurrency)))
        return saturated.round(waited_s)

    return arm


class _Saturated:
    """Counts a round's items while every caller has one under way.

    From the answer that makes one for each caller on; and the callers go on until the last of the round is
    answered. Before and after that cores rest that would not: of 16 items of a second each, two at once, the
    last alone would cost a tenth.
    """

    def __init__(self, items: int, callers: int, servers_cpu_s: Callable[[], tuple[float, float]]) -> None:
        self._items, self._callers, self._servers_cpu_s = items, callers, servers_cpu_s
        self._answered = 0
        self._marks: list[tuple[float, ...]] = []

    @property
    def over(self) -> bool:
        """Whether callers need not send any more."""
        return len(self._marks) == 2

    def answered(self) -> None:
        """One item was; not to be called by two threads at once."""
        self._answered += 1
        if self._answered in (self._callers, self._callers + self._items):
            self._marks.append((time.perf_counter(), time.process_time(), *self._servers_cpu_s()))

    def round(self, waited_s: float) -> _Round:
        """What was measured, once all callers are back."""
        first, last = self._marks
        wall_s, own_s, gateway_s, triton_s = (b - a for a, b in zip(first, last, strict=True))
        return _Round(self._items, wall_s, own_s, gateway_s, triton_s, waited_s)


def _to_triton(triton: TritonWire, requests: Sequence[bytes]) -> Callable[[int], Awaitable[None]]:
    async def send(number: int) -> None:
        await triton.infer(requests[number % len(requests)], TIMEOUT_S)

    return send


def _to_gateway(gateway: Wire, item: Item) -> Callable[[int], Awaitable[None]]:
    async def send(number: int) -> None:
        messages, due_s = item.calls[number % len(item.calls)], time.monotonic()
        if item.is_query:
            outcome = await gateway.query(messages[0], due_s=due_s, timeout_s=TIMEOUT_S)
        else:
            outcome = await gateway.upload(messages, due_s=due_s, timeout_s=TIMEOUT_S)
        if not outcome.ok:
            raise RuntimeError(f"{item.name}: the gateway answered {outcome.code}; expected OK")

    return send


def _tree_cpu_s(pid: int) -> float:
    """CPU of `pid` and its descendants, of those that have ended too."""
    return sum(sum(cpu_s(one)) for one in (pid, *children(pid)))


async def _cosine_triton(
    triton: TritonWire, bare: BareModels, item: Item, requests: Sequence[bytes]
) -> float:
    lowest = 1.0
    for feeds, request in zip(item.feeds, requests, strict=True):
        came, expected = outputs_of(await triton.infer(request)), bare.run(item.model, feeds)
        for name in BLOCK_OUTPUTS:
            if name in expected:
                lowest = min(lowest, cosine(came[name], expected[name]))
    return lowest


async def _cosine_gateway(address: str, bare: BareModels, item: Item) -> float:
    lowest = 1.0
    async with grpc.aio.insecure_channel(address, WITHOUT_PROXY) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        for number, messages in enumerate(item.calls):
            came, expected = await _vector(stub, item, messages), bare.title(item.called, item.read(number))
            if item.is_query:  # which has the words' block in each place, over their spreads
                came, expected = came[-BLOCK_WIDTH:], expected[-BLOCK_WIDTH:]
            lowest = min(lowest, cosine(came, expected))
    return lowest


async def _vector(
    stub: embedding_pb2_grpc.EmbeddingServiceStub, item: Item, messages: Sequence[bytes]
) -> npt.NDArray[np.float32]:
    """Of the title that a call answers with, or of the query before its weights."""
    try:
        if item.is_query:
            query = await stub.EmbedQuery(pb.EmbedQueryRequest.FromString(messages[0]), timeout=TIMEOUT_S)
            return np.array(query.unweighted, np.float32)
        requests = [pb.EmbedMediaRequest.FromString(message) for message in messages]
        async for answer in stub.EmbedMedia(iter(requests), timeout=TIMEOUT_S):
            if answer.HasField("title"):
                return np.array(answer.title.vector, np.float32)
    except grpc.aio.AioRpcError as error:
        said = f"{error.code().name}: {error.details()}"
        raise RuntimeError(f"{item.name}: the gateway answered {said}; expected OK") from error
    raise RuntimeError(f"{item.name}: the gateway's call ended without a title")
