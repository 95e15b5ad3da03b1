"""Opening a title: what kind of media it is, and the readers of its streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from resonance.clients.errors import NoModalityError, TranscriptError, UsageError
from resonance.clients.media.animation import AnimationReader, is_animation
from resonance.clients.media.clip import VIDEO_CODECS
from resonance.clients.media.container import STATING, typed_errors
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.joiner import Joiner
from resonance.clients.media.packets import Title
from resonance.clients.media.picture import open_picture, picture_timeout_s, read_picture
from resonance.clients.media.probe import probe
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES, find_sidecar
from resonance.clients.media.sound import SoundReader
from resonance.clients.media.source import MediaSource, Source
from resonance.clients.media.standing import StandingPictures
from resonance.clients.media.stated_end import StatedEnd
from resonance.clients.media.subtitle_stream import SubtitleReader
from resonance.clients.media.text import MAX_TEXT_BYTES, TEXT_SUFFIXES, TextReader, decode_text
from resonance.clients.media.types import (
    Frames,
    Limits,
    MediaInfo,
    ReadTimes,
    SampledBy,
    SegmentInput,
)
from resonance.clients.media.video import VideoReader, VideoWindow
from resonance.clients.media.waiting import within
from resonance.clients.media.words import (
    MAX_SUBTITLE_BYTES,
    SubtitleFile,
    WordsWindow,
    read_cues,
    words_as_known,
    words_by_window,
)
from resonance.space.descriptor import MODALITIES, Descriptor

SAMPLINGS = ("keyframes", "uniform")
#: What a source can be taken as, whatever its name: a container or picture, text, or subtitles of a format.
FORMS = ("encoded", "text", "srt", "vtt")
#: Streams by the modality that they are read for.
STREAM_KINDS = {"video": "visual", "audio": "audio", "subtitle": "transcript"}


class MediaReader:
    """An opened title. Close it, or use it as a context manager.

    Attributes:
        info: what is known before the first segment.
        times: seconds spent so far, by stage.
    """

    def __init__(
        self,
        info: MediaInfo,
        times: ReadTimes,
        segments: Callable[[], Iterator[SegmentInput]],
        *,
        video: VideoReader | None = None,
        closing: contextlib.ExitStack | None = None,
    ) -> None:
        self.info, self.times = info, times
        self._segments, self._video = segments, video
        self._closing = closing or contextlib.ExitStack()

    def __enter__(self) -> MediaReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def segments(self) -> Iterator[SegmentInput]:
        """Windows with content in order, each as soon as it is complete. Blocks; call once.

        Raises:
            MediaError: the input's own fault, by kind.
        """
        return self._segments()

    def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """The segment's frames decoded in order, for keyframes that decode to nothing. Blocks.

        Raises:
            MediaError: the input's own fault, by kind.
        """
        with typed_errors(self.info.name):
            return self._video.decode_again(segment.index) if self._video else None

    def close(self) -> None:
        """End the threads and free the files."""
        self._closing.close()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of the media is wanted, and how."""

    sampling: str
    transcript: Path | SubtitleFile | None
    first_index: int
    resumed: bool
    modalities: frozenset[str]

    def check(self, name: str, held: Collection[str]) -> None:
        """Raises NoModalityError where nothing that is held is wanted; what holds nothing is told later."""
        if held and not self.modalities & set(held):
            raise NoModalityError(
                name, f"{' and '.join(sorted(held))} alone", f"{' or '.join(sorted(self.modalities))}"
            )

    def check_no_subtitles(self, name: str, kind: str) -> None:
        """Raises TranscriptError where subtitles were given for what has none."""
        if self.transcript is not None:
            raise TranscriptError.beside(name, kind)


