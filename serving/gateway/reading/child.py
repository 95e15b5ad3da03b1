"""Inside a reading process: media in through a file descriptor, segments out through a socket."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from resonance.clients.errors import MediaError, MediaLimitError
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.reader import MediaReader, open_media
from resonance.clients.media.types import Frames, Limits, SampledBy, SegmentInput
from resonance.clients.media.words import SubtitleFile
from resonance.serving.gateway.reading import segments, wire
from resonance.serving.gateway.reading.limits import ReadLimits, ReadRequest
from resonance.space.descriptor import Descriptor

#: Segments sent and not yet taken.
READ_AHEAD_SEGMENTS = 2
#: How often the gateway is told how far reading is, where nothing else happens.
REPORT_S = 0.2
#: Exit status of a process that the machine refused a thread.
NO_THREAD = os.EX_TEMPFAIL


@dataclass(slots=True)
class Job:
    """What one process does. Sent to it by the gateway, which it may trust."""

    request: ReadRequest
    limits: ReadLimits
    descriptor: Descriptor


@dataclass(slots=True)
class _Credit:
    """Segments that may be sent."""

    left: int = READ_AHEAD_SEGMENTS
    more: threading.Condition = field(default_factory=threading.Condition)

    def take(self) -> None:
        with self.more:
            self.more.wait_for(lambda: self.left > 0)
            self.left -= 1

    def give(self) -> None:
        with self.more:
            self.left += 1
            self.more.notify_all()


class Child:
    """Reads one upload."""

    def __init__(self, job: Job, connection: socket.socket, spool: int) -> None:
        self._job, self._connection, self._spool = job, connection, spool
        self._sending = threading.Lock()
        self._news = threading.Event()
        self._credit = _Credit()
        self._decodes: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._forgotten = 0
        self._before = job.request.first_index if job.request.live else 0  # windows that are not in the bytes
        self._reader: MediaReader | None = None
        self._source = GrowingSource(
            job.request.media_id,
            lambda offset, size: os.pread(spool, size, offset),
            size_bytes=job.request.size_bytes,
            changed=self._news.set,
        )

    def run(self) -> None:
        """Until the gateway hangs up; the process then ends at once."""
        try:
            for work in (self._listen, self._report, self._decode):
                threading.Thread(target=work, name=f"resonance{work.__name__}", daemon=True).start()
            self._read()
        except Exception as error:
            self._fail(error)
        threading.Event().wait()  # pictures may still be asked for; hanging up ends the process

    def _read(self) -> None:
        request, limits = self._job.request, self._job.limits
        form, transcript = "encoded", None
        if request.subtitles is not None:
            transcript = SubtitleFile(request.subtitles[0], request.subtitles[1])
        if request.mode == "text":
            form = "text"
        elif request.mode == "subtitles" and transcript is not None:
            form, transcript = transcript.format, None
        reader = open_media(
            self._source,
            self._job.descriptor,
            sampling=request.sampling,
            transcript=transcript,
            limits=Limits(
                max_picture_pixels=limits.max_picture_pixels,
                max_video_pixels=limits.max_video_pixels,
                stall_timeout_s=limits.stall_timeout_s,
                max_media_s=limits.max_media_s,
            ),
            first_index=request.first_index - self._before,
            resumed=self._before > 0,
            modalities=request.modalities,
            form=form,
            on_still=lambda pixels: self._send("still", pixels=pixels),
        )
        self._reader = reader
        info = reader.info
        self._send(
            "info",
            container=info.container,
            duration_s=info.duration_s,
            codecs=info.codecs,
            left_out=info.left_out,
        )
        for segment in reader.segments():
            parts, fields = segments.write_segment(self._numbered(segment))
            self._credit.take()
            self._send("segment", parts, **fields)
        self._report_once()
        self._send("end")

    def _numbered(self, segment: SegmentInput) -> SegmentInput:
        """The segment in the clock of the whole feed, of which the bytes may be a later part."""
        before_s = self._before * self._job.descriptor.segment.length_s
        if not before_s or segment.start_s is None or segment.end_s is None:
            return segment
        return replace(
            segment,
            index=self._before + segment.index,
            start_s=before_s + segment.start_s,
            end_s=before_s + segment.end_s,
            frame_times_s=tuple(before_s + time_s for time_s in segment.frame_times_s),
        )

    def _fail(self, error: Exception) -> None:
        """Tell what the media is at fault with; of a machine that has no thread left the end tells."""
        if _lacks_thread(error):
            os._exit(NO_THREAD)
        told = error if isinstance(error, MediaError) else _fault(self._job, error)
        found = _memory_error(self._job, error) or told
        self._report_once()
        self._send("error", type=type(found).__name__, came=found.came, expected=found.expected)

    def _send(self, kind: str, parts: Any = (), **fields: Any) -> None:
        try:
            buffers = wire.packed(kind, parts, **fields)
        except wire.WireError as error:
            name = self._job.request.media_id
            limit = f"at most {wire.MAX_BODY_BYTES:,} bytes a segment"
            raise MediaLimitError(name, str(error), limit) from error
        with self._sending:
            for buffer in buffers:
                self._connection.sendall(buffer)

    def _listen(self) -> None:
        while (message := wire.receive(self._connection)) is not None:
            given = message.fields
            if message.kind == "add":
                self._source.add(given["offset"], given["length"])
            elif message.kind == "take":
                self._credit.give()
            elif message.kind == "end":
                self._source.end(given["size"])
            elif message.kind == "decode":
                self._decodes.put(given["index"])
            elif message.kind == "forget":
                self._source.forget(given["before"])
                self._forgotten = given["before"]
                self._news.set()
        os._exit(0)  # nobody is there to read for

    def _report(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._news.wait(REPORT_S)
                self._news.clear()
                self._report_once()

    def _report_once(self) -> None:
        handles, waited = self._source.positions()
        fields: dict[str, Any] = {"waits": waited, "handles": handles, "forgotten": self._forgotten}
        if self._reader is not None:
            times = self._reader.times
            fields |= {"steps": times.steps, "broken": times.broken, "missing_s": times.missing_s}
            fields |= {"demux_s": times.demux_s, "decode_s": times.decode_s}
        if fields != self._reported:
            self._reported = fields
            self._send("state", **fields)

    _reported: dict[str, Any] | None = None

    def _decode(self) -> None:
        while True:
            index = self._decodes.get()
            parts: list[segments.Part] = []
            try:
                frames = self._decoded(index)
                count = segments.write_frames(frames, parts) if frames is not None else None
            except Exception as error:
                self._fail(error)
                continue
            self._send("frames", parts, count=count)

    def _decoded(self, index: int) -> Frames | None:
        if self._reader is None:
            return None
        wanted = SegmentInput(index=index - self._before, start_s=0.0, end_s=0.0, sampled_by=SampledBy.NONE)
        return self._reader.decode_segment(wanted)


def _memory_error(job: Job, error: BaseException) -> MediaLimitError | None:
    """The error as one of memory, where that is what it came from."""
    for cause in _causes(error):
        if (
            isinstance(cause, MemoryError)
            or getattr(cause, "errno", None) == errno.ENOMEM
            or _is_of_thread(cause)  # whose stack is memory
        ):
            limit = job.limits.memory_bytes
            name = job.request.media_id
            return MediaLimitError(name, f"over {limit:,} bytes of memory to read it", f"at most {limit:,}")
    return None


def _lacks_thread(error: BaseException) -> bool:
    """Whether it came from a thread that the machine refused, though there was memory for its stack."""
    if not any(map(_is_of_thread, _causes(error))):
        return False
    try:
        mmap.mmap(-1, threading.stack_size(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def _is_of_thread(error: BaseException) -> bool:
    """Whether a thread could not be started; Python has no class of its own for that."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _fault(job: Job, error: Exception) -> MediaError:
    return MediaError(
        job.request.media_id, f"a file that its reader fails on ({type(error).__name__})", "media"
    )
