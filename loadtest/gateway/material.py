"""What is sent: short titles, and a loop of 40 s whose pictures and sound tell what time it is.

The loop is five windows of 8 s. Grey rises through each window, so a picture shown one frame late is brighter
by a known step; each window has a base of its own, so it cannot be taken for another; a tone sounds in the
last 40 ms of each, so sound that is late loses its energy to the window after.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resonance.loadtest.films import Film, loop
from resonance.loadtest.gateway import wire
from resonance.v1 import embedding_pb2 as pb

WINDOW_S = 8
LOOP_WINDOWS = 5
LOOP_S = WINDOW_S * LOOP_WINDOWS
#: Grey of 0 to 255: a window rises by this, from a base that is its own.
RISE = 96.0
BASES = (24, 96, 48, 120, 72)
TONE_S = 0.04
TONE_HZ = 1000
TONE_LEVEL = 0.5
HUM_LEVEL = 0.002  # above silence, so that a window without its tone is still heard
FPS = 25
SOUND_RATE_HZ = 48_000
AAC_SAMPLES = 1024
CHUNK_BYTES = 512 * 1024

_X264 = (("preset", "veryfast"), ("crf", "26"))
#: Length in seconds, size, container; as uploads of clips and trailers come.
TITLES = ((16, 320, 240, "mkv"), (20, 640, 360, "mp4"), (24, 640, 360, "mkv"), (30, 320, 240, "mp4"))


def grey(time_s: float) -> float:
    """Brightness of the whole picture at a time of the loop, 0 to 255."""
    window, within_s = divmod(time_s % LOOP_S, WINDOW_S)
    return BASES[int(window)] + RISE * within_s / WINDOW_S


def tone(first: int, count: int, rate_hz: int) -> NDArray[np.float32]:
    """Samples of the loop's sound from sample `first` on, float32 [count]."""
    at = np.arange(first, first + count)
    t = at / rate_hz
    within_s = (at % (WINDOW_S * rate_hz)) / rate_hz
    level = np.where(within_s >= WINDOW_S - TONE_S, TONE_LEVEL, HUM_LEVEL)
    return np.asarray(level * np.sin(2 * np.pi * TONE_HZ * t), np.float32)


@cache
def _texture(width: int, height: int) -> NDArray[np.float32]:
    """Something to look at, of mean 0: float32 [height, width, 3]."""
    small = np.random.default_rng(7).standard_normal((9, 16, 3))
    rows = np.linspace(0, 8.999, height).astype(int)
    columns = np.linspace(0, 15.999, width).astype(int)
    field = small[rows][:, columns] * 8
    return np.asarray(field - field.mean(axis=(0, 1)), np.float32)


def picture(time_s: float, width: int, height: int) -> NDArray[np.uint8]:
    """The loop at a time, uint8 [height, width, 3]."""
    return np.clip(np.rint(_texture(width, height) + grey(time_s)), 0, 255).astype(np.uint8)


def short_titles(folder: Path) -> list[list[bytes]]:
    """Messages of a call for each of `TITLES`; the files are made once and kept in `folder`."""
    calls = []
    for length_s, width, height, container in TITLES:
        film = Film("", "libx264", container, 0, 2.0, _X264, width, height, length_s)
        path = loop(film, folder)
        path = _index_first(path) if container == "mp4" else path
        calls.append(upload_of(path.read_bytes(), path.name))
    return calls


def upload_of(data: bytes, name: str) -> list[bytes]:
    """Messages that send a file."""
    first = wire.start(name, pb.MODE_ENCODED, size_bytes=len(data))
    return [first, *(wire.chunk(at, data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES))]


def _index_first(path: Path) -> Path:
    """The same MP4 as those are made that can be read while they arrive."""
    made = path.with_stem(f"{path.stem}_faststart")
    if not made.exists():
        unfinished = made.with_suffix(".part.mp4")
        with (
            av.open(str(path)) as source,
            av.open(str(unfinished), "w", options={"movflags": "faststart"}) as target,
        ):
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
        unfinished.rename(made)
    return made


@dataclass(slots=True)
class _Pipe:
    """What a muxer writes, taken piece by piece."""

    written: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data


