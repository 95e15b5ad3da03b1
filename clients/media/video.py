"""The picture stream of a title, window by window: keyframe packets, or frames decoded in order."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from av.container import InputContainer
from av.packet import Packet as AvPacket
from av.stream import Stream
from av.video.stream import VideoStream

from resonance.clients.media.growing import ForgottenBytesError, GrowingSource
from resonance.clients.media.packet_signals import PacketSignals
from resonance.clients.media.packets import Title, VideoFacts, opened_stream, read_packets
from resonance.clients.media.stretch import StretchDecoder
from resonance.clients.media.types import (
    Clip,
    Frames,
    Packet,
    SampledBy,
    StreamSignal,
)

#: Seconds of packets that `PacketSignals.take` wants to know after a window's end.
SIGNALS_AHEAD_S = 2.0
#: Windows that may wait for late packets; more only come of timestamps at random.
MOST_PENDING = 16
#: Windows passed over on the way to one that is decoded again and kept, for they are asked for next.
MOST_KEPT = 12


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """What the picture stream gives for one window. `end_s` is where its last packet ends.

    stands_on: its picture stands for want of a next one, and the title's end is not told: it counts as far as
    sound comes.
    """

    video: Clip | Frames | None
    sampled_by: SampledBy
    frame_times_s: tuple[float, ...]
    cut_rate_per_min: StreamSignal | None
    motion: StreamSignal | None
    end_s: float
    stands_on: bool = False


@dataclass(frozen=True, slots=True)
class _Keyframe:
    """A keyframe's packet as the demuxer gave it; its bytes are copied only when it is chosen.

    facts: what held of the stream by then, for its headers may change on the way.
    """

    time_s: float
    packet: AvPacket[Stream]
    facts: VideoFacts


@dataclass(slots=True)
class _Pending:
    """A window that may still receive packets."""

    end_s: float
    times_s: set[float] = field(default_factory=set)
    #: For each part of the window, the keyframe nearest to its centre so far.
    nearest: dict[int, _Keyframe] = field(default_factory=dict)
    first: _Keyframe | None = None
    last: _Keyframe | None = None

    def keep(self, keyframe: _Keyframe, centres_s: tuple[float, ...]) -> None:
        """Remember the keyframe where it is the nearest to a part's centre: at most one a part is held."""
        for part, centre_s in enumerate(centres_s):
            held = self.nearest.get(part)
            if held is None or abs(keyframe.time_s - centre_s) < abs(held.time_s - centre_s):
                self.nearest[part] = keyframe
        if self.first is None or keyframe.time_s < self.first.time_s:
            self.first = keyframe
        if self.last is None or keyframe.time_s > self.last.time_s:
            self.last = keyframe


