"""What a live call sends and when, and which message completes each of its windows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.material import LOOP_S, LOOP_WINDOWS, WINDOW_S, Broadcast, RawFeed
from resonance.loadtest.gateway.wire import Wire
from resonance.v1 import embedding_pb2 as pb

#: A segment that did not come within this after a message needs a later one, too.
SETTLE_S = 0.7
#: By how much the media that windows need after their end may differ from one to the next.
SPREAD_S = 0.55


@dataclass(frozen=True, slots=True)
class Script:
    """What a stream sends: when each message is there, and its bytes.

    Attributes:
        first: the message that begins a call of some name.
        in_bytes: whether the others are bytes of a file.
        a_round: messages in each round of the loop.
    """

    first: Callable[[str], bytes]
    messages: Sequence[tuple[float, bytes]]
    in_bytes: bool
    a_round: int

    def completing(self, learnt: Sequence[int]) -> list[int]:
        """Index of the message that completes each window, as far as messages go.

        Args:
            learnt: of the first two rounds; every later one is as the second.
        """
        found = list(learnt)
        while len(found) >= LOOP_WINDOWS and found[-LOOP_WINDOWS] + self.a_round < len(self.messages):
            found.append(found[-LOOP_WINDOWS] + self.a_round)
        return found

    def look_ahead_s(self, learnt: Sequence[int], first: int = 0) -> float:
        """Media after a window's end, up to the end of the message that completes it; the most of all.

        Args:
            first: number of the window that `learnt` begins with.
        """
        return max(self.messages[index][0] - WINDOW_S * (w + 1) for w, index in enumerate(learnt, first))


def frames_script(feed: RawFeed, seconds: float) -> Script:
    """Pictures and sound, raw."""
    a_round = round(LOOP_S * feed.fps + LOOP_S / feed.stretch_s)
    return Script(live_frames, list(feed.messages(seconds)), in_bytes=False, a_round=a_round)


def encoded_script(broadcast: Broadcast, piece_s: float, seconds: float) -> Script:
    """MPEG-TS in pieces."""
    pieces = broadcast.pieces(piece_s, int(seconds / LOOP_S) + 1)
    shown = [piece for piece in pieces if piece[0] <= seconds + 1e-6]
    return Script(live_file, shown, in_bytes=True, a_round=round(LOOP_S / piece_s))


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
        """Send, and say when it was handed over.

        Raises:
            grpc.aio.AioRpcError: how the call ended, where it did.
        """
        now = time.monotonic()
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError:  # the call is over: reading met why
            if self._reading is not None:
                await self._reading
            raise
        return now

    async def send_of(self, script: Script, index: int) -> float:
        """Send a message of a script, those of a file in their order."""
        message = script.messages[index][1]
        if script.in_bytes:
            self._offset, message = self._offset + len(message), wire.chunk(self._offset, message)
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


async def learn(calls: Wire, script: Script) -> list[int]:
    """Index of the message that completes each window of two rounds: the one after which its segment comes.

    One call alone, which waits after every message that may be it: for the first window all after its end,
    for the others those about as far from theirs.

    Raises:
        RuntimeError: a window was complete before any such message.
    """
    stream = Stream(calls, script.first("learn"))
    await stream.begin()
    found: list[int] = []
    ahead_s = 0.0
    for index, (at_s, _) in enumerate(script.messages):
        await stream.send_of(script, index)
        window = len(found)
        if at_s < WINDOW_S * (window + 1) + ahead_s - 1e-6:
            continue
        begins_now = script.messages[index - 1][0] < WINDOW_S * (window + 1) + ahead_s - 1e-6
        if await stream.wait_segments(window + 1, SETTLE_S):
            if begins_now and ahead_s > 0:
                raise RuntimeError(f"window {window} of {found} needs far less than the one before it")
            found.append(index)
            if window + 1 == 2 * LOOP_WINDOWS:
                break
            ahead_s = max(script.look_ahead_s(found[-1:], first=window) - SPREAD_S, 0.0)
    await stream.end()
    return found
