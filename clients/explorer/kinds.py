"""What a title's media is, and whether a browser may play the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.stream import Stream

from resonance.clients.ingest.opening import identity, open_uri
from resonance.clients.ingest.uris import suffix
from resonance.clients.media.container import choose_stream, opened_container, origin_s, typed_errors
from resonance.clients.media.picture import open_picture
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES
from resonance.clients.media.text import TEXT_SUFFIXES
from resonance.clients.media.types import Limits
from resonance.clients.media.waiting import Waits

LIMITS = Limits()

#: FFmpeg's containers that browsers know: the type of video in it, and of sound alone.
_CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("video/mp4", "audio/mp4"),
    "matroska,webm": ("video/webm", "audio/webm"),
    "ogg": ("video/ogg", "audio/ogg"),
    "mp3": (None, "audio/mpeg"),
    "wav": (None, "audio/wav"),
    "flac": (None, "audio/flac"),
    "aac": (None, "audio/aac"),
}
#: Those whose type names no codec.
_PLAIN = frozenset(("audio/mpeg", "audio/flac", "audio/aac"))
#: WebM is the part of Matroska that browsers play.
_WEBM_CODECS = frozenset(("vp8", "vp9", "av1", "opus", "vorbis"))
#: Codecs as RFC 6381 and the containers' registries name them. A browser is asked whether it plays them;
#: profiles that are not looked at are named by a common one, and a file that then fails is played as a clip.
_CODECS = {
    "hevc": "hvc1.1.6.L120.B0",
    "vp8": "vp8",
    "vp9": "vp09.00.40.08",
    "av1": "av01.0.08M.08",
    "mpeg4": "mp4v.20.8",
    "h263": "s263",
    "theora": "theora",
    "aac": "mp4a.40.2",
    "mp3": "mp4a.6B",
    "opus": "opus",
    "vorbis": "vorbis",
    "flac": "flac",
    "pcm_s16le": "1",
}
#: How far from 0 the times of a file may begin that is played as it is. Others begin at 0 in some browsers;
#: in some their times stand, and no seek goes past the duration, which is too short then.
MOST_OFFSET_S = 0.25


class UriSource:
    """A title's media as `resonance.clients.media` reads it; see its `Source`. Only ranges are read."""

    def __init__(self, uri: str) -> None:
        self.name = uri
        self.path: Path | None = None
        self.waits = Waits()

    def open(self) -> BinaryIO:
        """See `Source`. Errors: see `resonance.clients.ingest.opening.open_uri`."""
        return open_uri(self.name)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class MediaKind:
    """What media is: ``video``, ``sound``, ``image`` or ``text``.

    direct: the type, codecs named, of a file that a browser may play itself; None where none does.
    """

    name: str
    direct: str | None = None

    @property
    def content_type(self) -> str | None:
        """`direct` without its codecs."""
        return self.direct.partition(";")[0] if self.direct is not None else None


def media_kind(uri: str) -> MediaKind:
    """Look at the media's head, once as long as it does not change: players ask for many ranges. Blocks.

    Raises:
        MediaError: it is not there, or no media. ServerError, UsageError: its store's.
    """
    version = identity(uri).version
    return _looked(uri) if version is None else _known(uri, version)


@lru_cache(maxsize=1024)
def _known(uri: str, version: str) -> MediaKind:
    return _looked(uri)


def _looked(uri: str) -> MediaKind:
    if suffix(uri) in (*TEXT_SUFFIXES, *SUBTITLE_SUFFIXES):
        return MediaKind("text")
    with open_uri(uri) as file:
        if open_picture(file, uri) is not None:
            return MediaKind("image")
    with opened_container(UriSource(uri), LIMITS.stall_timeout_s) as container, typed_errors(uri):
        video, sound = choose_stream(container, "video"), choose_stream(container, "audio")
        if video is None and sound is None and choose_stream(container, "subtitle") is not None:
            return MediaKind("text")
        name = "video" if video is not None else "sound"
        begins_late = abs(origin_s(container)) > MOST_OFFSET_S
        return MediaKind(name, None if begins_late else _direct(container, video, sound))


def _direct(container: InputContainer, video: Stream | None, sound: Stream | None) -> str | None:
    of_video, of_sound = _CONTAINERS.get(container.format.name, (None, None))
    of_all = of_video if video is not None else of_sound
    chosen = [stream for stream in (video, sound) if stream is not None]
    names = [stream.codec_context.codec.canonical_name for stream in chosen]
    if of_all is None or not names or (of_all.endswith("webm") and not set(names) <= _WEBM_CODECS):
        return None
    if of_all in _PLAIN:
        return of_all
    codecs = [
        _avc(stream) if name == "h264" else _CODECS.get(name)
        for stream, name in zip(chosen, names, strict=True)
    ]
    if None in codecs:
        return None
    return f'{of_all}; codecs="{", ".join(str(codec) for codec in codecs)}"'


def _avc(stream: Stream) -> str:
    """``avc1.PPCCLL``: profile, constraints and level as the avcC box states them (ISO/IEC 14496-15)."""
    extradata = stream.codec_context.extradata or b""
    return f"avc1.{extradata[1:4].hex()}" if extradata[:1] == b"\x01" else "avc1.640028"
