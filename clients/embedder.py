"""The client: media in, segments out while they complete, the title last.

Reading (demuxing, sound, subtitles) runs in threads of its own; at most `max_in_flight` segments are
read and not yet answered, so memory does not grow with the length of a title.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np

from resonance.clients.arcs import make_arcs
from resonance.clients.axes import axis_arcs, title_axes
from resonance.clients.errors import NoModalityError, ServerFaultError, SpaceChangedError, UsageError
from resonance.clients.media.reader import open_media
from resonance.clients.media.text import TextReader
from resonance.clients.media.types import Frames, Limits, MediaInfo, ReadTimes, SegmentInput
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.clients.segment import SegmentEncoder
from resonance.clients.signals import signal_value
from resonance.clients.title import FusionRows, fuse_title
from resonance.clients.transport import Transport, TritonTransport
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.errors import DescriptorError, SpaceMismatchError

Source = str | Path | bytes | BinaryIO
#: What a stream hands out: first what is known of the media, then its segments, the title last.
Part = MediaInfo | Segment | MediaEmbedding
DEFAULT_SERVER = "localhost:8001"


class Reader(Protocol):
    """What a title is read from: media, a picture or text."""

    info: MediaInfo
    times: ReadTimes

    def segments(self) -> Iterator[SegmentInput]:
        """Windows with content, in order. Blocks."""
        ...

    def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """The segment's frames decoded in order. Blocks."""
        ...

    def close(self) -> None:
        """Free files and end threads."""
        ...


