"""A title as segments: pictures, sound and words, each read by a thread of its own, joined by window."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import av

from resonance.clients.errors import MediaError, MediaStalledError, UsageError
from resonance.clients.media.container import choose_stream, open_container, start_s, typed_errors
from resonance.clients.media.picture import open_picture, read_picture
from resonance.clients.media.sound import SoundReader, SoundWindow
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import (
    Frames,
    Limits,
    MediaInfo,
    ReadTimes,
    SampledBy,
    SegmentInput,
)
from resonance.clients.media.video import VideoReader, VideoWindow
from resonance.clients.media.windows import Windows
from resonance.clients.media.words import (
    SUBTITLE_SUFFIXES,
    SubtitleReader,
    WordsWindow,
    find_sidecar,
    read_cues,
    words_by_window,
)
from resonance.space.descriptor import Descriptor

T = TypeVar("T")

#: Windows a stream may be ahead of the slowest one.
READ_AHEAD_WINDOWS = 3
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
        return self._video.decode_window(segment.index) if self._video else None

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
    opened = MediaSource(source, name=name, max_spool_bytes=limits.max_spool_bytes)
    if opened.path is not None and opened.path.suffix.lower() in SUBTITLE_SUFFIXES:
        return _open_subtitles(opened, opened.path, descriptor)
    picture = _open_picture(opened, descriptor, limits)
    if picture is not None:
        return picture
    return _open_streams(opened, descriptor, limits, sampling, Path(transcript) if transcript else None)


def _open_subtitles(source: MediaSource, path: Path, descriptor: Descriptor) -> MediaReader:
    cues = read_cues(path)
    info = MediaInfo(source.name, path.suffix.lower().lstrip("."), max(c.end_s for c in cues))
    times = ReadTimes()
    joiner = _Joiner(
        descriptor, times, None, None, lambda: words_by_window(cues, descriptor.segment.length_s)
    )
    closing = contextlib.ExitStack()
    closing.callback(joiner.close)
    return MediaReader(info, times, joiner.segments, closing=closing)


def _open_picture(source: MediaSource, descriptor: Descriptor, limits: Limits) -> MediaReader | None:
    with source.open() as file:
        image = open_picture(file, source.name)
        if image is None:
            return None
        frames = read_picture(
            image,
            descriptor.frames,
            name=source.name,
            max_pixels=limits.max_picture_pixels,
            bucket=descriptor.sampling.image_frames,
        )
        container = str(image.format).lower()
    source.close()
    segment = SegmentInput(
        index=0, start_s=0.0, end_s=0.0, video=frames, sampled_by=SampledBy.IMAGE, frame_times_s=(0.0,)
    )
    info = MediaInfo(source.name, container, 0.0, {"visual": container})
    return MediaReader(info, ReadTimes(), lambda: iter((segment,)))


def _open_streams(
    source: MediaSource, descriptor: Descriptor, limits: Limits, sampling: str, transcript: Path | None
) -> MediaReader:
    times = ReadTimes()
    with source.open() as file, open_container(file, source.name, limits.stall_timeout_s) as container:
        streams = {kind: choose_stream(container, kind) for kind in ("video", "audio", "subtitle")}
        starts = [start_s(s) for kind, s in streams.items() if s is not None and kind != "subtitle"]
        origin_s = min(starts, default=0.0)
        info = MediaInfo(
            name=source.name,
            container=container.format.name,
            duration_s=container.duration / av.time_base if container.duration else None,
            codecs={
                kind: s.codec_context.codec.canonical_name for kind, s in streams.items() if s is not None
            },
        )
        has_video, has_sound, has_words = (s is not None for s in streams.values())
        rotation_deg = _rotation(container, source.name) if has_video else 0

    closing = contextlib.ExitStack()
    closing.callback(source.close)
    video = sound = None
    words: Callable[[], Iterator[tuple[int, WordsWindow]]] | None = None
    if has_video:
        video = VideoReader(
            source,
            descriptor,
            limits,
            times,
            origin_s=origin_s,
            rotation_deg=rotation_deg,
            sampling=sampling,
        )
        closing.callback(video.close)
    if has_sound:
        sound = SoundReader(source, descriptor, limits, times, origin_s=origin_s)
    sidecar = transcript or (find_sidecar(source.path) if source.path else None)
    length_s = descriptor.segment.length_s
    if sidecar is not None:
        cues = read_cues(sidecar)
        words = lambda: words_by_window(cues, length_s)  # noqa: E731  one line each, side by side
    elif has_words:
        embedded = SubtitleReader(source, limits, times, origin_s=origin_s)
        words = lambda: words_by_window(embedded.cues(), length_s)  # noqa: E731
    joiner = _Joiner(
        descriptor,
        times,
        video.windows if video else None,
        sound.windows if sound else None,
        words,
        name=source.name,
        stall_timeout_s=limits.stall_timeout_s,
    )
    closing.callback(joiner.close)  # last in, first out: the threads end before what they read is closed
    return MediaReader(info, times, joiner.segments, video=video, closing=closing)


def _rotation(container: av.container.InputContainer, name: str) -> int:
    """Clockwise degrees that show the picture upright, from the first frame that decodes."""
    stream = choose_stream(container, "video")
    with contextlib.suppress(av.error.FFmpegError, MediaError), typed_errors(name):
        for attempt, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    return round(-frame.rotation / 90) % 4 * 90
            if attempt > _ROTATION_PACKETS:
                break
    return 0


#: Packets tried for a first frame before the picture is taken as upright.
_ROTATION_PACKETS = 64


class _Feed(Generic[T]):
    """A thread that runs ahead of its reader by at most `READ_AHEAD_WINDOWS` windows."""

    def __init__(self, windows: Callable[[], Iterator[tuple[int, T]]], label: str, times: ReadTimes) -> None:
        self._windows, self._times = windows, times
        self._ready: queue.Queue[tuple[int, T] | BaseException | None] = queue.Queue(READ_AHEAD_WINDOWS)
        self._stopped = threading.Event()
        self._head: tuple[int, T] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"resonance-read-{label}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._windows():
                if not self._offer(item):
                    return
            self._offer(None)
        except BaseException as error:
            self._offer(error)

    def _offer(self, item: tuple[int, T] | BaseException | None) -> bool:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return True
        return False

    def head(self, timeout_s: float, name: str) -> tuple[int, T] | None:
        """The next window, left in place; None at the end.

        Raises:
            MediaStalledError: for `timeout_s` no packet or frame was handled. MediaError: as the thread met it.
        """
        if self._head is None and not self._ended:
            item = self._wait(timeout_s, name)
            if isinstance(item, BaseException):
                self._ended = True
                raise item
            self._head, self._ended = item, item is None
        return self._head

    def _wait(self, timeout_s: float, name: str) -> tuple[int, T] | BaseException | None:
        steps, since = self._times.steps, time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                return self._ready.get(timeout=0.25)
            if self._times.steps != steps:
                steps, since = self._times.steps, time.monotonic()
            elif time.monotonic() - since > timeout_s:
                raise MediaStalledError(
                    name, f"no packet and no frame for {timeout_s:g} s", "a stream that can be read on"
                )

    def take(self, index: int) -> T | None:
        """The content of window `index`, if the head is that window."""
        if self._head is None or self._head[0] != index:
            return None
        content, self._head = self._head[1], None
        return content

    def stop(self) -> None:
        """Let the thread end; waits for the step it is in."""
        self._stopped.set()
        self._thread.join(timeout=5.0)


class _Joiner:
    """Merges the streams' windows by index into segments."""

    def __init__(
        self,
        descriptor: Descriptor,
        times: ReadTimes,
        video: Callable[[], Iterator[tuple[int, VideoWindow]]] | None,
        sound: Callable[[], Iterator[tuple[int, SoundWindow]]] | None,
        words: Callable[[], Iterator[tuple[int, WordsWindow]]] | None,
        *,
        name: str = "subtitles",
        stall_timeout_s: float = 8.0,
    ) -> None:
        self._segment, self._windows = descriptor.segment, Windows(descriptor.segment.length_s)
        self._sources, self._times = (video, sound, words), times
        self._name, self._stall_timeout_s = name, stall_timeout_s
        self._feeds: list[_Feed[object]] = []

    def close(self) -> None:
        """End the threads."""
        for feed in self._feeds:
            feed.stop()

    def segments(self) -> Iterator[SegmentInput]:
        """See `MediaReader.segments`."""
        video, sound, words = self._sources
        pictures = self._feed(video, "video")
        heard = self._feed(sound, "sound")
        spoken = self._feed(words, "words")
        emitted = 0
        while True:
            heads = [f.head(self._stall_timeout_s, self._name) for f in (pictures, heard, spoken) if f]
            present = [head[0] for head in heads if head is not None]
            if not present:
                return
            index = min(present)
            segment = self._join(
                index,
                pictures.take(index) if pictures else None,
                heard.take(index) if heard else None,
                spoken.take(index) if spoken else None,
            )
            if segment is None or self._is_short_tail(segment, emitted):
                continue
            emitted += 1
            yield segment

    def _feed(self, windows: Callable[[], Iterator[tuple[int, T]]] | None, label: str) -> _Feed[T] | None:
        if windows is None:
            return None
        feed = _Feed(windows, label, self._times)
        self._feeds.append(feed)  # type: ignore[arg-type]  # only stop() is called on it
        return feed

    def _join(
        self, index: int, seen: VideoWindow | None, heard: SoundWindow | None, said: WordsWindow | None
    ) -> SegmentInput | None:
        pcm = heard.pcm if heard else None
        if not ((seen and seen.video is not None) or pcm is not None or said):
            return None
        start_s, end_s = self._windows.start_s(index), self._windows.end_s(index)
        # words may be shown past the end of what they belong to
        covered = [w.end_s for w in (seen, heard) if w is not None] or [said.end_s if said else end_s]
        return SegmentInput(
            index=index,
            start_s=start_s,
            end_s=min(max(covered), end_s),
            video=seen.video if seen else None,
            sampled_by=seen.sampled_by if seen else SampledBy.NONE,
            frame_times_s=seen.frame_times_s if seen else (),
            pcm=pcm,
            text=said.text if said else None,
            cut_rate_per_min=seen.cut_rate_per_min if seen else None,
            motion=seen.motion if seen else None,
            words_per_second=said.words_per_second if said else None,
        )

    def _is_short_tail(self, segment: SegmentInput, emitted: int) -> bool:
        """Under `min_tail_s` of content; only the last window can be that short, or a stray packet's."""
        assert segment.start_s is not None
        assert segment.end_s is not None
        return emitted > 0 and segment.end_s - segment.start_s < self._segment.min_tail_s
