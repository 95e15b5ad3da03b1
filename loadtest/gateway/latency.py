"""From the last byte that a window needs to its vector, one stream alone on the machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.material import LOOP_S, LOOP_WINDOWS, WINDOW_S, Broadcast, RawFeed
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import CpuShares
from resonance.loadtest.gateway.wire import Wire
from resonance.v1 import embedding_pb2 as pb

#: Everything before the last message has been worked off after this, so the last one meets an idle machine.
REST_S = 0.4
#: A segment that did not come within this after a message needs a later one, too.
SETTLE_S = 0.7
PIECE_S = 0.1


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """See docs/gateway-load.md.

    Attributes:
        latency: from handing the message that completes a window to gRPC, to the window's segment.
        look_ahead_s: media past the window's end up to the end of that message, at most.
        unexpected: segments that came after another message than the one that should complete them.
    """

    kind: str
    latency: Spread
    look_ahead_s: float
    unexpected: int
    cpu: CpuShares


def live_frames(name: str) -> bytes:
    """The first message of a live feed of pictures and sound."""
    return wire.start(name, pb.MODE_FRAMES, live=True, modalities=[pb.MODALITY_VISUAL, pb.MODALITY_AUDIO])


def live_file(name: str) -> bytes:
    """The first message of a live feed of a broadcast's bytes."""
    return wire.start(name, pb.MODE_ENCODED, live=True)


class Stream:
    """One live call, whose segments are waited for by index."""

    def __init__(self, calls: Wire, first: bytes) -> None:
        self._call, self._first = calls.embed_media(), first
        self._news = asyncio.Event()
        self.answered_s: list[float] = []  # when each segment came, on the monotonic clock
        self.titles = 0
        self._reading: asyncio.Task[None] | None = None
        self._offset = 0

    async def begin(self) -> None:
        """Send the first message, read answers from now on."""
        await self._call.write(self._first)
        self._reading = asyncio.create_task(self._read())

    async def send(self, message: bytes) -> float:
        """Send, and say when it was handed over."""
        now = time.monotonic()
        await self._call.write(message)
        return now

    async def send_bytes(self, data: bytes) -> float:
        """Send the next bytes of a file."""
        message = wire.chunk(self._offset, data)
        self._offset += len(data)
        return await self.send(message)

    async def wait_segments(self, count: int, timeout_s: float) -> bool:
        """Whether `count` segments have come by then."""
        deadline = time.monotonic() + timeout_s
        while len(self.answered_s) < count:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return False
        return True

    async def end(self) -> None:
        """Finish sending and take the rest."""
        await self._call.done_writing()
        if self._reading is not None:
            await self._reading

    def cancel(self) -> None:
        """Go away."""
        self._call.cancel()

    async def _read(self) -> None:
        async for answer in self._call:
            if answer[0] == wire.SEGMENT:
                self.answered_s.append(time.monotonic())
                self._news.set()
            elif answer[0] == wire.TITLE:
                self.titles += 1


async def measure_frames(
    stack: Stack, feed: RawFeed, screen: Screen, *, windows: int, kind: str = "frames"
) -> LatencyFigures:
    """MODE_FRAMES. What completes a window: pictures and sound both reach its end."""
    took: list[float] = []
    early = 0
    async with Wire(stack.address) as calls:
        stream = Stream(calls, live_frames(kind))
        await stream.begin()
        label = f"latency, {kind}"
        with stack.watch() as watch:
            async with screen.timed(label, windows * (REST_S + 0.4), lambda: f"{len(took)} windows"):
                for batch in _windows(feed, windows):
                    for message in batch[:-1]:
                        await stream.send(message)
                    await asyncio.sleep(REST_S)
                    early += len(stream.answered_s) > len(took)
                    sent_s = await stream.send(batch[-1])
                    await stream.wait_segments(len(took) + 1, 30)
                    took.append(stream.answered_s[len(took)] - sent_s)
        await stream.end()
    cpu = CpuShares.between(watch.samples[0], watch.samples[-1])
    return LatencyFigures(kind, Spread.of(took[LOOP_WINDOWS:] or took), 0.0, early, cpu)


def _windows(feed: RawFeed, windows: int) -> list[list[bytes]]:
    """Messages by window; the last of each is the last that happens at the window's end."""
    batches: list[list[bytes]] = [[] for _ in range(windows)]
    for at_s, message in feed.messages(windows * WINDOW_S):
        batches[min(max(int((at_s - 1e-6) // WINDOW_S), 0), windows - 1)].append(message)
    return batches


async def learn(calls: Wire, pieces: Sequence[tuple[float, bytes]], windows: int) -> list[int]:
    """Index of the piece that completes each of the first `windows`: after it the segment comes."""
    stream = Stream(calls, live_file("learn"))
    await stream.begin()
    found: list[int] = []
    for index, (end_s, data) in enumerate(pieces):
        await stream.send_bytes(data)
        due = WINDOW_S * (len(found) + 1)
        if end_s >= due - 1e-6 and await stream.wait_segments(len(found) + 1, SETTLE_S):
            found.append(index)
            if len(found) == windows:
                break
    await stream.end()
    return found


def repeated(found: Sequence[int], piece_s: float, windows: int) -> list[int]:
    """Pieces that complete windows, from those of the second round of the loop: every round has the same."""
    a_round = round(LOOP_S / piece_s)
    second = found[LOOP_WINDOWS : 2 * LOOP_WINDOWS]
    return [
        found[w] if w < len(found) else second[w % LOOP_WINDOWS] + a_round * (w // LOOP_WINDOWS - 1)
        for w in range(windows)
    ]


async def measure_encoded(
    stack: Stack, broadcast: Broadcast, screen: Screen, *, windows: int
) -> LatencyFigures:
    """MPEG-TS. Which piece completes a window is found out first, by waiting after each."""
    rounds = windows // LOOP_WINDOWS + 2
    pieces = list(broadcast.pieces(PIECE_S, rounds))
    took: list[float] = []
    unexpected = 0
    async with Wire(stack.address) as calls:
        async with screen.timed("latency, encoded: which bytes a window needs", 2 * LOOP_WINDOWS * 6.0):
            found = await learn(calls, pieces, 2 * LOOP_WINDOWS)
        last = repeated(found, PIECE_S, windows)
        look_ahead_s = max(pieces[piece][0] - WINDOW_S * (w + 1) for w, piece in enumerate(last))
        stream = Stream(calls, live_file("encoded"))
        await stream.begin()
        with stack.watch() as watch:
            estimate_s = windows * (REST_S + 0.4)
            async with screen.timed("latency, encoded", estimate_s, lambda: f"{len(took)} windows"):
                sent = 0
                for window, piece in enumerate(last):
                    for _, data in pieces[sent:piece]:
                        await stream.send_bytes(data)
                    await asyncio.sleep(REST_S)
                    unexpected += len(stream.answered_s) > window
                    sent_s = await stream.send_bytes(pieces[piece][1])
                    sent = piece + 1
                    if not await stream.wait_segments(window + 1, 5):
                        unexpected += 1
                        break
                    took.append(stream.answered_s[window] - sent_s)
        await stream.end()
    cpu = CpuShares.between(watch.samples[0], watch.samples[-1])
    return LatencyFigures("encoded", Spread.of(took[LOOP_WINDOWS:]), look_ahead_s, unexpected, cpu)
