"""Three hours of a live feed, faster than they happen: memory, disk, clocks and rolling titles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.material import (
    FPS,
    LOOP_S,
    LOOP_WINDOWS,
    RISE,
    TONE_S,
    WINDOW_S,
    Broadcast,
    RawFeed,
)
from resonance.loadtest.gateway.script import live_file, live_frames
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import MIB, CpuShares, Sample, ends_mib, slope_mib_per_hour
from resonance.loadtest.gateway.wire import Wire

PIECE_S = 1.0
HOUR_S = 3600.0
#: Segments that the title of a live feed covers at most; until then the buffers of its titles grow.
TITLE_SEGMENTS = 1024


@dataclass(frozen=True, slots=True)
class Heard:
    """Of a segment what tells the time."""

    index: int
    start_s: float
    end_s: float
    brightness: float
    loudness_dbfs: float
    frame_times_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the segments of the last hour (or third) are from the truth, at most, in milliseconds.

    Attributes:
        starts: start and end of windows against 8 s times their number.
        frames: times of the chosen frames, from their window's start, against those of the same window of the
            loop in its second round.
        pictures: brightness against the same, by how fast it rises.
        sound: energy of the tone in a window's last 40 ms against the same, as the part that went missing.
    """

    starts_ms: float
    frames_ms: float
    pictures_ms: float
    sound_ms: float


@dataclass(frozen=True, slots=True)
class LongFeedFigures:
    """See docs/gateway-load.md. Slopes are of resident memory, an hour of the feed.

    Attributes:
        drift: None of too few segments to tell.
        speed: hours of feed an hour, as reached.
        frame_ms: how long a frame lasts, the bound on the drift.
        segments, expected_segments, in_order: what came.
        rolling_titles: before the last title. largest_title: segments that a title covered at most.
        *_first_mib, *_last_mib: medians of a tenth at both ends, after the first sixth of the feed.
        *_full_slope_mib_per_feed_hour: once titles cover `TITLE_SEGMENTS`; None where they never did.
    """

    kind: str
    feed_s: float
    speed_wanted: float
    speed: float
    segments: int
    expected_segments: int
    in_order: bool
    frame_ms: float
    drift: Drift | None
    rolling_titles: int
    last_title: bool
    largest_title: int
    gateway_first_mib: float
    gateway_last_mib: float
    gateway_slope_mib_per_feed_hour: float
    gateway_full_slope_mib_per_feed_hour: float | None
    reader_first_mib: float
    reader_last_mib: float
    reader_slope_mib_per_feed_hour: float
    triton_first_mib: float
    triton_last_mib: float
    triton_slope_mib_per_feed_hour: float
    triton_full_slope_mib_per_feed_hour: float | None
    spooled_peak_mib: float
    cpu: CpuShares


@dataclass(slots=True)
class _Came:
    """Answers so far; `full_s`: when the `TITLE_SEGMENTS`th segment was there, by the monotonic clock."""

    segments: list[Heard] = field(default_factory=list)
    full_s: float | None = None
    rolling: int = 0
    last: bool = False
    largest: int = 0
    spooled: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LongFeedRun:
    """The figures, and what their plot is drawn from."""

    figures: LongFeedFigures
    started_s: float
    samples: list[Sample]


async def measure_frames_feed(
    stack: Stack, feed: RawFeed, screen: Screen, *, feed_s: float = 3 * HOUR_S, speed: float = 50.0
) -> LongFeedRun:
    """MODE_FRAMES."""
    return await _measure(
        stack,
        "frames",
        live_frames("long-frames"),
        feed.messages(feed_s),
        screen,
        feed_s,
        speed,
        1 / feed.fps,
    )


async def measure_broadcast_feed(
    stack: Stack, broadcast: Broadcast, screen: Screen, *, feed_s: float = 3 * HOUR_S, speed: float = 50.0
) -> LongFeedRun:
    """MPEG-TS."""

    def chunks() -> Iterator[tuple[float, bytes]]:
        offset = 0
        for end_s, data in broadcast.pieces(PIECE_S, round(feed_s / LOOP_S)):
            yield end_s, wire.chunk(offset, data)
            offset += len(data)

    return await _measure(
        stack, "encoded", live_file("long-broadcast"), chunks(), screen, feed_s, speed, 1 / FPS
    )


