"""Short forms of docs/gateway-load.md against a real gateway: what holds under load, whatever the machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from resonance.loadtest.gateway import flow, long_feed
from resonance.loadtest.gateway.driving import Screen, Send, closed_loop, open_loop
from resonance.loadtest.gateway.figures import Spread
from resonance.loadtest.gateway.long_feed import Heard
from resonance.loadtest.gateway.material import Broadcast, RawFeed, short_titles
from resonance.loadtest.gateway.overload import query_messages, sender
from resonance.loadtest.gateway.plots import plot_memory
from resonance.loadtest.gateway.script import frames_script
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.streams import measure_streams
from resonance.loadtest.gateway.usage import CORES, MIB, ends_mib
from resonance.loadtest.gateway.wire import Outcome, Wire
from resonance.serving.gateway.server import MAX_PENDING_CALLS
from resonance.serving.server import TritonServer
from resonance.v1 import embedding_pb2 as pb

#: The bar is 1 s where nothing else runs; tests run beside others.
CANCEL_BOUND_S = 3.0


@pytest.fixture(scope="module")
def stack(server: TritonServer, model_repository: Path) -> Iterator[Stack]:
    with Stack(model_repository, triton=server) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("titles")


@pytest.fixture(scope="module")
def titles(folder: Path) -> list[list[bytes]]:
    return short_titles(folder)


@pytest.fixture
async def screen() -> AsyncIterator[Screen]:
    with Screen(Console(quiet=True)).shown() as shown:
        yield shown


def picture_queries(wire: Wire) -> Send:
    """Queries of one large picture: of single sentences the places take hundreds a second.

    Large to decode and small to send, so that the places are what is short and not the gateway's loop.
    """
    encoded = BytesIO()
    Image.linear_gradient("L").resize((3840, 2160)).convert("RGB").save(encoded, "JPEG")
    query = pb.EmbedQueryRequest(query_id="picture", parts=[pb.QueryPart(image=encoded.getvalue())])
    message = query.SerializeToString()
    return lambda number, due_s: wire.query(message, due_s=due_s)


@pytest.mark.parametrize("kind", ["uploads", "queries"])
async def test_overload_is_refused_at_once_and_the_others_are_answered(
    stack: Stack, titles: list[list[bytes]], folder: Path, kind: str
) -> None:
    outcomes: list[Outcome] = []
    async with Wire(stack.address, 4) as wire:
        send = sender(wire, kind, folder) if kind == "uploads" else picture_queries(wire)
        alone = await closed_loop(send, 1, 1.5)
        assert all(o.ok for o in alone), alone
        rate_per_s = 20 * len(alone) / 1.5
        # were they all to wait for the loop at once, gRPC's own threads would still refuse none of them
        most_per_s = MAX_PENDING_CALLS / 2.0
        with stack.watch(0.2) as watch:
            await open_loop(send, min(rate_per_s, most_per_s), 2.0, outcomes)
        after = await closed_loop(send, 1, 1.0)
    answered, refused = [o for o in outcomes if o.ok], [o for o in outcomes if not o.ok]
    assert len(answered) >= 2
    assert len(refused) > len(answered)
    assert {o.code for o in refused} == {"RESOURCE_EXHAUSTED"}
    assert all(o.retry_s is not None and 0 < o.retry_s < 60 for o in refused)
    assert Spread.of([o.took_s for o in refused]).p50_ms < Spread.of([o.took_s for o in answered]).p50_ms / 2
    # uploads and queries have a place a core each; others may be ending, and one is what they come from
    assert max(s.reader_count for s in watch.samples) <= CORES + CORES + 3
    assert all(o.ok for o in after)


async def test_streams_beside_each_other_are_all_answered(
    stack: Stack, screen: Screen, tmp_path: Path
) -> None:
    script = frames_script(RawFeed(), 8)
    last = len(script.messages) - 1
    run = await measure_streams(
        stack, "frames", script, screen, seconds=8, streams=20, spread_s=0.5, learnt=[last]
    )
    assert run.figures.codes == {"OK": 20}
    assert run.figures.missing == 0
    assert run.figures.segments == run.figures.titles == 20
    assert run.figures.latency.count == 20
    assert 0 < run.figures.latency.p50_ms < 3000
    plot_memory(run.samples, run.started_s, tmp_path / "memory.png", "20 streams")
    assert (tmp_path / "memory.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["frames", "encoded"])
async def test_a_long_feed_keeps_time_and_memory(stack: Stack, screen: Screen, kind: str) -> None:
    if kind == "frames":
        raw = RawFeed(fps=10, width=96, height=54, rate_hz=44_100)
        run = await long_feed.measure_frames_feed(stack, raw, screen, feed_s=240)
    else:
        run = await long_feed.measure_broadcast_feed(stack, Broadcast(320, 180), screen, feed_s=240)
    figures = run.figures
    assert figures.segments == figures.expected_segments == 30
    assert figures.in_order
    assert figures.rolling_titles == 3
    assert figures.last_title
    drift = figures.drift
    assert drift is not None
    assert max(drift.starts_ms, drift.frames_ms) < 1
    assert max(drift.pictures_ms, drift.sound_ms) < figures.frame_ms / 2
    assert figures.gateway_full_slope_mib_per_feed_hour is None
    assert figures.gateway_last_mib - figures.gateway_first_mib < 60
    assert figures.spooled_peak_mib < 64


def test_drift_of_one_frame_is_seen() -> None:
    def heard(index: int, late_s: float) -> Heard:
        times = tuple(8 * index + t + late_s for t in (0.0, 2.0, 4.0, 6.0))
        brightness = (index % 5) / 10 + late_s * 96 / 255 / 8
        return Heard(index, 8.0 * index, 8.0 * index + 8, brightness, -40.0, times)

    def drift_of(segments: list[Heard]) -> long_feed.Drift:
        found = long_feed.drift_of(segments)
        assert found is not None
        return found

    true = [heard(i, 0.0) for i in range(40)]
    assert drift_of(true).frames_ms < 1e-3
    moved = drift_of([*true[:20], *(heard(i, 0.04) for i in range(20, 40))])
    assert moved.frames_ms == pytest.approx(40)
    assert moved.pictures_ms == pytest.approx(40, rel=1e-3)
    late = drift_of([*true[:39], replace(true[39], start_s=true[39].start_s + 0.04)])
    assert late.starts_ms == pytest.approx(40)
    silent = drift_of([*true[:39], replace(true[39], loudness_dbfs=-80.0)])
    assert silent.sound_ms == pytest.approx(40, rel=1e-3)
    # two rounds of the loop leave nothing to compare, right or wrong
    assert long_feed.drift_of([replace(one, start_s=500.0) for one in true[:10]]) is None
    assert drift_of(true[:11]).starts_ms < 1e-3


def test_memory_at_both_ends_is_no_single_sample() -> None:
    values = [MIB * (100 + i // 50) for i in range(100)]
    values[0], values[-1] = 140 * MIB, 145 * MIB
    assert ends_mib(values) == (100.0, 101.0)
    assert ends_mib([3 * MIB]) == (3.0, 3.0)
    assert ends_mib([]) == (0.0, 0.0)


async def test_who_does_not_read_is_not_read_from(stack: Stack, screen: Screen) -> None:
    messages = flow.deaf_frames(RawFeed(), 3600)
    found = await flow.measure_deaf(stack, "frames", messages, 1, screen, seconds=6)
    assert found.held_back
    assert found.gateway_growth_mib < 200  # an hour of windows would be 1,300
    assert found.late_growth_mib < 20
    assert found.segments_afterwards > 0
    assert found.title_afterwards


async def test_who_pauses_holds_no_place(stack: Stack, screen: Screen, titles: list[list[bytes]]) -> None:
    found = await flow.measure_slow(stack, titles, screen, pausing=2 * CORES + 3, uploads=3)
    assert found.uploads_known == found.pausing
    assert found.refused == 0
    assert found.beside_them.count == 3


@pytest.mark.parametrize("kind", ["frames", "upload"])
async def test_a_cancelled_call_leaves_nothing_at_work(stack: Stack, screen: Screen, kind: str) -> None:
    broadcast = Broadcast(320, 180)
    found = await flow.measure_cancel(
        stack,
        kind,
        lambda: (
            flow.deaf_frames(RawFeed(), 3600)
            if kind == "frames"
            else flow.deaf_upload(broadcast, 20, live=False)
        ),
        screen,
        rounds=1,
    )
    assert found.abandoned == 1
    slowest_s = max(found.gateway_free_s, found.triton_idle_s, found.reader_gone_s, found.counted_s)
    assert slowest_s < CANCEL_BOUND_S


async def test_the_generator_is_on_time(stack: Stack) -> None:
    outcomes: list[Outcome] = []

    async def nothing(number: int, due_s: float) -> Outcome:
        return Outcome(due_s, time.monotonic() - due_s, "OK")

    started = time.monotonic()
    await open_loop(nothing, 200, 2.0, outcomes)
    assert 300 < len(outcomes) < 500  # Poisson: 400, give or take 20
    assert time.monotonic() - started < 4
    assert sorted(o.due_s for o in outcomes) == [o.due_s for o in outcomes]
    assert len(query_messages()) == len({bytes(m) for m in query_messages()})
    await asyncio.sleep(0)
    assert stack.gateway_metrics()["resonance_gateway_live_feeds"] == 0
    assert stack.watch().look().gateway.resident > 20 * MIB
