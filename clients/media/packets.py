"""What all readers of one title share, and the packets of one of its streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from resonance.clients.errors import CorruptMediaError, MediaLimitError
from resonance.clients.media.chained import demuxed
from resonance.clients.media.container import (
    choose_stream,
    discard_all_but,
    opened_container,
    reason,
    typed_errors,
)
from resonance.clients.media.counted_times import (
    CountedPackets,
    is_bare,
    stamp_as_decoded,
    tells_decoding,
)
from resonance.clients.media.joined_clock import JoinedClock
from resonance.clients.media.picture import UNKNOWN_RANGE, UNSPECIFIED
from resonance.clients.media.source import Source
from resonance.clients.media.stated_end import StatedEnd
from resonance.clients.media.types import Limits, ReadTimes
from resonance.clients.media.windows import Windows
from resonance.space.descriptor import Descriptor

#: FFmpeg's names of containers without an index: a seek leads to any packet, from which nothing decodes
#: before the next keyframe.
UNINDEXED = frozenset(("mpegts", "mpeg"))
#: Packets that may lie beyond the longest time: timestamps are broken now and then.
STRAY_PACKETS = 50


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a picture stream without its packets; `rate` is None where it is not told."""

    codec: str
    extradata: bytes
    width_px: int
    height_px: int
    sample_aspect: tuple[int, int]
    pixel_format: str
    colour_matrix: int
    colour_range: int
    rate: float | None

    @classmethod
    def of(cls, stream: VideoStream) -> VideoFacts:
        """Of a stream whose container was looked at in full."""
        codec, aspect = stream.codec_context, stream.codec_context.sample_aspect_ratio
        return cls(
            codec=codec.codec.canonical_name,
            extradata=codec.extradata or b"",
            width_px=codec.width,
            height_px=codec.height,
            sample_aspect=(aspect.numerator, aspect.denominator) if aspect else (0, 0),
            pixel_format=codec.pix_fmt or "",
            colour_matrix=int(codec.colorspace),
            colour_range=int(codec.color_range),
            rate=float(stream.average_rate) if stream.average_rate else None,
        )

    def under(self, extradata: bytes) -> VideoFacts:
        """Of the same stream from where `extradata` holds on. What else the new headers say is not known."""
        if extradata == self.extradata:
            return self
        return replace(
            self,
            extradata=extradata,
            width_px=0,
            height_px=0,
            sample_aspect=(0, 0),
            pixel_format="",
            colour_matrix=UNSPECIFIED,
            colour_range=UNKNOWN_RANGE,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What a first look at a container learnt, so that the next ones may be quick; see `opened_container`."""

    only_decoder: str
    video: VideoFacts | None


@dataclass(frozen=True, slots=True)
class Title:
    """What the readers of one title share.

    origin_s: the title's start on its container's clock; stopping: set when the readers shall end;
    restarted: set once no seek leads to the keyframe before a time, for a clock was seen to begin anew, times
    are counted, or there is no index; known: what need not be looked at again; end: told how far pictures and
    sound go; windows: of its segments.
    """

    source: Source
    descriptor: Descriptor
    limits: Limits
    times: ReadTimes
    origin_s: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)
    restarted: threading.Event = field(default_factory=threading.Event)
    known: Known | None = None
    end: StatedEnd = field(default_factory=StatedEnd)
    windows: Windows = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", Windows(self.descriptor.segment.length_s))

    @property
    def name(self) -> str:
        """What to call the title in errors."""
        return self.source.name

    def time_s(self, stamp: int, base_s: float) -> float:
        """Seconds from the title's start to a stamp that counts `base_s`; on a window's edge exactly that."""
        return self.windows.settled_s(stamp * base_s - self.origin_s)


@contextmanager
def opened_stream(title: Title, kind: str, *, quick: bool = False) -> Iterator[tuple[InputContainer, Stream]]:
    """The title's stream of `kind` in a container of its own; the other streams are discarded.

    `quick`: pictures are not decoded to learn about them, so of a picture stream the packets alone count.

    Raises:
        CorruptMediaError: it is not there any more. MediaError: see `opened_container`.
    """
    only_decoder = title.known.only_decoder if quick and title.known else None
    with opened_container(title.source, title.limits.stall_timeout_s, only_decoder=only_decoder) as container:
        stream = choose_stream(container, kind)
        if stream is None:  # uploads may be written over, files replaced
            raise CorruptMediaError(
                title.name, f"no {kind} where there was one before", "bytes that stay as they are while read"
            )
        discard_all_but(container, stream)
        yield container, stream


def read_packets(
    title: Title,
    container: InputContainer,
    stream: Stream,
    *,
    first: bool = True,
    beside: Collection[Stream] = (),
) -> Iterator[Packet[Stream]]:
    """The stream's packets, the empty one that flushes the decoder last; those of the streams `beside` it as
    they come between. Where the clock of pictures or sound begins anew, it goes on: see `JoinedClock`. Where
    there is none, times are counted: see `CountedPackets`.

    A container that breaks off ends here, as a truncated file does, and is counted as broken; but `first`
    demands that one packet can be read.

    Raises:
        MediaError: not one packet can be read, or the source itself fails.
        MediaLimitError: more than a few packets lie beyond `Limits.max_media_s`.
    """
    packets = demuxed(title.source, container, stream, beside)
    times, waits, thread = title.times, title.source.waits, threading.get_ident()
    clock = JoinedClock(stream.time_base, title.restarted.set) if stream.type in ("video", "audio") else None
    counted = CountedPackets(stream) if isinstance(stream, VideoStream) and is_bare(container) else None
    as_decoded = tells_decoding(container, stream)
    if counted is not None or container.format.name in UNINDEXED:
        title.restarted.set()
    beyond = 0
    while not title.stopping.is_set():
        started, waited_s = time.monotonic(), waits.seconds(thread)
        try:
            with typed_errors(title.name):
                packet = _next(packets, title, first)
        finally:
            times.demux_s += time.monotonic() - started - (waits.seconds(thread) - waited_s)
            times.steps += 1
        first = False
        if counted is not None and packet is not None:
            counted.stamp(packet)
        elif as_decoded and packet is not None:
            stamp_as_decoded(packet)
        for given in _on_one_clock(packet, clock):
            beyond += _is_beyond(given, title)
            if beyond > STRAY_PACKETS:
                most_s = title.limits.max_media_s
                raise MediaLimitError(
                    title.name, f"sound or pictures after {most_s:,.0f} s", "a shorter title"
                )
            yield given
        if packet is None:
            return


def _on_one_clock(packet: Packet[Stream] | None, clock: JoinedClock | None) -> Iterable[Packet[Stream]]:
    """What may be handed on; `packet` is None at the end."""
    if clock is None:
        return [] if packet is None else [packet]
    return clock.flush() if packet is None else clock.put(packet)


def _is_beyond(packet: Packet[Stream], title: Title) -> bool:
    most_s = title.limits.max_media_s
    stamp = packet.pts if packet.pts is not None else packet.dts
    if most_s is None or stamp is None or packet.time_base is None:
        return False
    return float(stamp * packet.time_base) - title.origin_s > most_s


def _next(packets: Iterator[Packet[Stream]], title: Title, first: bool) -> Packet[Stream] | None:
    try:
        return next(packets, None)
    except IndexError:
        # PyAV flushes the streams there are at the end, and stumbles over one that appeared on the way;
        # it comes after all packets of the stream asked for
        return None
    except av.error.FFmpegError as error:
        if first:
            raise CorruptMediaError(
                title.name, f"a container that breaks off at once ({reason(error)})", "a whole file"
            ) from error
        title.times.broken += 1
        return None
