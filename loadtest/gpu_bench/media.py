"""Films and their reading, with PyAV and numpy alone: worker processes import this and not torch.

The steps are the client's and the server's (packets' flags and times, keyframes each alone in a flushed
decoder, uint8 RGB 224 x 224, mono 16 kHz), without their handling of everything that can be wrong.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np

from resonance.clients.media.types import Clip
from resonance.loadtest import films
from resonance.loadtest.films import Film
from resonance.serving.keyframes.containers import keyframe_file

T = TypeVar("T")
SEGMENT_S = 8
FRAME_PX = 224
RATE_HZ = 16_000
KEYFRAMES, UNIFORM = 4, 16  # frames a segment
_X264 = (("preset", "veryfast"), ("crf", "26"), ("x264-params", "scenecut=0"))

#: As services stream it, which the bars are judged on: 1080p H.264, 6 Mbit/s, grain, every 2 s a keyframe of
#: a quarter to two fifths of a megabyte. Two scenes of it are encoded, or making it would take minutes.
FILM = replace(films.streamed("h264", 1080), name="h264_1080p_2min_key2s_streamed_12s", loop_s=12)
#: Without grain: an eighth of the bits, and keyframes that a decoder is soon done with.
EASY_FILM = Film("h264_1080p_2min_key2s_easy", "libx264", "mp4", 2, 2.0, _X264, 1920, 1080, 4)
QUICK_FILM = Film("h264_180p_1min_key2s", "libx264", "mp4", 1, 2.0, _X264, 320, 180, 6)
#: What rows call them.
LABELS = {FILM: "1080p H.264, 6 Mbit/s", EASY_FILM: "1080p H.264, easy", QUICK_FILM: "180p H.264"}
#: A codec each, without grain; a few seconds of it are decoded over and over.
_CODEC_OPTIONS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("h264", "libx264", "mp4", _X264),
    ("hevc", "libx265", "mp4", (("preset", "ultrafast"), ("x265-params", "log-level=error"))),
    ("vp9", "libvpx-vp9", "webm", (("deadline", "realtime"), ("cpu-used", "8"), ("b", "4M"))),
    ("mpeg4", "mpeg4", "mp4", (("b", "8M"),)),
    ("av1", "libsvtav1", "mp4", (("preset", "12"), ("svtav1-params", "lp=2"))),
)
CODECS = (
    replace(FILM, name="h264 streamed", loop_s=4),
    *(
        Film(name, encoder, container, 1, 2.0, options, 1920, 1080, 4)
        for name, encoder, container, options in _CODEC_OPTIONS
    ),
)


@dataclass(slots=True)
class Stretch:
    """Segments read in one go.

    Attributes:
        frames: uint8 RGB [S, T, 224, 224, 3]; pcm: float32 [S, 128000].
        files: where keyframes were not decoded, S * T files of one frame each, and `frames` is empty.
        seconds: of this process, by stage: demux, decode, scale, sound.
        decoded: frames that were decoded.
    """

    frames: np.ndarray
    pcm: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    decoded: int = 0
    files: list[bytes] = field(default_factory=list)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time inside to `seconds[stage]`."""
    started = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started


