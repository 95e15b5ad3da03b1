"""Demuxing and decoding as it is done here against the ffmpeg command on the same file.

Both hand on pictures of the space's size as RGB: the command to a pipe that is thrown away, this side to
arrays. Both use one thread. CPU seconds are compared; those of starting the command are taken off its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import av
import imageio_ffmpeg
from av.video.reformatter import VideoReformatter

from resonance.clients.media.clip import decode_clip
from resonance.clients.media.packets import Title
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.probe import probe
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Clip, Limits, ReadTimes
from resonance.clients.media.video import VideoReader
from resonance.loadtest.films import Film, film, streamed
from resonance.space.descriptor import Descriptor, FrameGeometry

ROUNDS = 3
UNIFORM_FPS = 2


class Wanted(StrEnum):
    """Which pictures of a film."""

    KEYFRAMES = "keyframes"
    UNIFORM = "uniform"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class FfmpegRow:
    """Medians over the rounds.

    `speed`: CPU seconds of the command over ours, so above 1 this side is the faster; `lowest`, `highest`: of
    the rounds. `pictures` and `ffmpeg_pictures` tell that both did the same: ours takes two pictures a second
    nearest to the middle of each half second, the command's `fps` filter as many, not always the same ones.
    `start_up_share`: of the command's CPU time, taken off before.
    """

    film: str
    wanted: str
    speed: float
    lowest: float
    highest: float
    rounds: int
    pictures: int
    ffmpeg_pictures: int
    start_up_share: float
    ffmpeg: str
    libavcodec: str


def cases() -> list[tuple[Film, Wanted]]:
    """720p of every codec, and keyframes of H.264 that has few of them."""
    films = [streamed(codec, minutes=1) for codec in ("h264", "hevc", "vp9", "av1")]
    # of two minutes, for then every window has a keyframe within reach and nothing else is decoded
    rare = streamed("h264", keyframe_every_s=10.0, minutes=2)
    return [*((one, wanted) for one in films for wanted in Wanted), (rare, Wanted.KEYFRAMES)]


def measure_against_ffmpeg(
    repository: Path,
    folder: Path,
    *,
    chosen: Sequence[tuple[Film, Wanted]] | None = None,
    rounds: int = ROUNDS,
) -> list[FfmpegRow]:
    """Each film and choice of pictures, both sides in turn, `rounds` times after one that warms up."""
    descriptor = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
    return [
        _measure(one.name, film(one, folder), wanted, descriptor, rounds) for one, wanted in chosen or cases()
    ]


def _measure(name: str, path: Path, wanted: Wanted, descriptor: Descriptor, rounds: int) -> FfmpegRow:
    geometry = descriptor.frames
    ours: Callable[[], int] = {
        Wanted.KEYFRAMES: lambda: decode_windows(path, descriptor, "keyframes"),
        Wanted.UNIFORM: lambda: decode_windows(path, descriptor, "uniform"),
        Wanted.ALL: lambda: decode_all(path, geometry),
    }[wanted]
    speeds, shares, pictures, theirs_pictures = [], [], 0, 0
    for _ in range(rounds + 1):
        started = time.process_time()
        pictures = ours()
        ours_s = time.process_time() - started
        theirs_s, theirs_pictures = run_ffmpeg(path, wanted, geometry)
        start_up_s, _ = run_ffmpeg(path, wanted, geometry, nothing=True)
        speeds.append((theirs_s - start_up_s) / ours_s)
        shares.append(start_up_s / theirs_s)
    return FfmpegRow(
        film=name,
        wanted=wanted,
        speed=statistics.median(speeds[1:]),
        lowest=min(speeds[1:]),
        highest=max(speeds[1:]),
        rounds=rounds,
        pictures=pictures,
        ffmpeg_pictures=theirs_pictures,
        start_up_share=statistics.median(shares[1:]),
        ffmpeg=imageio_ffmpeg.get_ffmpeg_version(),
        libavcodec=".".join(map(str, av.library_versions["libavcodec"])),
    )


def decode_windows(path: Path, descriptor: Descriptor, sampling: str) -> int:
    """As a title is read: the client's demuxer and decoder, then the server's decoder. Pictures."""
    limits = Limits()
    source = MediaSource(path, name=None, limits=limits)
    try:
        probed = probe(source, limits)
        title = Title(source, descriptor, limits, ReadTimes(), probed.origin_s)
        reader = VideoReader(title, rotation_deg=probed.rotation_deg, sampling=sampling)
        pictures = 0
        for _, window in reader.windows():
            video = window.video
            if video is not None:
                frames = decode_clip(video, descriptor.frames) if isinstance(video, Clip) else video
                pictures += int(frames.mask.sum())
        reader.close()
    finally:
        source.close()
    return pictures


def decode_all(path: Path, geometry: FrameGeometry) -> int:
    """Every picture in order, scaled. Pictures."""
    reformatter, pictures = VideoReformatter(), 0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        for frame in container.decode(video):
            frame_to_rgb(frame, geometry, 0, reformatter)
            pictures += 1
    return pictures


def run_ffmpeg(
    path: Path, wanted: Wanted, geometry: FrameGeometry, *, nothing: bool = False
) -> tuple[float, int]:
    """CPU seconds of the command, and pictures of `geometry` that came out of its pipe.

    `nothing`: it opens the file and its filters and ends after no picture at all.

    Raises:
        RuntimeError: it did not end well.
    """
    flags = f"{geometry.interpolation}+accurate_rnd+full_chroma_int"  # as in `frame_to_rgb`
    scale = f"scale={geometry.width}:{geometry.height}:flags={flags}"
    filters = f"fps={UNIFORM_FPS},{scale}" if wanted is Wanted.UNIFORM else scale
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1"),
        # the decoders of VP9 and AV1 skip nothing, so the demuxer is told as well
        *(("-skip_frame", "nokey", "-discard", "nokey") if wanted is Wanted.KEYFRAMES else ()),
        *("-i", str(path), "-an", "-sn", "-filter_threads", "1", "-vf", filters),
        *("-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-threads", "1"),
        *(("-frames:v", "0") if nothing else ()),
        *("-f", "rawvideo", "pipe:1"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        size = 0
        buffer = bytearray(1 << 20)
        while got := child.stdout.readinto1(buffer):  # type: ignore[attr-defined]
            size += got
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime, size // (geometry.width * geometry.height * 3)
