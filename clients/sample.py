"""A short film rendered here, with sound and captions, for trying things without a file at hand.

Boats on a bay: a calm morning, doubt, a storm, a breath held in the dark, and the lights coming home. Cuts,
light, motion, loudness, beats and words all follow that story, so that its arcs are worth looking at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pysubs2
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resonance.clients.errors import UsageError
from resonance.clients.sample_sound import SOUND_RATE_HZ, render_sound

WIDTH, HEIGHT, FPS = 640, 360, 25
DURATION_S = 40.0
SHORTEST_S = 5.0
KEYFRAME_EVERY_S = 2
HORIZON = 200

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of the film: `share` of its length in `shots` shots of equal length.

    Colours are RGB 0 to 255; `wind` 0 to 1 drives waves, boats and the camera; `rain` is streaks a picture
    and `lights` windows lit on the shore. Captions are (share of the scene, text).
    """

    share: float
    shots: int
    zenith: Colour
    horizon: Colour
    sea: Colour
    hills: Colour
    wind: float
    boats: int
    rain: int = 0
    lights: int = 0
    captions: tuple[tuple[float, str], ...] = ()


SCENES = (
    Scene(0.25, 2, (120, 175, 235), (250, 225, 190), (95, 150, 185), (95, 125, 110), wind=0.12, boats=3,
          captions=((0.1, "Nothing moved on the water that morning."),
                    (0.6, "Even the gulls had gone quiet."))),
    Scene(0.20, 4, (95, 110, 140), (175, 170, 165), (70, 95, 110), (60, 75, 75), wind=0.4, boats=4,
          captions=((0.15, "Then somebody counted the boats again."),
                    (0.6, "One was missing."))),
    Scene(0.25, 14, (30, 32, 45), (85, 80, 90), (25, 38, 50), (18, 22, 28), wind=1.0, boats=2, rain=220,
          captions=((0.05, "The harbour wall is going!"),
                    (0.35, "Get the children up the hill, now, all of them!"),
                    (0.7, "Don't look back, just run!"))),
    Scene(0.12, 1, (6, 8, 16), (16, 18, 30), (8, 10, 18), (4, 5, 9), wind=0.05, boats=0),
    Scene(0.18, 5, (105, 70, 120), (255, 190, 105), (150, 105, 95), (70, 50, 60), wind=0.35, boats=6,
          lights=40,
          captions=((0.15, "And one by one the lights came home."),)),
)  # fmt: skip


def render_sample(path: Path, duration_s: float = DURATION_S) -> tuple[Path, Path]:
    """Render to `path` (.mp4) and captions beside it (.srt); gives both paths. The same every time.

    Raises:
        UsageError: shorter than `SHORTEST_S`. OSError: the files cannot be written.
    """
    if not duration_s >= SHORTEST_S:
        raise UsageError(f"a sample of {duration_s} s; expected at least {SHORTEST_S:g} s")
    sound = render_sound(duration_s, [scene.share for scene in SCENES])
    with av.open(str(path), "w") as out:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"preset": "veryfast", "crf": "23"} if codec == "libx264" else {"qscale": "4"}
        video = out.add_stream(codec, rate=FPS, options=options)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.gop_size = KEYFRAME_EVERY_S * FPS
        audio = out.add_stream("aac", rate=SOUND_RATE_HZ, layout="stereo")
        assert isinstance(audio, AudioStream)
        for number, picture in enumerate(_pictures(duration_s)):
            if number % FPS == 0:  # sound a second at a time, so that the two lie side by side
                first = number // FPS * SOUND_RATE_HZ
                out.mux(audio.encode(_sound_frame(sound[:, first : first + SOUND_RATE_HZ], first)))
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    captions = path.with_suffix(".srt")
    captions.write_text(_captions(duration_s), encoding="utf-8")
    return path, captions


