"""A stream whose clock begins anew, as where files were put one after the other, on one that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from av.packet import Packet
from av.stream import Stream

#: Times may fall back by less: streams are interleaved and reordered a little.
FALLS_BACK_S = 1.0
#: FFmpeg takes a clock of MPEG-TS that begins anew for one that ran over, and adds 26.5 hours.
LEAPS_S = 12 * 3600.0
#: A gap longer than this may be a stray timestamp, from which the clock comes back.
GAP_S = 10.0
#: Packets in a row on another clock after which it counts as that of what follows.
LASTING_PACKETS = 8


class JoinedClock:
    """Moves the packets that follow a restart of their clock to where those before it end.

    Single packets out of place are handed on as they are. Each stream is joined at its own end, so that
    pictures and sound of a later part are apart by what they were longer one than the other before.

    Args:
        restarted: called whenever the clock begins anew.
    """

    def __init__(self, time_base: Fraction | None, restarted: Callable[[], None]) -> None:
        self._base = float(time_base) if time_base else 0.0
        self._restarted = restarted
        self._offset = 0  # added to times, in units of the time base as all here
        self._last: int | None = None
        self._lasts = 0  # how long the last packet is
        self._held: list[Packet[Stream]] = []
        self._before_gap: int | None = None
        self._since_gap = 0

    def put(self, packet: Packet[Stream]) -> Iterator[Packet[Stream]]:
        """The packets that may be handed on, in their order. One without a time, as the last is, ends all."""
        if packet.dts is None:
            yield from self.flush()
            yield self._moved(packet)
            return
        if packet.is_discard and not self._held:
            # what an edit cuts off before its first picture is stamped back from there: no clock begins anew
            yield self._moved(packet)
            return
        if packet.pts is not None and abs(packet.pts - packet.dts) * self._base > GAP_S:
            # where the muxer wrote none, FFmpeg reckons it from the packets before, on the clock of then
            packet.dts = packet.pts
        time = packet.dts + self._offset
        if self._last is None or not (self._is_elsewhere(time, self._last) or self._follows_held(packet.dts)):
            yield from self._strays()
            yield self._accepted(packet)
        elif not self._held or not self._is_elsewhere(packet.dts, _dts(self._held[-1])):
            self._held.append(packet)
            if len(self._held) >= LASTING_PACKETS:
                yield from self._joined()
        else:
            yield from self._strays()
            self._held.append(packet)

    def flush(self) -> Iterator[Packet[Stream]]:
        """What was held back until it was known where it belongs; nothing follows."""
        yield from self._joined() if len(self._held) > 1 else self._strays()

    def _is_elsewhere(self, time: int, last: int) -> bool:
        """Whether a packet is on another clock than the one before it."""
        ahead_s = (time - last) * self._base
        if ahead_s < -FALLS_BACK_S and self._before_gap is not None:  # back from a stray one?
            return not -FALLS_BACK_S <= (time - self._before_gap) * self._base <= GAP_S
        return not -FALLS_BACK_S <= ahead_s <= LEAPS_S

    def _follows_held(self, time: int) -> bool:
        """Whether a packet goes on from those held back rather than from those before them."""
        if not self._held or self._last is None:
            return False
        held = self._held[-1]
        after_held = abs(time - _dts(held) - (held.duration or 0))
        before = (self._last, self._last if self._before_gap is None else self._before_gap)
        return after_held <= min(abs(time + self._offset - last - self._lasts) for last in before)

    def _joined(self) -> Iterator[Packet[Stream]]:
        held, self._held = self._held, []
        assert self._last is not None
        self._offset = self._last + self._lasts - _dts(held[0])
        self._restarted()
        for packet in held:
            yield self._accepted(packet)

    def _strays(self) -> Iterator[Packet[Stream]]:
        held, self._held = self._held, []
        for packet in held:
            yield self._moved(packet)

    def _accepted(self, packet: Packet[Stream]) -> Packet[Stream]:
        packet = self._moved(packet)
        time = _dts(packet)
        self._since_gap += 1
        if self._since_gap > LASTING_PACKETS:
            self._before_gap = None
        if self._last is not None:
            if (time - self._last) * self._base > GAP_S:
                self._before_gap, self._since_gap = self._last, 0
            self._lasts = packet.duration or max(time - self._last, 0)
        self._last = time
        return packet

    def _moved(self, packet: Packet[Stream]) -> Packet[Stream]:
        if self._offset and packet.dts is not None:
            packet.dts += self._offset
        if self._offset and packet.pts is not None:
            packet.pts += self._offset
        return packet


def _dts(packet: Packet[Stream]) -> int:
    assert packet.dts is not None
    return packet.dts