class Embedder:
    """Embeds media against one Triton server.

    Use as an async context manager::

        async with Embedder("localhost:8001") as embedder:
            async for part in embedder.stream("clip.mp4"):
                ...  # MediaInfo, Segment, Segment, ..., MediaEmbedding

    Args:
        server: host:port of Triton's gRPC endpoint.
        expected_fingerprint: refuse a server that embeds into another space.
        max_in_flight: segments read and not yet answered.
        request_timeout_s: deadline of each request.
        limits: caps on hostile input.
        transport: what carries the requests; by default gRPC to `server`.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        expected_fingerprint: str | None = None,
        max_in_flight: int = 6,
        request_timeout_s: float = 30.0,
        limits: Limits | None = None,
        transport: Transport | None = None,
    ) -> None:
        if max_in_flight < 1:
            raise UsageError(f"max_in_flight is {max_in_flight}; expected at least 1")
        self._transport: Transport = transport or TritonTransport(server)
        self._expected = expected_fingerprint
        self._max_in_flight = max_in_flight
        self._timeout_s = request_timeout_s
        self._limits = limits or Limits()
        self._space: Descriptor | None = None
        self._space_text: bytes | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Free the connection."""
        await self._transport.close()

    async def space(self) -> Descriptor:
        """The space this server embeds into, asked once.

        Raises:
            SpaceMismatchError: it is not the expected one.
            ServerError: no answer, or not a descriptor.
        """
        if self._space is None:
            return await self._ask_space()
        return self._space

    async def embed(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: str | Path | None = None,
        name: str | None = None,
    ) -> MediaEmbedding:
        """The whole title; see `stream` for the arguments and errors."""
        return await _title_of(self.stream(source, sampling=sampling, transcript=transcript, name=name))

    async def embed_text(self, text: str, *, name: str = "text") -> MediaEmbedding:
        """Text alone (an article, a sentence), split at the space's token limit.

        Raises:
            NoModalityError: there are no words.
            ServerError, RequestRejectedError: see `resonance.clients.errors`.
        """
        descriptor = await self.space()
        return await _title_of(self._run(TextReader(text, descriptor, name=name), descriptor))

    async def stream(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: str | Path | None = None,
        name: str | None = None,
    ) -> AsyncGenerator[Part, None]:
        """What is known of the media, its segments in order, each as soon as it is embedded, the title.

        Args:
            source: a path, the bytes of a file, or a binary file object.
            sampling: ``keyframes`` or ``uniform``; by default what the space says.
            transcript: a subtitle file; by default one beside the path, else an embedded stream.
            name: what to call the media in results and errors.

        Raises:
            MediaError: the input's own fault, by kind.
            ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        descriptor = await self.space()
        reader = await asyncio.to_thread(
            open_media,
            source,
            descriptor,
            sampling=sampling,
            transcript=transcript,
            limits=self._limits,
            name=name,
        )
        # closed here and now when the caller leaves early, not when the garbage collector comes by
        async with aclosing(self._run(reader, descriptor)) as parts:
            async for part in parts:
                yield part

    async def _run(self, reader: Reader, descriptor: Descriptor) -> AsyncGenerator[Part, None]:
        """Keep `max_in_flight` segments under way, hand them out in order, fuse them at the end."""
        started = time.monotonic()
        encoder = SegmentEncoder(self._transport, descriptor, reader, timeout_s=self._timeout_s)
        segments: list[Segment] = []
        queue_s = 0.0
        under_way: deque[asyncio.Task[Segment | None]] = deque()
        inputs = reader.segments()
        try:
            yield reader.info
            while (given := await asyncio.to_thread(next, inputs, None)) is not None:
                under_way.append(asyncio.create_task(encoder.encode(given)))
                waited = time.monotonic()
                while under_way and (under_way[0].done() or len(under_way) >= self._max_in_flight):
                    if (segment := await under_way.popleft()) is not None:
                        segments.append(segment)
                        yield segment
                queue_s += time.monotonic() - waited
            while under_way:
                if (segment := await under_way.popleft()) is not None:
                    segments.append(segment)
                    yield segment
            title = await self._fuse(reader.info, descriptor, segments)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await asyncio.to_thread(reader.close)
        yield replace(
            title,
            timing=Timing(
                demux_ms=reader.times.demux_s * 1e3,
                decode_ms=reader.times.decode_s * 1e3,
                queue_ms=queue_s * 1e3,
                inference_ms=encoder.inference_s * 1e3,
                total_ms=(time.monotonic() - started) * 1e3,
            ),
        )

    async def _fuse(self, info: MediaInfo, descriptor: Descriptor, segments: list[Segment]) -> MediaEmbedding:
        """The title of all segments; refused where the server's space changed meanwhile."""
        if not segments:
            raise NoModalityError(
                info.name,
                f"no picture, no sound above {descriptor.sound.silence_dbfs:g} dBFS and no words",
                "at least one of them",
            )
        rows = FusionRows(
            blocks=np.stack([s.blocks for s in segments]),
            present=np.array([s.present for s in segments]),
            times_s=np.array([_clock_s(s, descriptor) for s in segments], np.float32),
        )
        fused = await fuse_title(
            self._transport, rows, max_segments=descriptor.fusion.max_segments, timeout_s=self._timeout_s
        )
        now = await self._ask_space()
        if now.fingerprint != descriptor.fingerprint:
            self._space = None
            raise SpaceChangedError(
                f"{info.name}: the server's space changed from {descriptor.fingerprint[:12]} to "
                f"{now.fingerprint[:12]} meanwhile; embed the media again"
            )
        present = rows.present.any(axis=0)
        timed = [(_clock_s(s, descriptor), s) for s in segments if s.start_s is not None]
        points = [
            (start_s + (s.end_s - start_s) / 2 if s.end_s is not None else start_s, s) for start_s, s in timed
        ]
        arcs = make_arcs([(t, {n: signal_value(v) for n, v in s.signals.items()}) for t, s in points])
        arcs |= axis_arcs(descriptor.axes, [(t, s.axes) for t, s in points])
        weighed = tuple(
            replace(s, salience=float(share)) for s, share in zip(segments, fused.salience, strict=True)
        )
        return MediaEmbedding(
            media=info.name,
            space=SpaceRef(descriptor.name, descriptor.fingerprint, descriptor.trained),
            duration_s=max((s.end_s for s in segments if s.end_s is not None), default=None),
            modalities=tuple(m for m, there in zip(MODALITIES, present, strict=True) if there),
            title=fused.title,
            present=(bool(present[0]), bool(present[1]), bool(present[2])),
            segments=weighed,
            arcs=arcs,
            timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
            axes=title_axes(descriptor.axes, weighed),
        )

    async def _ask_space(self) -> Descriptor:
        answer = await self._transport.infer("space_descriptor", {}, ("SPACE",), timeout_s=self._timeout_s)
        text = answer["SPACE"][0]
        if self._space is not None and text == self._space_text:
            return self._space  # asked after each title, and its axes are thousands of numbers to check
        try:
            descriptor = Descriptor.from_json(text.decode(), where="the server's space.json")
        except DescriptorError as malformed:
            raise ServerFaultError(str(malformed)) from malformed
        if self._expected is not None and descriptor.fingerprint != self._expected:
            raise SpaceMismatchError(self._expected, descriptor.fingerprint, "the server")
        self._space, self._space_text = descriptor, text
        return descriptor


async def _title_of(parts: AsyncGenerator[Part, None]) -> MediaEmbedding:
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, MediaEmbedding):
                return part
    raise AssertionError("unreachable: a stream ends with its title or raises")


def _clock_s(segment: Segment, descriptor: Descriptor) -> float:
    """When the segment starts; text without a clock counts as if each piece lasted one window."""
    return segment.start_s if segment.start_s is not None else segment.index * descriptor.segment.length_s
