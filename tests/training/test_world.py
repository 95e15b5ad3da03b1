"""The procedural world: the same from the same seed, factors that show where they should, held-out parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resonance.training.world import factors as f
from resonance.training.world import oracle
from resonance.training.world.picture import render_frames
from resonance.training.world.pool import PoolSettings, load_or_render, segment_of, title_of
from resonance.training.world.roundtrip import (
    PICTURE_CODECS,
    SOUND_CODECS,
    frames_through_codec,
    sound_through_codec,
)
from resonance.training.world.sound import SAMPLE_RATE_HZ, SEGMENT_SAMPLES, render_hum, render_sound
from resonance.training.world.words import render_words
from tests.small_disk import disk_of

BASE = f.SegmentFactors(setting=5, subject=9, tension=1, pace=2, melody=(1, -1, 2, 0, -2, 1, 1))
OTHERS = {
    "setting": replace(BASE, setting=10),
    "subject": replace(BASE, subject=20),
    "tension": replace(BASE, tension=4),
    "pace": replace(BASE, pace=4),
    "melody": replace(BASE, melody=(-1, 1, -2, 0, 2, -1, -1)),
}
TIMES_S = np.array([1.0, 3.0, 5.0, 7.0])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def shown(factors: f.SegmentFactors) -> dict[str, object]:
    """Each modality of a segment with one fixed private nuisance."""
    return {
        "picture": render_frames(factors, generator(), times_s=TIMES_S, size_px=64).tobytes(),
        "sound": render_sound(factors, generator()).tobytes(),
        "words": render_words(factors, generator(), complete=True),
    }


@pytest.mark.parametrize("name", OTHERS)
def test_each_factor_shows_in_at_least_two_modalities(name: str) -> None:
    base, other = shown(BASE), shown(OTHERS[name])
    changed = {modality for modality in base if base[modality] != other[modality]}
    expected = {"sound", "words"} if name == "melody" else {"picture", "sound", "words"}
    assert changed == expected


def test_nuisance_is_private_to_a_rendering() -> None:
    a = render_frames(BASE, generator(1), times_s=TIMES_S, size_px=64)
    b = render_frames(BASE, generator(2), times_s=TIMES_S, size_px=64)
    assert np.abs(a.astype(int) - b).mean() > 5


def test_sound_and_picture_are_of_the_contract() -> None:
    pcm = render_sound(BASE, generator())
    assert (pcm.dtype, pcm.shape) == (np.float32, (SEGMENT_SAMPLES,))
    assert 0.05 < np.abs(pcm).max() < 1.0
    assert np.isfinite(render_hum(BASE.melody, generator())).all()
    longest = max(len(render_words(replace(BASE, pace=4), generator(i), complete=True)) for i in range(50))
    assert longest <= 254


def test_titles_of_a_genre_share_nothing_else() -> None:
    titles = [f.draw_title(generator(i), held_out=False) for i in range(600)]
    settings = np.array([t.setting for t in titles])
    genres = np.array([t.genre for t in titles])
    joint = oracle.entropy_bits(np.stack([settings, genres], 1))
    independent = oracle.entropy_bits(settings) + oracle.entropy_bits(genres)
    assert independent - joint < 0.15  # bits; what 600 draws leave by chance


def test_held_out_combinations_and_melodies_are_never_trained_on() -> None:
    seen = [f.draw_title(generator(i), held_out=False) for i in range(800)]
    held = [f.draw_title(generator(i), held_out=True) for i in range(800)]
    assert not {(t.setting, t.subject) for t in seen} & {(t.setting, t.subject) for t in held}
    assert not {t.melody for t in seen} & {t.melody for t in held}
    assert {t.setting for t in seen} == {t.setting for t in held} == set(range(len(f.SETTINGS)))
    assert {t.subject for t in seen} == {t.subject for t in held} == set(range(len(f.SUBJECTS)))


def test_a_held_out_setting_has_one_kind_of_subject_and_a_trained_one_all_others() -> None:
    """So a search among held-out titles does not need the subject's shape and call: docs/tiny.md says so."""
    for held_out, kinds in ((True, 1), (False, f.SUBJECT_KINDS - 1)):
        drawn = [f.draw_title(generator(i), held_out=held_out) for i in range(2000)]
        shapes: dict[int, set[int]] = {}
        for title in drawn:
            shapes.setdefault(title.setting, set()).add(title.subject % f.SUBJECT_KINDS)
        assert {len(found) for found in shapes.values()} == {kinds}
        both = np.array([(title.setting, title.subject) for title in drawn])
        lost = oracle.entropy_bits(both[:, 0]) + oracle.entropy_bits(both[:, 1]) - oracle.entropy_bits(both)
        assert (lost > 2.5) == held_out  # bits


