"""Opening containers safely: only the given bytes, only known formats, errors of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from resonance.clients.errors import CorruptMediaError, MediaError, MediaStalledError, NotMediaError
from resonance.clients.media.clip import VIDEO_CODECS

#: FFmpeg's names of the demuxers that may be used. None of them opens another file or address.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,wav,w64,aiff,au,caf,flac,mp3,aac,ac3,"
    "eac3,dts,amr,mxf,ivf,wv,tta,ape,rm,dv,mpegvideo,h264,hevc,obu"
)
#: Subtitle streams that hold text; the others are pictures of it.
TEXT_CODECS = frozenset(["mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text"])
BUFFER_BYTES = 1 << 18
EXPECTED = (
    "a container of video or sound (MP4, WebM, Matroska, AVI, MPEG-TS, Ogg, WAV, MP3, ...) or a picture"
)


def open_container(file: BinaryIO, name: str, stall_timeout_s: float) -> InputContainer:
    """Open `file` for demuxing. It is never opened by path, and nothing it names is opened.

    Raises:
        NotMediaError: no container that is read here. CorruptMediaError: one that is broken at its head.
    """
    with typed_errors(name):
        return av.open(
            file,
            mode="r",
            metadata_errors="replace",
            buffer_size=BUFFER_BYTES,
            timeout=(stall_timeout_s, stall_timeout_s),
            options={
                "format_whitelist": CONTAINERS,
                "protocol_whitelist": "none",
                "enable_drefs": "0",
            },
            io_open=_refuse,
        )


def _refuse(*arguments: object) -> BinaryIO:
    raise av.error.PermissionError(1, "media may not open other files")


#: What the libraries raise, and what it means here. The first row that fits counts.
ERRORS: tuple[tuple[tuple[type[BaseException], ...], type[MediaError], str, str], ...] = (
    (
        (av.error.ExitError, av.error.TimeoutError),
        MediaStalledError,
        "no progress while reading",
        "a source that answers",
    ),
    (
        (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError),
        NotMediaError,
        "bytes of no known kind",
        EXPECTED,
    ),
    (
        (av.error.FFmpegError, OSError, ValueError, EOFError, OverflowError, MemoryError),
        CorruptMediaError,
        "a file that cannot be read",
        EXPECTED,
    ),
)


@contextmanager
def typed_errors(name: str) -> Iterator[None]:
    """Library errors as members of `resonance.clients.errors`, by the table `ERRORS`."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        for kinds, ours, came, expected in ERRORS:
            if isinstance(error, kinds):
                raise ours(name, f"{came} ({reason(error)})", expected) from error
        raise  # a fault of the program, not of the input


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def choose_stream(container: InputContainer, kind: str) -> Stream | None:
    """The stream of `kind` a player would choose: the default one, else the first; covers are no video."""
    candidates = [s for s in container.streams if s.type == kind and _usable(s)]
    return next(
        (s for s in candidates if s.disposition & Disposition.default), candidates[0] if candidates else None
    )


def _usable(stream: Stream) -> bool:
    if stream.codec_context is None:
        return False  # no decoder in this build
    codec = stream.codec_context.codec.canonical_name
    if stream.type == "subtitle":
        return codec in TEXT_CODECS
    if stream.type != "video":
        return True
    cover = stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
    return not cover and codec in VIDEO_CODECS


def discard_all_but(container: InputContainer, stream: Stream) -> None:
    """Let the demuxer skip the other streams' packets, where the format allows without reading them."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def start_s(stream: Stream) -> float:
    """When the stream starts, in seconds of its container's clock."""
    return float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
