"""The media of a title opened for a reel: frames, sound or the picture of a few seconds of it.

What is opened and how far it is trusted is the same as when it was ingested (`resonance.clients.media`).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from PIL import Image

from resonance.clients.discovery.reel_pictures import Shape
from resonance.clients.discovery.reel_sound import SoundPlacer, Stereo
from resonance.clients.errors import CorruptMediaError, MediaLimitError, MediaStalledError, NoModalityError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.media.animation import show
from resonance.clients.media.counted_times import FrameStamps, frame_stamps
from resonance.clients.media.packets import Title, opened_stream, read_packets
from resonance.clients.media.picture import open_picture, read_picture
from resonance.clients.media.probe import probe
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import ByteArray, Limits, ReadTimes
from resonance.clients.media.waiting import within
from resonance.space.descriptor import Descriptor, FrameGeometry

#: Longest that reading one clip may take: a keyframe may lie far before it, but not for ever.
MOST_READ_S = 60.0
#: A seek may land after the wanted time, where the container has no index. Then it is tried from further
#: back, and from the start at last.
LEADS_S = (0.0, 15.0, math.inf)
#: Sound decoded before the wanted time: decoders overlap, and predict from what was before.
SOUND_LEAD_S = 1.0
#: Containers without times of their own: after a seek FFmpeg guesses them from the bit rate. Read from the
#: start they are exact, and nothing need be decoded to get ahead.
TIMELESS = frozenset(("mp3", "aac", "ac3", "eac3", "dts", "amr", "h264", "hevc", "mpegvideo", "obu"))
#: Broken packets in a row after which a stream is given up.
MAX_BROKEN_PACKETS = 200
#: EXIF orientations that turn a picture by a quarter.
_EXIF_ORIENTATION, _TURNED = 0x0112, frozenset((5, 6, 7, 8))


class Kind(StrEnum):
    """What a title shows."""

    VIDEO = "video"
    PICTURE = "picture"
    SOUND = "sound"


class ReelMedia:
    """An opened title; close it, or use it as a context manager. All of it blocks.

    Attributes:
        kind: what it shows. has_sound. duration_s: what the container says, or None. shape: of its pictures.

    Raises:
        MediaError: the media's own fault, by kind; NoModalityError where it holds nothing to see or hear.
        ServerError, UsageError: see `open_uri`.
    """

    def __init__(self, uri: str, descriptor: Descriptor, limits: Limits | None = None) -> None:
        self.uri, self._limits = uri, limits or Limits()
        self._file = open_uri(uri)
        try:
            self._source = MediaSource(self._file, name=uri, limits=self._limits)
            self._title = Title(self._source, descriptor, self._limits, ReadTimes())
            self._look()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ReelMedia:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the file."""
        self._file.close()

    def _look(self) -> None:
        stall_s = self._limits.stall_timeout_s
        self.duration_s: float | None = None
        self.shape = Shape()
        if within(stall_s, self.uri, self._is_picture):
            self.kind, self.has_sound = Kind.PICTURE, False
            return
        probed = within(stall_s, self.uri, lambda: probe(self._source, self._limits))
        if not probed.kinds & {"video", "audio"}:
            raise NoModalityError(self.uri, "words alone", "something to see or to hear")
        self._title = replace(self._title, origin_s=probed.origin_s)
        self.kind = Kind.VIDEO if "video" in probed.kinds else Kind.SOUND
        self.has_sound = "audio" in probed.kinds
        self.duration_s = probed.info.duration_s
        self._container = probed.info.container
        if self.kind is Kind.VIDEO:
            sample_aspect = within(stall_s, self.uri, self._sample_aspect)
            self.shape = Shape(probed.rotation_deg, sample_aspect, probed.mirrored)

    def _is_picture(self) -> bool:
        with self._source.open() as file:
            return open_picture(file, self.uri) is not None

    def _sample_aspect(self) -> float:
        with opened_stream(self._title, "video") as (_, stream):
            assert isinstance(stream, VideoStream)
            aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        # 0 is "not known"; what no camera nor player has is a broken header
        return float(aspect) if aspect and 1 / 16 <= aspect <= 16 else 1.0

    def picture(self, width: int, height: int, at_s: float) -> ByteArray:
        """The still picture upright, uint8 RGB [h, w, 3], as large as it fits into `width` x `height`; of an
        animation the frame at `at_s`.

        Raises:
            MediaLimitError, CorruptMediaError, NotMediaError: see `read_picture`.
        """

        def read() -> ByteArray:
            with self._source.open() as file:
                image = open_picture(file, self.uri)
                if image is None:
                    raise CorruptMediaError(self.uri, "no picture any more", "bytes that stay as they are")
                show(image, at_s, self._limits.max_picture_pixels)
                fit_width, fit_height = Shape(90 if _is_turned(image) else 0).fitted(
                    *image.size, width, height
                )
                frames = read_picture(
                    image,
                    _geometry(fit_width, fit_height),
                    name=self.uri,
                    max_pixels=self._limits.max_picture_pixels,
                    bucket=1,
                )
                return cast("ByteArray", frames.pixels[0])  # (1, h, w, 3) -> (h, w, 3)

        return within(MOST_READ_S, self.uri, read)

    def frames(self, start_s: float, end_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """(time_s, frame) in order: the last one at or before `start_s`, and all after it before `end_s`.

        Raises:
            MediaLimitError: pictures larger than the limit. MediaStalledError: it takes too long.
            MediaError: the container broke.
        """
        deadline_s = time.monotonic() + MOST_READ_S
        for lead_s in self._leads_s(start_s):
            with opened_stream(self._title, "video") as (container, stream):
                assert isinstance(stream, VideoStream)
                stream.thread_type = "AUTO"
                self._seek(container, stream, start_s - lead_s)
                stamps = frame_stamps(container, stream)
                decoded = self._decoded(container, stream, -math.inf, deadline_s, stamps)
                frames = _rising(self._timed(decoded, stream, stamps))
                first = next(frames, None)
                if lead_s < math.inf and (first is None or first[0] > start_s):
                    continue  # it landed after what is wanted
                if first is not None:
                    yield from _between(first, frames, start_s, end_s)
                return

    def sound(self, start_s: float, samples: int, rate_hz: int) -> Stereo | None:
        """`samples` of stereo at `rate_hz` from `start_s` on, float32 [2, samples], gaps silent.

        None where the title has no sound, or none there. Errors: see `frames`.
        """
        if not self.has_sound:
            return None
        deadline_s = time.monotonic() + MOST_READ_S
        from_s = start_s - SOUND_LEAD_S
        end_s = start_s + samples / rate_hz
        for lead_s in self._leads_s(from_s):
            with opened_stream(self._title, "audio") as (container, stream):
                assert isinstance(stream, AudioStream)
                self._seek(container, stream, from_s - lead_s)
                placer = SoundPlacer(rate_hz, start_s, samples)
                skip_to_s = from_s if lead_s == math.inf else -math.inf
                first_s: float | None = None
                for frame in self._decoded(container, stream, skip_to_s, deadline_s):
                    assert isinstance(frame, av.AudioFrame)
                    at_s = None if frame.time is None else frame.time - self._title.origin_s
                    first_s = at_s if first_s is None else first_s
                    if at_s is not None and at_s >= end_s:
                        break
                    placer.put(frame, at_s)
                if lead_s < math.inf and (first_s is None or first_s > start_s):
                    continue  # see `frames`
                found = placer.finish()
                if found is None and lead_s < math.inf and self._container == "ogg":
                    continue  # of several links a seek leads into any
                return found
        return None

    def _leads_s(self, start_s: float) -> tuple[float, ...]:
        return LEADS_S[-1:] if start_s <= 0 or self._container in TIMELESS else LEADS_S

    def _seek(self, container: InputContainer, stream: Stream, to_s: float) -> None:
        """To the last keyframe at or before `to_s`; what cannot be sought is read from its start."""
        if to_s <= 0 or stream.time_base is None:
            return
        stamp = math.floor((to_s + self._title.origin_s) / float(stream.time_base))
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(stamp, stream=stream, backward=True)

    def _decoded(
        self,
        container: InputContainer,
        stream: Stream,
        skip_to_s: float,
        deadline_s: float,
        stamps: FrameStamps | None = None,
    ) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """Frames as they come; broken packets are left out, and packets that end before `skip_to_s`."""
        base = float(stream.time_base or 0)
        broken = 0
        for packet in read_packets(self._title, container, stream, first=False):
            if time.monotonic() > deadline_s:
                raise MediaStalledError(
                    self.uri, f"a clip not read in {MOST_READ_S:g} s", "one nearer at hand"
                )
            if _ends_before(packet, base, skip_to_s + self._title.origin_s):
                continue
            if stamps is not None:
                stamps.fed(packet)
            try:
                frames = packet.decode()
                broken = 0
            except (av.error.FFmpegError, ValueError):
                broken += 1
                if broken >= MAX_BROKEN_PACKETS:
                    return
                continue
            yield from cast("list[av.VideoFrame | av.AudioFrame]", frames)

    def _timed(
        self, frames: Iterator[av.VideoFrame | av.AudioFrame], stream: Stream, stamps: FrameStamps
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        base = float(stream.time_base or 0)
        most = self._limits.max_video_pixels
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            if frame.width * frame.height > most:
                raise MediaLimitError(
                    self.uri,
                    f"a video of {frame.width}x{frame.height} pixels",
                    f"at most {most:,} pixels a picture",
                )
            stamp = stamps.of(frame)
            if stamp is not None:
                yield stamp * base - self._title.origin_s, frame


def _between(
    first: tuple[float, av.VideoFrame],
    others: Iterator[tuple[float, av.VideoFrame]],
    start_s: float,
    end_s: float,
) -> Iterator[tuple[float, av.VideoFrame]]:
    held: tuple[float, av.VideoFrame] | None = first
    for item in others:
        if held is not None and item[0] > start_s:
            if held[0] >= end_s:
                return
            yield held
        held = item
    if held is not None and held[0] < end_s:
        yield held


def _rising(frames: Iterator[tuple[float, av.VideoFrame]]) -> Iterator[tuple[float, av.VideoFrame]]:
    """Without frames that come no later than one before them."""
    reached_s = -math.inf
    for item in frames:
        if item[0] > reached_s:
            reached_s = item[0]
            yield item


def _ends_before(packet: Packet[Stream], base: float, time_s: float) -> bool:
    if packet.pts is None or not packet.size:
        return False
    return (packet.pts + (packet.duration or 0)) * base < time_s


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_EXIF_ORIENTATION) in _TURNED
    except Exception:  # on hostile bytes Pillow's parsers raise whatever they stumble over
        return False


def _geometry(width: int, height: int) -> FrameGeometry:
    return FrameGeometry(width, height, resize="stretch", interpolation="bicubic", colour_matrix="stream")