async def _measure(
    stack: Stack,
    kind: str,
    first: bytes,
    messages: Iterator[tuple[float, bytes]],
    screen: Screen,
    feed_s: float,
    speed: float,
    frame_s: float,
) -> LongFeedRun:
    came = _Came()
    async with Wire(stack.address) as calls:
        with stack.watch(max(feed_s / speed / 400, 0.1)) as watch:
            started = time.monotonic()
            call = calls.embed_media()
            label = f"feed of {feed_s / HOUR_S:.3g} h, {kind}"
            note = lambda: f"{len(came.segments)} segments, {came.rolling} titles"  # noqa: E731
            async with screen.timed(label, feed_s / speed, note):
                looking = asyncio.create_task(_look_at_disk(stack, came))
                reading = asyncio.create_task(_read(call, came))
                await call.write(first)
                for at_s, message in messages:
                    if (left_s := started + at_s / speed - time.monotonic()) > 0:
                        await asyncio.sleep(left_s)
                    await call.write(message)
                await call.done_writing()
                await reading
                took_s = time.monotonic() - started
                looking.cancel()
    samples = [s for s in watch.samples if s.at_s <= started + took_s]
    steady = samples[len(samples) // 6 : -1] or watch.samples
    hours_per_s = feed_s / took_s / HOUR_S
    full = [s for s in steady if came.full_s is not None and s.at_s >= came.full_s]
    gateway, readers, triton = _resident(steady)
    full_gateway, _, full_triton = _resident(full)
    ends = [ends_mib(values) for values in (gateway, readers, triton)]
    indices = [s.index for s in came.segments]
    figures = LongFeedFigures(
        kind=kind,
        feed_s=feed_s,
        speed_wanted=speed,
        speed=feed_s / took_s,
        segments=len(came.segments),
        expected_segments=round(feed_s / WINDOW_S),
        in_order=indices == list(range(len(indices))),
        frame_ms=frame_s * 1e3,
        drift=drift_of(came.segments),
        rolling_titles=came.rolling,
        last_title=came.last,
        largest_title=came.largest,
        gateway_first_mib=ends[0][0],
        gateway_last_mib=ends[0][1],
        gateway_slope_mib_per_feed_hour=slope_mib_per_hour(steady, gateway, hours_per_s),
        gateway_full_slope_mib_per_feed_hour=_full_slope(full, full_gateway, hours_per_s),
        reader_first_mib=ends[1][0],
        reader_last_mib=ends[1][1],
        reader_slope_mib_per_feed_hour=slope_mib_per_hour(steady, readers, hours_per_s),
        triton_first_mib=ends[2][0],
        triton_last_mib=ends[2][1],
        triton_slope_mib_per_feed_hour=slope_mib_per_hour(steady, triton, hours_per_s),
        triton_full_slope_mib_per_feed_hour=_full_slope(full, full_triton, hours_per_s),
        spooled_peak_mib=max(came.spooled, default=0) / MIB,
        cpu=CpuShares.between(steady[0], steady[-1]),
    )
    return LongFeedRun(figures, started, watch.samples)


def _resident(samples: Sequence[Sample]) -> tuple[list[int], list[int], list[int]]:
    """Bytes of the gateway, of its readers (without what is shared) and of Triton, by sample."""
    return (
        [s.gateway.resident for s in samples],
        [s.readers.private for s in samples],
        [s.triton.resident for s in samples],
    )


def _full_slope(samples: Sequence[Sample], values: Sequence[int], hours_per_s: float) -> float | None:
    return slope_mib_per_hour(samples, values, hours_per_s) if len(samples) > 2 else None


async def _look_at_disk(stack: Stack, came: _Came) -> None:
    while True:
        came.spooled.append(await asyncio.to_thread(stack.spooled_bytes))
        await asyncio.sleep(2)


async def _read(call: Any, came: _Came) -> None:
    async for data in call:
        if data[0] == wire.SEGMENT:
            segment = wire.answer(data).segment
            came.segments.append(
                Heard(
                    segment.index,
                    segment.start_s,
                    segment.end_s,
                    segment.signals["brightness"].value,
                    segment.signals["loudness_dbfs"].value,
                    tuple(segment.frame_times_s),
                )
            )
            if len(came.segments) == TITLE_SEGMENTS:
                came.full_s = time.monotonic()
        elif data[0] == wire.TITLE:
            title = wire.answer(data).title
            came.largest = max(came.largest, len(title.salience))
            came.rolling += title.rolling
            came.last = came.last or not title.rolling


def drift_of(segments: list[Heard]) -> Drift | None:
    """Of the last third, against the truth and against the loop's second round near the start.

    None where no segment comes after the second round: nothing is there to be held against it.
    """
    if len(segments) <= 2 * LOOP_WINDOWS:
        return None
    reference = {s.index % LOOP_WINDOWS: s for s in segments[LOOP_WINDOWS : 2 * LOOP_WINDOWS]}
    late = segments[max(len(segments) * 2 // 3, 2 * LOOP_WINDOWS) :]
    starts = frames = pictures = sound = 0.0
    rise_per_s = RISE / 255 / WINDOW_S
    for segment in late:
        same = reference[segment.index % LOOP_WINDOWS]
        truth_s = segment.index * WINDOW_S
        starts = max(starts, abs(segment.start_s - truth_s), abs(segment.end_s - truth_s - WINDOW_S))
        if len(segment.frame_times_s) != len(same.frame_times_s):
            frames = float(WINDOW_S)  # other frames were chosen: as wrong as can be
        else:
            offsets = zip(segment.frame_times_s, same.frame_times_s, strict=True)
            moved = (abs((a - segment.start_s) - (b - same.start_s)) for a, b in offsets)
            frames = max(frames, *moved)
        pictures = max(pictures, abs(segment.brightness - same.brightness) / rise_per_s)
        lost = 1 - 10 ** ((segment.loudness_dbfs - same.loudness_dbfs) / 10)
        sound = max(sound, abs(lost) * TONE_S)
    return Drift(*(round(value * 1e3, 3) for value in (starts, frames, pictures, sound)))
