"""Cuts and motion read off packet sizes, without decoding.

A cut makes prediction fail: the frame after it is coded almost from scratch, and its packet is far
larger than those around it; encoders that look for scene changes put a keyframe there, off the regular
spacing. Motion makes the packets between keyframes large against the keyframes themselves.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

from resonance.clients.media.types import StreamSignal

CUT_METHOD = "packet-size"
MOTION_METHOD = "inter-to-intra-bytes"

#: How well cuts are found by codec: the F1 that `python -m resonance.loadtest.bench cuts` measured
#: (docs/benchmarks.md), on seeds that no threshold was chosen with. Others were not measured.
CUT_F1: dict[str, float] = {
    "h264": 0.76,  # mean of five settings, 0.65 to 0.81
    "hevc": 0.65,
    "vp8": 0.59,
    "vp9": 0.43,
    "av1": 0.40,
    "mpeg4": 0.79,
    "mpeg2video": 0.53,
}
#: Below this F1 a rate says more about the encoder than about the film, and none is given.
MIN_F1 = 0.5
#: Rank correlation of motion with the differences of decoded frames on real clips, from the same run.
MOTION_CORRELATION: dict[str, float] = {"h264": 0.74, "vp8": 0.62, "vp9": -0.22}

#: A packet is a spike when it is this many times the 80th percentile of its neighbours ...
SPIKE_RATIO = 2.0
#: ... within this time to either side.
NEIGHBOURHOOD_S = 1.0
MIN_NEIGHBOURS = 6
#: A cut's frame is coded mostly from scratch: at least this share of a keyframe's bytes.
INTRA_SHARE = 0.3
#: A keyframe nearer to the last than this share of the longest spacing was put there by a scene change.
IRREGULAR_SHARE = 0.92
#: Two cuts nearer than this are one.
REFRACTORY_S = 0.3
#: Inter packets at 2% of a keyframe's bytes are a still picture, at 60% constant change.
STILL_SHARE, FULL_MOTION_SHARE = 0.02, 0.6
MIN_INTER_PACKETS = 8
#: Packets older than this before the window are forgotten, and those further ahead than others have come.
MEMORY_S = 4.0
#: Packets held, with those before and after a window, above which no cut is looked for: 1,000 a second are no
#: film, and each further one takes longer than the one before.
MOST_PACKETS = 20_000


@dataclass(frozen=True, slots=True)
class _Seen:
    time_s: float
    size_bytes: int
    is_keyframe: bool


class _Neighbourhood:
    """The sizes of the packets near one, kept in order while it moves from packet to packet in rising time.

    Args:
        packets: those between keyframes, in rising time.
    """

    def __init__(self, packets: list[_Seen]) -> None:
        self._packets = packets
        self._first = self._end = 0  # of `packets`, those that are near
        self._sizes: list[int] = []  # in rising order

    def usual_bytes(self, packet: _Seen) -> int | None:
        """The 80th percentile of the sizes of the others near `packet`, one of those given; None: too few."""
        packets, sizes = self._packets, self._sizes
        while self._end < len(packets) and packets[self._end].time_s - packet.time_s <= NEIGHBOURHOOD_S:
            insort(sizes, packets[self._end].size_bytes)
            self._end += 1
        while packet.time_s - packets[self._first].time_s > NEIGHBOURHOOD_S:
            del sizes[bisect_left(sizes, packets[self._first].size_bytes)]
            self._first += 1
        others = len(sizes) - 1
        if others < MIN_NEIGHBOURS:
            return None
        place = int(0.8 * (others - 1))
        return sizes[place + (place >= bisect_left(sizes, packet.size_bytes))]  # its own size is passed over


class PacketSignals:
    """Collects packets in decoding order and tells cut rate and motion window by window.

    Args:
        codec: FFmpeg's canonical name.
        frame_rate: frames a second, or None where the container does not say.
    """

    def __init__(self, codec: str, frame_rate: float | None) -> None:
        self._codec = codec
        self._frame_s = 1.0 / frame_rate if frame_rate else 0.04
        self._seen: list[_Seen] = []
        self._last_s = self._reached_s = 0.0
        self._last_keyframe_s: float | None = None
        self._longest_spacing_s = 0.0
        self._spacings: dict[float, float] = {}  # keyframe time -> distance to the one before
        self._keyframe_bytes: deque[int] = deque(maxlen=32)
        self._last_cut_s = -math.inf

    def add(self, time_s: float, duration_s: float | None, size_bytes: int, is_keyframe: bool) -> None:
        """One packet: presentation time in seconds, its size."""
        self._seen.append(_Seen(time_s, size_bytes, is_keyframe))
        leaps = abs(time_s - self._last_s) > MEMORY_S  # a gap, or a stray timestamp: no spacing is across it
        self._reached_s, self._last_s = min(time_s, self._last_s), time_s
        if leaps:
            self._last_keyframe_s = None
        if not is_keyframe:
            return
        self._keyframe_bytes.append(size_bytes)
        if self._last_keyframe_s is not None and time_s > self._last_keyframe_s:
            spacing_s = time_s - self._last_keyframe_s
            self._spacings[time_s] = spacing_s
            self._longest_spacing_s = max(self._longest_spacing_s, spacing_s)
        self._last_keyframe_s = time_s

    def take(self, start_s: float, end_s: float) -> tuple[StreamSignal | None, StreamSignal | None]:
        """(cuts a minute, motion 0..1) of the window; None where the stream cannot tell.

        Call once a window, in order, when all packets up to two seconds past its end were added.
        """
        inside = [p for p in self._seen if start_s <= p.time_s < end_s]
        cut_rate = motion = None
        moved = self.motion(start_s, end_s)
        if moved is not None:  # there are packets enough between keyframes
            f1, correlation = CUT_F1.get(self._codec, 0.0), MOTION_CORRELATION.get(self._codec, 0.0)
            if f1 >= MIN_F1 and len(self._seen) <= MOST_PACKETS:
                last_s = max(p.time_s for p in inside)
                covered_s = max(min(last_s + self._frame_s, end_s) - start_s, self._frame_s)
                cut_rate = StreamSignal(60.0 * len(self.cuts(start_s, end_s)) / covered_s, CUT_METHOD, f1)
            if correlation >= MIN_F1:
                motion = StreamSignal(moved, MOTION_METHOD, correlation)
        self._forget(end_s)
        return cut_rate, motion

    def motion(self, start_s: float, end_s: float) -> float | None:
        """Motion of the window, 0..1; None with too few packets between keyframes."""
        inter = [p.size_bytes for p in self._seen if start_s <= p.time_s < end_s and not p.is_keyframe]
        if len(inter) < MIN_INTER_PACKETS or not self._keyframe_bytes:
            return None
        # the median, so that a cut's large packet is no motion
        share = statistics.median(inter) / max(statistics.median(self._keyframe_bytes), 1)
        low, high = math.log(STILL_SHARE), math.log(FULL_MOTION_SHARE)
        return min(max((math.log(max(share, STILL_SHARE)) - low) / (high - low), 0.0), 1.0)

    def cuts(self, start_s: float, end_s: float) -> list[float]:
        """Times of the cuts in the window, in seconds."""
        found = []
        packets = sorted(self._seen, key=lambda p: p.time_s)
        around = _Neighbourhood([p for p in packets if not p.is_keyframe])
        least_bytes = INTRA_SHARE * statistics.median(self._keyframe_bytes) if self._keyframe_bytes else 0.0
        for packet in packets:
            if not start_s <= packet.time_s < end_s or packet.time_s - self._last_cut_s < REFRACTORY_S:
                continue
            if packet.is_keyframe:
                is_cut = self._breaks_spacing(packet)
            else:
                usual = around.usual_bytes(packet)
                is_cut = usual is not None and packet.size_bytes > max(SPIKE_RATIO * usual, least_bytes)
            if is_cut:
                self._last_cut_s = packet.time_s
                found.append(packet.time_s)
        return found

    def _breaks_spacing(self, packet: _Seen) -> bool:
        spacing_s = self._spacings.get(packet.time_s)
        return spacing_s is not None and spacing_s < IRREGULAR_SHARE * self._longest_spacing_s

    def _forget(self, end_s: float) -> None:
        """What is far ahead of the last two packets goes as well: a stray timestamp would stay for ever."""
        from_s, to_s = end_s - MEMORY_S, max(end_s, self._reached_s) + MEMORY_S
        self._seen = [p for p in self._seen if from_s <= p.time_s <= to_s]
        self._spacings = {t: s for t, s in self._spacings.items() if from_s <= t <= to_s}
