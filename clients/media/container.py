"""Opening containers safely: only the given bytes, only known formats, errors of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Literal, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from resonance.clients.errors import CorruptMediaError, MediaError, MediaStalledError, NotMediaError
from resonance.clients.media.clip import VIDEO_CODECS
from resonance.clients.media.growing import GrowingHandle, GrowingSource
from resonance.clients.media.mp4_index import MP4_BOXES
from resonance.clients.media.source import Source

#: FFmpeg's names of the demuxers that may be used. None of them opens another file or address.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,wav,w64,aiff,au,caf,flac,mp3,aac,ac3,"
    "eac3,dts,amr,mxf,ivf,wv,tta,ape,rm,dv,mpegvideo,h264,hevc,obu"
)
#: FFmpeg's name of containers that state the times and places of all packets by themselves: nothing need be
#: guessed from pictures again, nor read over.
STATING = "mov,mp4,m4a,3gp,3g2,mj2"
#: That of containers that may hold several programs.
PROGRAMS = "mpegts"
#: Subtitle streams that hold text; the others are pictures of it.
TEXT_CODECS = frozenset(["mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text"])
#: Pictures beside a film or a sound, and parts of a picture.
NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent
#: What a stream is marked with that stands beside the title's own sound or words: forced subtitles have only
#: what is not said in the film's own language, whatever player shows them by default.
ASIDES = {
    "audio": Disposition.comment
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.hearing_impaired
    | Disposition.dependent,
    "subtitle": Disposition.comment | Disposition.forced,
}
#: FFmpeg's names of channels, in the order that a layout without an order of its own has them in.
CHANNELS = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL",
    "TBC", "TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR",
)  # fmt: skip
#: Of each pair the one channel is as loud as the other in any mix of ours.
AS_LOUD = {"BL": "SL", "BR": "SR"}
BUFFER_BYTES = 1 << 18
#: How far MPEG-TS is looked through for what follows a hole, as a recorder leaves where its disk failed.
RESYNC_BYTES = 64 << 20
EXPECTED = (
    "a container of video or sound (MP4, WebM, Matroska, AVI, MPEG-TS, Ogg, WAV, MP3, ...) or a picture"
)


#: AVI says in its index at the end which pictures are keyframes; in these codecs the pictures say it too.
PLAIN_AVI_CODECS = frozenset(("mpeg4", "mjpeg", "h264"))
#: MXF says in its index at the end when pictures are shown; in these codecs that is their order. MPEG-2 and
#: H.264 of keyframes alone (IMX, AVC-Intra) wait for the end as well: their codec does not tell.
INTRA_MXF_CODECS = frozenset(("dnxhd", "prores", "dvvideo", "mjpeg", "ffv1", "jpeg2000", "rawvideo"))


@contextmanager
def opened_container(
    source: Source, stall_timeout_s: float, *, only_decoder: str | None = None
) -> Iterator[InputContainer]:
    """`source` opened for demuxing. It is never opened by path, and nothing it names is opened.

    Of a source that still grows the head alone is read, wherever the format can do without its end.

    Args:
        only_decoder: of a container that is known already, the one decoder that FFmpeg may try while it looks
            at the streams. It decodes pictures otherwise, as much work as a window of keyframes.

    Raises:
        NotMediaError: no container that is read here. CorruptMediaError: one that is broken at its head.
    """
    with ExitStack() as opened:
        file = opened.enter_context(source.open())
        if isinstance(source, GrowingSource) and isinstance(file, GrowingHandle):
            container = _open_growing(source, file)
        else:
            quick = None if only_decoder is None else {"codec_whitelist": only_decoder}
            container = _open(file, source.name, stall_timeout_s, quick)
        opened.enter_context(container)
        with typed_errors(source.name):
            for stream in container.streams.audio:
                _order_channels(stream)
        yield container


def _order_channels(stream: AudioStream) -> None:
    """Give channels in an order of their own (QuickTime's and CAF's) the usual one, or none.

    PyAV frees the list of such an order with every frame that it makes, and FFmpeg frees it again: the whole
    process ends by that. The usual order stands for one that mixes alike, such as sides before back; channels
    in another count as those of an unknown layout do.
    """
    context = stream.codec_context
    if context is None:
        return
    layout = context.layout  # asked for once: its end frees the list that the context had
    if "(" not in layout.name:  # what has a name has no order of its own
        return
    names = [channel.name for channel in layout.channels]
    usual = sorted(set(names) & set(CHANNELS), key=CHANNELS.index)
    alike = [AS_LOUD.get(n, n) for n in usual] == [AS_LOUD.get(n, n) for n in names]
    context.layout = "+".join(usual) if alike else f"{len(names)} channels"


def _open(
    file: BinaryIO, name: str, stall_timeout_s: float | None, options: dict[str, str] | None = None
) -> InputContainer:
    with typed_errors(name):
        return av.open(
            file,
            mode="r",
            metadata_errors="replace",
            buffer_size=BUFFER_BYTES,
            timeout=None if stall_timeout_s is None else (stall_timeout_s, stall_timeout_s),
            options={
                "format_whitelist": CONTAINERS,
                "protocol_whitelist": "none",
                "enable_drefs": "0",
                "resync_size": str(RESYNC_BYTES),
                **(options or {}),
            },
            io_open=_refuse,
        )


def open_rest(file: BinaryIO, name: str) -> InputContainer:
    """What follows in a container, as one by itself; see `_open_growing` for the clock.

    Raises:
        MediaError: see `opened_container`.
    """
    return _open(file, name, None)


def _open_growing(source: GrowingSource, handle: GrowingHandle) -> InputContainer:
    """FFmpeg's own clock is left out: it would count the waiting for bytes. `within` and the joiner watch."""
    file = cast("BinaryIO", handle)
    handle.streamed = True
    head = source.head()
    if head[4:8] in MP4_BOXES:
        # without this flag the demuxer looks at what follows the media data before it reads any of it
        return _open(file, source.name, None, {"fflags": "+ignidx"})
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and not _is_adts(head)):
        # an MP3 trims its last frame only where the size that its head states is the file's
        handle.told_bytes = source.size(wait=False)
    handle.opening = True
    try:
        container = _open(file, source.name, None)
    except MediaError:
        if not handle.refused:
            raise
    else:
        if not _needs_its_end(container):
            return container
        container.close()
    finally:
        handle.opening = False
    source.wait_for_all()
    handle.streamed = False
    handle.seek(0)
    return _open(file, source.name, None)


