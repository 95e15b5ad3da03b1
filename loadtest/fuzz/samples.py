"""Small good files of every container, made on the spot, and real ones cut to what a mutation can reach."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.subtitles.codeccontext import SubtitleCodecContext
from PIL import Image

from resonance.loadtest.fuzz.heic import photo_of
from resonance.loadtest.fuzz.mutate import Sample
from resonance.loadtest.fuzz.structure import elements

WIDTH, HEIGHT, FPS = 48, 32, 5
SOUND_HZ = 16_000
#: Long enough for a second window.
SECONDS = 9
#: Real files are cut here: an input shall take milliseconds.
CUT_BYTES = 40 * 1024
#: So are made ones of formats that know no small files: a frame of DV is as large as this.
MADE_BYTES = 144_000
#: A few are kept whole, up to this size.
LONG_BYTES = 400 * 1024


@dataclass(frozen=True, slots=True)
class Recipe:
    """A container with its streams: FFmpeg's names, empty where there is no such stream."""

    name: str
    muxer: str
    video: str = ""
    audio: str = ""
    words: str = ""
    options: tuple[tuple[str, str], ...] = ()
    rate_hz: int = SOUND_HZ
    seconds: int = SECONDS
    size: tuple[int, int] = (WIDTH, HEIGHT)
    fps: int = FPS
    keyframes_alone: bool = False


RECIPES = (
    Recipe("index-last.mp4", "mp4", "libx264", "aac", "mov_text"),
    Recipe("fragments.mp4", "mp4", "libx264", "aac", options=(("movflags", "frag_keyframe+empty_moov"),)),
    Recipe("hevc.mp4", "mp4", "libx265", seconds=2, size=(128, 96)),
    Recipe("old.mov", "mov", "mjpeg", "pcm_s16be", seconds=1),
    Recipe("phone.3gp", "3gp", "h263", "libopencore_amrnb", rate_hz=8_000, size=(128, 96)),
    Recipe("alac.m4a", "ipod", "", "alac", seconds=2),
    Recipe("vp8.webm", "webm", "libvpx", "libopus", rate_hz=48_000),
    Recipe("vp9.webm", "webm", "libvpx-vp9", "libopus", "webvtt", rate_hz=48_000),
    Recipe("h264.mkv", "matroska", "libx264", "vorbis", "subrip", rate_hz=48_000),
    Recipe("ffv1.mkv", "matroska", "ffv1", "flac", "ass", seconds=2),
    Recipe("words.mkv", "matroska", words="subrip"),
    Recipe("mpeg4.avi", "avi", "mpeg4", "libmp3lame"),
    Recipe("mjpeg.avi", "avi", "mjpeg", "pcm_s16le", seconds=1),
    Recipe("flash.flv", "flv", "flv", "libmp3lame", rate_hz=44_100),
    Recipe("mpeg2.ts", "mpegts", "mpeg2video", "mp2", fps=25, seconds=2),
    Recipe("h264.ts", "mpegts", "libx264", "aac", seconds=3),
    Recipe("windows.wmv", "asf", "wmv2", "wmav2"),
    Recipe("vorbis.ogg", "ogg", "", "vorbis", rate_hz=48_000, seconds=2),
    Recipe("opus.ogg", "ogg", "", "libopus", rate_hz=48_000, seconds=2),
    Recipe("vp8.ogv", "ogg", "libvpx", "libopus", rate_hz=48_000, seconds=2),
    Recipe("plain.wav", "wav", "", "pcm_s16le", seconds=1),
    Recipe("plain.w64", "w64", "", "pcm_s16le", seconds=1),
    Recipe("plain.aiff", "aiff", "", "pcm_s16be", seconds=1),
    Recipe("plain.au", "au", "", "pcm_s16be", seconds=1),
    Recipe("plain.caf", "caf", "", "pcm_s16be", seconds=1),
    Recipe("sound.flac", "flac", "", "flac", seconds=1),
    Recipe("sound.mp3", "mp3", "", "libmp3lame", options=(("id3v2_version", "4"),), seconds=2),
    Recipe("sound.aac", "adts", "", "aac", seconds=2),
    Recipe("sound.ac3", "ac3", "", "ac3", rate_hz=48_000, seconds=1),
    Recipe("sound.eac3", "eac3", "", "eac3", rate_hz=48_000, seconds=1),
    Recipe("sound.amr", "amr", "", "libopencore_amrnb", rate_hz=8_000, seconds=2),
    Recipe("sound.tta", "tta", "", "tta", seconds=1),
    Recipe("tape.mxf", "mxf", "mpeg2video", "pcm_s16le", rate_hz=48_000, fps=25, seconds=1),
    Recipe("tape.dv", "dv", "dvvideo", fps=25, seconds=1, size=(720, 576)),
    Recipe("real.rm", "rm", "rv10", "ac3", rate_hz=48_000, seconds=2),
    Recipe("vp9.ivf", "ivf", "libvpx-vp9", seconds=2),
    Recipe("bare.h264", "h264", "libx264", seconds=2),
    Recipe("bare.hevc", "hevc", "libx265", seconds=1, size=(128, 96)),
    Recipe("bare.m1v", "mpeg1video", "mpeg1video", fps=25, seconds=1),
)
#: Four pictures, which a photo in HEIC has as its tiles.
TILES = Recipe("tiles.mp4", "mp4", "libx265", seconds=1, fps=4, size=(128, 96), keyframes_alone=True)
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "AVIF")
SRT = (
    "1\n00:00:00,500 --> 00:00:02,000\nThe sea is <i>calm</i>.\n\n"
    "2\n00:00:07,000 --> 00:00:11,500\nA dog barks.\n"
)
VTT = (
    "WEBVTT\n\nNOTE made\n\nSTYLE\n::cue { color: red }\n\n1\n00:00.500 --> 00:02.000 align:start\n"
    "<v Ann>The sea is calm.</v>\n\n00:01:07.000 --> 00:01:11.500\nA dog barks.\n"
)
ASS_HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, Text\n"
TEXT = "A lighthouse keeper counts the ships that pass. " * 20


