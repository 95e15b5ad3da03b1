"""A short film rendered here, with sound and captions, for trying things without a file at hand."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 640, 360, 25
SOUND_RATE_HZ = 44_100
KEYFRAME_EVERY_S = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of the film. `cut_s` is the length of its shots; colours are RGB 0..1; levels 0..1."""

    seconds: int
    cut_s: float
    colour: tuple[float, float, float]
    brightness: float
    speed: float
    loudness: float
    beats_per_s: float
    caption: str


#: Calm, doubt, storm, a breath held, and a comeback.
SCENES = (
    Scene(10, 10.0, (0.35, 0.55, 0.85), 0.75, 0.1, 0.15, 0.5, "Nothing moved on the water that morning."),
    Scene(8, 4.0, (0.45, 0.45, 0.60), 0.50, 0.4, 0.30, 1.0, "Then somebody counted the boats again."),
    Scene(10, 0.8, (0.80, 0.25, 0.15), 0.30, 1.0, 0.90, 5.0, "Run! The harbour wall is going!"),
    Scene(6, 6.0, (0.10, 0.10, 0.15), 0.10, 0.0, 0.00, 0.0, ""),
    Scene(10, 2.0, (0.95, 0.80, 0.35), 0.90, 0.6, 0.60, 2.0, "And one by one the lights came home."),
)
DURATION_S = sum(scene.seconds for scene in SCENES)


def render_sample(path: Path) -> tuple[Path, Path]:
    """Render to `path` (.mp4) and captions beside it (.srt); gives both paths. The same every time."""
    with av.open(str(path), "w") as out:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"preset": "veryfast", "crf": "23"} if codec == "libx264" else {}
        picture = out.add_stream(codec, rate=FPS, options=options)
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.codec_context.gop_size = KEYFRAME_EVERY_S * FPS
        sound = out.add_stream("aac", rate=SOUND_RATE_HZ)
        assert isinstance(sound, AudioStream)
        sound.layout = "stereo"
        at_s = 0
        for number, scene in enumerate(SCENES):
            for index in range(scene.seconds * FPS):
                frame = av.VideoFrame.from_ndarray(_picture(scene, number, index / FPS), format="rgb24")
                out.mux(picture.encode(frame))
            block = av.AudioFrame.from_ndarray(_sound(scene, number), format="fltp", layout="stereo")
            block.sample_rate, block.pts = SOUND_RATE_HZ, at_s * SOUND_RATE_HZ
            block.time_base = Fraction(1, SOUND_RATE_HZ)
            out.mux(sound.encode(block))
            at_s += scene.seconds
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    captions = path.with_suffix(".srt")
    captions.write_text(_captions(), encoding="utf-8")
    return path, captions


_Y, _X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def _picture(scene: Scene, number: int, time_s: float) -> NDArray[np.uint8]:
    """Waves and a drifting disc in the scene's colours; each shot looks from elsewhere."""
    shot = int(time_s / scene.cut_s)
    rng = np.random.default_rng((number, shot))
    angle, scale, hue = rng.uniform(0, np.pi), rng.uniform(0.01, 0.06), rng.uniform(-0.15, 0.15, 3)
    phase = time_s * scene.speed * 6
    wave = np.sin((_X * np.cos(angle) + _Y * np.sin(angle)) * scale + phase)
    x, y = rng.uniform(0.2, 0.8, 2) * (WIDTH, HEIGHT) + scene.speed * 60 * np.array(
        [np.sin(phase), np.cos(phase)]
    )
    disc = np.hypot(_X - x, _Y - y) < rng.uniform(30, 90)
    level = scene.brightness * (0.75 + 0.25 * wave) + 0.2 * disc
    colour = np.clip(np.array(scene.colour) + hue, 0, 1)
    rgb: NDArray[np.uint8] = np.clip(level[..., None] * colour * 255 * 1.2, 0, 255).astype(np.uint8)
    return rgb


def _sound(scene: Scene, number: int) -> NDArray[np.float32]:
    """A chord under a beat, float32 [2, samples]."""
    t = np.arange(scene.seconds * SOUND_RATE_HZ) / SOUND_RATE_HZ
    root_hz = 110.0 * 2 ** (number / 4)
    chord = np.sum([np.sin(2 * np.pi * root_hz * k * t) / k for k in (1, 1.5, 2, 2.5)], axis=0)
    mono = 0.15 * chord
    if scene.beats_per_s:
        noise = np.random.default_rng(number).standard_normal(t.size)
        mono = mono + 0.5 * noise * np.exp(-30 * (t % (1 / scene.beats_per_s)))
    mono = (scene.loudness * 0.6 * mono).astype(np.float32)
    return np.stack([mono, np.roll(mono, 300)])


def _captions() -> str:
    lines, at_s = [], 0
    for number, scene in enumerate((s for s in SCENES), start=1):
        if scene.caption:
            lines.append(f"{number}\n{_clock(at_s + 1)} --> {_clock(at_s + 5)}\n{scene.caption}\n")
        at_s += scene.seconds
    return "\n".join(lines)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},000"
