"""Long test films, made once and kept: a procedural minute is encoded and its packets are repeated."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
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
    """What a film is made of. `keyframe_every_s` None leaves only the first frame a keyframe."""

    name: str
    codec: str
    container: str
    minutes: int
    keyframe_every_s: float | None
    options: tuple[tuple[str, str], ...] = ()

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


def film(film: Film, folder: Path) -> Path:
    """The file of `film` in `folder`, made where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{film.name}.{film.container}"
    if not path.exists():
        minute = _minute(film, folder)
        unfinished = path.with_suffix(".part." + film.container)
        _repeat(minute, unfinished, film.minutes)
        unfinished.rename(path)
    return path


def _minute(film: Film, folder: Path) -> Path:
    keys = f"{film.keyframe_every_s:g}" if film.keyframe_every_s else "first"
    path = folder / f"minute_{film.codec}_key{keys}.{film.container}"
    if path.exists():
        return path
    unfinished = path.with_suffix(".part." + film.container)
    with av.open(str(unfinished), "w") as out:
        picture = out.add_stream(film.codec, rate=FPS, options=dict(film.options))
        assert isinstance(picture, VideoStream)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.gop_size = round(film.keyframe_every_s * FPS) if film.keyframe_every_s else MINUTE_S * FPS
        picture.codec_context.thread_count = 2
        sound = out.add_stream("libopus" if film.container == "webm" else "aac", rate=SOUND_RATE_HZ)
        assert isinstance(sound, AudioStream)
        sound.layout = "stereo"
        for second in range(MINUTE_S):
            for i in range(FPS):
                frame = av.VideoFrame.from_ndarray(_picture(second * FPS + i), format="rgb24")
                out.mux(picture.encode(frame))
            block = av.AudioFrame.from_ndarray(_sound(second), format="fltp", layout="stereo")
            block.sample_rate, block.pts = SOUND_RATE_HZ, second * SOUND_RATE_HZ
            block.time_base = Fraction(1, SOUND_RATE_HZ)
            out.mux(sound.encode(block))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    unfinished.rename(path)
    return path


def _repeat(minute: Path, path: Path, times: int) -> None:
    """Write the packets of `minute` `times` over, each round a minute later."""
    with av.open(str(path), "w") as out:
        with av.open(str(minute)) as source:
            streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        last_dts = dict.fromkeys(streams, -(1 << 62))
        for round_ in range(times):
            with av.open(str(minute)) as source:
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None or packet.time_base is None:
                        continue
                    shift = round(round_ * MINUTE_S / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    if packet.dts <= last_dts[packet.stream_index]:
                        continue  # an encoder's priming and padding overlap where two rounds meet
                    last_dts[packet.stream_index] = packet.dts
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)


_TEXTURES: dict[int, NDArray[np.uint8]] = {}


def _texture(scene: int) -> NDArray[np.uint8]:
    """A wide coloured cloud field for one scene, [HEIGHT, 2 * WIDTH, 3]; panned over by `_picture`."""
    if scene not in _TEXTURES:
        _TEXTURES.clear()  # one scene at a time
        rng = np.random.default_rng(scene)
        field = np.zeros((HEIGHT, 2 * WIDTH, 3))
        for cells in (4, 16, 64):
            small = rng.random((cells, 2 * cells, 3))
            rows = np.linspace(0, cells - 1, HEIGHT).astype(int)
            columns = np.linspace(0, 2 * cells - 1, 2 * WIDTH).astype(int)
            field += small[rows][:, columns] / cells**0.5
        field *= 235 / field.max()
        _TEXTURES[scene] = field.astype(np.uint8)
    return _TEXTURES[scene]


def _picture(index: int) -> NDArray[np.uint8]:
    """Frame `index`: a slow pan over the scene's texture with a square that crosses it."""
    scene, within = divmod(index, SCENE_S * FPS)
    left = within * 3
    picture = _texture(scene)[:, left : left + WIDTH].copy()
    x, y = (within * 11) % (WIDTH - 160), 120 + (within * 5) % (HEIGHT - 280)
    picture[y : y + 160, x : x + 160] = (240, 240 - scene * 20 % 200, 40)
    return picture


def _sound(second: int) -> NDArray[np.float32]:
    """One second of stereo: a chord that changes every four seconds and a beat; float32 [2, rate]."""
    t = np.arange(SOUND_RATE_HZ) / SOUND_RATE_HZ
    root_hz = 110 * 2 ** ((second // 4) % 12 / 12)
    chord = sum(np.sin(2 * np.pi * root_hz * k * t) / k for k in (1, 1.5, 2, 3))
    beat = np.random.default_rng(second).standard_normal(SOUND_RATE_HZ) * np.exp(-(t % 0.5) * 40)
    mono = (0.1 * chord + 0.15 * beat).astype(np.float32)
    return np.stack([mono, 0.8 * mono])