def made_samples() -> list[Sample]:
    """Good small files, one or more of every container and picture format that is read."""
    films = [Sample(recipe.name, make_film(recipe)[:MADE_BYTES]) for recipe in RECIPES]
    photo = Sample("photo.heic", photo_of(make_film(TILES), TILES.size))
    return [*films, photo, *(Sample(f"still.{kind.lower()}", make_picture(kind)) for kind in PICTURES)]


def word_samples() -> list[Sample]:
    """Good subtitles and a text."""
    return [Sample(name, text.encode()) for name, text in (("a.srt", SRT), ("a.vtt", VTT), ("a.txt", TEXT))]


def make_film(recipe: Recipe) -> bytes:
    """A film of moving bars, a tone and three cues."""
    made = io.BytesIO()
    # bit-exact files are the same whenever they are made
    options = {"fflags": "+bitexact", **dict(recipe.options)}
    with av.open(made, "w", format=recipe.muxer, container_options=options) as container:
        streams = [
            *([_video(container, recipe)] if recipe.video else []),
            *([_sound(container, recipe)] if recipe.audio else []),
            *([_words(container, recipe)] if recipe.words else []),
        ]
        packets = [packet for stream in streams for packet in stream]
        packets.sort(key=lambda p: float((p.dts or 0) * p.time_base))
        container.mux(packets)
    return made.getvalue()


