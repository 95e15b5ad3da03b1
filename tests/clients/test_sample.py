"""The sample film: it opens, tells its story, and is the same every time."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.sample import DURATION_S, FPS, HEIGHT, SCENES, WIDTH, render_sample
from resonance.clients.sample_sound import SOUND_RATE_HZ

#: In seconds of the whole film: the dark and silent scene, and the others as they come.
BORDERS_S = DURATION_S * np.cumsum([0.0, *(scene.share for scene in SCENES)])
STORM, SILENCE, HOME = 2, 3, 4


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return render_sample(tmp_path_factory.mktemp("sample") / "sample.mp4")


def scene_of(values: np.ndarray, per_s: float, scene: int) -> np.ndarray:
    """The values inside a scene, its borders left out."""
    return values[int((BORDERS_S[scene] + 0.5) * per_s) : int((BORDERS_S[scene + 1] - 0.5) * per_s)]


def test_it_has_pictures_and_sound_of_the_right_length(sample: tuple[Path, Path]) -> None:
    with av.open(str(sample[0])) as film:
        (video,), (audio,) = film.streams.video, film.streams.audio
        assert (video.width, video.height, video.average_rate) == (WIDTH, HEIGHT, FPS)
        assert (audio.rate, audio.layout.nb_channels) == (SOUND_RATE_HZ, 2)
        assert film.duration is not None
        assert film.duration / av.time_base == pytest.approx(DURATION_S, abs=0.1)
        keyframes_s = [float(p.pts * p.time_base) for p in film.demux(video) if p.is_keyframe and p.size]
    assert np.diff(keyframes_s).max() <= 2.05
    assert len(keyframes_s) < 2 * DURATION_S


def test_light_motion_and_cuts_follow_the_story(sample: tuple[Path, Path]) -> None:
    with av.open(str(sample[0])) as film:
        small = np.stack([f.reformat(80, 45, "gray").to_ndarray() for f in film.decode(video=0)])
    assert small.shape[0] == DURATION_S * FPS
    luma = small.mean(axis=(1, 2)) / 255
    light = [scene_of(luma, FPS, scene).mean() for scene in range(len(SCENES))]
    assert light[0] > light[1] > light[STORM] > light[SILENCE]
    assert light[HOME] > 0.4
    change = np.abs(np.diff(small.astype(float), axis=0)).mean(axis=(1, 2))
    moves = [np.median(scene_of(change, FPS, scene)) for scene in range(len(SCENES))]
    assert moves[STORM] == max(moves)
    assert moves[SILENCE] == min(moves)
    storm = scene_of(change, FPS, STORM)
    assert (storm > 4 * np.median(storm)).sum() >= 8  # 14 shots, most of them hard to miss


def test_the_sound_grows_falls_silent_and_comes_back(sample: tuple[Path, Path]) -> None:
    with av.open(str(sample[0])) as film:
        sound = np.concatenate([f.to_ndarray() for f in film.decode(audio=0)], axis=1)
    assert np.abs(sound).max() <= 1.0
    levels = [np.sqrt((scene_of(sound[0], SOUND_RATE_HZ, s) ** 2).mean()) for s in range(len(SCENES))]
    assert levels[0] < levels[1] < levels[STORM]
    assert 20 * np.log10(levels[SILENCE] + 1e-12) < -80
    assert levels[1] < levels[HOME] < levels[STORM]


def test_captions_are_read_and_lie_within_the_film(sample: tuple[Path, Path]) -> None:
    lines = pysubs2.load(str(sample[1]))
    assert len(lines) == sum(len(scene.captions) for scene in SCENES)
    assert "lights came home" in lines[-1].text
    ends_ms = [0]
    for line in lines:
        assert ends_ms[-1] <= line.start < line.end <= DURATION_S * 1000
        ends_ms.append(line.end)


@pytest.mark.parametrize("duration_s", [5.0, 7.3])
def test_any_length_is_the_same_every_time(duration_s: float, tmp_path: Path) -> None:
    first, captions = render_sample(tmp_path / "a.mp4", duration_s)
    second, _ = render_sample(tmp_path / "b.mp4", duration_s)
    assert first.read_bytes() == second.read_bytes()
    with av.open(str(first)) as film:
        assert film.duration is not None
        assert film.duration / av.time_base == pytest.approx(duration_s, abs=0.1)
    assert pysubs2.load(str(captions))[-1].end <= duration_s * 1000


def test_a_length_that_holds_no_story_is_refused(tmp_path: Path) -> None:
    for wrong in (0.0, 4.9, float("nan")):
        with pytest.raises(UsageError, match="at least 5"):
            render_sample(tmp_path / "a.mp4", wrong)
