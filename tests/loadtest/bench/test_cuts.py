"""The bench of cuts on one small film: known cuts in, F1 out; and what the client says of real streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.media.packet_signals import CUT_F1, MIN_F1, PacketSignals
from resonance.clients.media.types import StreamSignal
from resonance.loadtest.bench import cuts as bench


def test_cuts_are_found_in_h264_and_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ENCODINGS", bench.ENCODINGS[:1])
    h264, sampled = bench.measure_cuts((100,))
    assert h264.f1 > 0.6
    assert sampled.f1 > 0.4
    assert 0 < h264.precision <= 1


def test_every_codec_of_the_bench_has_a_figure() -> None:
    assert {e.codec for e in bench.ENCODINGS} == set(CUT_F1)


def feed(codec: str, *, keyframe_every: int = 50, spikes: tuple[int, ...] = ()) -> PacketSignals:
    signals = PacketSignals(codec, 25)
    for i in range(300):
        key = i % keyframe_every == 0
        size = 20_000 if key else 15_000 if i in spikes else 1_000 + i % 7
        signals.add(i / 25, 0.04, size, key)
    return signals


def test_a_spike_is_a_cut_and_a_regular_keyframe_is_none() -> None:
    cut_rate, motion = feed("h264", spikes=(60, 130)).take(0, 8)
    assert cut_rate == StreamSignal(15.0, "packet-size", CUT_F1["h264"])
    assert motion is not None
    assert 0 < motion.value < 1
    still, _ = feed("h264").take(0, 8)
    assert still is not None
    assert still.value == 0


@pytest.mark.parametrize("codec", ["mjpeg", "vp9", "av1", "unheard_of"])
def test_codecs_that_cannot_tell_say_so(codec: str) -> None:
    assert CUT_F1.get(codec, 0) < MIN_F1
    assert feed(codec, spikes=(60,)).take(0, 8)[0] is None


def test_all_intra_streams_cannot_tell() -> None:
    assert feed("h264", keyframe_every=1).take(0, 8) == (None, None)


def test_memory_stays_bounded() -> None:
    signals = PacketSignals("h264", 25)
    for window in range(200):
        for i in range(200):
            signals.add(window * 8 + i / 25, 0.04, 1000, i % 50 == 0)
        signals.take(window * 8, window * 8 + 8)
    assert len(signals._seen) < 400
    assert len(signals._spacings) < 20


@pytest.mark.parametrize("stray_s", [1e6, -1e6])
@pytest.mark.parametrize("is_keyframe", [True, False])
def test_a_stray_timestamp_changes_nothing_but_its_own_window(stray_s: float, is_keyframe: bool) -> None:
    whole, strayed = PacketSignals("h264", 25), PacketSignals("h264", 25)
    found = []
    for i in range(1250):
        key = i % 50 == 0 or i in (730, 980)
        size = 20_000 if key else 15_000 if i in (660, 1010) else 1_000 + i % 7
        whole.add(i / 25, 0.04, size, key)
        strayed.add(stray_s if i == (150 if is_keyframe else 151) else i / 25, 0.04, size, key)
        if i % 200 == 60 and i > 200:
            start_s = (i - 260) / 25
            found.append((whole.take(start_s, start_s + 8), strayed.take(start_s, start_s + 8)))
    assert len(strayed._seen) < 400
    assert [one for one, _ in found[1:]] == [other for _, other in found[1:]]
    # the spike, the early keyframe and the next one, which is early after it; an early keyframe
    assert [one[0].value for one, _ in found if one[0] is not None][3:] == [22.5, 7.5]


def test_many_strays_are_not_remembered() -> None:
    signals = PacketSignals("h264", 25)
    for window in range(50):
        for i in range(200):
            signals.add(window * 8 + i / 25 if i % 4 else 1e6 + i, 0.04, 1000, i % 50 == 1)
        signals.take(window * 8, window * 8 + 8)
    assert len(signals._seen) < 400


@pytest.mark.parametrize("first_after", [300, 330])
def test_keyframes_after_a_gap_are_judged_by_the_spacing_before_and_after_it(first_after: int) -> None:
    signals = PacketSignals("h264", 25)
    for i in range(600):
        gap_s = 100 if i >= first_after else 0
        signals.add(i / 25 + gap_s, 0.04, 20_000 if i % 50 == 0 else 1_000, i % 50 == 0)
    assert signals.cuts(100, 124) == []


async def test_null_where_the_stream_cannot_tell_and_a_method_where_it_can(
    embedder: Embedder, media: Path
) -> None:
    vp9 = await embedder.embed(media / "video" / "people_two_men_headset_office.webm")
    assert all(s.signals["cut_rate_per_min"] is None for s in vp9.segments)
    h264 = await embedder.embed(media / "video" / "people_man_yellow_wall.mp4")
    value = h264.segments[0].signals["cut_rate_per_min"]
    assert isinstance(value, StreamSignal)
    assert value.method == "packet-size"
    uniform = await embedder.embed(media / "video" / "people_two_men_headset_office.webm", sampling="uniform")
    value = uniform.segments[0].signals["cut_rate_per_min"]
    assert isinstance(value, StreamSignal)
    assert value.method == "frame-difference"