@pytest.mark.parametrize("arc", range(len(f.ARCS)))
def test_arcs_stay_in_range_and_move(arc: int) -> None:
    heights = [f.arc_height(arc, p) for p in np.linspace(0, 1, 21)]
    assert min(heights) >= 0
    assert max(heights) <= 1
    assert max(heights) - min(heights) == pytest.approx(1.0)


def test_a_pool_is_the_same_bytes_from_the_same_settings(tmp_path: Path) -> None:
    settings = PoolSettings(titles=4, segments_per_title=3, seed=3, wild=8)
    one = load_or_render(tmp_path / "one", settings, workers=1)
    two = load_or_render(tmp_path / "two", settings, workers=2)
    other = load_or_render(tmp_path / "other", replace(settings, seed=4), workers=1)
    for name, array in one.arrays.items():
        assert np.array_equal(array, two[name]), name
    assert not np.array_equal(one["frames"], other["frames"])
    segment, position, _ = segment_of(settings, 5)
    assert (position, segment.setting) == (1.0, title_of(settings, 1).setting)
    assert one["factors"][5, 0] == segment.setting
    assert one["frames"].shape[0] == 4 * 3 + 8


@pytest.mark.parametrize("codec", range(len(PICTURE_CODECS)), ids=[c[0] for c in PICTURE_CODECS])
def test_frames_survive_each_codec(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "resonance.training.world.roundtrip.PICTURE_CODECS", PICTURE_CODECS[codec : codec + 1]
    )
    frames = render_frames(BASE, generator(), times_s=TIMES_S, size_px=112)
    back = frames_through_codec(frames, generator())
    assert back.shape == frames.shape
    assert 0 < np.abs(back.astype(int) - frames).mean() < 20


@pytest.mark.parametrize("codec", range(len(SOUND_CODECS)), ids=[c[0] for c in SOUND_CODECS])
def test_sound_survives_each_codec(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resonance.training.world.roundtrip.SOUND_CODECS", SOUND_CODECS[codec : codec + 1])
    pcm = render_sound(BASE, generator())
    back = sound_through_codec(pcm, SAMPLE_RATE_HZ, generator())
    assert back.shape == pcm.shape
    # codecs delay what they code: the levels over time agree, the samples need not
    ours, theirs = (np.sqrt((x.reshape(-1, 4000) ** 2).mean(1)) for x in (pcm, back))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.8


def test_oracle_counts_rivals_and_expects_chance_among_them() -> None:
    rows = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]])
    same = oracle.rivals(rows, (0, 1, 2, 3))
    assert same.tolist() == [1, 1, 0, 0]
    assert oracle.expected_recall(same, 1) == pytest.approx(0.75)
    assert oracle.expected_recall(same, 2) == 1.0
    assert oracle.entropy_bits(np.array([0, 1, 2, 3])) == pytest.approx(2.0)


def test_a_pool_has_its_room_before_it_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a disk that fills up ends a worker by a signal, hours later, and nothing says why."""

    def render(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resonance.training.world.pool.ProcessPoolExecutor", render)
    with pytest.raises(KeyboardInterrupt):
        load_or_render(tmp_path, PoolSettings(titles=8, segments_per_title=2, seed=1), workers=1)
    files = [path.stat() for path in tmp_path.iterdir()]
    assert sum(file.st_size for file in files) > 1 << 20
    assert all(512 * file.st_blocks >= file.st_size for file in files)


def test_a_pool_that_finds_no_room_leaves_none_of_it(tmp_path: Path) -> None:
    with disk_of(1 << 20), pytest.raises(OSError, match="File too large") as full:
        load_or_render(tmp_path, PoolSettings(titles=8, segments_per_title=2, seed=1), workers=1)
    assert full.value.filename == str(tmp_path / "frames.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_written_melody_tells_rows_apart() -> None:
    rows = np.zeros((3, 11), int)
    rows[1:, 4] = 1
    written = np.array([True, True, False])
    by_text = oracle.rivals(rows, oracle.SHOWN_BY_ALL, written[:, None])
    assert by_text.tolist() == [0, 1, 2]  # clip 1 sounds as clip 2 does; the last query writes none
    by_sound = oracle.rivals(rows, oracle.SHOWN_BY_ALL, written[:, None] | written[None])
    assert by_sound.tolist() == [0, 1, 1]
