"""A library of as many small titles as wanted, each of them different: films, sounds, pictures, texts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT, FPS = 128, 96, 5
KEYFRAME_EVERY_S = 2
SOUND_RATE_HZ = 16_000
#: Seconds of a film: from one window to four.
SHORTEST_S, LONGEST_S = 6, 30
_WORDS = (
    "harbour",
    "light",
    "storm",
    "quiet",
    "river",
    "engine",
    "glass",
    "winter",
    "market",
    "bell",
    "road",
)


def make_title(folder: Path, number: int) -> Path:
    """Title `number`, which is always the same; seven of ten are films with sound."""
    chance = np.random.default_rng(number)
    kind = number % 10
    if kind == 7:
        path = folder / f"{number:06d}.wav"
        _write(path, None, _sound(chance, float(chance.integers(SHORTEST_S, LONGEST_S))))
    elif kind == 8:
        path = folder / f"{number:06d}.png"
        Image.fromarray(_pictures(chance, 1)[0]).save(path)
    elif kind == 9:
        path = folder / f"{number:06d}.txt"
        path.write_text(" ".join(chance.choice(_WORDS, size=int(chance.integers(5, 120)))) + f" {number}\n")
    else:
        path = folder / f"{number:06d}.{('mp4', 'mkv')[number % 2]}"
        duration_s = float(chance.integers(SHORTEST_S, LONGEST_S))
        _write(path, _pictures(chance, int(duration_s * FPS)), _sound(chance, duration_s))
    return path


def _pictures(chance: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """A patch that moves over a slope of colour, uint8 [count, HEIGHT, WIDTH, 3]."""
    slope = np.linspace(0, 1, WIDTH)[None, :, None] * chance.integers(60, 200, 3)
    still = np.clip(slope + chance.integers(0, 60, (HEIGHT, 1, 3)), 0, 255).astype(np.uint8)
    pictures = np.repeat(still[None], count, axis=0)  # (count, HEIGHT, WIDTH, 3)
    speed, colour = chance.integers(1, 9, 2), chance.integers(0, 256, 3)
    for at in range(count):
        x, y = (at * speed) % (WIDTH - 24, HEIGHT - 24)
        pictures[at, y : y + 24, x : x + 24] = colour
    return pictures


def _sound(chance: np.random.Generator, duration_s: float) -> NDArray[np.float32]:
    """A tone that swells over noise, float32 [samples]."""
    t = np.arange(int(duration_s * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    tone = np.sin(2 * np.pi * chance.uniform(120, 2000) * t) * (
        0.55 + 0.45 * np.sin(t * chance.uniform(0.5, 4))
    )
    return (0.2 * tone + 0.02 * chance.normal(size=t.size)).astype(np.float32)


def _write(path: Path, pictures: NDArray[np.uint8] | None, sound: NDArray[np.float32]) -> None:
    with av.open(str(path), "w") as file:
        if pictures is not None:
            video = file.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30"})
            assert isinstance(video, VideoStream)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.gop_size = KEYFRAME_EVERY_S * FPS
        audio = file.add_stream("aac" if pictures is not None else "pcm_s16le", rate=SOUND_RATE_HZ)
        assert isinstance(audio, AudioStream)
        audio.layout = "mono"
        if pictures is not None:
            for picture in pictures:
                file.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(video.encode())
        for at in range(0, sound.size, 1024):
            samples = (sound[None, at : at + 1024] * 32767).astype(np.int16)  # (1, <=1024)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, at, Fraction(1, SOUND_RATE_HZ)
            file.mux(audio.encode(frame))
        file.mux(audio.encode())