class Broadcast:
    """The loop without an end as MPEG-TS: 640x360 H.264 at 25 frames/s, a keyframe every 2 s, and stereo AAC.

    The loop is encoded once, its sound for long enough that its first frames follow its last; then packets
    are repeated with later times, so nothing is heard or seen where two rounds meet.
    """

    def __init__(self, width: int = 640, height: int = 360, bit_rate: int = 500_000) -> None:
        self._encoded = io.BytesIO()
        with av.open(self._encoded, "w", format="matroska") as out:
            options = {"preset": "veryfast", "bf": "0", "x264-params": "scenecut=0"}
            video = out.add_stream("libx264", rate=FPS, options=options)
            assert isinstance(video, VideoStream)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.bit_rate, video.gop_size = bit_rate, 2 * FPS
            sound = out.add_stream("aac", rate=SOUND_RATE_HZ)
            assert isinstance(sound, AudioStream)
            sound.layout, sound.bit_rate = "stereo", 96_000
            for second in range(LOOP_S):
                for i in range(FPS):
                    shown = av.VideoFrame.from_ndarray(
                        picture(second + i / FPS, width, height), format="rgb24"
                    )
                    out.mux(video.encode(shown))
            out.mux(video.encode(None))
            for second in range(2 * LOOP_S + 1):
                mono = tone(second * SOUND_RATE_HZ, SOUND_RATE_HZ, SOUND_RATE_HZ)
                heard = av.AudioFrame.from_ndarray(np.stack([mono, mono]), format="fltp", layout="stereo")
                heard.sample_rate, heard.pts = SOUND_RATE_HZ, second * SOUND_RATE_HZ
                heard.time_base = Fraction(1, SOUND_RATE_HZ)
                out.mux(sound.encode(heard))
            out.mux(sound.encode(None))

    def pieces(self, piece_s: float, rounds: int) -> Iterator[tuple[float, bytes]]:
        """The stream in pieces of `piece_s` of media: where each ends, in seconds, and its bytes."""
        pipe = _Pipe()
        self._encoded.seek(0)
        with av.open(self._encoded, "r") as source:
            target = av.open(pipe, "w", format="mpegts", options={"flush_packets": "1"})
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            packets = self._loop(source)
            end_s, count = piece_s, 1
            for number in range(rounds):
                for at, index, packet in packets:
                    time_s = number * LOOP_S + float(at)
                    while time_s >= end_s - 1e-9:
                        yield end_s, pipe.take()
                        count += 1
                        end_s = count * piece_s
                    copy = av.Packet(bytes(packet))
                    copy.time_base = Fraction(1, 90_000)
                    copy.pts = copy.dts = round((number * LOOP_S + at) * 90_000)
                    copy.duration = round(Fraction(1, FPS) * 90_000) if index == 0 else 1920
                    copy.is_keyframe = packet.is_keyframe
                    copy.stream = streams[index]
                    target.mux(copy)
            target.close()
            yield rounds * LOOP_S, pipe.take()

    @staticmethod
    def _loop(source: av.container.InputContainer) -> list[tuple[Fraction, int, av.Packet]]:
        """Packets of one round with their exact times: of the sound those after its first round."""
        found: list[tuple[Fraction, int, av.Packet]] = []
        numbers = [0, 0]
        for packet in source.demux():
            if packet.dts is None:
                continue
            index, number = packet.stream_index, numbers[packet.stream_index]
            numbers[index] += 1
            if index == 0:
                found.append((Fraction(number, FPS), 0, packet))
            else:
                # the encoder's first packet lies before the sound: packet n begins at sample (n - 1) x 1024
                time = Fraction((number - 1) * AAC_SAMPLES, SOUND_RATE_HZ) - LOOP_S
                if 0 <= time < LOOP_S:
                    found.append((time, 1, packet))
        return sorted(found, key=lambda one: (one[0], one[1]))


@dataclass(frozen=True, slots=True)
class RawFeed:
    """The loop without an end as MODE_FRAMES: pictures and mono s16le, in the order they happen."""

    fps: int = 4
    width: int = 160
    height: int = 90
    rate_hz: int = 16_000
    stretch_s: float = 0.5
    _pictures: list[bytes] = field(default_factory=list, init=False)
    _sounds: list[bytes] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        step_s = 1 / self.fps
        self._pictures.extend(
            picture(i * step_s, self.width, self.height).tobytes() for i in range(LOOP_S * self.fps)
        )
        samples = round(self.stretch_s * self.rate_hz)
        for first in range(0, LOOP_S * self.rate_hz, samples):
            heard = np.rint(tone(first, samples, self.rate_hz) * 32767).astype("<i2")
            self._sounds.append(heard.tobytes())

    def messages(self, length_s: float) -> Iterator[tuple[float, bytes]]:
        """When each message is there to be sent, and the message; in order.

        A picture is there when it is shown, a stretch of sound once it was heard.
        """
        frames, stretches = 0, 0
        end_s = length_s + 1e-9
        while True:
            frame_s, heard_s = frames / self.fps, (stretches + 1) * self.stretch_s
            if min(frame_s, heard_s) > end_s:
                return
            if frame_s <= heard_s:
                rgb = self._pictures[frames % len(self._pictures)]
                yield frame_s, wire.frame(frame_s, self.width, self.height, rgb)
                frames += 1
            else:
                data = self._sounds[stretches % len(self._sounds)]
                yield heard_s, wire.sound(stretches * self.stretch_s, self.rate_hz, data)
                stretches += 1
