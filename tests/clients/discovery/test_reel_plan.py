"""Where clips are cut, and what a reel may still hold: arithmetic alone."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.discovery.reel import ReelOptions
from resonance.clients.discovery.reel_plan import (
    REACH_S,
    SAME_S,
    Lengths,
    ReelPlan,
    Span,
    choose_cut,
)
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError

SEGMENT = Span(8.0, 16.0)
ROOM = Span(6.0, 18.0)
LENGTHS = Lengths(2.0, 4.0, 6.0)


def test_a_clip_begins_and_ends_where_shots_change() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [6.5, 9.2, 13.5, 17.0])
    assert cut is not None
    assert (cut.span, cut.start_at_shot, cut.end_at_shot) == (Span(9.2, 13.5), True, True)


def test_several_short_shots_are_joined_rather_than_one_that_is_too_short() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [9.0, 9.5, 10.9, 11.6, 13.1])
    assert cut is not None
    assert cut.span == Span(9.0, 13.1)


def test_within_one_long_shot_the_middle_is_taken() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [])
    assert cut is not None
    assert (cut.span, cut.start_at_shot, cut.end_at_shot) == (Span(10.0, 14.0), False, False)


def test_what_the_vector_was_made_of_is_shown() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [], seen_s=[15.5])
    assert cut is not None
    assert cut.span.start_s <= 15.5 < cut.span.end_s
    elsewhere = choose_cut(SEGMENT, ROOM, LENGTHS, [8.0, 12.0], seen_s=[14.0])
    assert elsewhere is not None
    assert elsewhere.span == Span(12.0, 16.0)


def test_one_boundary_is_where_the_clip_begins() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [11.0])
    assert cut is not None
    assert (cut.span, cut.start_at_shot, cut.end_at_shot) == (Span(11.0, 15.0), True, False)


def test_a_boundary_too_late_to_begin_at_is_where_the_clip_ends() -> None:
    cut = choose_cut(SEGMENT, ROOM, LENGTHS, [16.5])
    assert cut is not None
    assert cut.end_at_shot
    assert cut.span.end_s == 16.5


def test_no_sliver_of_the_next_shot_is_left_at_the_end() -> None:
    cut = choose_cut(SEGMENT, Span(10.0, 14.2), LENGTHS, [10.0, 13.8])
    assert cut is not None
    assert cut.span == Span(10.0, 13.8)


def test_where_too_little_is_free_there_is_no_clip() -> None:
    assert choose_cut(SEGMENT, Span(9.0, 10.5), LENGTHS, [9.0, 10.5]) is None


times = st.floats(0, 40).map(lambda t: round(t, 2))


@given(
    start=st.floats(2, 20),
    room=st.tuples(st.floats(0, 2), st.floats(0, 2)),
    boundaries=st.lists(times, max_size=12),
    seen=st.lists(st.floats(0, 30), max_size=4),
    wanted=st.floats(0.5, 8),
)
def test_a_clip_lies_in_its_room_and_says_truly_where_it_was_cut(
    start: float, room: tuple[float, float], boundaries: list[float], seen: list[float], wanted: float
) -> None:
    segment = Span(start, start + 8)
    around = Span(start - room[0], start + 8 + room[1])
    lengths = Lengths(wanted / 2, wanted, wanted * 1.5)
    cut = choose_cut(segment, around, lengths, boundaries, seen)
    assert cut is not None  # there is always room for the wanted length
    assert around.start_s - SAME_S <= cut.span.start_s < cut.span.end_s <= around.end_s + 2 * SAME_S
    assert lengths.shortest_s - 2 * SAME_S <= cut.span.length_s <= lengths.longest_s + 2 * SAME_S
    assert cut.start_at_shot == any(abs(b - cut.span.start_s) <= SAME_S for b in boundaries)
    assert cut.end_at_shot == any(abs(b - cut.span.end_s) <= SAME_S for b in boundaries)


@given(
    requests=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 60)), max_size=40),
    clip=st.floats(0.5, 10),
    clips_that_fit=st.floats(1, 20),
)
def test_no_reel_is_too_long_and_no_two_clips_of_a_file_overlap(
    requests: list[tuple[str, float]], clip: float, clips_that_fit: float
) -> None:
    plan = ReelPlan(clip * clips_that_fit, clip, per_title=100)
    spans: dict[str, list[Span]] = {"a": [], "b": []}
    for uri, start in requests:
        if plan.full:
            break
        segment = Span(start, start + 8)
        room = plan.room(uri, segment, 70.0)
        cut = None if room is None else choose_cut(segment, room, plan.lengths(), [start, start + 3.3])
        if cut is not None:
            plan.take(uri, uri, cut.span, cut.span.length_s)
            spans[uri].append(cut.span)
    assert plan.filled_s <= plan.seconds + SAME_S
    for taken in spans.values():
        ordered = sorted(taken, key=lambda s: s.start_s)
        assert all(a.end_s <= b.start_s + 2 * SAME_S for a, b in itertools.pairwise(ordered))


def test_room_is_around_the_segment_and_in_the_title() -> None:
    plan = ReelPlan(60, 4)
    assert plan.room("a", Span(0, 8), 9.0) == Span(0, 9.0)
    assert plan.room("a", SEGMENT, None) == Span(8 - REACH_S, 16 + REACH_S)
    plan.take("one", "a", Span(7.0, 12.0), 5.0)
    assert plan.room("a", SEGMENT, None) == Span(12.0, 18.0)
    plan.take("one", "a", Span(12.5, 17.5), 5.0)
    assert plan.room("a", SEGMENT, None) is None
    assert plan.room("b", SEGMENT, None) is not None


@pytest.mark.parametrize("clip_s", [0.5, 4, 8, 12, 24, 40, 60])
@pytest.mark.parametrize("segment", [Span(0, 8), Span(296, 304), Span(592, 600), Span(592, 593.5)])
def test_a_clip_is_as_long_as_is_wanted_wherever_its_segment_lies(clip_s: float, segment: Span) -> None:
    plan = ReelPlan(120, clip_s)
    room = plan.room("a", segment, 600.0)
    assert room is not None
    cut = choose_cut(segment, room, plan.lengths(), [])
    assert cut is not None
    assert cut.span.length_s == pytest.approx(clip_s, abs=SAME_S)
    assert cut.span.overlap_s(segment) > 0


def test_a_long_clip_ends_at_a_cut_that_is_far() -> None:
    plan = ReelPlan(120, 24)
    room = plan.room("a", Span(96, 104), 600.0)
    assert room == Span(76, 124)
    cut = choose_cut(Span(96, 104), room, plan.lengths(), [80.0, 106.0])
    assert cut is not None
    assert (cut.span, cut.start_at_shot, cut.end_at_shot) == (Span(80.0, 106.0), True, True)


def test_a_reel_is_full_when_not_even_a_short_clip_fits() -> None:
    plan = ReelPlan(10, 4, per_title=1)
    plan.take("one", "a", Span(0, 6), 6.0)
    assert plan.used_up("one")
    assert not plan.full
    assert plan.lengths() == Lengths(2.0, 4.0, 4.0)
    plan.take("two", "b", Span(0, 2.5), 2.5)
    assert plan.full
    assert ReelPlan(60, 4, most_clips=1).full is False


def test_the_number_of_clips_is_bounded() -> None:
    plan = ReelPlan(60, 4, most_clips=1)
    plan.take("one", "a", Span(0, 4), 4.0)
    assert plan.full


@pytest.mark.parametrize(
    ("seconds", "clip", "per_title", "most"),
    [(3, 4, 2, None), (60, 0, 2, None), (math.inf, 4, 2, None), (60, 4, 0, None), (60, 4, 2, 0)],
)
def test_numbers_that_no_reel_can_have_are_refused(
    seconds: float, clip: float, per_title: int, most: int | None
) -> None:
    with pytest.raises(UsageError):
        ReelPlan(seconds, clip, per_title, most)


def test_a_reel_has_what_can_be_shown_of_what_is_asked_for() -> None:
    assert ReelOptions().modalities == ("visual", "audio")
    assert ReelOptions(only=Filter(modalities=("visual", "transcript"))).modalities == ("visual",)
    with pytest.raises(UsageError, match="a reel of transcript; expected visual or audio among them"):
        ReelOptions(only=Filter(modalities=("transcript",)))
