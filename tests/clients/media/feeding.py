"""Ways to feed a `FeedReader` in tests: from numbers, and from a real file decoded beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from resonance.clients.media.container import choose_stream, origin_s
from resonance.clients.media.feed import FeedReader
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import SegmentInput
from resonance.space.descriptor import Descriptor, FrameGeometry
from tests.clients.media.conftest import make_descriptor

ALL = frozenset({"visual", "audio", "transcript"})
Step = Callable[[FeedReader], Awaitable[None]]


def make_feed(*modalities: str, descriptor: Descriptor | None = None, **options: Any) -> FeedReader:
    """A feed with the tests' space; all modalities unless some are named."""
    options.setdefault("max_frame_pixels", 1 << 21)
    options.setdefault("live", True)
    return FeedReader(
        descriptor or make_descriptor(),
        media_id="feed",
        modalities=frozenset(modalities) or ALL,
        **options,
    )


async def take_all(feed: FeedReader) -> list[SegmentInput]:
    """Its segments to the end."""
    segments = []
    while (segment := await feed.next()) is not None:
        segments.append(segment)
    return segments


async def run(feed: FeedReader, steps: Iterator[Step] | list[Step]) -> list[SegmentInput]:
    """Take the steps, end the feed; its segments."""
    taking = asyncio.create_task(take_all(feed))
    try:
        for step in steps:
            await step(feed)
        await feed.end()
        return await taking
    finally:
        taking.cancel()


def frame(time_s: float, rgb: NDArray[np.uint8]) -> Step:
    """A step that adds a frame."""
    return lambda feed: feed.add_frame(time_s, rgb)


def sound(time_s: float, samples: NDArray[np.float32], rate_hz: int) -> Step:
    """A step that adds sound [n, channels]."""
    return lambda feed: feed.add_sound(time_s, samples, rate_hz)


def cue(start: float, end: float, text: str) -> Step:
    """A step that adds a cue."""
    return lambda feed: feed.add_cue(start, end, text)


def mark(modality: str, time_s: float) -> Step:
    """A step that marks."""
    return lambda feed: feed.mark(modality, time_s)


@dataclass(frozen=True)
class Decoded:
    """A file's frames and sound as steps in the order of their times."""

    steps: list[Step]
    modalities: frozenset[str]
    frame_times_s: list[float]


def decode(path: Path) -> Decoded:
    """Decode a whole file with PyAV; times count from its earliest stream start, as in `MediaReader`."""
    timed: list[tuple[float, int, Step]] = []
    frame_times_s = []
    with av.open(str(path)) as container:
        video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
        chosen = [s for s in (video, audio) if s is not None]
        modalities = frozenset({"video": "visual", "audio": "audio"}[s.type] for s in chosen)
        began_s = origin_s(container)
        reformatter = VideoReformatter()
        for item in container.decode(*chosen):
            assert item.pts is not None
            assert item.time_base is not None
            at_s = item.pts * float(item.time_base) - began_s  # rounded as the reader does: frames may tie
            if isinstance(item, av.VideoFrame):
                whole = FrameGeometry(item.width, item.height, "stretch", "bilinear", "stream")
                frame_times_s.append(at_s)
                timed.append((at_s, len(timed), frame(at_s, frame_to_rgb(item, whole, 0, reformatter))))
            else:
                assert isinstance(item, av.AudioFrame)
                samples = _samples(item)
                if at_s < 0:
                    samples, at_s = samples[round(-at_s * item.sample_rate) :], 0.0
                timed.append((at_s, len(timed), sound(at_s, samples, item.sample_rate)))
    steps = [step for *_, step in sorted(timed, key=lambda t: t[:2])]
    return Decoded(steps, modalities, sorted(frame_times_s))


def _samples(item: av.AudioFrame) -> NDArray[np.float32]:
    data = item.to_ndarray()  # planar: (channels, n); packed: (1, n * channels)
    channels = item.layout.nb_channels
    data = data.T if item.format.is_planar else data.reshape(-1, channels)
    if data.dtype.kind == "i":
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    return np.ascontiguousarray(data, np.float32)