def _is_adts(head: bytes) -> bool:
    """Whether it begins with a frame of AAC, which has no layer of MPEG audio. Where its size is told and its
    end out of reach, FFmpeg reads beyond its last frame."""
    return int.from_bytes(head[:2], "big") & 0xFFF6 == 0xFFF0


def _needs_its_end(container: InputContainer) -> bool:
    """Whether its end tells what it cannot be read rightly without."""
    codecs = {s.codec_context.codec.canonical_name for s in container.streams.video if s.codec_context}
    if container.format.name == "avi":
        return not codecs <= PLAIN_AVI_CODECS
    if container.format.name == "mxf":  # when reordered pictures are shown
        return not codecs <= INTRA_MXF_CODECS
    return container.format.name == "wv"  # where its tags begin, which are no sound


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
    """The stream of `kind` that is the title's own: none of `ASIDES` where there is another, of those the
    default one, else the first. Of several programs the one with that video counts.

    Covers are no video, and what is a part of a picture (a tile, a layer) is none by itself.
    """
    candidates = [s for s in container.streams if s.type == kind and _usable(s)]
    if container.format.name == PROGRAMS and kind in ("audio", "subtitle") and len(candidates) > 1:
        candidates = _beside(container, choose_stream(container, "video"), candidates)
    return min(candidates, key=_rank, default=None)


def _beside(container: InputContainer, video: Stream | None, streams: list[Stream]) -> list[Stream]:
    """Those of the streams, all of one kind, in the program of the video; all of them where it is not known.

    PyAV does not tell the programs, but FFmpeg's best stream of a kind beside another: two streams with the
    same one are in the same program.
    """
    if video is None:
        return streams
    kind = cast("Literal['audio', 'subtitle']", streams[0].type)
    best = container.streams.best(kind, video)  # None: of those beside it nothing is known yet
    return [s for s in streams if container.streams.best(kind, s) is best] or streams


def _rank(stream: Stream) -> tuple[bool, bool]:
    """Of streams of a kind the lowest is chosen."""
    aside = ASIDES.get(stream.type, Disposition(0))
    return bool(stream.disposition & aside), not stream.disposition & Disposition.default


def left_out(container: InputContainer) -> dict[str, str]:
    """Codecs of the video, the sound and the subtitles that are there, but in nothing that `choose_stream`
    finds, by kind. Subtitles are pictures of words then, as on discs and in broadcasts.
    """
    found: dict[str, str] = {}
    for stream in container.streams:
        kind, codec = stream.type, stream.codec_context
        if kind in ("video", "audio", "subtitle") and not stream.disposition & NO_VIDEO:
            found.setdefault(kind, "unknown" if codec is None else codec.codec.canonical_name)
    return {kind: codec for kind, codec in found.items() if choose_stream(container, kind) is None}


def _usable(stream: Stream) -> bool:
    if stream.codec_context is None:
        return False  # no decoder in this build
    codec = stream.codec_context.codec.canonical_name
    if stream.type == "subtitle":
        return codec in TEXT_CODECS
    if stream.type != "video":
        return True
    return not stream.disposition & NO_VIDEO and codec in VIDEO_CODECS


def discard_all_but(container: InputContainer, stream: Stream) -> None:
    """Let the demuxer skip the other streams' packets, where the format allows without reading them."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def origin_s(container: InputContainer) -> float:
    """When the title starts, in seconds of its container's clock: the earliest start of picture or sound.

    Where no packet of a stream was met yet, its start is not known, and not 0: it takes no part.
    """
    chosen = [s for kind in ("video", "audio") if (s := choose_stream(container, kind)) is not None]
    starts = [float(s.start_time * s.time_base) for s in chosen if s.start_time is not None and s.time_base]
    if starts or not chosen:
        return min(starts, default=0.0)
    return (container.start_time or 0) / av.time_base
