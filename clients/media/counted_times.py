"""Times of a stream that stands in a file by itself, without a container to tell them."""

from __future__ import annotations

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

#: FFmpeg's names of such files: raw H.264 and HEVC.
BARE = frozenset(("h264", "hevc"))


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


class CountedFrames:
    """Times of frames as a decoder puts them out, which is as they are shown."""

    def __init__(self, stream: VideoStream) -> None:
        self._lasts = _lasts(stream)
        self._next: int | None = None

    def restart(self) -> None:
        """Decoding goes on at another keyframe."""
        self._next = None

    def stamp(self, frame: av.VideoFrame) -> int | None:
        """Of the first frame its own, then counted on; in units of the stream's time base."""
        stamp = self._next if self._next is not None else frame.pts
        self._next = None if stamp is None else stamp + (frame.duration or self._lasts)
        return stamp