class VideoReader:
    """Demuxes the picture stream and hands out its windows in order. Nothing is decoded for `keyframes`
    but windows without a keyframe within reach.

    Args:
        rotation_deg, mirrored: see `orientation`.
        sampling: ``keyframes`` or ``uniform``.
        first_index: of windows before it nothing is decoded and nothing cut; they are handed out empty, but
            the last one where a picture of it may stand beyond.
        on_packet: told time and duration in seconds of each packet, before its window is handed out.
    """

    def __init__(
        self,
        title: Title,
        *,
        rotation_deg: int,
        mirrored: bool = False,
        sampling: str,
        first_index: int = 0,
        on_packet: Callable[[float, float | None], None] = lambda time_s, duration_s: None,
    ) -> None:
        self._on_packet = on_packet
        self._title, self._first_index = title, first_index
        self._rotation_deg, self._mirrored = rotation_deg, mirrored
        self._sampling, self._uniform = title.descriptor.sampling, sampling == "uniform"
        self._bucket = self._sampling.uniform_frames if self._uniform else self._sampling.keyframes_frames
        self._windows = title.windows
        self._stretch = StretchDecoder(title, rotation_deg, mirrored=mirrored)
        self._again = StretchDecoder(title, rotation_deg, mirrored=mirrored)
        self._growing = isinstance(title.source, GrowingSource)
        self._again_lock = threading.Lock()
        self._again_next = first_index
        self._again_kept: dict[int, Frames | None] = {}
        # then a decoder must come past every change: not all demuxers tell of those that a seek leaps over
        self._headers_changed = False

    @property
    def packets_decoded(self) -> int:
        """Packets fed to a decoder on this side so far."""
        return self._stretch.packets_decoded + self._again.packets_decoded

    def close(self) -> None:
        """Free the decoders' containers."""
        self._stretch.close()
        self._again.close()

    def decode_again(self, index: int, keyframe_s: float | None = None) -> Frames | None:
        """Frames of a window whose keyframes decode to nothing, decoded in order by a decoder of its own.

        Several windows of a title are under way at once and may ask out of turn: windows passed on the
        way are decoded in passing and kept, so that none makes the decoder go back. `keyframe_s`: a keyframe
        that is known in it, to which decoding may go ahead.
        """
        with self._again_lock:
            if index in self._again_kept:
                return self._again_kept.pop(index)
            if not 0 <= index - self._again_next <= MOST_KEPT:
                # far off: seek, and a window early, for refreshed pictures take a while to become whole
                self._again_next = max(index - 1, 0)
                # without seeks a jump must land on a known keyframe
                seeks = not self._growing and not self._title.restarted.is_set()
                wanted_s = self._windows.start_s(self._again_next) if seeks else keyframe_s
                landing_s = None if self._headers_changed else wanted_s
            else:
                landing_s = None
            for passed in range(self._again_next, index):
                self._again_kept[passed] = self._decode(self._again, passed, landing_s)
            while len(self._again_kept) > MOST_KEPT:
                del self._again_kept[min(self._again_kept)]
            self._again_next = index + 1
            return self._decode(self._again, index, landing_s)

    def _decode(
        self,
        decoder: StretchDecoder,
        index: int,
        keyframe_s: float | None = None,
        known_s: set[float] | None = None,
    ) -> Frames | None:
        try:
            return decoder.frames(
                self._windows.centres_s(index, self._bucket),
                self._windows.start_s(index),
                self._windows.end_s(index),
                keyframe_s=keyframe_s,
                known_s=known_s,
            )
        except ForgottenBytesError:  # a live feed goes on, without pictures in this window
            self._title.times.broken += 1
            return None

    def windows(self) -> Iterator[tuple[int, VideoWindow]]:
        """(index, window) in rising order, for windows that hold packets.

        Raises:
            MediaLimitError: pictures larger than the limit. MediaError: the container cannot be read.
        """
        with opened_stream(self._title, "video", quick=True) as (container, stream):
            assert isinstance(stream, VideoStream)
            yield from self._read(container, stream)

    def _read(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, VideoWindow]]:
        known = self._title.known
        at_first = facts = known.video if known and known.video else VideoFacts.of(stream)
        signals = PacketSignals(facts.codec, facts.rate)
        pending: dict[int, _Pending] = {}
        before: _Keyframe | None = None  # the last keyframe of the windows handed out
        # decoding begins a keyframe early, for the pictures of a refresh take until the next to become whole
        landing_s: deque[float] = deque(maxlen=2)
        done, previous_s = -1, 0.0
        for packet, time_s, duration_s in self._packets(container, stream):
            signals.add(time_s, duration_s, packet.size, packet.is_keyframe)
            self._on_packet(time_s, duration_s)
            index = self._windows.index(time_s)
            if packet.has_sidedata("new_extradata"):
                facts = at_first.under(bytes(packet.get_sidedata("new_extradata")))
                self._headers_changed |= facts != at_first
            if (
                self._first_index
                and packet.is_keyframe
                and not self._headers_changed
                and time_s <= self._windows.start_s(self._first_index)
            ):
                landing_s.append(time_s)
                self._stretch.start_at(landing_s[0])
                self._again.start_at(landing_s[0])
            if index > done:  # else it comes too late: its window was handed out
                state = pending.setdefault(index, _Pending(end_s=time_s))
                state.end_s = max(state.end_s, time_s + (duration_s or 0.0))
                state.times_s.add(time_s)
                if packet.is_keyframe and not self._uniform:
                    keyframe = _Keyframe(time_s, packet, facts)
                    state.keep(keyframe, self._windows.centres_s(index, self._bucket))
            # one stray timestamp far ahead must not close the windows before it: two in a row do
            reached_s, previous_s = min(time_s, previous_s), time_s
            while pending and (
                reached_s >= self._complete_s(min(pending), pending) or len(pending) > MOST_PENDING
            ):
                done = min(pending)
                yield done, self._finish(done, pending, before, signals)
                before = pending.pop(done).last or before
        while pending:
            done = min(pending)
            yield done, self._finish(done, pending, before, signals)
            before = pending.pop(done).last or before

    def _complete_s(self, index: int, pending: dict[int, _Pending]) -> float:
        """When packets have come far enough for a window. Only one without a keyframe looks for the one after
        it; of a live feed the others need not wait so long."""
        borrows = not self._uniform and not pending[index].nearest
        ahead_s = max(self._sampling.borrow_within_s, SIGNALS_AHEAD_S) if borrows else SIGNALS_AHEAD_S
        return self._windows.end_s(index) + ahead_s

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[AvPacket[Stream], float, float | None]]:
        """Packets with their time and duration in seconds from the title's start."""
        base = float(stream.time_base) if stream.time_base else 0.0
        for packet in read_packets(self._title, container, stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or not packet.size or packet.is_discard:
                continue
            duration_s = packet.duration * base if packet.duration else None
            time_s = self._title.time_s(stamp, base)
            self._title.end.saw("video", time_s + (duration_s or 0.0))
            yield packet, time_s, duration_s

    def _finish(
        self,
        index: int,
        pending: dict[int, _Pending],
        before: _Keyframe | None,
        signals: PacketSignals,
    ) -> VideoWindow:
        state = pending[index]
        start_s, end_s = self._windows.start_s(index), self._windows.end_s(index)
        cut_rate, motion = signals.take(start_s, end_s)
        following = min((i for i in pending if i > index), default=None)
        if index < self._first_index and following is not None and following <= self._first_index:
            return VideoWindow(None, SampledBy.NONE, (), None, None, end_s)
        chosen = _under_one_header(
            sorted({k.time_s: k for k in state.nearest.values()}.values(), key=lambda k: k.time_s)
        )
        how = SampledBy.UNIFORM if self._uniform else SampledBy.KEYFRAMES
        if not chosen and not self._uniform:
            after = next((pending[i].first for i in sorted(pending) if i > index and pending[i].first), None)
            chosen = self._borrowed(before, after, start_s, end_s)
            how = SampledBy.BORROWED if chosen else SampledBy.DECODED
        video: Clip | Frames | None
        if chosen:
            video = self._clip(chosen, start_s)
            times_s = tuple(k.time_s for k in chosen)
        else:
            landing_s = before.time_s if before and not self._headers_changed else None
            video = self._decode(self._stretch, index, landing_s, state.times_s)
            how = how if video is not None else SampledBy.NONE
            times_s = tuple(float(start_s + t) for t in video.times_s[video.mask]) if video else ()
        lasts_s = end_s if len(pending) > 1 else state.end_s  # pictures stand until the next one
        return VideoWindow(video, how, times_s, cut_rate, motion, lasts_s)

    def _borrowed(
        self, before: _Keyframe | None, after: _Keyframe | None, start_s: float, end_s: float
    ) -> list[_Keyframe]:
        """The keyframe outside the window nearest to it, if it lies within reach."""
        distances = [(start_s - before.time_s, before)] if before else []
        distances += [(after.time_s - end_s, after)] if after else []
        near = [(d, k) for d, k in distances if d <= self._sampling.borrow_within_s]
        return [min(near, key=lambda pair: pair[0])[1]] if near else []

    def _clip(self, chosen: list[_Keyframe], start_s: float) -> Clip:
        facts = chosen[0].facts
        return Clip(
            codec=facts.codec,
            extradata=facts.extradata,
            width_px=facts.width_px,
            height_px=facts.height_px,
            rotation_deg=self._rotation_deg,
            sample_aspect=facts.sample_aspect,
            packets=tuple(Packet(k.time_s - start_s, bytes(k.packet)) for k in chosen),
            frame_bucket=self._bucket,
            pixel_format=facts.pixel_format,
            colour_matrix=facts.colour_matrix,
            colour_range=facts.colour_range,
            mirrored=self._mirrored,
        )


def _under_one_header(chosen: list[_Keyframe]) -> list[_Keyframe]:
    """Of keyframes before and behind a change of headers the more (or the former): a clip has one set."""
    if not chosen:
        return []
    [(facts, _)] = Counter(k.facts for k in chosen).most_common(1)
    return [k for k in chosen if k.facts == facts]
