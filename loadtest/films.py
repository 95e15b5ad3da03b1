"""Long test films, made once and kept: a procedural minute is encoded and its packets are repeated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 1280, 720, 25
SOUND_RATE_HZ = 48_000
MINUTE_S = 60
SCENE_S = 6


@dataclass(frozen=True, slots=True)
class Film:
    """What a film is made of. `keyframe_every_s` None leaves only the first frame a keyframe.

    `loop_s` seconds are rendered and encoded, then repeated to `minutes`. `grain` is the standard deviation
    of noise over the pictures, in levels of 255: without it nearly nothing is left to encode between
    keyframes. `bit_rate` in bits a second; 0 leaves it to `options`.
    """

    name: str
    codec: str
    container: str
    minutes: int
    keyframe_every_s: float | None
    options: tuple[tuple[str, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    loop_s: int = MINUTE_S
    grain: float = 0.0
    bit_rate: int = 0

    @property
    def duration_s(self) -> int:
        """Length in seconds."""
        return self.minutes * MINUTE_S


_X264 = (("preset", "veryfast"), ("crf", "26"), ("x264-params", "scenecut=0"))
H264_2S = Film("h264_720p_10min_key2s", "libx264", "mp4", 10, 2.0, _X264)
H264_10S = Film("h264_720p_10min_key10s", "libx264", "mp4", 10, 10.0, _X264)
VP9_RARE = Film(
    "vp9_720p_10min_key60s",
    "libvpx-vp9",
    "webm",
    10,
    None,
    (("deadline", "realtime"), ("cpu-used", "8"), ("row-mt", "1"), ("b", "2M")),
)
H264_2H = Film("h264_720p_120min_key2s", "libx264", "mp4", 120, 2.0, _X264)

#: Films of the sizes and bit rates that streaming services use, half a minute of them encoded.
LOOP_S = 30
GRAIN = 4.0
_STREAMED = (("preset", "veryfast"), ("x264-params", "scenecut=0"))
_HEVC = (("preset", "ultrafast"), ("x265-params", "scenecut=0:open-gop=0:log-level=error"))
_VP9 = (("deadline", "realtime"), ("cpu-used", "8"), ("row-mt", "1"))
_AV1 = (("preset", "11"),)


def streamed(
    codec: str = "h264",
    height: int = HEIGHT,
    keyframe_every_s: float | None = 2.0,
    minutes: int = 2,
) -> Film:
    """A film as it is streamed: of `codec` h264, hevc, vp9 or av1, 16:9, with grain.

    Raises:
        KeyError: no bit rate stands here for that codec and height.
    """
    encoder, container, options = {
        "h264": ("libx264", "mp4", _STREAMED),
        "hevc": ("libx265", "mp4", _HEVC),
        "vp9": ("libvpx-vp9", "webm", _VP9),
        "av1": ("libsvtav1", "mp4", _AV1),
    }[codec]
    kbit_per_s = STREAMED_KBIT_PER_S[codec, height]
    spacing = f"{keyframe_every_s:g}s" if keyframe_every_s else f"{LOOP_S}s"
    return Film(
        name=f"{codec}_{height}p_{minutes}min_key{spacing}_streamed",
        codec=encoder,
        container=container,
        minutes=minutes,
        keyframe_every_s=keyframe_every_s,
        options=options,
        width=(height * 16 // 9 + 1) // 2 * 2,
        height=height,
        loop_s=LOOP_S,
        grain=GRAIN,
        bit_rate=kbit_per_s * 1000,
    )


STREAMED_KBIT_PER_S = {
    ("h264", 180): 250,
    ("h264", 240): 400,
    ("h264", 720): 3000,
    ("h264", 1080): 6000,
    ("h264", 2160): 16000,
    ("hevc", 720): 2000,
    ("vp9", 720): 2000,
    ("av1", 720): 1500,
}


def film(film: Film, folder: Path) -> Path:
    """The file of `film` in `folder`, made where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{film.name}.{film.container}"
    if not path.exists():
        once = loop(film, folder)
        unfinished = path.with_suffix(".part." + film.container)
        _repeat(once, unfinished, film.duration_s // film.loop_s, film.loop_s)
        unfinished.rename(path)
    return path


def loop(film: Film, folder: Path) -> Path:
    """The file of the `loop_s` seconds that `film` repeats, made where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = f"{film.keyframe_every_s:g}" if film.keyframe_every_s else "first"
    length = "minute" if film.loop_s == MINUTE_S else f"{film.loop_s}s"
    size = "" if (film.width, film.height) == (WIDTH, HEIGHT) else f"_{film.width}x{film.height}"
    look = f"_grain{film.grain:g}" if film.grain else ""
    rate = f"_{film.bit_rate // 1000}k" if film.bit_rate else ""
    path = folder / f"{length}_{film.codec}{size}_key{keys}{look}{rate}.{film.container}"
    if path.exists():
        return path
    unfinished = path.with_suffix(".part." + film.container)
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr by itself; 1 leaves errors
    with av.open(str(unfinished), "w") as out:
        picture = out.add_stream(film.codec, rate=FPS, options=dict(film.options))
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = film.width, film.height, "yuv420p"
        picture.gop_size = round((film.keyframe_every_s or film.loop_s) * FPS)
        picture.codec_context.thread_count = 2
        if film.bit_rate:
            picture.bit_rate = film.bit_rate
        sound = out.add_stream("libopus" if film.container == "webm" else "aac", rate=SOUND_RATE_HZ)
        assert isinstance(sound, AudioStream)
        sound.layout = "stereo"
        for second in range(film.loop_s):
            for i in range(FPS):
                shown = _picture(second * FPS + i, film.width, film.height)
                if film.grain:
                    _add_grain(shown, film.grain, second * FPS + i)
                out.mux(picture.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
            block = av.AudioFrame.from_ndarray(_sound(second), format="fltp", layout="stereo")
            block.sample_rate, block.pts = SOUND_RATE_HZ, second * SOUND_RATE_HZ
            block.time_base = Fraction(1, SOUND_RATE_HZ)
            out.mux(sound.encode(block))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    _ordinary_priority()
    unfinished.rename(path)
    return path


def _ordinary_priority() -> None:
    """SVT-AV1 makes its caller a real-time thread where it runs as root; what is measured next would gain."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _repeat(once: Path, path: Path, times: int, loop_s: int) -> None:
    """Write the packets of `once` `times` over, each round `loop_s` later."""
    with av.open(str(path), "w") as out:
        with av.open(str(once)) as source:
            streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        last_dts = dict.fromkeys(streams, -(1 << 62))
        for round_ in range(times):
            with av.open(str(once)) as source:
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    shift = round(round_ * loop_s / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    if packet.dts <= last_dts[packet.stream_index]:
                        continue  # an encoder's priming and padding overlap where two rounds meet
                    last_dts[packet.stream_index] = packet.dts
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)


_TEXTURES: dict[tuple[int, int, int], NDArray[np.uint8]] = {}


def _texture(scene: int, width: int, height: int) -> NDArray[np.uint8]:
    """A wide coloured cloud field for one scene, [height, 2 * width, 3]; panned over by `_picture`."""
    key = (scene, width, height)
    if key not in _TEXTURES:
        _TEXTURES.clear()  # one scene at a time
        rng = np.random.default_rng(scene)
        field = np.zeros((height, 2 * width, 3))
        for cells in (4, 16, 64):
            small = rng.random((cells, 2 * cells, 3))
            rows = np.linspace(0, cells - 1, height).astype(int)
            columns = np.linspace(0, 2 * cells - 1, 2 * width).astype(int)
            field += small[rows][:, columns] / cells**0.5
        field *= 235 / field.max()
        _TEXTURES[key] = field.astype(np.uint8)
    return _TEXTURES[key]


def _picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """Frame `index`: a slow pan over the scene's texture with a square that crosses it."""
    scene, within = divmod(index, SCENE_S * FPS)
    left = within * 3 % width
    picture = _texture(scene, width, height)[:, left : left + width].copy()
    side = height * 2 // 9
    x, y = (within * 11) % (width - side), height // 6 + (within * 5) % (height - height * 7 // 18)
    picture[y : y + side, x : x + side] = (240, 240 - scene * 20 % 200, 40)
    return picture


#: Of the field that noise is cut from, beyond the picture: each picture's cut lies elsewhere.
NOISE_MARGIN = 64


@cache
def _noise(height: int, width: int, grain: float) -> NDArray[np.uint8]:
    """Noise of one channel around 3 * `grain`, uint8 [height + margin, width + margin]."""
    rng = np.random.default_rng(29)
    field = rng.standard_normal((height + NOISE_MARGIN, width + NOISE_MARGIN), np.float32)
    return np.asarray(np.rint(np.clip(field, -3, 3) * grain + 3 * grain), np.uint8)


def _add_grain(picture: NDArray[np.uint8], grain: float, index: int) -> None:
    """Noise over `picture` [height, width, 3] in place, the same for the three colours."""
    height, width = picture.shape[:2]
    top, left = np.random.default_rng(index).integers(0, NOISE_MARGIN, 2)
    most = round(3 * grain)
    np.clip(picture, most, 255 - most, out=picture)
    picture += _noise(height, width, grain)[top : top + height, left : left + width, None]
    picture -= np.uint8(most)


def _sound(second: int) -> NDArray[np.float32]:
    """One second of stereo: a chord that changes every four seconds and a beat; float32 [2, rate]."""
    t = np.arange(SOUND_RATE_HZ) / SOUND_RATE_HZ
    root_hz = 110 * 2 ** ((second // 4) % 12 / 12)
    chord = sum(np.sin(2 * np.pi * root_hz * k * t) / k for k in (1, 1.5, 2, 3))
    beat = np.random.default_rng(second).standard_normal(SOUND_RATE_HZ) * np.exp(-(t % 0.5) * 40)
    mono = (0.1 * chord + 0.15 * beat).astype(np.float32)
    return np.stack([mono, 0.8 * mono])