def open_media(
    source: str | Path | bytes | BinaryIO | Source,
    descriptor: Descriptor,
    *,
    sampling: str | None = None,
    transcript: str | Path | SubtitleFile | None = None,
    limits: Limits | None = None,
    name: str | None = None,
    first_index: int = 0,
    resumed: bool = False,
    modalities: Collection[str] | None = None,
    form: str | None = None,
    on_still: Callable[[int], None] = lambda pixels: None,
    left: Callable[[], bool] = lambda: False,
) -> MediaReader:
    """Open a video, sound, picture or subtitle file. What it is is told by its content, not its name.

    Args:
        source: a path, the bytes of a file, a binary file object, or any other `Source`.
        sampling: ``keyframes`` or ``uniform``; by default what the space says. Animated pictures have no
            keyframes and are always read as ``uniform``.
        transcript: a subtitle file; by default one beside the path, else an embedded stream.
        name: what to call the media; a `Source` has its own.
        first_index: windows before it were embedded already; they are neither decoded nor handed out.
        resumed: other media went on as this one, and their windows count as the first of the title.
        modalities: those to use of ``visual``, ``audio``, ``transcript``; by default all.
        form: one of `FORMS`; by default text and subtitles are told by the path's suffix.
        on_still: told of how many pixels a still picture is, before they are decoded, which may take
            `picture_timeout_s`; called in another thread.
        left: see `MediaSource`.

    Raises:
        MediaError: the input's own fault, by kind. UsageError: an unknown sampling, modality or form.
    """
    limits = limits or Limits()
    sampling = sampling or descriptor.sampling.default
    chosen = frozenset(MODALITIES if modalities is None else modalities)
    if sampling not in SAMPLINGS:
        raise UsageError(f"sampling is '{sampling}'; expected one of {', '.join(SAMPLINGS)}")
    if not chosen or not chosen <= set(MODALITIES):
        raise UsageError(f"modalities are {sorted(chosen)}; expected one or more of {', '.join(MODALITIES)}")
    if form is not None and form not in FORMS:
        raise UsageError(f"form is '{form}'; expected one of {', '.join(FORMS)}")
    words = Path(transcript) if isinstance(transcript, str) else transcript
    wanted = _Wanted(sampling, words, first_index, resumed, chosen)
    opened = (
        source if isinstance(source, Source) else MediaSource(source, name=name, limits=limits, left=left)
    )
    title = Title(opened, descriptor, limits, ReadTimes())
    try:
        kind = form or _form(opened.path)
        if kind in ("srt", "vtt"):
            return _open_subtitles(title, kind, wanted)
        if kind == "text":
            return _open_text(title, wanted)
        picture = _open_picture(title, wanted, on_still)
        if picture is not None:
            return picture
        return _open_streams(title, wanted)
    except BaseException:
        opened.close()
        raise


def _form(path: Path | None) -> str:
    suffix = path.suffix.lower() if path else ""
    if suffix in SUBTITLE_SUFFIXES:
        return suffix.lstrip(".")
    return "text" if suffix in TEXT_SUFFIXES else "encoded"


def _read_whole(source: Source, limits: Limits, most_bytes: int) -> bytes:
    """Everything that the source holds, but no more than one byte over the limit."""

    def read() -> bytes:
        parts, size = [], 0
        with source.open() as file:
            while size <= most_bytes and (part := file.read(most_bytes + 1 - size)):
                parts.append(part)
                size += len(part)
        return b"".join(parts)

    return within(limits.stall_timeout_s, source.name, read, source.waits)


def _open_subtitles(title: Title, kind: str, wanted: _Wanted) -> MediaReader:
    wanted.check(title.name, ["transcript"])
    wanted.check_no_subtitles(title.name, "subtitles")
    data = _read_whole(title.source, title.limits, MAX_SUBTITLE_BYTES)
    cues = read_cues(SubtitleFile(kind, data, title.name))
    info = MediaInfo(title.name, kind, max(c.end_s for c in cues))
    joiner = Joiner(
        title,
        words=lambda: words_by_window(cues, title.descriptor.segment.length_s),
        first_index=wanted.first_index,
    )
    closing = contextlib.ExitStack()
    closing.callback(title.source.close)
    closing.callback(joiner.close)
    return MediaReader(info, title.times, joiner.segments, closing=closing)


def _open_text(title: Title, wanted: _Wanted) -> MediaReader:
    wanted.check(title.name, ["transcript"])
    wanted.check_no_subtitles(title.name, "a text")
    data = _read_whole(title.source, title.limits, MAX_TEXT_BYTES)
    title.source.close()
    text = TextReader(
        decode_text(data, title.name), title.descriptor, name=title.name, first_index=wanted.first_index
    )
    return MediaReader(text.info, text.times, text.segments)


def _open_picture(title: Title, wanted: _Wanted, on_still: Callable[[int], None]) -> MediaReader | None:
    timeout_s = title.limits.stall_timeout_s

    def found(pixels: int) -> None:
        nonlocal timeout_s
        timeout_s = picture_timeout_s(pixels, title.limits.stall_timeout_s)
        on_still(pixels)

    return within(
        lambda: timeout_s, title.name, lambda: _read_if_picture(title, wanted, found), title.source.waits
    )


