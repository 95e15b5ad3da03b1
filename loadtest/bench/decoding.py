"""What decoding keyframes alone saves: the same film decoded whole, and only its keyframes, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from resonance.clients.media.clip import decode_clip
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import Clip, Packet
from resonance.loadtest.films import H264_2S, H264_10S, Film, loop
from resonance.space.descriptor import FrameGeometry

GEOMETRY = FrameGeometry(
    width=224, height=224, resize="stretch", interpolation="bilinear", colour_matrix="stream"
)
#: What `uniform` wants of a film that was decoded whole.
UNIFORM_FPS = 2.0
#: Times the whole is to take the keyframes', by spacing.
BARS = {2.0: 6.0, 10.0: 15.0}
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class DecodeGain:
    """CPU seconds of one thread for one minute of film, medians of rounds taken in turn.

    `gain`: whole over keyframes, each with the scaling of the frames it hands on; `decode_gain`: decoding
    alone, nothing scaled. `lowest_gain`: of the rounds. `bar`: what the gain is to be at least.
    """

    film: str
    keyframe_every_s: float
    whole_s: float
    keyframes_s: float
    gain: float
    lowest_gain: float
    decode_gain: float
    bar: float
    frames: int
    keyframes: int


def measure_decoding(folder: Path, rounds: int = ROUNDS) -> list[DecodeGain]:
    """One minute of 720p H.264, keyframes every 2 and every 10 s."""
    return [measure_gain(film, folder, rounds) for film in (H264_2S, H264_10S)]


def measure_gain(film: Film, folder: Path, rounds: int) -> DecodeGain:
    """Both ways in turn, `rounds` times after one that warms up. `film.keyframe_every_s` must be set."""
    path, every_s = loop(film, folder), film.keyframe_every_s
    assert every_s is not None, f"{film.name} has one keyframe in all"
    whole, keyframes, whole_bare, keyframes_bare = [], [], [], []
    frames = packets = 0
    for _ in range(rounds + 1):
        seconds, frames = _cpu(lambda: decode_whole(path, scale=True))
        whole.append(seconds)
        seconds, packets = _cpu(lambda: decode_keyframes(path, scale=True))
        keyframes.append(seconds)
        whole_bare.append(_cpu(lambda: decode_whole(path, scale=False))[0])
        keyframes_bare.append(_cpu(lambda: decode_keyframes(path, scale=False))[0])
    gains = [a / b for a, b in zip(whole[1:], keyframes[1:], strict=True)]
    return DecodeGain(
        film=path.stem,
        keyframe_every_s=every_s,
        whole_s=statistics.median(whole[1:]),
        keyframes_s=statistics.median(keyframes[1:]),
        gain=statistics.median(gains),
        lowest_gain=min(gains),
        decode_gain=statistics.median(a / b for a, b in zip(whole_bare[1:], keyframes_bare[1:], strict=True)),
        bar=BARS.get(every_s, 1.0),
        frames=frames,
        keyframes=packets,
    )


def decode_whole(path: Path, *, scale: bool) -> int:
    """Every frame in order; `scale` makes those at `UNIFORM_FPS` what encoders take. Frames decoded."""
    reformatter, count, due_s = VideoReformatter(), 0, 0.0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        for frame in container.decode(video):
            count += 1
            if scale and frame.time is not None and frame.time >= due_s:
                frame_to_rgb(frame, GEOMETRY, 0, reformatter)
                due_s += 1 / UNIFORM_FPS
    return count


def decode_keyframes(path: Path, *, scale: bool) -> int:
    """The demuxer reads all packets; keyframes go through the server's own decoder, by four as in a window.

    Without `scale`, each is decoded alone and dropped. Keyframes decoded.
    """
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        data = [bytes(p) for p in container.demux(video) if p.size and p.is_keyframe]
        context = video.codec_context
        if not scale:
            return _decode_alone(context, data)
        for start in range(0, len(data), 4):
            packets = tuple(Packet(0.0, one) for one in data[start : start + 4])
            extradata = bytes(context.extradata or b"")
            clip = Clip(context.name, extradata, context.width, context.height, 0, (1, 1), packets, 4)
            decode_clip(clip, GEOMETRY)
    return len(data)


def _decode_alone(source: VideoCodecContext, data: list[bytes]) -> int:
    decoder = av.CodecContext.create(source.name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count, decoder.extradata = 1, source.extradata
    count = 0
    for one in data:
        count += len((decoder.decode(av.Packet(one)) or decoder.decode(None))[:1])
        decoder.flush_buffers()
    return count


def _cpu(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds of this process, which other work on the machine stretches less than wall clock."""
    started = time.process_time()
    count = work()
    return time.process_time() - started, count
