"""Times of pictures where no container tells them: of a stream that stands in a file by itself, and where
packets are stamped in the order of decoding."""

from __future__ import annotations

import heapq

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

#: FFmpeg's names of such files, raw H.264 and HEVC, and of the codecs.
BARE = frozenset(("h264", "hevc"))
#: Those of containers that do not tell when a picture is shown, but when it is decoded.
IN_DECODING_ORDER = frozenset(("avi", "asf"))
#: Pictures that a decoder may hold back for their order; H.264 and HEVC allow 16.
MOST_HELD = 32


def is_bare(container: InputContainer) -> bool:
    """Whether its packets have no times."""
    return container.format.name in BARE


def _lasts(stream: VideoStream) -> int:
    """How long a picture lasts that does not tell, in units of the stream's time base: as the frame rate says
    that the stream states, or 1/25 s where it states none or one that cannot be."""
    rate, base = stream.guessed_rate, stream.time_base
    return round(1 / (rate * base)) if rate and base else 0


class CountedPackets:
    """Gives packets a time, by counting what those before them last, and a duration.

    They come in the order of decoding. A keyframe's place there is its place among the pictures shown, too,
    but for the few of an open group that are shown before it.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._lasts, self._next = _lasts(stream), 0

    def stamp(self, packet: Packet[Stream]) -> None:
        """The next packet, in the order of the file."""
        if packet.size:
            packet.dts = self._next
            packet.pts = self._next if packet.is_keyframe else None
            packet.duration = packet.duration or self._lasts
            self._next += packet.duration


def tells_decoding(container: InputContainer, stream: Stream) -> bool:
    """Whether all that is known of packets is when they are decoded.

    FFmpeg then has them shown a picture later. In MPEG-4 and MPEG-2 it sees their order and does better.
    """
    context = stream.codec_context
    named = context is not None and context.codec.canonical_name in BARE
    return named and container.format.name in IN_DECODING_ORDER


def stamp_as_decoded(packet: Packet[Stream]) -> None:
    """Have a packet shown when it is decoded."""
    if packet.size and packet.dts is not None:
        packet.pts = packet.dts


class FrameStamps:
    """When frames are shown, in units of the stream's time base: as they say, in most containers."""

    def restart(self) -> None:
        """Decoding goes on elsewhere."""

    def fed(self, packet: Packet[Stream]) -> None:
        """The next packet is decoded."""

    def of(self, frame: av.VideoFrame) -> int | None:
        """The stamp of the next frame that comes out; None where nothing tells it."""
        return frame.pts if frame.pts is not None else frame.dts


class CountedFrames(FrameStamps):
    """Of frames without a stamp: of the first its own, then counted on."""

    def __init__(self, stream: VideoStream) -> None:
        self._lasts = _lasts(stream)
        self._next: int | None = None

    def restart(self) -> None:
        self._next = None

    def of(self, frame: av.VideoFrame) -> int | None:
        stamp = self._next if self._next is not None else frame.pts
        self._next = None if stamp is None else stamp + (frame.duration or self._lasts)
        return stamp


class OrderedFrames(FrameStamps):
    """Of frames that come out in another order than their packets were stamped in: of those stamps the first.

    All packets have to be decoded to a frame. What is left of those that were not ends at the next keyframe.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []

    def restart(self) -> None:
        self._stamps.clear()

    def fed(self, packet: Packet[Stream]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None:
            heapq.heappush(self._stamps, stamp)
            if len(self._stamps) > MOST_HELD:
                heapq.heappop(self._stamps)

    def of(self, frame: av.VideoFrame) -> int | None:
        own = super().of(frame)
        while frame.key_frame and own is not None and self._stamps and self._stamps[0] < own:
            heapq.heappop(self._stamps)
        return heapq.heappop(self._stamps) if self._stamps else own


def frame_stamps(container: InputContainer, stream: VideoStream) -> FrameStamps:
    """What tells when the frames of a stream are shown."""
    if is_bare(container):
        return CountedFrames(stream)
    return OrderedFrames() if container.format.name in IN_DECODING_ORDER else FrameStamps()
