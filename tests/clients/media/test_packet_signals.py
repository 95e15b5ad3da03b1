"""What packet sizes tell of a window, and how long it takes to tell."""

from __future__ import annotations

import random
import time

import pytest

from resonance.clients.media.packet_signals import NEIGHBOURHOOD_S, PacketSignals, _Neighbourhood, _Seen

KEYFRAME_BYTES, USUAL_BYTES, CUT_BYTES = 20_000, 1_000, 12_000


def _signals(frame_rate: int, seconds: float, cuts_s: tuple[float, ...] = ()) -> PacketSignals:
    """A keyframe at the start and then one size, but for the cuts."""
    signals = PacketSignals("h264", frame_rate)
    cuts = {round(cut_s * frame_rate) for cut_s in cuts_s}
    for number in range(round(seconds * frame_rate)):
        size = KEYFRAME_BYTES if number == 0 else CUT_BYTES if number in cuts else USUAL_BYTES
        signals.add(number / frame_rate, 1 / frame_rate, size, number == 0)
    return signals


def test_cuts_are_where_packets_are_far_larger_than_those_around_them() -> None:
    signals = _signals(25, 12, cuts_s=(2, 2.2, 5, 9))  # the second follows too soon, the last is behind
    assert signals.cuts(0, 8) == [2, 5]
    rate, _ = _signals(25, 12, cuts_s=(2, 5)).take(0, 8)
    assert rate is not None
    assert rate.value == pytest.approx(2 * 60 / 8)


@pytest.mark.parametrize("seed", range(20))
def test_the_usual_size_is_the_80th_percentile_of_the_others_around(seed: int) -> None:
    draw = random.Random(seed)
    times_s = sorted(round(draw.uniform(0, 12), 2) for _ in range(draw.choice((5, 40, 400))))
    packets = [_Seen(time_s, draw.randrange(1, 30), False) for time_s in times_s]
    around = _Neighbourhood(packets)
    for packet in packets:
        near = [p for p in packets if abs(p.time_s - packet.time_s) <= NEIGHBOURHOOD_S and p is not packet]
        sizes = sorted(p.size_bytes for p in near)
        expected = sizes[int(0.8 * (len(sizes) - 1))] if len(sizes) >= 6 else None
        assert around.usual_bytes(packet) == expected


@pytest.mark.parametrize(("frame_rate", "told"), [(1_000, True), (10_000, False)])
def test_a_small_file_of_many_packets_does_not_take_long(frame_rate: int, told: bool) -> None:
    signals = _signals(frame_rate, 10, cuts_s=(2, 5))
    started = time.process_time()
    rate, _ = signals.take(0, 8)
    assert time.process_time() - started < 1.0  # 0.03 s; each packet against all took 4 s
    assert (rate is not None) == told
