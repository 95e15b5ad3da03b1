"""Opening a title: what kind of media it is, and the readers of its streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext

from resonance.clients.errors import MediaError, MediaLimitError, UsageError
from resonance.clients.media.container import choose_stream, open_container, start_s, typed_errors
from resonance.clients.media.joiner import Joiner
from resonance.clients.media.packets import Title
from resonance.clients.media.picture import open_picture, read_picture
from resonance.clients.media.sound import SoundReader
from resonance.clients.media.source import MediaSource
from resonance.clients.media.text import TEXT_SUFFIXES, TextReader, read_text
from resonance.clients.media.types import (
    Frames,
    Limits,
    MediaInfo,
    ReadTimes,
    SampledBy,
    SegmentInput,
)
from resonance.clients.media.video import VideoReader
from resonance.clients.media.waiting import within
from resonance.clients.media.words import (
    SUBTITLE_SUFFIXES,
    SubtitleReader,
    WordsWindow,
    find_sidecar,
    read_cues,
    words_by_window,
)
from resonance.space.descriptor import Descriptor

SAMPLINGS = ("keyframes", "uniform")


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
        """The segment's frames decoded in order, for keyframes that decode to nothing. Blocks."""
        return self._video.decode_again(segment.index) if self._video else None

    def close(self) -> None:
        """End the threads and free the files."""
        self._closing.close()


def open_media(
    source: str | Path | bytes | BinaryIO,
    descriptor: Descriptor,
    *,
    sampling: str | None = None,
    transcript: str | Path | None = None,
    limits: Limits | None = None,
    name: str | None = None,
) -> MediaReader:
    """Open a video, sound, picture or subtitle file. What it is is told by its content, not its name.

    Args:
        source: a path, the bytes of a file, or a binary file object.
        sampling: ``keyframes`` or ``uniform``; by default what the space says.
        transcript: a subtitle file; by default one beside the path, else an embedded stream.

    Raises:
        MediaError: the input's own fault, by kind. UsageError: an unknown sampling.
    """
    limits = limits or Limits()
    sampling = sampling or descriptor.sampling.default
    if sampling not in SAMPLINGS:
        raise UsageError(f"sampling is '{sampling}'; expected one of {', '.join(SAMPLINGS)}")
    opened = MediaSource(source, name=name, limits=limits)
    try:
        suffix = opened.path.suffix.lower() if opened.path else ""
        if opened.path is not None and suffix in SUBTITLE_SUFFIXES:
            return _open_subtitles(Title(opened, descriptor, limits, ReadTimes()), opened.path)
        if opened.path is not None and suffix in TEXT_SUFFIXES:
            return _open_text(opened.path, opened.name, descriptor)
        picture = within(
            limits.stall_timeout_s, opened.name, lambda: _open_picture(opened, descriptor, limits)
        )
        if picture is not None:
            opened.close()
            return picture
        return _open_streams(opened, descriptor, limits, sampling, Path(transcript) if transcript else None)
    except BaseException:
        opened.close()
        raise


def _open_subtitles(title: Title, path: Path) -> MediaReader:
    cues = read_cues(path)
    info = MediaInfo(title.name, path.suffix.lower().lstrip("."), max(c.end_s for c in cues))
    joiner = Joiner(title, words=lambda: words_by_window(cues, title.descriptor.segment.length_s))
    closing = contextlib.ExitStack()
    closing.callback(joiner.close)
    return MediaReader(info, title.times, joiner.segments, closing=closing)


def _open_text(path: Path, name: str, descriptor: Descriptor) -> MediaReader:
    text = TextReader(read_text(path), descriptor, name=name)
    return MediaReader(text.info, text.times, text.segments)


