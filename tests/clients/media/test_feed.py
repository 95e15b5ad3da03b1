"""A raw feed gives the segments that `uniform` gives of a file with the same content, whatever its pace."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resonance.clients.embedder import Embedder
from resonance.clients.errors import InvalidFieldError, MediaLimitError, NoModalityError, UsageError
from resonance.clients.media.feed import MAX_READY
from resonance.clients.media.feed_windows import MAX_WORDS_HELD
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Damage, Frames, SampledBy, SegmentInput
from resonance.clients.media.words import Cue, words_by_window
from resonance.clients.pipeline import TitleOptions, TitlePipeline
from resonance.clients.results import MediaEmbedding
from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import TritonTransport
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor
from tests.clients.media.feeding import Step, cue, decode, frame, make_feed, mark, run, sound, take_all
from tests.clients.media.synthetic import numbered_picture, read_number
from tests.lengths import short_and_whole

RATE_HZ = 16_000
WINDOW = 8 * RATE_HZ


def _noise(seconds: float, rate_hz: int = RATE_HZ, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    shape = (round(seconds * rate_hz), channels)
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def _picture(number: int) -> NDArray[np.uint8]:
    return numbered_picture(number, 64, 48)


def _pictures(times_s: list[float]) -> list[Step]:
    return [frame(time_s, _picture(i)) for i, time_s in enumerate(times_s)]


def _stretches(samples: NDArray[np.float32], rate_hz: int, sizes: list[int]) -> list[Step]:
    """The samples in stretches of these sizes in turn."""
    steps, first, at = [], 0, 0
    while first < samples.shape[0]:
        size = sizes[at % len(sizes)]
        steps.append(sound(first / rate_hz, samples[first : first + size], rate_hz))
        first, at = first + size, at + 1
    return steps


def _frames(segment: SegmentInput) -> Frames:
    assert isinstance(segment.video, Frames)
    return segment.video


def _heard(segments: list[SegmentInput], seconds: float) -> NDArray[np.float32]:
    """The sound of all windows in its place."""
    whole = np.zeros(round(seconds * RATE_HZ), np.float32)
    for segment in segments:
        if segment.pcm is not None:
            first = segment.index * WINDOW
            whole[first : first + segment.pcm.length] = segment.pcm.samples[: segment.pcm.length]
    return whole


# --- the same as from a file


@pytest.mark.parametrize(
    "name",
    [
        "animation_bbb_opening_30s.webm",
        "people_dark_room_paper_sign_vfr.mov",
        "transcode_elf_mpeg2_mp2.ts",
        "tabletop_toy_frog.mp4",
        "transcode_elf_mpeg4_noaudio.avi",
    ],
)
async def test_a_real_clip_gives_what_uniform_gives(media: Path, descriptor: Descriptor, name: str) -> None:
    path = media / "video" / name
    with open_media(path, descriptor, sampling="uniform") as reader:
        expected = list(reader.segments())
    decoded = decode(path)
    feed = make_feed(*decoded.modalities)
    segments = await run(feed, decoded.steps)
    assert [s.index for s in segments] == [s.index for s in expected]
    assert Damage.of(feed.times) == Damage()
    for ours, files in zip(segments, expected, strict=True):
        assert ours.sampled_by is files.sampled_by is SampledBy.UNIFORM
        assert ours.frame_times_s == pytest.approx(files.frame_times_s, abs=1e-4)
        assert ours.end_s == pytest.approx(files.end_s, abs=0.05)  # a frame's duration is not sent
        mine, other = _frames(ours), _frames(files)
        np.testing.assert_array_equal(mine.mask, other.mask)
        away = np.abs(mine.pixels.astype(int) - other.pixels.astype(int))
        # RGB and then scaled, against scaled and then RGB: colour is clipped at another stage
        assert away.mean() < 0.6
        assert np.percentile(away, 95) <= 2
        assert (ours.pcm is None) == (files.pcm is None)
        if ours.pcm is not None and files.pcm is not None:
            assert ours.pcm.length == files.pcm.length
            np.testing.assert_allclose(ours.pcm.samples, files.pcm.samples, atol=1e-6)


async def test_a_clip_is_embedded_to_the_same_title(
    media: Path, embedder: Embedder, server: TritonServer
) -> None:
    path = media / "video" / "tabletop_toy_frog.mp4"
    expected = await embedder.embed(path, sampling="uniform")
    decoded = decode(path)
    descriptor = await embedder.space()
    feed = make_feed(*decoded.modalities, descriptor=descriptor)
    transport = TritonTransport(server.grpc_address)
    pipeline = TitlePipeline(transport, ServedSpace(transport), descriptor, feed, TitleOptions())

    async def tell() -> None:
        for step in decoded.steps:
            await step(feed)
        await feed.end()

    telling = asyncio.create_task(tell())
    parts = [part async for part in pipeline.parts()]
    await telling
    await transport.close()
    title = parts[-1]
    assert isinstance(title, MediaEmbedding)
    assert title.present == expected.present
    assert float(title.title @ expected.title) > 0.999
    cut_rate = title.segments[0].signals["cut_rate_per_min"]
    assert cut_rate is not None  # told by the differences of the frames


# --- windows


async def test_a_window_comes_as_soon_as_all_clocks_have_passed_its_end() -> None:
    feed = make_feed("visual", "audio")
    taking = asyncio.create_task(feed.next())
    first = (frame(0.0, _picture(1)), frame(7.99, _picture(2)))
    for step in (*first, sound(0.0, _noise(4), RATE_HZ), sound(4.0, _noise(4.2), RATE_HZ)):
        await step(feed)
        await asyncio.sleep(0)
        assert not taking.done()
    await feed.add_frame(8.0, _picture(3))
    segment = await asyncio.wait_for(taking, 1)
    assert segment is not None
    assert (segment.index, segment.start_s, segment.end_s) == (0, 0.0, 8.0)
    assert segment.frame_times_s == pytest.approx((0.0, 7.99))
    assert segment.pcm is not None
    assert segment.pcm.length == WINDOW
    assert segment.cut_rate_per_min is None  # no packets: the frames' differences tell


async def test_a_frame_that_rounding_puts_before_a_windows_edge_is_the_first_behind_it() -> None:
    feed = make_feed("visual")
    steps = _pictures([0.0, 4.0, 8.001 - 0.001, 12.0])  # the third is 7.999999999999999
    segments = await run(feed, steps)
    assert [s.frame_times_s for s in segments] == [(0.0, 4.0), (8.0, 12.0)]


async def _closed_by(feed_modalities: tuple[str, ...], steps: list[Step]) -> int:
    """How many windows the steps close, taken as they come."""
    feed, closed = make_feed(*feed_modalities), 0
    taking = asyncio.create_task(feed.next())
    for step in steps:
        await step(feed)
        while True:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not taking.done():
                break
            assert taking.result() is not None
            closed += 1
            taking = asyncio.create_task(feed.next())
    taking.cancel()
    return closed


def _to(seconds: float) -> list[Step]:
    """Pictures twice a second up to and at `seconds`."""
    return _pictures([i / 2 for i in range(round(seconds * 2))] + [seconds])


def _eight_seconds(samples: NDArray[np.float32], start: int) -> list[Step]:
    return [sound(float(start), samples[start * RATE_HZ : (start + 8) * RATE_HZ], RATE_HZ)]


def _both(seconds: float) -> list[Step]:
    """Pictures and sound, half a second of each in turn."""
    samples = _noise(seconds + 0.5)
    parts = [samples[round(i / 2 * RATE_HZ) :][: RATE_HZ // 2] for i in range(round(seconds * 2) + 1)]
    heard = [sound(i / 2, part, RATE_HZ) for i, part in enumerate(parts)]
    return [step for pair in zip(_to(seconds), heard, strict=True) for step in pair]


@pytest.mark.parametrize(
    ("modalities", "steps", "closed"),
    [
        (("visual",), _to(7.9), 0),
        (("visual",), _to(8.0), 1),
        (("visual",), [*_to(7.9), mark("visual", 8.0)], 1),
        (("visual", "audio"), [*_to(8.0), sound(0.0, _noise(7.95), RATE_HZ)], 0),
        (
            ("visual", "audio"),
            [*_to(7.9), sound(0.0, _noise(8.0), RATE_HZ), mark("audio", 8.2), frame(8.0, _picture(1))],
            1,
        ),
        (("visual", "audio"), [sound(0.0, _noise(7.5), RATE_HZ), *_to(15.5)], 0),  # 8 s behind
        (("visual", "audio"), [sound(0.0, _noise(7.5), RATE_HZ), *_to(15.7)], 1),  # more than that
        (("visual", "audio"), [sound(0.0, _noise(3.0), RATE_HZ), mark("audio", 8.0), *_to(8.0)], 1),
        (("visual", "transcript"), _to(11.9), 0),
        (("visual", "transcript"), _to(12.0), 1),
        (("visual", "transcript"), [*_to(8.0), cue(7.9, 9.0, "a")], 0),
        (("visual", "transcript"), [*_to(8.0), cue(8.0, 9.0, "a")], 1),
        (("visual", "transcript"), [mark("transcript", 8.0), *_to(8.0)], 1),
        (("visual", "audio", "transcript"), _both(20.5), 2),
        (("transcript",), [cue(1.0, 2.0, "a"), cue(7.0, 9.0, "b"), mark("transcript", 15.9)], 1),
        (("transcript",), [cue(1.0, 2.0, "a"), cue(7.0, 9.0, "b"), mark("transcript", 16.0)], 2),
    ],
)
async def test_what_a_window_waits_for(modalities: tuple[str, ...], steps: list[Step], closed: int) -> None:
    assert await _closed_by(modalities, steps) == closed


async def test_what_falls_too_far_behind_is_dropped_and_counted_and_may_catch_up() -> None:
    samples = _noise(40.0)

    def heard(start: int, end: int) -> list[Step]:
        return [
            sound(float(t), samples[t * RATE_HZ : (t + 2) * RATE_HZ], RATE_HZ) for t in range(start, end, 2)
        ]

    feed = make_feed("visual", "audio", "transcript")
    after = [frame(t, _picture(51)) for t in (26.0, 31.0, 36.0, 39.9)]
    rest = [
        step
        for i, shown in enumerate(after)
        for step in (shown, *heard(20 + 5 * i // 2 * 2, 20 + 5 * (i + 1) // 2 * 2))
    ]
    segments = await run(
        feed,
        [
            *heard(0, 4),
            *_to(20.5),  # closes the first two windows: words are 4 s behind, sound more than 8 s
            cue(6.0, 7.0, "nobody hears this"),
            *heard(4, 20),
            *rest,
        ],
    )
    assert [s.index for s in segments] == [0, 1, 2, 3, 4]
    assert feed.times.late_sound_s == pytest.approx(12.0, abs=1 / RATE_HZ)
    assert (feed.times.late_frames, feed.times.late_cues) == (0, 1)
    assert segments[0].pcm is not None
    assert segments[0].pcm.length == pytest.approx(4 * RATE_HZ, abs=0.2 * RATE_HZ)
    assert segments[1].pcm is None
    np.testing.assert_allclose(_heard(segments, 40.0)[2 * WINDOW :], samples[2 * WINDOW :, 0], atol=1e-6)


async def test_late_pictures_are_counted() -> None:
    feed = make_feed("visual", "audio")
    segments = await run(
        feed, [frame(0.0, _picture(1)), *_stretches(_noise(18.0), RATE_HZ, [RATE_HZ]), *_to(18.0)[1:]]
    )
    assert feed.times.late_frames == 31  # 0.5 to 15.5 s
    assert segments[0].frame_times_s == (0.0,)
    assert [s.sampled_by for s in segments] == [SampledBy.UNIFORM, SampledBy.NONE, SampledBy.UNIFORM]


async def test_what_is_late_in_a_feed_that_is_not_live_is_refused_and_leaves_it_as_it_was() -> None:
    spoken = _stretches(_noise(30.0), RATE_HZ, [RATE_HZ])
    orders: list[tuple[str, list[Step], list[Step]]] = [
        (
            r"sound.time_s: 0.000 s, .* complete without it; expected what is after 24 s: .* 8 s",
            _to(30.0),
            spoken,
        ),
        (
            r"frame.time_s: 0.500 s, .*; expected what is after 24 s",
            [frame(0.0, _picture(1)), *spoken],
            _to(30)[1:],
        ),
        (
            r"cue.start_s: 1.000 s, .*; expected what is after 24 s: .* 4 s",
            _both(30.0),
            [cue(1.0, 2.0, "late")],
        ),
        (r"cue.start_s: 7.000 s, .*; expected what is after 24 s", _both(30.0), [cue(7.0, 40.0, "late")]),
    ]
    for says, first, late in orders:
        feed = make_feed(live=False)
        taking = asyncio.create_task(take_all(feed))
        for step in first:
            await step(feed)
        with pytest.raises(InvalidFieldError, match=says):
            await late[0](feed)
        await feed.end()
        assert [s.index for s in await taking] == [0, 1, 2, 3]
        assert Damage.of(feed.times) == Damage()


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
async def test_sound_that_ends_before_the_pictures_is_there_to_its_end(rate_hz: int) -> None:
    """Some of it waits in the resampler when its window is closed."""
    feed = make_feed("visual", "audio", live=False)
    steps: list[Step] = []
    for second in range(30):
        steps.append(frame(float(second), _picture(second)))
        if second < 5:
            steps.append(sound(float(second), _noise(1.0, rate_hz, seed=second), rate_hz))
    segments = await run(feed, steps)
    assert segments[0].pcm is not None
    assert segments[0].pcm.length == pytest.approx(5 * RATE_HZ, abs=1)
    assert Damage.of(feed.times) == Damage()


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
async def test_sound_a_whole_window_behind_is_in_time_at_every_rate(rate_hz: int) -> None:
    feed = make_feed("visual", "audio", live=False)
    steps: list[Step] = []
    for window in range(4):
        steps += [frame(8.0 * window + half / 2, _picture(half)) for half in range(1, 17)]
        steps.append(sound(8.0 * window, _noise(8.0, rate_hz, seed=window), rate_hz))
    segments = await run(feed, steps)
    assert [s.pcm is not None for s in segments[:4]] == [True] * 4
    assert Damage.of(feed.times) == Damage()


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 44_100])
@pytest.mark.parametrize("first_s", [7.85, 7.95, 8.0])
async def test_sound_up_to_a_mark_is_no_further_behind_than_the_mark(first_s: float, rate_hz: int) -> None:
    feed = make_feed("visual", "audio", live=False)
    steps = [sound(0.0, _noise(first_s, rate_hz), rate_hz), mark("audio", 8.0)]
    steps += [frame(half / 2, _picture(half)) for half in range(33)]
    segments = await run(feed, [*steps, sound(8.0, _noise(8.0, rate_hz, seed=1), rate_hz)])
    assert [s.pcm is not None for s in segments[:2]] == [True, True]
    assert Damage.of(feed.times) == Damage()


async def test_all_sound_of_windows_that_pictures_have_not_reached_is_not_late() -> None:
    feed = make_feed("visual", "audio", live=False)
    samples = _noise(32.0)
    steps = [
        step for t in range(0, 32, 8) for step in (*_pictures([t, t + 7.5]), *_eight_seconds(samples, t))
    ]
    segments = await run(feed, steps)
    np.testing.assert_allclose(_heard(segments, 32.0), samples[: 32 * RATE_HZ, 0], atol=1e-6)
    assert all(s.video is not None for s in segments)


async def test_an_overlap_over_the_edge_of_two_windows_is_not_late() -> None:
    for live in (True, False):
        feed = make_feed("audio", live=live)
        await run(feed, [sound(0.0, _noise(9.0), RATE_HZ), sound(7.5, _noise(9.0), RATE_HZ)])
        assert Damage.of(feed.times) == Damage()


async def test_a_cue_that_reaches_into_the_windows_after_the_stored_ones_may_be_late() -> None:
    feed = make_feed("visual", "transcript", first_index=1)
    await run(feed, [*_to(20.5), cue(6.0, 9.0, "late for the second window"), cue(6.0, 7.0, "stored")])
    assert Damage.of(feed.times) == Damage(late_cues=1)


async def test_a_short_last_window_is_dropped_if_there_is_another() -> None:
    assert [s.index for s in await run(make_feed("visual"), _to(8.4))] == [0]
    assert [s.index for s in await run(make_feed("visual"), _to(9.0))] == [0, 1]
    alone = await run(make_feed("visual"), [frame(0.0, _picture(1))])
    assert [s.index for s in alone] == [0]
    stands = await run(
        make_feed("visual"), [*_to(8.0), mark("visual", 9.5)]
    )  # a picture stands until the mark
    assert [(s.index, s.end_s) for s in stands] == [(0, 8.0), (1, 9.5)]


async def test_a_gap_of_a_day_makes_no_windows() -> None:
    day_s = 86_400.0
    feed = make_feed()
    segments = await run(
        feed,
        [
            frame(0.0, _picture(1)),
            sound(0.0, _noise(2.0), RATE_HZ),
            frame(day_s, _picture(2)),
            sound(day_s, _noise(2.0), RATE_HZ),
        ],
    )
    assert [s.index for s in segments] == [0, 10_800]
    assert [_frames(s).times_s[0] for s in segments] == [0.0, 0.0]


@pytest.mark.parametrize("modalities", [("audio",), ("visual", "audio", "transcript")])
async def test_nothing_with_content_is_a_typed_error(modalities: tuple[str, ...]) -> None:
    silence = np.zeros((20 * RATE_HZ, 1), np.float32)
    steps = _stretches(silence, RATE_HZ, [RATE_HZ])
    with pytest.raises(
        NoModalityError, match="feed: no picture, no sound above -70 dBFS in mono and no words"
    ):
        await run(make_feed(*modalities), steps)
    with pytest.raises(NoModalityError):
        await run(make_feed(*modalities), [])


async def test_a_resumed_feed_gives_the_later_windows_as_they_were() -> None:
    samples = _noise(30.0, 44_100, 2)
    words = [cue(t, t + 3.0, f"said at {t}") for t in (1.0, 14.0, 15.5, 25.0)]
    timed = [(0.5 * i, step) for i, step in enumerate(_to(30.0))]
    timed += [(0.7 * i, step) for i, step in enumerate(_stretches(samples, 44_100, [30_870]))]
    timed += [(t, step) for t, step in zip((1.0, 14.0, 15.5, 25.0), words, strict=True)]
    steps = [step for _, step in sorted(timed, key=lambda pair: pair[0])]
    whole = await run(make_feed(), steps)
    feed = make_feed(first_index=2)
    rest = await run(feed, steps)
    assert [s.index for s in whole] == [0, 1, 2, 3]
    assert [s.index for s in rest] == [2, 3]
    assert Damage.of(feed.times) == Damage()
    for a, b in zip(whole[2:], rest, strict=True):
        assert (a.start_s, a.end_s, a.frame_times_s, a.text) == (b.start_s, b.end_s, b.frame_times_s, b.text)
        assert a.words_per_second == b.words_per_second
        np.testing.assert_array_equal(_frames(a).pixels, _frames(b).pixels)
        assert a.pcm is not None
        assert b.pcm is not None
        np.testing.assert_array_equal(a.pcm.samples, b.pcm.samples)
    assert await run(make_feed(first_index=9), steps) == []  # nothing new is no error: the rest is known


# --- pictures


def _nearest(times_s: list[float], index: int) -> list[float]:
    """For each centre the nearest frame of the window, the earlier of two as near; each once."""
    inside = [t for t in times_s if 8.0 * index <= t < 8.0 * (index + 1)]
    centres_s = [8.0 * index + (k + 0.5) / 2 for k in range(16)]
    return sorted({min(inside, key=lambda t: (abs(t - c), t)) for c in centres_s}) if inside else []


@settings(max_examples=40)
@given(
    steps=st.lists(st.integers(0, 160), min_size=1, max_size=80),
    start=st.integers(0, 400),
)
@example(steps=[0, 32], start=0)  # as near to the first centre as each other
def test_the_nearest_frames_are_chosen_and_none_is_lost(steps: list[int], start: int) -> None:
    times_s = [t / 64 for t in (start + np.cumsum(steps)).tolist()]  # exact in binary: ties are ties
    segments = asyncio.run(run(make_feed("visual"), _pictures(times_s)))
    expected = {i: _nearest(times_s, i) for i in sorted({int(t // 8) for t in times_s})}
    last = max(expected)
    if len(expected) > 1 and last not in [s.index for s in segments]:  # a tail under 1 s
        assert times_s[-1] - 8.0 * last < 1.0
        del expected[last]
    assert {s.index: list(s.frame_times_s) for s in segments} == expected
    for segment in segments:
        frames = _frames(segment)
        shown = [read_number(picture) for picture in frames.pixels[frames.mask]]
        assert [times_s[number] for number in shown] == list(segment.frame_times_s)


async def test_a_frame_that_its_owner_writes_over_was_copied() -> None:
    feed, picture = make_feed("visual"), _picture(7).copy()
    await feed.add_frame(0.0, picture)
    picture[:] = 0
    await feed.end()
    segment = await feed.next()
    assert segment is not None
    assert read_number(_frames(segment).pixels[0]) == 7


# --- sound


CHUNKS = st.lists(st.integers(1, 9_000), min_size=1, max_size=12)


@settings(max_examples=25)
@given(sizes=CHUNKS, rate_hz=st.sampled_from([4_000, 11_025, 16_000, 44_100, 48_000, 192_000]))
def test_sound_is_the_same_however_it_is_divided(sizes: list[int], rate_hz: int) -> None:
    samples = _noise(9.5, rate_hz, 2)
    whole = asyncio.run(run(make_feed("audio"), [sound(0.0, samples, rate_hz)]))
    stretches = _stretches(samples, rate_hz, [max(s, rate_hz // 400) for s in sizes])
    parts = asyncio.run(run(make_feed("audio"), stretches))
    assert [s.index for s in parts] == [s.index for s in whole] == [0, 1]
    for a, b in zip(parts, whole, strict=True):
        assert a.pcm is not None
        assert b.pcm is not None
        assert a.pcm.length == b.pcm.length
        np.testing.assert_allclose(a.pcm.samples, b.pcm.samples, atol=1e-6)


@pytest.mark.parametrize("hours", short_and_whole(0.2, 3))
@pytest.mark.parametrize(("rate_hz", "stretch_s"), [(44_100, 0.02), (48_000, 0.1)])
async def test_sound_does_not_drift(rate_hz: int, stretch_s: float, hours: float) -> None:
    size = round(stretch_s * rate_hz)
    quiet = np.full((size, 1), 0.01, np.float32)
    click = quiet.copy()
    click[size // 2] = 1.0
    stretches, windows = round(hours * 3600 / stretch_s), round(hours * 450)

    def steps() -> list[Step]:
        return [
            sound(i * size / rate_hz, click if i == stretches - 1 else quiet, rate_hz)
            for i in range(stretches)
        ]

    segments = await run(make_feed("audio"), steps())
    assert [s.index for s in segments] == list(range(windows))
    assert all(s.pcm is not None and s.pcm.length == WINDOW for s in segments)
    last = segments[-1].pcm
    assert last is not None
    expected = (((stretches - 1) * size + size // 2) / rate_hz - (windows - 1) * 8.0) * RATE_HZ
    assert int(last.samples.argmax()) == pytest.approx(expected, abs=1)


async def test_a_gap_is_silence_and_an_overlap_overwrites() -> None:
    first, second = _noise(3.0, seed=1), _noise(2.0, seed=2)
    (gap,) = await run(make_feed("audio"), [sound(0.5, first, RATE_HZ), sound(5.0, second, RATE_HZ)])
    expected = np.zeros(8 * RATE_HZ, np.float32)
    expected[8_000:56_000], expected[80_000:112_000] = first[:, 0], second[:, 0]
    np.testing.assert_allclose(_heard([gap], 8.0), expected, atol=1e-6)
    (over,) = await run(make_feed("audio"), [sound(0.5, first, RATE_HZ), sound(2.0, second, RATE_HZ)])
    expected[80_000:112_000] = 0
    expected[32_000:64_000] = second[:, 0]
    np.testing.assert_allclose(_heard([over], 8.0), expected, atol=1e-6)


async def test_clocks_that_tremble_leave_no_seam() -> None:
    samples, tremble = _noise(8.0), np.random.default_rng(3).uniform(0.0, 0.05, 400)
    times = [i * 0.02 + tremble[i] for i in range(400)]
    rising = np.maximum.accumulate(times)
    steps = [sound(float(rising[i]), samples[i * 320 : (i + 1) * 320], RATE_HZ) for i in range(400)]
    segments = await run(make_feed("audio"), steps)
    shift = round(times[0] * RATE_HZ)
    np.testing.assert_allclose(_heard(segments, 8.0)[shift:], samples[: 8 * RATE_HZ - shift, 0], atol=1e-6)


async def test_rate_and_channels_may_change_on_the_way() -> None:
    t = np.arange(4 * 48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[:, None]
    (segment,) = await run(
        make_feed("audio"),
        [sound(0.0, tone[::3].copy(), 16_000), sound(4.0, np.repeat(tone, 6, axis=1), 48_000)],
    )
    assert segment.pcm is not None
    assert segment.pcm.length == pytest.approx(WINDOW, abs=1)
    for half in (segment.pcm.samples[1000:63_000], segment.pcm.samples[65_000:127_000]):
        assert np.sqrt(np.mean(half**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


# --- words


CUES = st.lists(
    st.tuples(st.integers(0, 96), st.integers(0, 240), st.sampled_from(["", "one", "two words", "a b c"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(raw=CUES)
def test_words_fall_into_windows_as_those_of_a_file(raw: list[tuple[int, int, str]]) -> None:
    cues = sorted((Cue(a / 4, (a + n) / 4, text) for a, n, text in raw), key=lambda c: c.start_s)
    expected = {i: (w.text, w.words_per_second(8.0 * i, 8.0 * i + 8)) for i, w in words_by_window(cues, 8.0)}
    feed = make_feed("transcript")
    steps = [cue(c.start_s, c.end_s, c.text) for c in cues]
    if not expected:
        with pytest.raises(NoModalityError):
            asyncio.run(run(feed, steps))
        return
    segments = asyncio.run(run(feed, steps))
    got = {s.index: (s.text, s.words_per_second) for s in segments}
    last = max(expected)
    if last not in got and len(expected) > 1:  # a tail under 1 s
        del expected[last]
    assert got == expected


async def test_words_that_rounding_puts_before_a_windows_edge_are_of_the_window_behind_it() -> None:
    start_s = sum([0.1] * 80)  # steps of a tenth, added up
    assert start_s < 8
    segments = await run(make_feed("transcript"), [cue(1.0, 2.0, "before"), cue(start_s, 10.0, "behind")])
    assert [(s.index, s.text) for s in segments] == [(0, "before"), (1, "behind")]


async def test_words_after_the_end_of_what_they_belong_to_are_left_out() -> None:
    words = [cue(1.0, 2.0, "said"), cue(7.5, 20.0, "the end"), cue(30.0, 31.0, "nobody there")]
    segments = await run(make_feed("visual", "transcript"), [*words, *_to(7.9)])
    assert [(s.index, s.text) for s in segments] == [(0, "said the end")]


async def test_words_that_wait_are_bounded() -> None:
    feed, long = make_feed("visual", "transcript"), "word " * 10_000
    for i in range(MAX_WORDS_HELD // (len(long) + 64)):
        await feed.add_cue(float(i), i + 1.0, long)
    with pytest.raises(MediaLimitError, match="send cues as they happen"):
        await feed.add_cue(100.0, 101.0, long)
    await feed.mark("visual", 200.0)  # all that waited is complete now
    assert [(await feed.next()) is not None for _ in range(3)] == [True] * 3
    await feed.add_cue(201.0, 202.0, "and there is room again")


# --- pace


async def test_adding_waits_while_windows_are_not_taken() -> None:
    feed = make_feed("visual", "audio")
    fed_s = 0.0

    async def feeding() -> None:
        nonlocal fed_s
        for i in range(20 * 60):
            await feed.add_frame(i / 2, _picture(1))
            await feed.add_sound(i / 2, _noise(0.5), RATE_HZ)
            fed_s = i / 2
        await feed.end()

    task = asyncio.create_task(feeding())
    for taken in range(4):
        for _ in range(2_000):
            await asyncio.sleep(0)
        assert not task.done()
        assert (MAX_READY + 1 + taken) * 8 - 0.5 <= fed_s <= (MAX_READY + 2 + taken) * 8
        segment = await feed.next()
        assert segment is not None
        assert segment.index == taken
    await feed.close()
    await asyncio.wait_for(task, 5)  # whoever waited goes on
    assert await feed.next() is None


async def test_one_long_stretch_waits_too() -> None:
    feed = make_feed("audio")
    task = asyncio.create_task(feed.add_sound(0.0, _noise(600.0), RATE_HZ))
    for _ in range(2_000):
        await asyncio.sleep(0)
    assert not task.done()
    assert feed.times.steps < 40  # of 600 pieces of a second
    task.cancel()


async def test_feeds_need_no_threads() -> None:
    before, tasks = threading.active_count(), len(os.listdir("/proc/self/task"))
    feeds = [make_feed("visual", "audio") for _ in range(50)]
    for feed in feeds:
        await feed.add_frame(0.0, _picture(1))
        await feed.add_frame(1.0, _picture(1))
        await feed.add_sound(0.0, _noise(0.5, 44_100, 2), 44_100)
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/task")) <= tasks + 1


# --- what is refused


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([frame(float("nan"), _picture(1))], "frame.time_s: nan s; expected 0 to"),
        ([frame(-0.1, _picture(1))], "frame.time_s: -0.1 s; expected 0 to"),
        ([frame(1.7e9, _picture(1))], "frame.time_s: 1700000000.0 s; expected 0 to"),
        (_pictures([1.0, 0.5]), "frame.time_s: 0.500000 s; expected at least 1.000000 s, the frame before"),
        ([mark("visual", 3.0), frame(2.0, _picture(1))], "frame.time_s: 2.000000 s; .* the mark"),
        ([frame(0.0, np.zeros((4, 4), np.uint8))], r"frame.rgb: uint8 \[4, 4\]; expected uint8"),
        ([sound(float("inf"), _noise(0.1), RATE_HZ)], "sound.time_s: inf s"),
        ([sound(2.0, _noise(0.1), RATE_HZ), sound(1.0, _noise(0.1), RATE_HZ)], "sound.time_s: 1.000000 s"),
        ([sound(0.0, _noise(0.1), 3_999)], "sound.sample_rate_hz: 3,999; expected 4,000 to 192,000"),
        ([sound(0.0, _noise(0.1, channels=9), RATE_HZ)], "sound.channels: 9; expected 1 to 8"),
        ([sound(0.0, np.zeros((4, 1)), RATE_HZ)], r"sound.data: float64 \[4, 1\]"),  # type: ignore[arg-type]
        ([sound(0.0, _noise(8.1), RATE_HZ)], "sound.data: 8.1 s; expected at most 8 s a stretch"),
        ([cue(2.0, 1.0, "a")], "cue.end_s: 1.000000 s; expected at least 2.000000 s, the cue's start"),
        ([cue(2.0, 3.0, "a"), cue(1.0, 3.0, "b")], "cue.start_s: 1.000000 s"),
        ([mark("audio", -1.0)], "mark.time_s: -1.0 s"),
    ],
)
async def test_values_that_cannot_be_are_refused(steps: list[Step], says: str) -> None:
    with pytest.raises(InvalidFieldError, match=says):
        await run(make_feed(), steps)


async def test_what_was_not_declared_or_comes_after_the_end_is_refused() -> None:
    with pytest.raises(InvalidFieldError, match=r"sound: one of audio; expected .* declared: visual"):
        await run(make_feed("visual"), [sound(0.0, _noise(0.1), RATE_HZ)])
    with pytest.raises(InvalidFieldError, match="modalities: smell"):
        make_feed("visual", "smell")
    feed = make_feed("visual")
    await feed.end()
    with pytest.raises(UsageError, match="feed: a frame came after the end"):
        await feed.add_frame(0.0, _picture(1))


async def test_limits_hold() -> None:
    with pytest.raises(MediaLimitError, match="a frame of 64x48 pixels; expected at most 3,071 pixels"):
        await run(make_feed(max_frame_pixels=64 * 48 - 1), [frame(0.0, _picture(1))])
    for step in (frame(10.1, _picture(1)), sound(9.9, _noise(0.3), RATE_HZ), mark("audio", 10.1)):
        with pytest.raises(MediaLimitError, match=r"expected at most 10\.0 s"):
            await run(make_feed(max_media_s=10.0), [step])


async def test_a_refused_value_leaves_the_feed_as_it_was() -> None:
    feed = make_feed("visual")
    await feed.add_frame(1.0, _picture(1))
    with pytest.raises(InvalidFieldError):
        await feed.add_frame(0.0, _picture(2))
    await feed.add_frame(1.5, _picture(3))
    await feed.end()
    (segment,) = await take_all(feed)
    assert segment.frame_times_s == (1.0, 1.5)


async def test_a_frame_too_thin_to_be_scaled_is_refused() -> None:
    thin = np.zeros((20_400, 1, 3), np.uint8)
    with pytest.raises(InvalidFieldError, match="frame: 1 x 20400; expected a picture that is less thin"):
        await run(make_feed("visual"), [frame(0.0, thin), frame(1.0, thin)])