def read_stretch(path: str, first: int, count: int, sampling: str) -> Stretch:
    """Segments `first` to `first + count` of the film at `path`, ``keyframes`` or ``uniform``.

    With ``encoded`` keyframes are chosen and not decoded: each becomes a file, as for the server's DALI.

    Raises:
        ValueError: a segment has no frame.
    """
    per_segment = UNIFORM if sampling == "uniform" else KEYFRAMES
    seconds: dict[str, float] = {}
    start_s, end_s = float(first * SEGMENT_S), float((first + count) * SEGMENT_S)
    pictures: list[tuple[float, Any]] = []  # time and bytes of a keyframe, or a scaled frame
    sounds = _Sound(start_s, count, seconds)
    decoded = 0
    with av.open(path) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        video.codec_context.thread_count = 1
        step_s = SEGMENT_S / per_segment
        due_s = start_s + step_s / 2
        container.seek(round(start_s / float(video.time_base or 1)), stream=video)  # the keyframe before
        packets = container.demux(video, audio)
        while True:
            with timed(seconds, "demux"):
                packet = next(packets, None)
            if packet is None:
                break
            if packet.pts is None or packet.time_base is None:
                continue
            at_s = float(packet.pts * packet.time_base)
            if packet.stream.type == "audio":
                sounds.put(packet, at_s)
                continue
            if packet.dts is not None and float(packet.dts * packet.time_base) >= end_s + 0.5:
                break
            if sampling != "uniform":
                if packet.is_keyframe and start_s <= at_s < end_s:
                    pictures.append((at_s, bytes(packet)))
                continue
            with timed(seconds, "decode"):
                frames: list[Any] = packet.decode()
            decoded += len(frames)
            for frame in frames:
                if frame.time is not None and due_s <= frame.time < end_s:
                    with timed(seconds, "scale"):
                        pictures.append((frame.time, to_rgb(frame)))
                    due_s += step_s
        if sampling == "encoded":
            with timed(seconds, "demux"):
                files = _files(video.codec_context, choose_keyframes(pictures, start_s, count))
            return Stretch(np.zeros(0, np.uint8), sounds.segments(), seconds, len(files), files)
        if sampling == "keyframes":
            chosen, decoded = choose_keyframes(pictures, start_s, count), 0
            clips = [decode_alone(video, [data for _, data in clip], seconds) for clip in chosen]
            decoded = sum(len(clip) for clip in clips)
        else:
            clips = [
                [p for t, p in pictures if start_s + i * SEGMENT_S <= t < start_s + (i + 1) * SEGMENT_S]
                for i in range(count)
            ]
    return Stretch(_pack(clips, per_segment), sounds.segments(), seconds, decoded)


def choose_keyframes(
    keyframes: list[tuple[float, Any]], start_s: float, count: int
) -> list[list[tuple[float, Any]]]:
    """Of each segment the keyframes nearest to the centres of its quarters, each once, in order."""
    clips = []
    for i in range(count):
        begin = start_s + i * SEGMENT_S
        own = [k for k in keyframes if begin <= k[0] < begin + SEGMENT_S]
        centres = [begin + (j + 0.5) * SEGMENT_S / KEYFRAMES for j in range(KEYFRAMES)]
        nearest = {min(own, key=lambda k, c=c: abs(k[0] - c))[0] for c in centres} if own else set()  # type: ignore[misc]
        clips.append([k for k in own if k[0] in nearest])
    return clips


def clip_of(codec: Any) -> Clip:
    """A clip of that stream, without packets."""
    return Clip(
        codec.codec.canonical_name,
        codec.extradata or b"",
        codec.width,
        codec.height,
        rotation_deg=0,
        sample_aspect=(1, 1),
        packets=(),
        frame_bucket=1,
        pixel_format=codec.pix_fmt or "",
    )


def _files(codec: Any, clips: list[list[tuple[float, Any]]]) -> list[bytes]:
    """`KEYFRAMES` files a clip; one with fewer frames repeats its last."""
    clip = clip_of(codec)
    return [
        keyframe_file(clip, data)
        for packets in _filled([[data for _, data in c] for c in clips], KEYFRAMES)
        for data in packets
    ]


def decode_alone(video: Any, packets: list[bytes], seconds: dict[str, float]) -> list[np.ndarray]:
    """The first frame of each packet, uint8 RGB [224, 224, 3]; the decoder is flushed between them."""
    context: Any = av.CodecContext.create(video.codec_context.name, "r")
    context.thread_count = 1
    context.extradata = video.codec_context.extradata
    pictures = []
    for data in packets:
        with timed(seconds, "decode"):
            frames = context.decode(av.Packet(data)) or context.decode(None)
            context.flush_buffers()
        if frames:
            with timed(seconds, "scale"):
                pictures.append(to_rgb(frames[0]))
    return pictures


