"""Raw feeds: what is sent, how the two directions wait for each other, and how a feed that breaks ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import numpy as np
import pytest

from resonance.clients.errors import InvalidFieldError, ServerUnavailableError, UsageError
from resonance.clients.gateway import title_call
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.feed import MOST_SAMPLES, QUEUED_MESSAGES, Feed
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.v1 import embedding_pb2 as pb
from tests.clients.gateway.broken_gateway import BrokenGateway, Call, make_segment

GREY = np.full((4, 6, 3), 128, np.uint8)


async def taken(feed: Feed) -> list[Part]:
    return [part async for part in feed]


async def send_for_ever(feed: Feed) -> None:
    while True:
        await feed.frame(0.0, GREY)
        await asyncio.sleep(0)


async def test_what_is_sent_arrives_as_it_was(broken: BrokenGateway, impatient: GatewayEmbedder) -> None:
    async def script(call: Call) -> None:
        await call.complete.wait()
        await call.segment(0)
        await call.title(1, rolling=True)
        await call.segment(1)
        await call.title(2)

    broken.scripts = [script]
    picture = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    stereo = np.linspace(-1, 1, 64, dtype=np.float32).reshape(32, 2)
    mono = np.arange(MOST_SAMPLES + 10, dtype=np.int16)
    async with impatient.feed("cam", modalities=("visual", "audio"), rolling_every=3) as feed:
        taking = asyncio.create_task(taken(feed))
        await feed.frame(0.5, picture[:, ::-1])  # a view that is not contiguous
        await feed.sound(1.0, stereo, 8_000)
        await feed.sound(2.0, mono, 16_000)
        await feed.cue(1.0, 2.0, "hello")
        await feed.mark("audio", 7.0)
        await feed.end()
        parts = await taking
        with pytest.raises(UsageError):
            await feed.frame(9.0, picture)
    start, (frame, sound, first, rest, cue, mark) = broken.calls[0].start, broken.calls[0].raw
    assert (start.mode, start.live, start.rolling_title_segments) == (pb.MODE_FRAMES, True, 3)
    assert list(start.modalities) == [pb.MODALITY_VISUAL, pb.MODALITY_AUDIO]
    assert (frame.width_px, frame.height_px) == (5, 2)
    assert np.array_equal(np.frombuffer(frame.rgb, np.uint8).reshape(2, 5, 3), picture[:, ::-1])
    assert (sound.channels, sound.format, sound.sample_rate_hz) == (2, pb.SAMPLE_FORMAT_F32LE, 8_000)
    assert np.array_equal(np.frombuffer(sound.data, "<f4").reshape(32, 2), stereo)
    assert first.format == rest.format == pb.SAMPLE_FORMAT_S16LE
    assert np.array_equal(np.frombuffer(first.data + rest.data, "<i2"), mono)
    assert rest.time_s == 2.0 + MOST_SAMPLES / 16_000
    assert (cue.start_s, cue.end_s, cue.text) == (1.0, 2.0, "hello")
    assert (mark.modality, mark.time_s) == (pb.MODALITY_AUDIO, 7.0)
    titles = [part for part in parts if isinstance(part, MediaEmbedding)]
    assert [title.rolling for title in titles] == [True, False]
    assert [len(title.segments) for title in titles] == [1, 2]


async def test_a_broken_feed_tells_both_sides_and_goes_on_with_what_it_gave(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    async def breaks(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await asyncio.sleep(0.05)
        await call.fail(ServerUnavailableError("shutting down"))

    async def ends(call: Call) -> None:
        await call.complete.wait()
        await call.segment(1)
        await call.title(2)

    broken.scripts = [breaks, ends]
    async with impatient.feed("cam") as feed:
        taking = asyncio.create_task(taken(feed))
        async with asyncio.timeout(5):
            with pytest.raises(ServerUnavailableError, match="shutting down"):
                await send_for_ever(feed)
        with pytest.raises(ServerUnavailableError):
            await taking
        given = tuple(feed.segments)
    assert [segment.index for segment in given] == [0]
    async with impatient.feed("cam", done=given) as feed:
        taking = asyncio.create_task(taken(feed))
        await feed.end()
        parts = await taking
    assert [part.index for part in parts if isinstance(part, Segment)] == [1]
    assert broken.calls[1].stored == [0]
    assert isinstance(parts[-1], MediaEmbedding)
    assert len(parts[-1].segments) == 2


async def test_a_sender_waits_for_room(broken: BrokenGateway, impatient: GatewayEmbedder) -> None:
    """Without anybody who takes parts nothing is sent, and memory stays bounded."""
    async with impatient.feed("cam") as feed:
        for _ in range(QUEUED_MESSAGES):
            await feed.frame(0.0, GREY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await feed.frame(0.0, GREY)
    with pytest.raises(UsageError):
        await feed.frame(0.0, GREY)
    assert broken.calls == []


@pytest.mark.parametrize("at", ["the beginning", "the end"])
async def test_leaving_a_feed_whose_parts_another_task_takes(
    broken: BrokenGateway, impatient: GatewayEmbedder, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sender raised is what is told, the call ends, and so does who takes parts."""
    there = asyncio.Event()

    async def script(call: Call) -> None:
        await call.begun.wait()
        if at == "the end":
            await call.segment(0)
            await call.title(1)
        else:
            there.set()
        await asyncio.Event().wait()

    async def finished(answers: AsyncGenerator[pb.EmbedMediaResponse, None]) -> None:
        there.set()
        await title_call.finish(answers)

    async def watch() -> None:
        async with impatient.feed("cam") as feed:
            feeds.append(feed)
            takers.append(asyncio.create_task(taken(feed)))
            await feed.frame(0.0, GREY)
            async with asyncio.timeout(10.0):
                await there.wait()
            raise OSError("no camera")

    monkeypatch.setattr("resonance.clients.gateway.feed.finish", finished)
    monkeypatch.setattr(title_call, "SETTLE_S", 60.0)  # it does not give up before it is left
    broken.scripts = [script]
    feeds: list[Feed] = []
    takers: list[asyncio.Task[list[Part]]] = []
    with pytest.raises(OSError, match="no camera"):
        await watch()
    async with asyncio.timeout(5.0):
        with pytest.raises(UsageError, match="cam: left here while parts were taken"):
            await takers[0]
        await broken.calls[0].cancelled.wait()
    with pytest.raises(UsageError, match="a feed that was left"):
        await taken(feeds[0])


