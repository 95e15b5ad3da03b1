"""An upload read in a process of its own, which can be killed: the gateway's side of it.

Memory of a stream: in the gateway at most `READ_AHEAD_SEGMENTS` segments that were not taken yet (a decoded
window is 3 MB, a clip as large as its keyframes) and the one under way; in the process what `ReadLimits`
allows; on disk what has arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from resonance.clients.errors import (
    CorruptMediaError,
    InvalidFieldError,
    MediaError,
    MediaLimitError,
    MediaStalledError,
    OverloadedError,
    ResonanceError,
    ServerError,
)
from resonance.clients.media.mp4_index import IndexPlace, IndexProbe
from resonance.clients.media.types import Frames, MediaInfo, ReadTimes, SegmentInput
from resonance.serving.gateway.reading import wire
from resonance.serving.gateway.reading.answers import Answers
from resonance.serving.gateway.reading.child import Job
from resonance.serving.gateway.reading.deaths import death_error
from resonance.serving.gateway.reading.limits import ReadLimits, ReadRequest
from resonance.serving.gateway.reading.memory import MemoryBudget, private_bytes
from resonance.serving.gateway.reading.nursery import NURSERY
from resonance.serving.gateway.reading.retention import Retention
from resonance.serving.gateway.reading.spool import Spool, SpoolBudget
from resonance.serving.gateway.reasons import Kill, Refusal
from resonance.serving.gateway.shares import Share
from resonance.space.descriptor import Descriptor

#: The process tells of a stall itself; this much later it is taken to be beyond telling.
STALL_GRACE_S = 1.0
#: The process's memory and steps are looked at no less often.
MOST_LOOK_S = 0.5
#: Bytes read at once from the process.
READ_BYTES = 1 << 18


class MediaProcess:
    """A `SegmentSource` of an upload, whose chunks are given with `feed` and `end`.

    Args:
        spool_folder: where the bytes are kept while they are read; budget, memory: shared by all uploads.
        caller: whose upload it is, when there is too little of those for all.
        on_violation: of the rules of `confine`: ``refuse`` the call, or ``kill`` the process, for tests.
        on_killed: told why the process ended before its time; on_refused: told that none could be started.
        on_given_up: told why whoever reads the segments is to end, because others need what the upload holds:
            one who waits for its own caller takes no segment, and would not hear of it.

    Attributes:
        times: seconds spent reading so far.
        received_bytes: of the upload, each counted once.
        spooled: whether the index of an MP4 stands at its end and was not sent first; None: not known yet.
        pid: the process's number, None before it is started.
    """

    def __init__(
        self,
        request: ReadRequest,
        descriptor: Descriptor,
        limits: ReadLimits,
        spool_folder: Path,
        budget: SpoolBudget,
        *,
        on_violation: Literal["refuse", "kill"] = "refuse",
        caller: str = "",
        memory: MemoryBudget | None = None,
        on_killed: Callable[[Kill], None] = lambda reason: None,
        on_refused: Callable[[Refusal], None] = lambda reason: None,
        on_given_up: Callable[[ResonanceError], None] = lambda error: None,
    ) -> None:
        self._on_killed, self._on_refused, self._on_given_up = on_killed, on_refused, on_given_up
        self._request, self._limits, self._on_violation = request, limits, on_violation
        self._descriptor = replace(descriptor, axes={})  # not needed to read, and the largest part of it
        self._spool = Spool(spool_folder, budget, Share(caller, self._give_up))
        self._memory, self._held = memory, Share(caller, self._give_up_memory)
        self._first_bytes = 0  # of the process's memory when it was started
        self._probe = IndexProbe(self._spool.read, request.size_bytes)
        self._answers = Answers(self._descriptor, request, limits)
        self._retention = Retention(self._spool) if request.live else None
        self._decode_lock = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = self._ended = False
        self._due_at = 0  # without a size: where the next chunk begins, whether or not it is wanted any more
        self.times: ReadTimes = self._answers.times
        self.spooled: bool | None = None if request.mode == "encoded" else False
        self.pid: int | None = None

    @property
    def received_bytes(self) -> int:
        """See the class."""
        return self._spool.received_bytes

    @property
    def waiting(self) -> bool:
        """Whether it waits for bytes that have not come, and has no segment to give."""
        return not self._answers.queued and not self._answers.over and self._lacks_bytes()

    @property
    def reading(self) -> bool:
        """Whether its process reads: not once all is read, nor while what it has read is not taken."""
        return self.pid is not None and not self._answers.rests

    async def feed(self, offset: int, data: bytes) -> None:
        """Store a chunk; returns when the upload is not too far ahead of what was read.

        What is being waited for is taken, of a live feed as long as something of it is read. Chunks after all
        that the process wants are passed over.

        Raises:
            MediaLimitError: too many bytes. OverloadedError: no room on disk, or for a process.
            InvalidFieldError: a chunk where none belongs; without a size one belongs where the bytes so far
                end, and nowhere else. Or a still picture as a live feed. MediaError: reading has failed.
        """
        self._check_chunk(offset, len(data))
        self._due_at = offset + len(data)
        await self._start()
        self._raise_fault()
        if self._closed or self._answers.over or not data:
            return
        self._spool.write(offset, data)
        if self.spooled is None:
            place = self._probe.look(self._spool.there, (offset, len(data)))
            self.spooled = None if place is None else place == IndexPlace.LAST
        self._tell("add", offset=offset, length=len(data))
        while self._is_far_ahead(offset + len(data)):
            await self._answers.wait()
        self._raise_fault()

    async def end(self) -> None:
        """No more chunks come.

        Raises:
            CorruptMediaError: some are missing. MediaError: reading has failed.
        """
        await self._start()
        if self._closed:
            return
        size = self._request.size_bytes if self._request.size_bytes is not None else self._spool.end_bytes
        if not self._answers.over and self.received_bytes != size:
            came = f"{self.received_bytes:,} of {size:,} bytes"
            error = CorruptMediaError(self._request.media_id, came, "the whole file")
            self._answers.fail(error)
            raise error
        self.spooled = bool(self.spooled)
        self._ended = True
        self._tell("end", size=size)

    async def open(self) -> MediaInfo:
        """See `SegmentSource`."""
        await self._start()
        return await self._answers.info()

    async def next(self) -> SegmentInput | None:
        """See `SegmentSource`."""
        segment = await self._answers.next_segment()
        if segment is not None:
            self._tell("take")
        return segment

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """See `SegmentSource`."""
        async with self._decode_lock:
            self._answers.ask_frames()
            self._tell("decode", index=segment.index)
            return await self._answers.frames()

    async def close(self) -> None:
        """Kill the process at once and free what it held."""
        if self._closed:
            return
        self._closed = True
        self._answers.fail(
            CorruptMediaError(self._request.media_id, "an upload that was given up", "its end")
        )
        try:
            await asyncio.shield(self._bury())
        finally:
            self._spool.close()

    async def _bury(self) -> None:
        if self._starting is not None:
            with contextlib.suppress(ResonanceError, OSError):
                await self._starting
        for task in self._tasks:
            task.cancel()
        self._hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._memory is not None:
            self._memory.leave(self._held)
        pid, self.pid = self.pid, None
        if pid is not None:
            with contextlib.suppress(ResonanceError):
                await NURSERY.reap(pid)

    async def _start(self) -> None:
        if self._starting is None and not self._closed:
            size, most = self._request.size_bytes, self._limits.max_media_bytes
            if size is not None and most is not None and size > most:
                raise self._too_large(size, most)
            self._starting = asyncio.create_task(self._launch())
        if self._starting is not None:
            # a caller that is cancelled leaves the start to `close`: half done, its process would stay
            await asyncio.shield(self._starting)

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        spool = self._spool.open_to_read()
        try:
            self.pid = await NURSERY.spawn(theirs.fileno(), spool, strict=self._on_violation == "kill")
        except BaseException as error:
            ours.close()
            if isinstance(error, OverloadedError):
                self._on_refused(Refusal.READER)
            raise
        finally:
            theirs.close()
            os.close(spool)
        self._first_bytes = private_bytes(self.pid)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=READ_BYTES)
        job = pickle.dumps(Job(self._request, self._limits, self._descriptor))
        self._writer.writelines(wire.packed("job", [job]))
        self._answers.progressed()
        self._tasks = [asyncio.create_task(self._listen(reader)), asyncio.create_task(self._watch())]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        name = self._request.media_id
        try:
            while True:
                header_bytes, body_bytes = wire.lengths(await reader.readexactly(wire.HEAD.size))
                header = await reader.readexactly(header_bytes)
                message = wire.unpacked(header, await reader.readexactly(body_bytes))
                self._answers.take(message)
                if self._retention is not None and message.kind == "state":
                    before = self._retention.look(self._answers.handles, self._answers.forgotten)
                    if before is not None:
                        self._tell("forget", before=before)
        except wire.WireError as error:
            self._answers.fail(
                CorruptMediaError(name, f"a file that makes its reader say what cannot be ({error})", "media")
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        await self._died()

    async def _died(self) -> None:
        """The process is of no more use; say how it ended, unless that is known."""
        pid, self.pid = self.pid, None
        if pid is None:
            return
        if self._memory is not None:
            self._memory.leave(self._held)  # the call may stay for long, and others would end for these bytes
        error: ResonanceError
        try:
            death = await asyncio.shield(NURSERY.reap(pid))  # or a dead process would stay unburied
            error = death_error(self._request.media_id, death, self._limits)
            if self._answers.error is None:
                self._on_killed(_kill_of(error))
        except ResonanceError as failed:
            error = failed
        self._answers.fail(error)

    async def _watch(self) -> None:
        """Kill a process that makes no step though it has bytes to read and somebody to read for.

        One whose reading has failed makes none, and holds memory all the same until its call closes.
        """
        while self.pid is not None:
            await asyncio.sleep(min(self._limits.stall_timeout_s / 4, MOST_LOOK_S))
            if self._memory is not None and self.pid is not None:
                self._memory.hold(self._held, max(private_bytes(self.pid) - self._first_bytes, 0))
            if self._answers.error is not None:
                continue
            if (self._lacks_bytes() and not self._comes_in_vain()) or self._answers.rests:
                self._answers.progressed()
            elif time.monotonic() - self._answers.progressed_at > self._answers.timeout_s + STALL_GRACE_S:
                self._on_killed(Kill.STALL)
                self._answers.fail(self._stalled())
                self._hang_up()

    def _give_up(self, error: OverloadedError) -> None:
        """Others need what this upload holds."""
        self._answers.fail(error)
        self._hang_up()
        self._on_given_up(self._answers.error or error)  # a fault of the media that came before is the reason

    def _hang_up(self) -> None:
        """End `_listen`, which reaps."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _give_up_memory(self, error: OverloadedError) -> None:
        if self._answers.error is None:
            self._on_killed(Kill.SHORTAGE)
        self._give_up(error)

    def _stalled(self) -> MediaError:
        name, waits = self._request.media_id, self._answers.waits
        if self._retention is not None and self._lacks_bytes():
            awaited = "its end" if min(waits) < 0 else f"byte {max(waits):,}"
            came = f"{self._retention.unread_bytes:,} bytes of a live feed whose reader waits for {awaited}"
            expected = "a container that is read as it comes, such as MPEG-TS, fragmented MP4 or Matroska"
            return MediaStalledError(name, came, expected)
        came = f"no packet and no frame for {self._answers.timeout_s:g} s"
        return MediaStalledError(name, came, "a stream that can be read on")

    def _check_chunk(self, offset: int, length: int) -> None:
        size, most = self._request.size_bytes, self._limits.max_media_bytes
        if self._ended:
            raise InvalidFieldError("chunk", "a chunk after the end", "none")
        if most is not None and offset + length > most:
            raise self._too_large(offset + length, most)
        if size is not None and offset + length > size:
            raise InvalidFieldError(
                "chunk.offset_bytes",
                f"bytes up to {offset + length:,}",
                f"at most size_bytes, which is {size:,}",
            )
        if size is None and offset != self._due_at:  # 0 is also what a caller says who leaves it out
            raise InvalidFieldError(
                "chunk.offset_bytes",
                f"{offset:,}",
                f"{self._due_at:,}, where the bytes so far end: each chunk has it, and comes in order "
                "without start.size_bytes",
            )

    def _too_large(self, came: int, allowed: int) -> MediaError:
        return MediaLimitError(self._request.media_id, f"{came:,} bytes", f"at most {allowed:,} bytes")

    def _raise_fault(self) -> None:
        """Why reading failed. Not that it was closed: whoever did that has a reason of its own to tell."""
        if self._answers.error is not None and not self._closed:
            raise self._answers.error

    def _lacks_bytes(self) -> bool:
        """Whether the process waits for bytes that are not there; -1 stands for the end."""
        if self._ended:
            return False
        return any(at < 0 or at not in self._spool.there for at in self._answers.waits)

    def _comes_in_vain(self) -> bool:
        """Whether of a live feed as much came as may be ahead and nothing was read of it.

        Its reader waits for what is far away: an index behind the media, or a place that a broken file names.
        """
        return self._retention is not None and self._retention.unread_bytes > self._limits.ahead_bytes

    def _is_far_ahead(self, reached: int) -> bool:
        if self._answers.over or self._answers.error is not None or self._closed:
            return False
        if self._lacks_bytes():
            return self._comes_in_vain()
        return reached - self._answers.furthest > self._limits.ahead_bytes

    def _tell(self, kind: str, **fields: int) -> None:
        """Small messages; what the process does not take soon stays small, for chunks are bounded."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.writelines(wire.packed(kind, (), **fields))


def _kill_of(error: ResonanceError) -> Kill:
    """What a process's end is counted as."""
    if isinstance(error, ServerError):
        return Kill.SHORTAGE
    return Kill.MEMORY if isinstance(error, MediaLimitError) else Kill.CRASH
