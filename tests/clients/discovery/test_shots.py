"""Boundaries of shots in drawn sequences whose cuts are known."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import pytest

from resonance.clients.discovery.shots import FLASH_S, find_shots

FPS = 25
Pictures = list[np.ndarray]


def shot(seed: int, frames: int, *, pan: float = 0.0, noise: float = 0.0) -> Pictures:
    """Pictures uint8 RGB [90, 160, 3] of a smooth texture that is panned by `pan` pixels a frame."""
    chance = np.random.default_rng(seed)
    cells = chance.uniform(10, 245, (5, 16, 3))
    wide = np.repeat(np.repeat(cells, 18, axis=0), 40, axis=1)  # (90, 640, 3)
    pictures = []
    for at in range(frames):
        left = round(at * pan) % 480
        picture = wide[:, left : left + 160] + chance.normal(0, noise, (90, 160, 3))
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def timed(pictures: Pictures, times_s: list[float] | None = None) -> Iterator[tuple[float, av.VideoFrame]]:
    for at, picture in enumerate(pictures):
        time_s = times_s[at] if times_s else at / FPS
        yield time_s, av.VideoFrame.from_ndarray(picture, format="rgb24")


def test_boundaries_are_the_first_frames_of_shots() -> None:
    found = find_shots(timed(shot(1, 40) + shot(2, 9) + shot(3, 51)))
    assert found.boundaries_s == pytest.approx((40 / FPS, 49 / FPS))
    assert (found.first_s, found.last_s) == (0.0, pytest.approx(99 / FPS))


def test_times_are_those_of_the_frames_however_far_apart() -> None:
    chance = np.random.default_rng(1)
    times_s = np.cumsum(chance.choice([0.02, 0.05, 0.4], 60)).tolist()
    found = find_shots(timed(shot(1, 30) + shot(2, 30), times_s))
    assert found.boundaries_s == (times_s[30],)


def test_motion_noise_and_fades_are_no_boundaries() -> None:
    fade = [(picture * (0.3 + 0.7 * at / 50)).astype(np.uint8) for at, picture in enumerate(shot(3, 50))]
    for pictures in (shot(1, 80, pan=4.0), shot(2, 80, noise=25.0), fade):
        assert find_shots(timed(pictures)).boundaries_s == ()


@pytest.mark.parametrize("lasts", [1, 3])
def test_a_flash_is_no_boundary_and_a_short_shot_is_one(lasts: int) -> None:
    pictures = shot(1, 60)
    for at in range(20, 20 + lasts):
        pictures[at] = np.clip(pictures[at].astype(int) + 120, 0, 255).astype(np.uint8)
    assert find_shots(timed(pictures)).boundaries_s == ()
    between = round(FLASH_S * FPS) + 2
    inserted = shot(1, 20) + shot(2, between) + shot(1, 20)
    assert find_shots(timed(inserted)).boundaries_s == pytest.approx((20 / FPS, (20 + between) / FPS))


def test_sizes_and_formats_may_change_on_the_way() -> None:
    frames = [frame for _, frame in timed(shot(1, 20) + shot(2, 20))]
    frames[10:30] = [frame.reformat(320, 200, "yuv420p10le") for frame in frames[10:30]]
    found = find_shots((at / FPS, frame) for at, frame in enumerate(frames))
    assert found.boundaries_s == (20 / FPS,)


def test_few_frames_have_no_boundary() -> None:
    for count in (0, 1):
        found = find_shots(timed(shot(1, count)))
        assert found.boundaries_s == ()
        assert found.first_s == (0.0 if count else None)
