"""Films with known cuts, flashes and beeps, and what a player makes of a reel of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SOUND_RATE_HZ = 48_000
#: The frame's number stands along the lower edge, in Gray code, of which one bit changes at a time: many at
#: once would be a cut. The flash is a square at the upper left.
BITS, BAR, SQUARE = 12, 0.125, 0.25
BEEP_S, BEEP_HZ, TONE_HZ = 0.08, 2_000.0, 331.0

Picture = NDArray[np.uint8]
Stereo = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Film:
    """What a film shows.

    Attributes:
        shots: seconds of each shot. times_s: of every frame; by default even, at `fps`.
        flashes_s: when the square lights up for 0.1 s, and a beep begins. tone: its loudness, all along.
    """

    shots: tuple[float, ...]
    fps: int = 25
    times_s: tuple[float, ...] | None = None
    flashes_s: tuple[float, ...] = ()
    tone: float = 0.0
    sound: bool = True
    size: tuple[int, int] = (320, 180)
    codec: str = "libx264"
    sound_codec: str = "aac"
    container: str = "mp4"
    gop: int = 250
    rotation_deg: int = 0
    aspect: Fraction = Fraction(1)
    options: tuple[tuple[str, str], ...] = (("preset", "ultrafast"), ("crf", "12"))

    @property
    def seconds(self) -> float:
        return sum(self.shots)

    @property
    def frame_times_s(self) -> tuple[float, ...]:
        return self.times_s or tuple(i / self.fps for i in range(round(self.seconds * self.fps)))

    @property
    def cuts_s(self) -> tuple[float, ...]:
        """Times of the first frames of all shots but the first."""
        ends = np.cumsum(self.shots)[:-1]
        return tuple(min(t for t in self.frame_times_s if t >= end - 1e-9) for end in ends)

    def shot_at(self, time_s: float) -> int:
        return int(np.searchsorted(np.cumsum(self.shots), time_s + 1e-9, side="right"))


SHOTS = (2.0, 3.2, 4.4, 3.4, 4.4, 2.6)  # cuts at 2, 5.2, 9.6, 13, 17.4
VARIABLE = tuple(np.cumsum([0.0, *np.random.default_rng(3).choice([0.02, 0.035, 0.05, 0.11], 360)]).tolist())
FLASHES_S = tuple(np.arange(0.5, 19.6, 0.75).round(3).tolist())
#: Films of 20 s that differ in everything that could put a cut or a sound out of place.
FILMS = {
    "h264 in MP4": Film(SHOTS, flashes_s=FLASHES_S),
    "h264 with B frames": Film(SHOTS, flashes_s=FLASHES_S, options=(("preset", "medium"), ("crf", "14"))),
    "24000/1001 a second": Film(
        SHOTS, flashes_s=FLASHES_S, times_s=tuple(i * 1.001 / 24 for i in range(479))
    ),
    "60 a second": Film(SHOTS, flashes_s=FLASHES_S, fps=60),
    "variable": Film(SHOTS, flashes_s=FLASHES_S, times_s=tuple(t for t in VARIABLE if t < 20)),
    "vp8 in WebM": Film(
        SHOTS,
        flashes_s=FLASHES_S,
        codec="libvpx",
        sound_codec="libopus",
        container="webm",
        options=(("deadline", "realtime"), ("cpu-used", "8"), ("b", "2M")),
    ),
    "mpeg4 in AVI": Film(
        SHOTS,
        flashes_s=FLASHES_S,
        codec="mpeg4",
        sound_codec="pcm_s16le",
        container="avi",
        options=(("b", "3M"),),
        gop=60,
    ),
    "mpeg2 in a transport stream": Film(
        SHOTS,
        flashes_s=FLASHES_S,
        codec="mpeg2video",
        sound_codec="mp2",
        container="mpegts",
        options=(("b", "4M"),),
        gop=12,
    ),
}


def write_film(path: Path, film: Film) -> Path:
    with av.open(str(path), "w", format=film.container) as file:
        video: Any = file.add_stream(film.codec, rate=film.fps)
        video.width, video.height = film.size
        video.pix_fmt = "yuv420p"
        video.gop_size = film.gop
        video.options = dict(film.options)
        video.codec_context.time_base = Fraction(1, 1000) if film.times_s else Fraction(1, film.fps)
        video.codec_context.sample_aspect_ratio = film.aspect
        sound: Any = (
            file.add_stream(film.sound_codec, rate=SOUND_RATE_HZ, layout="stereo") if film.sound else None
        )
        if film.rotation_deg:
            video.set_display_rotation(-film.rotation_deg)
        samples = _sound(film)
        step, put = SOUND_RATE_HZ // 10, 0
        base = video.codec_context.time_base
        for number, time_s in enumerate(film.frame_times_s):
            frame = av.VideoFrame.from_ndarray(picture_of(film, number, time_s), format="rgb24")
            frame.pts, frame.time_base = round(time_s / base), base
            file.mux(video.encode(frame))
            while sound is not None and put < min((time_s + 0.2) * SOUND_RATE_HZ, samples.shape[1]):
                file.mux(sound.encode(_sound_frame(samples[:, put : put + step], put, sound)))
                put += step
        while sound is not None and put < samples.shape[1]:
            file.mux(sound.encode(_sound_frame(samples[:, put : put + step], put, sound)))
            put += step
        file.mux(video.encode(None))
        if sound is not None:
            file.mux(sound.encode(None))
    return path


def picture_of(film: Film, number: int, time_s: float) -> Picture:
    """uint8 RGB [h, w, 3]: a texture and a colour a shot, the number, and the flash where there is one."""
    width, height = film.size
    chance = np.random.default_rng(100 + film.shot_at(time_s))
    cells = chance.uniform(0, 160, (4, 6, 3)) + chance.uniform(-40, 60, 3)
    picture = np.repeat(np.repeat(cells, -(-height // 4), axis=0), -(-width // 6), axis=1)[:height, :width]
    picture = np.clip(picture, 16, 200).astype(np.uint8)
    picture[: round(height * SQUARE), : round(height * SQUARE)] = 16
    if any(flash <= time_s + 1e-9 < flash + 0.1 for flash in film.flashes_s):
        picture[: round(height * SQUARE), : round(height * SQUARE)] = 240
    bar, bit = round(height * BAR), width // BITS
    for place in range(BITS):
        picture[height - bar :, place * bit : (place + 1) * bit] = (
            230 if (number ^ number >> 1) >> place & 1 else 20
        )
    return picture


def number_of(picture: Picture) -> int:
    """The number of a film's frame, from a picture of any size that shows the whole of it."""
    height, width = picture.shape[:2]
    bar, bit = height * BAR, width / BITS
    rows = slice(round(height - bar * 0.7), round(height - bar * 0.3))
    grey = picture[rows].mean(axis=(0, 2))
    means = [grey[round((p + 0.3) * bit) : round((p + 0.7) * bit)].mean() for p in range(BITS)]
    assert all(mean < 90 or mean > 160 for mean in means), f"no number: {np.round(means)}"
    gray = sum(1 << place for place, mean in enumerate(means) if mean > 125)
    number = 0
    while gray:
        number, gray = number ^ gray, gray >> 1
    return number