async def test_a_live_title_covers_the_last_segments_alone(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    async def script(call: Call) -> None:
        await call.complete.wait()
        await call.segment(1100)
        await call.title(1024, first=77)

    broken.scripts = [script]
    one = make_segment(0)
    done = [replace(one, index=i) for i in range(1100)]
    async with impatient.feed("cam", done=done) as feed:
        taking = asyncio.create_task(taken(feed))
        await feed.end()
        *_, title = await taking
    assert isinstance(title, MediaEmbedding)
    assert [title.segments[0].index, title.segments[-1].index] == [77, 1100]
    assert len(feed.segments) == 1024


async def test_what_does_not_fit_is_refused_here(impatient: GatewayEmbedder) -> None:
    async with impatient.feed("cam") as feed:
        for picture in (GREY.astype(np.float32), GREY[..., :2], GREY[0]):
            with pytest.raises(InvalidFieldError, match=r"frame\.rgb"):
                await feed.frame(0.0, picture)
        for samples in (np.zeros(4), np.zeros((2, 2, 2), np.float32)):
            with pytest.raises(InvalidFieldError, match=r"sound\.data"):
                await feed.sound(0.0, samples, 16_000)
        with pytest.raises(InvalidFieldError):
            await feed.mark("smell", 0.0)
    with pytest.raises(InvalidFieldError):
        async with impatient.feed("cam", modalities=("smell",)):
            raise AssertionError("unreachable: it was refused")