def first_frame(codec: str, extradata: bytes | None, data: bytes) -> Any:
    """The first frame of one packet, by a decoder of its own with one thread.

    Raises:
        IndexError: there is none.
    """
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_count, context.extradata = 1, extradata
    return (context.decode(av.Packet(data)) or context.decode(None))[0]


def to_rgb(frame: Any) -> np.ndarray:
    """uint8 RGB [224, 224, 3], the whole picture stretched."""
    scaled = frame.reformat(width=FRAME_PX, height=FRAME_PX, format="rgb24", interpolation="BILINEAR")
    return np.asarray(scaled.to_ndarray())


def _pack(clips: list[list[np.ndarray]], per_segment: int) -> np.ndarray:
    """[S, T, 224, 224, 3]; a segment with fewer frames repeats its last."""
    return np.stack([np.stack(c) for c in _filled(clips, per_segment)])


def _filled(clips: list[list[T]], per_segment: int) -> list[list[T]]:
    """Clips of `per_segment` each; one with fewer repeats its last."""
    if not all(clips):
        raise ValueError("a segment has no frame; its film has too few keyframes for this bench")
    return [[*c, *[c[-1]] * (per_segment - len(c))][:per_segment] for c in clips]


class _Sound:
    """Decodes, resamples and places the sound of a stretch."""

    def __init__(self, start_s: float, count: int, seconds: dict[str, float]) -> None:
        self._start_s, self._count, self._seconds = start_s, count, seconds
        self._resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        self._pcm = np.zeros(count * SEGMENT_S * RATE_HZ, np.float32)
        self._next: int | None = None

    def put(self, packet: Any, at_s: float) -> None:
        """Take a packet whose first sample stands at `at_s`."""
        if not self._start_s - 0.1 <= at_s < self._start_s + self._count * SEGMENT_S:
            return
        with timed(self._seconds, "sound"):
            if self._next is None:
                self._next = round((at_s - self._start_s) * RATE_HZ)
            for frame in packet.decode():
                for piece in self._resampler.resample(frame):
                    samples = piece.to_ndarray().reshape(-1)
                    begin, end = max(self._next, 0), min(self._next + samples.size, self._pcm.size)
                    if end > begin:
                        self._pcm[begin:end] = samples[begin - self._next : end - self._next]
                    self._next += samples.size

    def segments(self) -> np.ndarray:
        """float32 [S, 128000]."""
        return self._pcm.reshape(self._count, SEGMENT_S * RATE_HZ)


def count_frames(path: str, keyframes_only: bool, seconds: float) -> tuple[int, float]:
    """(frames decoded by one thread, seconds it took): the file over and over for at least `seconds`."""
    with av.open(path) as container:
        video = container.streams.video[0]
        name, extradata = video.codec_context.name, video.codec_context.extradata
        packets = [
            bytes(p) for p in container.demux(video) if p.size and (p.is_keyframe or not keyframes_only)
        ]
    frames, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        context: Any = av.CodecContext.create(name, "r")
        context.thread_count = 1
        if extradata:
            context.extradata = extradata
        for data in packets:
            found = context.decode(av.Packet(data))
            if keyframes_only:  # each alone, as the server decodes them
                found = found or context.decode(None)
                context.flush_buffers()
            frames += len(found)
        if not keyframes_only:
            frames += len(context.decode(None))
    return frames, time.perf_counter() - started


def make(film: Film, folder: Path, *, whole: bool) -> Path:
    """The film, or with `whole` false the seconds it repeats."""
    try:
        return films.film(film, folder) if whole else films.loop(film, folder)
    finally:  # SVT-AV1 makes its caller a real-time thread where it runs as root
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def made(film: Film, folder: Path, *, whole: bool, skip: Callable[[str], None], what: str) -> Path | None:
    """`make`; where this machine cannot make it, None, and `skip` is told why `what` is left out."""
    try:
        return make(film, folder, whole=whole)
    except Exception as error:  # an encoder that this build of FFmpeg lacks, or refuses
        skip(f"{what}: cannot be made with {film.codec} here ({error})")
        return None


def wait_a_little() -> None:
    """Long enough that every process of a pool gets one, which starts them all."""
    time.sleep(0.2)