def is_flash(picture: Picture) -> bool:
    side = round(picture.shape[0] * SQUARE)
    return bool(picture[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4].mean() > 130)


def _sound(film: Film) -> Stereo:
    time_s = np.arange(round(film.seconds * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    samples = film.tone * np.cos(2 * np.pi * TONE_HZ * time_s)
    for flash in film.flashes_s:
        since = time_s - flash
        samples += 0.5 * np.cos(2 * np.pi * BEEP_HZ * since) * ((since >= 0) & (since < BEEP_S))
    return np.repeat(samples[None], 2, axis=0).astype(np.float32)  # (2, n)


def _sound_frame(block: Stereo, first: int, sound: Any) -> av.AudioFrame:
    form = sound.codec_context.format.name
    if form.startswith("s16"):
        block = (block * 32767).astype(np.int16)
    if not form.endswith("p"):
        block = np.ascontiguousarray(block.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=form, layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, first, Fraction(1, SOUND_RATE_HZ)
    return frame


@dataclass(frozen=True, slots=True)
class Played:
    """A reel as a player has it: pictures [(time_s, uint8 RGB)], sound float32 [2, n] from 0 s on."""

    pictures: list[tuple[float, Picture]]
    sound: Stereo
    chapters: list[tuple[float, float, str]]
    packet_times_s: dict[str, list[float]]


def play(path: Path) -> Played:
    """Decode all of a reel; whatever FFmpeg stumbles over is raised."""
    pictures: list[tuple[float, Picture]] = []
    stamps: dict[str, list[float]] = {"video": [], "audio": []}
    with av.open(str(path)) as file:
        chapters = [
            (
                c["start"] * float(c["time_base"] or 0),
                c["end"] * float(c["time_base"] or 0),
                c["metadata"]["title"],
            )
            for c in file.chapters()
        ]
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (audio.rate, audio.layout.name) == (SOUND_RATE_HZ, "stereo")
        seconds = (file.duration or 0) / av.time_base
        heard = np.zeros((2, round((seconds + 1) * SOUND_RATE_HZ)), np.float32)
        end = 0
        for packet in file.demux(video, audio):
            if packet.dts is not None and packet.size:
                stamps[packet.stream.type].append(packet.dts * float(packet.time_base or 0))
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures.append((frame.time, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))
                elif isinstance(frame, av.AudioFrame):
                    block, first = frame.to_ndarray(), round((frame.time or 0.0) * SOUND_RATE_HZ)
                    low = max(-first, 0)
                    heard[:, first + low : first + block.shape[1]] = block[:, low:]
                    end = max(end, first + block.shape[1])
    return Played(pictures, heard[:, :end], chapters, stamps)


def beeps_s(sound: Stereo, over: float = 0.25) -> list[float]:
    """When beeps begin, to about a millisecond: the first sample over `over` after 0.1 s below it."""
    loud = np.flatnonzero(np.abs(sound[0]) > over)
    if not loud.size:
        return []
    starts = [loud[0], *loud[1:][np.diff(loud) > 0.1 * SOUND_RATE_HZ]]
    return [float(s) / SOUND_RATE_HZ for s in starts]


def flashes_s(pictures: Sequence[tuple[float, Picture]]) -> list[float]:
    """Times of the first pictures of flashes."""
    lit = [is_flash(picture) for _, picture in pictures]
    return [
        t for (t, _), now, before in zip(pictures, lit, [False, *lit], strict=False) if now and not before
    ]
