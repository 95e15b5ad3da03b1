"""Flow control: callers who do not read, who send slowly, and who go away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.material import Broadcast, RawFeed
from resonance.loadtest.gateway.script import Stream
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import MIB, Sample, children
from resonance.loadtest.gateway.wire import Wire
from resonance.v1 import embedding_pb2 as pb

#: A sender that got nothing rid of for this long is held back.
HELD_S = 3.0
LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class DeafFigures:
    """A caller who sends as fast as it may and reads nothing.

    Attributes:
        accepted_mib: what it got rid of, until it was held back. held_back: whether it was.
        offered_mib: what it had.
        gateway_growth_mib, readers_mib: memory at the end over that before; of the processes that read.
        late_growth_mib: growth while it was held back.
        segments_afterwards, title_afterwards: what it got once it read.
    """

    kind: str
    offered_mib: float
    accepted_mib: float
    held_back: bool
    gateway_growth_mib: float
    readers_mib: float
    late_growth_mib: float
    segments_afterwards: int
    title_afterwards: bool


@dataclass(frozen=True, slots=True)
class SlowFigures:
    """Callers who pause in the middle of an upload, more of them than there are places.

    Attributes:
        pausing: how many. uploads_known: of the gateway's own count.
        alone, beside_them: another caller's upload without and with them.
    """

    pausing: int
    uploads_known: int
    alone: Spread
    beside_them: Spread
    refused: int


@dataclass(frozen=True, slots=True)
class CancelFigures:
    """Calls that are cancelled in the middle of their work.

    Attributes:
        *_free_s: until the gateway had no segment at the models, Triton had computed its last inference, the
            reader process was gone, and the call was counted as abandoned; the slowest of all rounds.
    """

    kind: str
    rounds: int
    gateway_free_s: float
    triton_idle_s: float
    reader_gone_s: float
    counted_s: float
    abandoned: int


async def measure_deaf(
    stack: Stack, kind: str, messages: Iterator[bytes], offered_bytes: int, screen: Screen, *, seconds: float
) -> DeafFigures:
    """Send, read nothing for `seconds`; then read, stop sending, and take the rest."""
    accepted = 0
    last_s = time.monotonic()
    reads = asyncio.Event()

    async def sending(call: Any) -> None:
        nonlocal accepted, last_s
        for message in messages:
            await call.write(message)
            accepted, last_s = accepted + len(message), time.monotonic()
            if reads.is_set():
                break
        await call.done_writing()

    async with Wire(stack.address, small_window=True) as calls:
        with stack.watch(0.2) as watch:
            call = calls.embed_media()
            task = asyncio.create_task(sending(call))
            async with screen.timed(f"deaf caller, {kind}", seconds, lambda: f"{accepted / MIB:.0f} MiB"):
                await asyncio.sleep(seconds)
            held = not task.done() and time.monotonic() - last_s >= min(HELD_S, seconds / 2)
            taken, before, end = accepted, watch.samples[0], watch.look()
            held_at = [s for s in watch.samples if s.at_s >= last_s] or [end]
        reads.set()
        tags: Counter[int] = Counter()
        async with screen.timed(f"deaf caller, {kind}, reads again", seconds):
            async for answer in call:
                tags[answer[0]] += 1
        await task
    return DeafFigures(
        kind=kind,
        offered_mib=offered_bytes / MIB,
        accepted_mib=taken / MIB,
        held_back=held,
        gateway_growth_mib=(end.gateway.resident - before.gateway.resident) / MIB,
        readers_mib=end.readers.private / MIB,
        late_growth_mib=(_reading_bytes(end) - _reading_bytes(held_at[0])) / MIB,
        segments_afterwards=tags[wire.SEGMENT],
        title_afterwards=tags[wire.TITLE] > 0,
    )


def _reading_bytes(sample: Sample) -> int:
    return sample.gateway.resident + sample.readers.private


def deaf_frames(feed: RawFeed, length_s: float) -> Iterator[bytes]:
    """A call of raw frames and sound."""
    yield wire.start("deaf", pb.MODE_FRAMES, modalities=[pb.MODALITY_VISUAL, pb.MODALITY_AUDIO])
    for _, message in feed.messages(length_s):
        yield message


def deaf_upload(broadcast: Broadcast, rounds: int, *, live: bool = False) -> Iterator[bytes]:
    """A call of MPEG-TS."""
    yield wire.start("deaf", pb.MODE_ENCODED, live=live)
    offset = 0
    for _, data in broadcast.pieces(2.0, rounds):
        yield wire.chunk(offset, data)
        offset += len(data)


async def measure_slow(
    stack: Stack, titles: list[list[bytes]], screen: Screen, *, pausing: int, uploads: int
) -> SlowFigures:
    """`pausing` callers stop after their first bytes; then another one uploads."""
    async with Wire(stack.address) as wire_:

        async def upload(number: int) -> wire.Outcome:
            return await wire_.upload(titles[number % len(titles)], due_s=time.monotonic())

        async with screen.timed("slow callers", uploads * 1.5 + 6):
            alone = [await upload(n) for n in range(uploads)]
            calls = []
            for _ in range(pausing):
                call = wire_.embed_media()
                await call.write(titles[0][0])
                await call.write(wire.chunk(0, _head(titles[0])))
                calls.append(call)
                await asyncio.sleep(0.25)  # one after the other: their processes start
            await asyncio.sleep(1.0)
            status = await wire_.status()
            beside = [await upload(n) for n in range(uploads)]
            for call in calls:
                call.cancel()
            # counted before anything else is
            await until(lambda: stack.gateway_metrics()["resonance_gateway_uploads"] == 0, time.monotonic())
    return SlowFigures(
        pausing=pausing,
        uploads_known=status.uploads,
        alone=Spread.of([o.took_s for o in alone if o.ok]),
        beside_them=Spread.of([o.took_s for o in beside if o.ok]),
        refused=sum(not o.ok for o in (*alone, *beside)),
    )


def _head(title: list[bytes]) -> bytes:
    """Half of a title's first piece."""
    data = pb.EmbedMediaRequest.FromString(title[1]).chunk.data
    return data[: len(data) // 2]


async def measure_cancel(
    stack: Stack, kind: str, messages: Callable[[], Iterator[bytes]], screen: Screen, *, rounds: int
) -> CancelFigures:
    """Cancel a call while its segments are at the models; look every 10 ms for what is left of it."""
    free: list[float] = []
    idle: list[float] = []
    gone: list[float] = []
    counted: list[float] = []
    before = stack.abandoned()
    async with Wire(stack.address) as calls, screen.timed(f"cancelled calls, {kind}", rounds * 3.0):
        for number in range(rounds):
            readers = set(children(stack.gateway_pid))
            todo = messages()
            stream = Stream(calls, next(todo))
            sending = asyncio.create_task(_pour(stream, todo))
            await stream.wait_segments(2, 30)
            own = set(children(stack.gateway_pid)) - readers
            looks = [
                partial(_counted, stack, before + number + 1),
                partial(_gone, stack.gateway_pid, own),
                partial(_nothing_in_flight, stack),
            ]
            cancelled = time.monotonic()
            stream.cancel()
            sending.cancel()
            *looked, last_s = await asyncio.gather(
                *(until(look, cancelled) for look in looks), _last_inference(stack, cancelled)
            )
            for found, value in zip((counted, gone, free, idle), (*looked, last_s), strict=True):
                found.append(value)
            await asyncio.gather(sending, return_exceptions=True)
    return CancelFigures(
        kind=kind,
        rounds=rounds,
        gateway_free_s=max(free),
        triton_idle_s=max(idle),
        reader_gone_s=max(gone),
        counted_s=max(counted),
        abandoned=stack.abandoned() - before,
    )


async def _pour(stream: Stream, messages: Iterator[bytes]) -> None:
    await stream.begin()
    for message in messages:
        await stream.send(message)


def _counted(stack: Stack, count: int) -> bool:
    return stack.abandoned() >= count


def _gone(parent: int, pids: set[int]) -> bool:
    return not pids & set(children(parent))


def _nothing_in_flight(stack: Stack) -> bool:
    return stack.gateway_metrics()["resonance_gateway_segments_in_flight"] == 0


async def until(there: Callable[[], bool], since: float, timeout_s: float = 20.0) -> float:
    """Seconds after `since` until `there`."""
    while not await asyncio.to_thread(there):
        if time.monotonic() - since > timeout_s:
            return float("inf")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - since


async def _last_inference(stack: Stack, since: float) -> float:
    """Seconds after `since` until Triton had ended its last inference: none ends in the second after.

    Synthetic inferences on a timer go on, so a few more are none of the call's.
    """
    last_s, known = time.monotonic(), await asyncio.to_thread(stack.triton_computed)
    while time.monotonic() - last_s < 1.0:
        await asyncio.sleep(0.05)
        now = await asyncio.to_thread(stack.triton_computed)
        if now > known + 1:
            last_s = time.monotonic()
        known = now
    return last_s - since