def _read_if_picture(title: Title, wanted: _Wanted, found: Callable[[int], None]) -> MediaReader | None:
    name, descriptor = title.name, title.descriptor
    with title.source.open() as file:
        image = open_picture(file, name)
        if image is None:
            return None
        wanted.check(name, ["visual"])
        container = str(image.format).lower()
        if is_animation(image):
            wanted.check_no_subtitles(name, "an animation")
            return _open_animation(title, wanted, container)
        wanted.check_no_subtitles(name, "a picture")
        found(image.width * image.height)
        frames = read_picture(
            image,
            descriptor.frames,
            name=name,
            max_pixels=title.limits.max_picture_pixels,
            bucket=descriptor.sampling.image_frames,
        )
    title.source.close()
    segment = SegmentInput(
        index=0, start_s=0.0, end_s=0.0, video=frames, sampled_by=SampledBy.IMAGE, frame_times_s=(0.0,)
    )
    info = MediaInfo(name, container, None, {"video": container})
    return MediaReader(info, title.times, lambda: iter(() if wanted.first_index else (segment,)))


def _open_animation(title: Title, wanted: _Wanted, container: str) -> MediaReader:
    joiner = Joiner(
        title,
        video=AnimationReader(title).windows,
        first_index=wanted.first_index,
        resumed=wanted.resumed,
    )
    closing = contextlib.ExitStack()
    closing.callback(title.source.close)
    closing.callback(joiner.close)
    if isinstance(title.source, GrowingSource):
        closing.callback(title.source.close)  # see `_open_streams`
    info = MediaInfo(title.name, container, None, {"video": container})
    return MediaReader(info, title.times, joiner.segments, closing=closing)


def _open_streams(given: Title, wanted: _Wanted) -> MediaReader:
    source, limits = given.source, given.limits
    probed = within(limits.stall_timeout_s, source.name, lambda: probe(source, limits), source.waits)
    # of some of the streams alone nobody states it
    stated_s = probed.stated_end_s if wanted.modalities >= {"visual", "audio"} else None
    title = replace(given, origin_s=probed.origin_s, known=probed.known, end=StatedEnd(stated_s))
    sidecar = wanted.transcript or (find_sidecar(source.path) if source.path else None)
    held = {STREAM_KINDS[kind] for kind in probed.kinds} | ({"transcript"} if sidecar is not None else set())
    wanted.check(title.name, held)
    info = probed.info
    if sidecar is not None:  # nothing is lost with what stands in for it
        info = replace(info, left_out={k: codec for k, codec in info.left_out.items() if k != "subtitle"})
    if not held and info.left_out:
        raise NoModalityError(
            title.name,
            " and ".join(f"{kind} in '{codec}'" for kind, codec in info.left_out.items()) + " alone",
            f"sound, or video in one of {', '.join(sorted(VIDEO_CODECS))}",
        )
    use = held & wanted.modalities
    closing = contextlib.ExitStack()
    closing.callback(source.close)
    video = sound = None
    pictures: Callable[[], Iterator[tuple[int, VideoWindow]]] | None = None
    words: Callable[[], Iterator[tuple[int, WordsWindow | None]]] | None = None
    if "visual" in use:
        length_s = title.descriptor.segment.length_s
        standing = StandingPictures(
            length_s, info.duration_s, gapless=info.container == STATING, heard="audio" in use
        )
        video = VideoReader(
            title,
            rotation_deg=probed.rotation_deg,
            mirrored=probed.mirrored,
            sampling=wanted.sampling,
            first_index=wanted.first_index,
            on_packet=standing.saw,
        )
        pictures = partial(standing.filled, video.windows, video.decode_again)
        closing.callback(video.close)
    if "audio" in use:
        sound = SoundReader(title)
    if "transcript" in use:
        words = _words(title, sidecar)
    joiner = Joiner(
        title,
        video=pictures,
        sound=sound.windows if sound else None,
        words=words,
        first_index=wanted.first_index,
        resumed=wanted.resumed,
    )
    closing.callback(joiner.close)  # last in, first out: the threads end before what they read is closed
    if isinstance(source, GrowingSource):
        closing.callback(source.close)  # but those that wait for bytes must give up first
    return MediaReader(info, title.times, joiner.segments, video=video, closing=closing)


def _words(
    title: Title, sidecar: Path | SubtitleFile | None
) -> Callable[[], Iterator[tuple[int, WordsWindow | None]]]:
    length_s = title.descriptor.segment.length_s
    if sidecar is not None:
        cues = read_cues(sidecar)
        return lambda: words_by_window(cues, length_s)
    embedded = SubtitleReader(title)
    return lambda: words_as_known(embedded.cues(), length_s)