def _sound_frame(block: FloatArray, first: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, first, Fraction(1, SOUND_RATE_HZ)
    return frame


def _shot_frames(duration_s: float) -> list[tuple[Scene, int, int]]:
    """(scene, shot's number, frames) of every shot; together `duration_s`."""
    ends, scenes, at = [], [], 0.0
    for scene in SCENES:
        ends += [at + scene.share * (shot + 1) / scene.shots for shot in range(scene.shots)]
        scenes += [scene] * scene.shots
        at += scene.share
    frames = np.rint(np.array([0.0, *ends]) * duration_s * FPS).astype(int)
    return [(scene, i, int(n)) for i, (scene, n) in enumerate(zip(scenes, np.diff(frames), strict=True))]


def _pictures(duration_s: float) -> Iterator[ByteArray]:
    for scene, number, frames in _shot_frames(duration_s):
        shot = _Shot(scene, number)
        for i in range(frames):
            yield shot.picture(i / FPS)


class _Shot:
    """One camera position: what stands still is painted once, wide enough to pan over."""

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene = scene
        self._rng = rng = np.random.default_rng((596, number))
        self._land = _landscape(scene, rng)
        self._pan_px_per_s = float(rng.choice([-1, 1]) * (4 + 90 * scene.wind * rng.random()))
        y, x = np.mgrid[0 : HEIGHT - HORIZON, 0:WIDTH].astype(np.float32)
        near = (y + 4) / (HEIGHT - HORIZON)  # 0 at the horizon, 1 before the camera
        self._phase = x * (0.02 + 0.05 * (1.2 - near)) + 25 / (near + 0.08) + float(rng.uniform(0, 6))
        self._height = (10 + 45 * scene.wind) * near
        deep = np.array(scene.sea, np.float32) * (0.75 + 0.35 * float(rng.random()))
        self._sea = deep + (np.array(scene.horizon, np.float32) - deep) * (0.6 * (1 - near[..., None]) ** 3)
        self._boats = [(*rng.uniform(0, 1, 2), rng.uniform(-1, 1)) for _ in range(scene.boats)]

    def picture(self, time_s: float) -> ByteArray:
        """uint8 RGB [HEIGHT, WIDTH, 3], `time_s` after the shot's start."""
        left = WIDTH // 2 + self._pan_px_per_s * time_s
        left = int(np.clip(left, 0, WIDTH))
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        picture[:HORIZON] = self._land[:, left : left + WIDTH]
        waves = np.sin(self._phase + np.float32(time_s * (1 + 5 * self._scene.wind))) * self._height
        np.clip(self._sea + waves[..., None], 0, 255, out=picture[HORIZON:], casting="unsafe")
        for across, depth, way in self._boats:
            self._draw_boat(picture, across, depth, way, time_s)
        if self._scene.rain:
            self._draw_rain(picture)
        return picture

    def _draw_boat(self, picture: ByteArray, across: float, depth: float, way: float, time_s: float) -> None:
        size = int(14 + 46 * depth)
        wind = self._scene.wind
        x = int((across + 0.08 * (0.3 + wind) * way * time_s) % 1 * (WIDTH + size)) - size
        y = int(HORIZON + depth * 90 + 8 * wind * np.sin(time_s * (1 + 3 * wind) + across * 9))
        rows = np.arange(size)
        sail = np.abs(np.arange(size)[None, :] - size // 2) < rows[:, None] // 2 + 1
        hull = np.zeros((size // 4, size), np.bool_)
        hull[:, size // 8 : -(size // 8)] = True
        for mask, colour, top in ((sail, (245, 240, 230), y - size), (hull, (70, 45, 40), y)):
            _paste(picture, mask, colour, top, x)

    def _draw_rain(self, picture: ByteArray) -> None:
        steps = np.arange(14)
        y = self._rng.integers(0, HEIGHT, self._scene.rain)[:, None] + steps
        x = self._rng.integers(0, WIDTH, self._scene.rain)[:, None] - steps // 3
        picture[y % HEIGHT, x % WIDTH] = (120, 125, 140)


def _paste(picture: ByteArray, mask: NDArray[np.bool_], colour: Colour, top: int, left: int) -> None:
    """Colour the masked pixels, as far as they lie inside the picture."""
    height, width = mask.shape
    y0, y1, x0, x1 = max(top, 0), min(top + height, HEIGHT), max(left, 0), min(left + width, WIDTH)
    if y0 < y1 and x0 < x1:
        picture[y0:y1, x0:x1][mask[y0 - top : y1 - top, x0 - left : x1 - left]] = colour


def _landscape(scene: Scene, rng: np.random.Generator) -> ByteArray:
    """Sky, sun, clouds and hills above the horizon, uint8 [HORIZON, 2 * WIDTH, 3]."""
    y, x = np.mgrid[0:HORIZON, 0 : 2 * WIDTH].astype(np.float32)
    low = (y / HORIZON)[..., None] ** 1.5
    sky = np.array(scene.zenith, np.float32) * (1 - low) + np.array(scene.horizon, np.float32) * low
    bands = [
        np.sin(x * rng.uniform(0.004, 0.03) + y * rng.uniform(-0.1, 0.1) + rng.uniform(0, 6)) for _ in "abcd"
    ]
    sky += (18 * np.maximum(np.sum(bands, axis=0) - 0.8, 0))[..., None]
    sun_x, sun_y = rng.uniform(0.5, 1.5) * WIDTH, rng.uniform(0.3, 0.9) * HORIZON
    glow = np.exp(-np.hypot(x - sun_x, y - sun_y) / 60)[..., None]
    sky += glow * np.array(scene.horizon, np.float32) * 0.8
    for ridge in range(3):
        waves = [
            rng.uniform(0.2, 1) * np.sin(x[0] * rng.uniform(0.003, 0.03) + rng.uniform(0, 6)) for _ in "abc"
        ]
        top = HORIZON - (12 + 16 * (2 - ridge)) - 10 * np.sum(waves, axis=0)
        fog = 0.55 - 0.25 * ridge  # the nearer, the darker
        colour = np.array(scene.hills) * (1 - fog) + np.array(scene.horizon) * fog
        sky[y > top] = colour
    picture: ByteArray = np.clip(sky, 0, 255).astype(np.uint8)
    for _ in range(scene.lights):
        at_y, at_x = int(rng.uniform(HORIZON - 24, HORIZON - 4)), int(rng.uniform(0, 2 * WIDTH - 4))
        picture[at_y : at_y + 3, at_x : at_x + 3] = (255, 235, 150)
    return picture


def _captions(duration_s: float) -> str:
    """The film's captions as SubRip text."""
    captions = pysubs2.SSAFile()
    at = 0.0
    for scene in SCENES:
        places = [place for place, _ in scene.captions] + [0.98]
        for i, (place, text) in enumerate(scene.captions):
            start_s, end_s = ((at + p * scene.share) * duration_s for p in (place, places[i + 1]))
            end_s = min(end_s - 0.1, start_s + 3.5)
            captions.append(pysubs2.SSAEvent(round(start_s * 1000), round(end_s * 1000), text))
        at += scene.share
    return captions.to_string("srt")