def _video(container: av.container.OutputContainer, recipe: Recipe) -> Iterator[av.Packet]:
    stream = container.add_stream(recipe.video, rate=Fraction(recipe.fps))
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = "yuvj420p" if recipe.video == "mjpeg" else "yuv420p"
    stream.codec_context.thread_count = 1
    stream.gop_size = 1 if recipe.keyframes_alone else 2 * recipe.fps
    stream.bit_rate = 20_000_000 if recipe.muxer == "mxf" else 60_000
    if recipe.video in ("libx264", "libx265"):
        stream.options = {"preset": "ultrafast"}
    if recipe.video == "libx265":
        stream.options |= {"x265-params": "log-level=none:pools=none:frame-threads=1"}

    def packets() -> Iterator[av.Packet]:
        for number in range(recipe.seconds * recipe.fps):
            rows = np.arange(recipe.size[1])[:, None, None] + 5 * number
            pixels = np.broadcast_to(rows * np.array([7, 3, 5]), (recipe.size[1], recipe.size[0], 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, recipe.fps)
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return packets()


def _sound(container: av.container.OutputContainer, recipe: Recipe) -> Iterator[av.Packet]:
    stream = container.add_stream(recipe.audio, rate=recipe.rate_hz)
    assert isinstance(stream, av.AudioStream)
    stream.layout = "stereo" if recipe.audio == "vorbis" else "mono"  # FFmpeg's own encoder knows no other
    stream.bit_rate = 32_000 if recipe.audio == "wmav2" else 16_000
    if recipe.audio == "vorbis":
        stream.codec_context.options = {"strict": "experimental"}
    time_s = np.arange(recipe.seconds * recipe.rate_hz) / recipe.rate_hz
    tone = (6_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)

    def packets() -> Iterator[av.Packet]:
        context = stream.codec_context
        context.open(strict=False)
        resampler = av.AudioResampler(
            context.format, context.layout, context.rate, context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = recipe.rate_hz, 0
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            yield from stream.encode(piece)
        yield from stream.encode(None)

    return packets()


def _words(container: av.container.OutputContainer, recipe: Recipe) -> Iterator[av.Packet]:
    stream = container.add_stream(recipe.words)
    assert isinstance(stream.codec_context, SubtitleCodecContext)
    stream.codec_context.subtitle_header = ASS_HEADER
    milliseconds = Fraction(1, 1000)
    stream.time_base = milliseconds

    def packets() -> Iterator[av.Packet]:
        for number, text in enumerate(("The sea is calm.", "A dog barks.", "Night.")):
            data = text.encode()
            if recipe.words == "mov_text":
                data = len(data).to_bytes(2, "big") + data
            if recipe.words == "ass":
                data = f"{number},0,Default,,0,0,0,,".encode() + data
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, milliseconds
            packet.pts = packet.dts = number * 3000
            packet.duration = 2000
            yield packet

    return packets()


def make_picture(kind: str) -> bytes:
    """A small picture with a gradient."""
    rows, columns = np.mgrid[0:24, 0:32]
    pixels = np.stack([rows * 10, columns * 7, rows * columns], axis=-1).astype(np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, kind)
    return made.getvalue()


def real_samples(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """(the real files in `folder` and its sub-folders cut to `CUT_BYTES`, a few whole ones)."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    small = [Sample(path.name, cut(path.read_bytes())) for path in paths]
    whole = [Sample(p.name, p.read_bytes()) for p in paths if CUT_BYTES < p.stat().st_size <= LONG_BYTES]
    return small, whole


def cut(data: bytes, most_bytes: int = CUT_BYTES) -> bytes:
    """The head of a file; where an MP4's index stands at its end, that after the first of the media data."""
    if len(data) <= most_bytes:
        return data
    tops: list[tuple[int, int]] = []
    for element in elements(data):
        if data[4:8] == b"ftyp" and (not tops or element.start >= tops[-1][1]):
            tops.append((element.start, element.end))
    kinds = [data[start + 4 : start + 8] for start, _ in tops]
    if b"moov" not in kinds or b"mdat" not in kinds or kinds.index(b"moov") < kinds.index(b"mdat"):
        return data[:most_bytes]
    mdat, moov = tops[kinds.index(b"mdat")], tops[kinds.index(b"moov")]
    media = data[mdat[0] + 8 : min(mdat[1], mdat[0] + most_bytes)]
    # what stood before keeps its place, so that the index still finds the first samples
    return data[: mdat[0]] + (len(media) + 8).to_bytes(4, "big") + b"mdat" + media + data[slice(*moov)]