def _open_picture(source: MediaSource, descriptor: Descriptor, limits: Limits) -> MediaReader | None:
    with source.open() as file:
        image = open_picture(file, source.name)
        if image is None:
            return None
        container = str(image.format).lower()
        frames = read_picture(
            image,
            descriptor.frames,
            name=source.name,
            max_pixels=limits.max_picture_pixels,
            bucket=descriptor.sampling.image_frames,
        )
    segment = SegmentInput(
        index=0, start_s=0.0, end_s=0.0, video=frames, sampled_by=SampledBy.IMAGE, frame_times_s=(0.0,)
    )
    info = MediaInfo(source.name, container, 0.0, {"visual": container})
    return MediaReader(info, ReadTimes(), lambda: iter((segment,)))


@dataclass(frozen=True, slots=True)
class _Probed:
    """What a container holds, read before its streams are."""

    info: MediaInfo
    origin_s: float
    kinds: frozenset[str]
    rotation_deg: int


def _probe(source: MediaSource, limits: Limits) -> _Probed:
    with source.open() as file, open_container(file, source.name, limits.stall_timeout_s) as container:
        found = {kind: choose_stream(container, kind) for kind in ("video", "audio", "subtitle")}
        streams = {kind: stream for kind, stream in found.items() if stream is not None}
        starts = [start_s(s) for kind, s in streams.items() if kind != "subtitle"]
        info = MediaInfo(
            name=source.name,
            container=container.format.name,
            duration_s=container.duration / av.time_base if container.duration else None,
            codecs={kind: s.codec_context.codec.canonical_name for kind, s in streams.items()},
        )
        video = streams.get("video")
        rotation_deg = _rotation(container, video, source.name, limits) if video is not None else 0
        return _Probed(info, min(starts, default=0.0), frozenset(streams), rotation_deg)


def _open_streams(
    source: MediaSource, descriptor: Descriptor, limits: Limits, sampling: str, transcript: Path | None
) -> MediaReader:
    probed = within(limits.stall_timeout_s, source.name, lambda: _probe(source, limits))
    title = Title(source, descriptor, limits, ReadTimes(), origin_s=probed.origin_s)
    closing = contextlib.ExitStack()
    closing.callback(source.close)
    video = sound = None
    words: Callable[[], Iterator[tuple[int, WordsWindow]]] | None = None
    if "video" in probed.kinds:
        video = VideoReader(title, rotation_deg=probed.rotation_deg, sampling=sampling)
        closing.callback(video.close)
    if "audio" in probed.kinds:
        sound = SoundReader(title)
    sidecar = transcript or (find_sidecar(source.path) if source.path else None)
    length_s = descriptor.segment.length_s
    if sidecar is not None:
        cues = read_cues(sidecar)
        words = lambda: words_by_window(cues, length_s)  # noqa: E731  one line each, side by side
    elif "subtitle" in probed.kinds:
        embedded = SubtitleReader(title)
        words = lambda: words_by_window(embedded.cues(), length_s)  # noqa: E731
    joiner = Joiner(
        title,
        video=video.windows if video else None,
        sound=sound.windows if sound else None,
        words=words,
    )
    closing.callback(joiner.close)  # last in, first out: the threads end before what they read is closed
    return MediaReader(probed.info, title.times, joiner.segments, video=video, closing=closing)


def _rotation(container: InputContainer, stream: Stream, name: str, limits: Limits) -> int:
    """Clockwise degrees that show the picture upright, from the first frame that decodes.

    Raises:
        MediaLimitError: the pictures are larger than the limit; nothing is decoded then.
    """
    codec = stream.codec_context
    assert isinstance(codec, VideoCodecContext)
    if codec.width * codec.height > limits.max_video_pixels:
        raise MediaLimitError(
            name,
            f"a video of {codec.width}x{codec.height} pixels",
            f"at most {limits.max_video_pixels:,} pixels a picture",
        )
    codec.thread_count = 1
    with contextlib.suppress(av.error.FFmpegError, MediaError, IndexError), typed_errors(name):
        for attempt, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    return round(-frame.rotation / 90) % 4 * 90
            if attempt > _ROTATION_PACKETS:
                break
    return 0


#: Packets tried for a first frame before the picture is taken as upright.
_ROTATION_PACKETS = 64
