"""Results as messages and back: nothing is lost, nothing wrong gets through, and it is fast enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resonance.clients.errors import InvalidFieldError
from resonance.clients.gateway.enums import (
    modality_from_message,
    modality_to_message,
    sampling_from_message,
    sampling_to_message,
)
from resonance.clients.gateway.messages import (
    FieldNames,
    info_from_message,
    info_to_message,
    segment_from_message,
    segment_to_message,
    segments_from_messages,
    stored_to_messages,
    title_from_message,
    title_to_message,
)
from resonance.clients.media.types import Damage, MediaInfo, SampledBy, StreamSignal
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space.descriptor import MODALITIES
from resonance.space.errors import SpaceMismatchError
from resonance.v1 import embedding_pb2 as pb
from tests.clients.gateway.broken_gateway import unit_vector

SPACE = SpaceRef("tiny", "ab" * 32, True)
NAMES = FieldNames(("motion", "brightness", "words_per_second"), ("tension", "pace"))

numbers = st.floats(-1e9, 1e9)
fractions = st.floats(0, 1)


def make_segment(index: int = 0) -> Segment:
    return Segment(
        index=index,
        start_s=8.0 * index,
        end_s=8.0 * index + 8.0,
        present=(True, False, True),
        vector=unit_vector(index),
        signals={
            "motion": StreamSignal(0.25, "packet-size", 0.5),
            "brightness": 0.5,
            "words_per_second": None,
        },
        sampled_by=SampledBy.BORROWED,
        frame_times_s=(-1.0, 8.0 * index),
        axes={"tension": 0.25, "pace": 1.0},
    )


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    start_s, length_s = draw(numbers), draw(st.floats(0, 1e3))
    timed = draw(st.booleans())
    stream_signal = st.builds(StreamSignal, numbers, st.text(min_size=1, max_size=20), fractions)
    return Segment(
        index=draw(st.integers(0, 2**32 - 1)),
        start_s=start_s if timed else None,
        end_s=start_s + length_s if timed else None,
        present=draw(st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any)),
        vector=unit_vector(draw(st.integers(0, 1 << 30))),
        signals={
            "motion": draw(st.none() | stream_signal),
            "brightness": draw(st.none() | numbers),
            "words_per_second": draw(st.none() | numbers),
        },
        sampled_by=draw(st.sampled_from(SampledBy)),
        frame_times_s=tuple(draw(st.lists(numbers, max_size=16))),
        axes={"tension": draw(fractions), "pace": draw(fractions)},
    )


def same_segment(a: Segment, b: Segment) -> None:
    """Equal to the last bit, order of names included."""
    assert np.array_equal(a.vector.view(np.uint32), b.vector.view(np.uint32))
    assert list(a.signals) == list(b.signals)
    assert list(a.axes) == list(b.axes)
    no_vector = np.zeros(0, np.float32)
    assert (
        replace(a, vector=no_vector, axes=dict(a.axes)).__repr__() == replace(b, vector=no_vector).__repr__()
    )


@given(segments())
@settings(max_examples=60)
def test_a_segment_survives_the_wire_to_the_last_bit(segment: Segment) -> None:
    wire = segment_to_message(segment).SerializeToString()
    same_segment(segment, segment_from_message(pb.Segment.FromString(wire), NAMES))


def test_without_names_a_signal_that_cannot_be_told_is_left_out() -> None:
    back = segment_from_message(segment_to_message(make_segment()))
    assert back.signals == {"brightness": 0.5, "motion": StreamSignal(0.25, "packet-size", 0.5)}


def make_title(count: int = 3, first: int = 0) -> MediaEmbedding:
    shares = np.full(count, 1 / count, np.float32)
    return MediaEmbedding(
        media="film 🎬.mp4",
        space=SPACE,
        duration_s=8.0 * (first + count),
        modalities=("visual", "transcript"),
        title=unit_vector(99),
        present=(True, False, True),
        segments=tuple(
            replace(make_segment(first + i), salience=float(share)) for i, share in enumerate(shares)
        ),
        arcs={"pacing": [(4.0, 0.0), (12.0, 1.0)], "energy": [], "tension": [(4.0, 0.5)]},
        timing=Timing(1.0, 2.5, 3.0, 4.0, 5.25),
        axes={"tension": AxisValue(0.25, "calm", "tense"), "pace": AxisValue(0.5, "slow", "fast")},
    )


@pytest.mark.parametrize("rolling", [False, True])
def test_a_title_survives_the_wire(rolling: bool) -> None:
    damage = Damage(294, 13.36, 7, 2.5, 3) if rolling else Damage()
    title = replace(make_title(3, first=2), rolling=rolling, damage=damage)
    wire = title_to_message(title).SerializeToString()
    older = [replace(make_segment(i), salience=None) for i in range(5)]
    back = title_from_message(pb.Title.FromString(wire), older, SPACE, NAMES)
    assert np.array_equal(back.title, title.title)
    for mine, theirs in zip(title.segments, back.segments, strict=True):
        same_segment(mine, theirs)
    assert list(back.arcs) == list(title.arcs)
    assert list(back.axes) == list(title.axes)
    empty = np.zeros(0, np.float32)
    assert repr(replace(back, title=empty, segments=())) == repr(replace(title, title=empty, segments=()))


def test_text_has_no_clock_and_media_info_no_duration() -> None:
    title = replace(make_title(), duration_s=None)
    back = title_from_message(title_to_message(title), title.segments, SPACE)
    assert back.duration_s is None
    film = MediaInfo("a", "mov", 1.5, {"video": "h264", "audio": "aac"})
    for info in (
        film,
        MediaInfo("b", "avi", 1.5, {}, {"video": "rv40", "subtitle": "xsub"}),
        MediaInfo("t", "text", None),
    ):
        assert info_from_message(info_to_message(info), info.name) == info


def test_enums_go_both_ways_and_refuse_what_is_unknown() -> None:
    for sampling in (None, "keyframes", "uniform"):
        assert sampling_from_message(sampling_to_message(sampling)) == sampling
    for modality in MODALITIES:
        assert modality_from_message(modality_to_message(modality)) == modality
    for call in (
        lambda: sampling_to_message("often"),
        lambda: sampling_from_message(7),
        lambda: modality_to_message("smell"),
        lambda: modality_from_message(0),
    ):
        with pytest.raises(InvalidFieldError):
            call()


def _bad_vector(at: int, value: float) -> Callable[[pb.Segment], None]:
    def spoil(message: pb.Segment) -> None:
        message.vector[at] = value

    return spoil


def _scaled(message: pb.Segment) -> None:
    scaled = [2 * x for x in message.vector]
    del message.vector[:]
    message.vector.extend(scaled)


def _swap_block_norms(message: pb.Segment) -> None:
    vector = np.array(message.vector)
    vector[:596] *= math.sqrt(2)  # the whole keeps norm 1, the blocks do not
    vector[596:1192] = 0.0
    del message.vector[:]
    message.vector.extend(vector.tolist())


WRONG: dict[str, tuple[str, Callable[[pb.Segment], object]]] = {
    "short": ("vector", lambda m: m.vector.pop()),
    "nan": ("vector[7]", _bad_vector(7, math.nan)),
    "infinite": ("vector[1787]", _bad_vector(1787, math.inf)),
    "norm 2": ("vector", _scaled),
    "uneven blocks": ("vector", _swap_block_norms),
    "nothing present": ("present", lambda m: m.ClearField("present")),
    "start alone": ("end_s", lambda m: m.ClearField("end_s")),
    "end before start": ("end_s", lambda m: setattr(m, "end_s", -1.0)),
    "time nan": ("start_s", lambda m: setattr(m, "start_s", math.nan)),
    "index not rising": ("index", lambda m: setattr(m, "index", 3)),
    "sampled by nothing known": ("sampled_by", lambda m: setattr(m, "sampled_by", 77)),
    "many signals": ("signals", lambda m: [m.signals[str(i)].SetInParent() for i in range(300)]),
    "signal nan": ("signals.motion", lambda m: setattr(m.signals["motion"], "value", math.nan)),
    "confidence 2": ("confidence", lambda m: setattr(m.signals["motion"], "confidence", 2.0)),
    "axis above 1": ("axes.pace", lambda m: m.axes.update({"pace": 1.5})),
    "axis name of a kilobyte": ("axes", lambda m: m.axes.update({"x" * 1024: 0.5})),
    "many frames": ("frame_times_s", lambda m: m.frame_times_s.extend([0.0] * 100)),
    "frame time nan": ("frame_times_s", lambda m: m.frame_times_s.append(math.nan)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_segment_is_refused_by_field(name: str) -> None:
    field, spoil = WRONG[name]
    message = segment_to_message(make_segment(4))
    segment_from_message(message, after=3)  # it was right before
    spoil(message)
    with pytest.raises(InvalidFieldError) as refused:
        segment_from_message(message, after=3, field="stored[2]")
    assert refused.value.field.startswith("stored[2]")
    assert field in str(refused.value)
    assert refused.value.came
    assert refused.value.expected


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda m: setattr(m, "fingerprint", "cd" * 32), SpaceMismatchError),
        (lambda m: m.salience.pop(), InvalidFieldError),
        (lambda m: m.salience.__setitem__(0, math.nan), InvalidFieldError),
        (lambda m: m.arcs["pacing"].points.add(time_s=math.inf), InvalidFieldError),
        (lambda m: setattr(m.axes["pace"], "value", -0.1), InvalidFieldError),
        (lambda m: m.ClearField("vector"), InvalidFieldError),
        (lambda m: m.ClearField("present"), InvalidFieldError),
    ],
)
def test_a_wrong_title_is_refused(spoil: Callable[[pb.Title], object], error: type[Exception]) -> None:
    title = make_title()
    message = title_to_message(title)
    spoil(message)
    with pytest.raises(error):
        title_from_message(message, title.segments, SPACE)


def test_stored_segments_travel_in_batches_and_in_order() -> None:
    given = [make_segment(i) for i in range(40)]
    batches = list(stored_to_messages(given, SPACE.fingerprint, batch_bytes=100_000))
    assert [len(batch.segments) for batch in batches] == [13, 13, 13, 1]  # of 7.3 kB
    assert all(batch.ByteSize() <= 100_000 + 1_000 for batch in batches)
    assert all(batch.fingerprint == SPACE.fingerprint for batch in batches)
    back = segments_from_messages((m for b in batches for m in b.segments), NAMES)
    for mine, theirs in zip(given, back, strict=True):
        same_segment(mine, theirs)
    with pytest.raises(InvalidFieldError, match=r"segments\[1\].index"):
        segments_from_messages([batches[0].segments[1], batches[0].segments[0]])
    assert list(stored_to_messages([], SPACE.fingerprint)) == []


def test_a_segment_takes_well_under_a_millisecond() -> None:
    """About 4 and 60 us; the bound is far above, for a machine that does other things."""
    segment = make_segment()
    message = segment_to_message(segment)
    for work in (lambda: segment_to_message(segment), lambda: segment_from_message(message, NAMES)):
        best_s = math.inf
        for _ in range(50):
            began = time.perf_counter()
            work()
            best_s = min(best_s, time.perf_counter() - began)
        assert best_s < 500e-6
