"""From a title's segments as they are read to their vectors and the title's: what clients and gateway share.

At most `max_in_flight` segments are read and not yet handed out, and one more that is read ahead. So memory
does not grow with the length of a title, and whoever takes the parts slowly slows the reading.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resonance.clients.arcs import make_arcs
from resonance.clients.axes import axis_arcs, segment_axes, title_axes
from resonance.clients.errors import NoModalityError, UsageError
from resonance.clients.finishing import to_the_end
from resonance.clients.media.types import Damage, MediaInfo, SegmentInput
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.clients.segment import SegmentEncoder
from resonance.clients.served_space import ServedSpace
from resonance.clients.signals import signal_value
from resonance.clients.sources import SegmentSource
from resonance.clients.title import FusionRows, fuse_title
from resonance.clients.transport import Transport
from resonance.space.axes import AxisMeter
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Descriptor

#: What a stream hands out: first what is known of the media, then its segments, the title last.
Part = MediaInfo | Segment | MediaEmbedding


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleOptions:
    """How a title is embedded.

    Attributes:
        max_in_flight: segments read and not yet handed out, but for one that is read ahead.
        request_timeout_s: deadline of each request.
        done: segments of an earlier run of the same media; the source gives the later ones. They are not
            handed out again.
        rolling_every: hand out a title after every so many segments, and remember only as many segments as
            one fusion takes: for a feed without an end. None: one title, of all, at the end.
        slot: held while a segment is embedded, for a caller that bounds and watches all its titles together.
    """

    max_in_flight: int = 6
    request_timeout_s: float = 30.0
    done: Sequence[Segment] = ()
    rolling_every: int | None = None
    slot: Callable[[SegmentInput], AbstractAsyncContextManager[None]] = lambda given: nullcontext()

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "rolling_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; expected at least 1")


class TitlePipeline:
    """Embeds one title.

    Args:
        served: asked at the end whether the space is still the one that the segments belong to.
    """

    def __init__(
        self,
        transport: Transport,
        served: ServedSpace,
        descriptor: Descriptor,
        source: SegmentSource,
        options: TitleOptions,
    ) -> None:
        self._transport, self._served, self._descriptor = transport, served, descriptor
        self._source, self._options = source, options
        self._encoder = SegmentEncoder(transport, descriptor, source, timeout_s=options.request_timeout_s)
        kept = descriptor.fusion.max_segments if options.rolling_every else None
        self._segments: deque[Segment] = deque(options.done, maxlen=kept)
        self._queue_s = 0.0
        self._started = time.monotonic()

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What is known of the media, its segments in order, each as soon as it is embedded, the title.

        Raises:
            MediaError: the input's own fault, by kind.
            ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        under_way: deque[asyncio.Task[Segment | None]] = deque()
        reading: asyncio.Task[tuple[SegmentInput | None, float]] | None = None
        fresh = 0  # segments since the last rolling title
        try:
            info = await self._source.open()
            yield info
            reading = asyncio.create_task(self._read())
            while reading is not None or under_way:
                # a finished segment goes out at once, however long the next one takes to be read
                room = reading is not None and len(under_way) < self._options.max_in_flight
                waits: list[asyncio.Task[Segment | None] | asyncio.Task[tuple[SegmentInput | None, float]]]
                waits = [*([reading] if room and reading else []), *list(under_way)[:1]]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if under_way and under_way[0].done():
                    if (segment := under_way.popleft().result()) is not None:
                        self._segments.append(segment)
                        fresh += 1
                        yield segment
                        if self._options.rolling_every and fresh >= self._options.rolling_every:
                            fresh = 0
                            yield replace(await self._title(info), rolling=True)
                elif reading is not None and reading.done():
                    given, read_at = reading.result()
                    reading = None
                    if given is not None:
                        under_way.append(asyncio.create_task(self._encode(given, read_at)))
                        reading = asyncio.create_task(self._read())
            title = await self._title(info)
        finally:
            await to_the_end(self._leave([*under_way, *([reading] if reading is not None else [])]))
        yield title

    async def _leave(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.close()

    async def _read(self) -> tuple[SegmentInput | None, float]:
        """The next segment and when it was read."""
        return await self._source.next(), time.monotonic()

    async def _encode(self, given: SegmentInput, read_at: float) -> Segment | None:
        async with self._options.slot(given):
            self._queue_s += time.monotonic() - read_at
            return await self._encoder.encode(given)

    async def _title(self, info: MediaInfo) -> MediaEmbedding:
        title = await fuse_segments(
            self._transport,
            self._served,
            self._descriptor,
            list(self._segments),
            media=info.name,
            timeout_s=self._options.request_timeout_s,
        )
        times = self._source.times
        return replace(
            title,
            timing=Timing(
                demux_ms=times.demux_s * 1e3,
                decode_ms=times.decode_s * 1e3,
                queue_ms=self._queue_s * 1e3,
                inference_ms=self._encoder.inference_s * 1e3,
                total_ms=(time.monotonic() - self._started) * 1e3,
            ),
            damage=Damage.of(times),
        )


async def fuse_segments(
    transport: Transport,
    served: ServedSpace,
    descriptor: Descriptor,
    segments: Sequence[Segment],
    *,
    media: str,
    timeout_s: float,
) -> MediaEmbedding:
    """The title of segments in their order; refused where the server's space is another by now.

    Raises:
        NoModalityError: there is no segment.
        ServerError, RequestRejectedError, SpaceMismatchError: the server's.
    """
    if not segments:
        raise NoModalityError.nothing(media, descriptor.sound.silence_dbfs)
    segments = _with_axes(segments, descriptor)
    rows = fusion_rows(segments, descriptor)
    fused = await fuse_title(
        transport, rows, max_segments=descriptor.fusion.max_segments, timeout_s=timeout_s
    )
    await served.require_same(descriptor, media)
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
        media=media,
        space=SpaceRef.of(descriptor),
        duration_s=max((s.end_s for s in segments if s.end_s is not None), default=None),
        modalities=tuple(m for m, there in zip(MODALITIES, present, strict=True) if there),
        title=fused.title,
        present=(bool(present[0]), bool(present[1]), bool(present[2])),
        segments=weighed,
        arcs=arcs,
        timing=Timing(0.0, 0.0, 0.0, 0.0, 0.0),
        axes=title_axes(descriptor.axes, weighed),
    )


def fusion_rows(segments: Sequence[Segment], descriptor: Descriptor) -> FusionRows:
    """Fusion's input, taken back from the segments' vectors: present blocks passed through it unchanged.

    So a stored vector is all that a title needs, and one fused from stored segments equals the first one.
    """
    present = np.array([s.present for s in segments])  # (N, 3)
    vectors = np.stack([s.vector for s in segments])  # (N, 1788)
    blocks = vectors.reshape(len(segments), len(MODALITIES), BLOCK_WIDTH)  # (N, 3, 596)
    clocks_s = np.array([_clock_s(s, descriptor) for s in segments])
    return FusionRows(
        blocks=blocks * np.float32(math.sqrt(len(MODALITIES))) * present[:, :, None].astype(np.float32),
        present=present,
        # from the first on, as the head counts: float32 tells windows apart for the first four years alone
        times_s=(clocks_s - clocks_s[0]).astype(np.float32),
    )


def _with_axes(segments: Sequence[Segment], descriptor: Descriptor) -> list[Segment]:
    """`segments`; of a stored one that lacks an axis of today's, the axes are read off its vector."""
    meter = AxisMeter(descriptor.axes)
    return [
        s
        if descriptor.axes.keys() <= s.axes.keys()
        else replace(s, axes={**segment_axes(meter, s.vector, s.present), **s.axes})
        for s in segments
    ]


def _clock_s(segment: Segment, descriptor: Descriptor) -> float:
    """When the segment starts; text without a clock counts as if each piece lasted one window."""
    return segment.start_s if segment.start_s is not None else segment.index * descriptor.segment.length_s
