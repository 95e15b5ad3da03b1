"""Melodies are found by contour whatever their key, tempo and octave; what is no melody finds nothing."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.clients.discovery.contours import Track
from resonance.clients.discovery.melody import MelodyIndex, held, sung
from resonance.clients.errors import UsageError
from tests.clients.discovery.tunes import tune_notes

HOP_S = 0.1


def steps(notes: list[int], steps_a_note: float = 10, key: float = 0.0) -> np.ndarray:
    """A contour of notes of equal length."""
    at = np.arange(round(len(notes) * steps_a_note)) / steps_a_note
    return (np.array(notes, np.float32)[at.astype(int)] + key).astype(np.float32)


@pytest.fixture
def index() -> MelodyIndex:
    tracks = [Track(f"title-{seed}", 0.0, steps(tune_notes(seed))) for seed in range(60)]
    return MelodyIndex(tracks, HOP_S)


@pytest.mark.parametrize("key", [0.0, 3.25, -5.0, 12.0, -19.5])
@pytest.mark.parametrize("tempo", [0.75, 1.0, 4 / 3])
def test_another_key_and_tempo(index: MelodyIndex, key: float, tempo: float) -> None:
    for seed in (3, 17, 41):
        first, second = index.find(steps(tune_notes(seed), 10 / tempo, key), limit=2)
        assert first.media_id == f"title-{seed}"
        assert first.off_semitones < 0.3 < second.off_semitones
        assert first.tempo == pytest.approx(1 / tempo, rel=0.15)
        folded = (first.transposed_semitones + key + 6) % 12 - 6  # where the title lies, seen from the hum
        assert folded == pytest.approx(0, abs=0.26)


def test_where_it_is() -> None:
    """A melody in the middle of ten minutes of others, found at its time, though it starts in mid-piece."""
    others = [steps(tune_notes(seed)) for seed in range(100, 175)]
    wanted = steps(tune_notes(7))
    track = np.concatenate([*others[:40], others[40][:37], wanted, *others[41:]])
    start_s = 40.0 + (40 * 80 + 37) * HOP_S
    (hit,) = MelodyIndex([Track("long", 40.0, track)], HOP_S).find(steps(tune_notes(7), 9, 4.0))
    assert hit.start_s == pytest.approx(start_s, abs=0.5)
    assert hit.end_s == pytest.approx(start_s + 8.0, abs=0.5)


def test_every_offset_of_a_long_track() -> None:
    """Tracks are cut to pieces; no place may fall between two."""
    others = np.concatenate([steps(tune_notes(seed)) for seed in range(100, 110)])
    wanted = steps(tune_notes(7))
    for offset in range(0, 400, 23):
        track = np.concatenate([others[:offset], wanted, others[offset:]])
        (hit,) = MelodyIndex([Track("long", 0.0, track)], HOP_S).find(steps(tune_notes(7), 12, -2.0))
        assert hit.start_s == pytest.approx(offset * HOP_S, abs=0.6), offset
        assert hit.off_semitones < 0.3, offset


def test_no_path_leads_from_a_title_into_the_next() -> None:
    wanted = steps(tune_notes(7))
    halves = [Track("a", 0.0, wanted[:40]), Track("b", 0.0, wanted[40:])]
    whole = Track("whole", 0.0, wanted)
    found = {hit.media_id: hit for hit in MelodyIndex([*halves, whole], HOP_S).find(wanted)}
    assert found["whole"].off_semitones == 0
    assert all(hit.off_semitones > 0.5 for name, hit in found.items() if name != "whole")


def test_one_hit_a_title() -> None:
    twice = np.concatenate([steps(tune_notes(7)), steps(tune_notes(8)), steps(tune_notes(7))])
    hits = MelodyIndex([Track("a", 0.0, twice), Track("b", 0.0, steps(tune_notes(9)))], HOP_S).find(
        steps(tune_notes(7))
    )
    assert [hit.media_id for hit in hits] == ["a", "b"]


def test_silence_is_no_match() -> None:
    silent = np.full(80, np.nan, np.float32)
    index = MelodyIndex([Track("silent", 0.0, silent), Track("tune", 0.0, steps(tune_notes(7)))], HOP_S)
    assert [hit.media_id for hit in index.find(steps(tune_notes(7)))] == ["tune"]


def test_a_hum_longer_than_the_clip() -> None:
    index = MelodyIndex([Track("short", 0.0, steps(tune_notes(7), 6))], HOP_S)
    (hit,) = index.find(steps(tune_notes(7), 10))
    assert hit.off_semitones < 0.3
    assert (hit.start_s, hit.end_s) == pytest.approx(
        (0, 4.8), abs=0.7
    )  # a note that is held may be cut short
    assert (
        MelodyIndex([Track("too short", 0.0, steps(tune_notes(7), 4))], HOP_S).find(steps(tune_notes(7)))
        == []
    )


def test_no_melody() -> None:
    index = MelodyIndex([Track("a", 0.0, steps(tune_notes(7)))], HOP_S)
    with pytest.raises(UsageError, match="9 steps that have a pitch"):
        index.find(np.concatenate([steps(tune_notes(7))[:9], np.full(60, np.nan, np.float32)]))


def test_pauses() -> None:
    nan = np.nan
    line = np.array([nan, 1, nan, nan, nan, nan, 2, nan], np.float32)
    np.testing.assert_array_equal(held(line), np.array([nan, 1, 1, 1, 1, nan, 2, 2], np.float32))
    hum = np.array([nan, *range(10), nan, nan, nan, nan, 5, nan], np.float32)
    np.testing.assert_array_equal(sung(hum), np.array([*range(10), 9, 9, 9, 9, 5], np.float32))
