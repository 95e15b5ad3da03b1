"""The client against a real gateway before a real Triton: the results are those of Triton itself."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pyarrow as pa
import pytest
from PIL import Image

from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    CorruptMediaError,
    NoModalityError,
    NotMediaError,
    ResonanceError,
    UsageError,
)
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.feed import Feed
from resonance.clients.gateway.server_status import ServerStatus
from resonance.clients.ingest.stores import open_store
from resonance.clients.media.types import MediaInfo
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.clients.signals import signal_value
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.server import TritonServer
from resonance.space.errors import SpaceMismatchError, WeightError

#: One of each kind; of MP4 one with its index at the end and one with sound; a subtitle and a text alone.
SAME = (
    "video/transcode_elf_hevc_aac.mp4",
    "video/people_man_yellow_wall.mp4",
    "image/food_cherries.jpg",
)


@pytest.fixture
async def gateway(server: TritonServer) -> AsyncIterator[Gateway]:
    settings = GatewaySettings(triton=server.grpc_address, port=0, metrics_port=0)
    running = Gateway(settings)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
async def here(gateway: Gateway) -> AsyncIterator[GatewayEmbedder]:
    async with GatewayEmbedder(gateway.address) as client:
        yield client


async def parts_of(
    embedder: Embedder | GatewayEmbedder, source: Path | bytes | io.IOBase, **options: object
) -> list[Part]:
    return [part async for part in embedder.stream(source, **options)]  # type: ignore[arg-type]


def same_titles(ours: MediaEmbedding, theirs: MediaEmbedding) -> None:
    """All that both sides can know, to 1e-6."""
    assert (ours.media, ours.space, ours.present, ours.modalities) == (
        theirs.media,
        theirs.space,
        theirs.present,
        theirs.modalities,
    )
    assert ours.duration_s == pytest.approx(theirs.duration_s, abs=1e-9) if theirs.duration_s else True
    np.testing.assert_allclose(ours.title, theirs.title, atol=1e-6)
    assert list(ours.arcs) == list(theirs.arcs)
    for name, points in theirs.arcs.items():
        np.testing.assert_allclose(np.array(ours.arcs[name]), np.array(points), atol=1e-5)
    assert list(ours.axes) == list(theirs.axes)
    assert len(ours.segments) == len(theirs.segments)
    for a, b in zip(ours.segments, theirs.segments, strict=True):
        assert (a.index, a.start_s, a.end_s, a.present, a.sampled_by) == (
            b.index,
            b.start_s,
            b.end_s,
            b.present,
            b.sampled_by,
        )
        np.testing.assert_allclose(a.vector, b.vector, atol=1e-6)
        np.testing.assert_allclose(a.frame_times_s, b.frame_times_s, atol=1e-6)
        assert a.salience == pytest.approx(b.salience, abs=1e-6)
        assert list(a.signals) == list(b.signals)
        for name, value in b.signals.items():
            assert signal_value(a.signals[name]) == pytest.approx(signal_value(value), abs=1e-4), name
        assert dict(a.axes) == pytest.approx(dict(b.axes), abs=1e-5)


async def test_a_gateway_gives_what_triton_gives(
    gateway: Gateway, server: TritonServer, media: Path, tmp_path: Path
) -> None:
    text, words = tmp_path / "a.md", tmp_path / "b.vtt"
    text.write_text("A quiet evening by the sea. " * 80)
    words.write_text("WEBVTT\n\n00:01.000 --> 00:05.000\nhello there\n\n00:09.000 --> 00:12.000\nbye\n")
    async with (
        Embedder(f"grpc://{gateway.address}") as ours,
        Embedder(f"triton://{server.grpc_address}") as theirs,
    ):
        assert await ours.space() == await theirs.space()
        for source in (*(media / name for name in SAME), text, words):
            mine, reference = await parts_of(ours, source), await parts_of(theirs, source)
            assert [type(p) for p in mine] == [type(p) for p in reference]
            assert mine[0] == reference[0]
            assert isinstance(mine[-1], MediaEmbedding)
            assert isinstance(reference[-1], MediaEmbedding)
            same_titles(mine[-1], reference[-1])
        same_titles(
            await ours.embed_text("a red fox", name="fox"), await theirs.embed_text("a red fox", name="fox")
        )


async def test_options_sources_and_sidecars(
    here: GatewayEmbedder, server: TritonServer, media: Path, tmp_path: Path
) -> None:
    film = media / SAME[0]
    copy = tmp_path / "film.mp4"
    copy.write_bytes(film.read_bytes())
    (tmp_path / "film.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nhello there\n")
    async with Embedder(server.grpc_address) as theirs:
        reference = await theirs.embed(copy, sampling="uniform")
    title = await here.embed(copy, sampling="uniform")
    assert title.present[2]
    same_titles(title, reference)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "film.jpg")  # its poster: the words are not its own
    assert (await here.embed(tmp_path / "film.jpg")).present == (True, False, False)
    plain = await here.embed(film.read_bytes(), name="bytes")
    with film.open("rb") as file:
        named = await here.embed(file, name="bytes")
    read_end, write_end = os.pipe()
    writing = asyncio.create_task(asyncio.to_thread(_write, write_end, film.read_bytes()))
    with os.fdopen(read_end, "rb") as pipe:
        piped = await here.embed(pipe, name="bytes")
    await writing
    same_titles(named, plain)
    np.testing.assert_allclose(piped.title, plain.title, atol=1e-6)


async def status_when(
    embedder: GatewayEmbedder, holds: Callable[[ServerStatus], bool], within_s: float = 60.0
) -> ServerStatus:
    """The first status of which it holds."""
    for _ in range(round(within_s / 0.1)):
        status = await embedder.status()
        if holds(status):
            return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {within_s:g} s: {status}")


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


async def test_a_title_is_resumed_from_any_of_its_segments(here: GatewayEmbedder, media: Path) -> None:
    film = media / SAME[1]
    whole = await here.embed(film)
    assert len(whole.segments) > 2
    for kept in (1, len(whole.segments) - 1, len(whole.segments)):
        done = whole.segments[:kept]
        parts = await parts_of(here, film, done=done)
        later = [part for part in parts if isinstance(part, Segment)]
        assert [s.index for s in later] == [s.index for s in whole.segments[kept:]]
        assert isinstance(parts[-1], MediaEmbedding)
        same_titles(parts[-1], whole)
    fused = await here.fuse(whole.segments, name=whole.media)
    same_titles(fused, whole)


@pytest.mark.parametrize("name", ["caf\udce9.txt", "n" * 600], ids=["not UTF-8", "long"])
async def test_names_of_any_kind_come_back_as_they_were(here: GatewayEmbedder, name: str) -> None:
    """As Triton's client takes them: names of files are bytes, and paths are long."""
    title = await here.embed_text("a red fox", name=name)
    assert title.media == name
    assert (await here.fuse(title.segments, name=name)).media == name
    async with here.feed(name, modalities=("transcript",), live=False) as feed:
        await feed.cue(1.0, 2.0, "a red fox")
        await feed.end()
        parts = [part async for part in feed]
    assert [part.media for part in parts if isinstance(part, MediaEmbedding)] == [name]


async def test_text_that_is_not_utf8_is_refused(here: GatewayEmbedder) -> None:
    half = "half an emoji: \ud83d"
    for ask in (here.embed_text(half), here.embed_query([("text", half)])):
        with pytest.raises(NotMediaError, match="text that is not UTF-8"):
            await ask
    async with here.feed("cam", modalities=("transcript",)) as feed:
        with pytest.raises(NotMediaError, match="cam: text that is not UTF-8"):
            await feed.cue(0.0, 1.0, half)


async def test_a_gateway_that_is_started_again_goes_on(
    server: TritonServer, media: Path, tmp_path: Path
) -> None:
    film = media / "video" / "fixedcam_people_at_table_139s.mp4"
    settings = GatewaySettings(
        triton=server.grpc_address, port=0, metrics_port=0, drain_s=0.0, spool_folder=tmp_path
    )
    first = Gateway(settings)
    await first.start()
    stopped = False
    try:
        async with GatewayEmbedder(first.address) as embedder:
            whole = await embedder.embed(film)
            stream = embedder.stream(film)
            parts = [await anext(stream), await anext(stream)]
            await first.stop()  # the end of the title cannot have left it: nobody reads
            stopped = True
            second = Gateway(replace(settings, port=first.port))
            await second.start()
            try:
                parts += [part async for part in stream]
                resumed = await embedder.status()
            finally:
                await second.stop()
    finally:
        if not stopped:
            await first.stop()
    assert resumed.segments_per_s > 0  # the second one had something left to do
    indices = [part.index for part in parts if isinstance(part, Segment)]
    assert indices == [segment.index for segment in whole.segments]
    assert isinstance(parts[-1], MediaEmbedding)
    same_titles(parts[-1], whole)


async def test_leaving_early_ends_the_work_there(
    here: GatewayEmbedder, gateway: Gateway, media: Path
) -> None:
    await here.embed(media / SAME[2])  # what readers are forked from is there from now on
    children = {p.pid for p in psutil.Process().children(recursive=True)}
    stream = here.stream(media / SAME[1])
    async for part in stream:
        if isinstance(part, Segment):
            break
    await stream.aclose()
    status = await status_when(here, lambda s: not s.uploads and not s.segments_in_flight)
    assert status.abandoned == 1
    assert status.spooled_bytes == 0
    for _ in range(50):
        if not (left := {p.pid for p in psutil.Process().children(recursive=True)} - children):
            break
        await asyncio.sleep(0.1)
    assert left == set()
    assert isinstance(await here.embed(media / SAME[2]), MediaEmbedding)


async def test_errors_are_the_same(
    here: GatewayEmbedder, gateway: Gateway, media: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "silent.wav"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for source, error in (
        (media / "odd" / "notmedia_text.mp4", NotMediaError),
        (silent, NoModalityError),
        (tmp_path / "none.mp4", NotMediaError),
    ):
        with pytest.raises(error) as refused:
            await here.embed(source)
        assert refused.value.media == str(source)
        assert refused.value.came
        assert refused.value.expected
    with pytest.raises(UsageError):
        await here.embed(media / SAME[0], sampling="often")
    async with GatewayEmbedder(gateway.address, expected_fingerprint="ab" * 32) as strict:
        with pytest.raises(SpaceMismatchError):
            await strict.embed(media / SAME[0])


async def test_queries_and_status(gateway: Gateway, server: TritonServer, media: Path) -> None:
    photo = media / SAME[2]
    async with (
        Embedder(f"grpc://{gateway.address}") as ours,
        Embedder(f"triton://{server.grpc_address}") as theirs,
    ):
        for options in (
            {"text": "cherries"},
            {"image": photo, "text": "cherries", "weights": {"visual": 2.0}},
        ):
            mine, reference = await ours.embed_query(**options), await theirs.embed_query(**options)  # type: ignore[arg-type]
            np.testing.assert_allclose(mine.vector, reference.vector, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(mine.unweighted, reference.unweighted, rtol=1e-5, atol=1e-6)
            assert (mine.present, mine.space) == (reference.present, reference.space)
        with pytest.raises(UsageError):
            await ours.embed_query()
        with pytest.raises(WeightError):
            await ours.embed_query(text="a", weights={"visual": -1.0})
        with pytest.raises((NotMediaError, CorruptMediaError)):
            await ours.embed_query(image=b"no picture")
    async with GatewayEmbedder(gateway.address) as here:
        status = await status_when(
            here, lambda s: bool(s.models) and all(m.serving is not None for m in s.models)
        )
    assert all(model.serving for model in status.models), status.models
    assert status.queries == 0
    assert len(status.fingerprint) == 64


async def test_a_gateway_taken_for_a_triton_and_the_reverse_are_told(
    gateway: Gateway, server: TritonServer
) -> None:
    for address, came in (
        (f"triton://{gateway.address}", "is this a Triton? a gateway is grpc://HOST:PORT"),
        (f"grpc://{server.grpc_address}", "UNIMPLEMENTED; is this a gateway? Triton itself is triton://HOST"),
    ):
        async with Embedder(address) as wrong:
            with pytest.raises(ResonanceError) as refused:
                await wrong.space()
        assert came in str(refused.value)


async def test_a_live_feed_gives_parts_while_it_goes_on(here: GatewayEmbedder) -> None:
    """24 s of grey pictures getting brighter, with a tone."""
    tone = (0.1 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(16_000))).astype(np.float32)
    first_segment = asyncio.Event()
    parts: list[Part] = []

    async with here.feed("cam", modalities=("visual", "audio"), rolling_every=1) as feed:

        async def take() -> None:
            async for part in feed:
                parts.append(part)
                if isinstance(part, Segment):
                    first_segment.set()

        taking = asyncio.create_task(take())
        for second in range(24):
            if second == 20:
                async with asyncio.timeout(30):
                    await first_segment.wait()  # it comes while the feed goes on
            await feed.sound(float(second), tone, 16_000)
            for tenth in (0.0, 0.5):
                await feed.frame(second + tenth, np.full((48, 64, 3), 5 * second + 40, np.uint8))
        await feed.end()
        await taking
    assert isinstance(parts[0], MediaInfo)
    assert [p.index for p in parts if isinstance(p, Segment)] == [0, 1, 2]
    titles = [p for p in parts if isinstance(p, MediaEmbedding)]
    assert [t.rolling for t in titles] == [True, True, True, False]
    brightness = [signal_value(s.signals["brightness"]) for s in titles[-1].segments]
    assert brightness == sorted(brightness, key=lambda b: b or 0.0)
    assert titles[-1].present == (True, True, False)


async def test_a_feed_that_ends_and_one_of_another_space(here: GatewayEmbedder) -> None:
    tone = (0.1 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(16_000))).astype(np.float32)

    async def title() -> MediaEmbedding:
        parts: list[Part] = []

        async def send(feed: Feed) -> None:
            for second in range(3):
                await feed.sound(float(second), tone, 16_000)
            await feed.end()

        async with here.feed("tone", modalities=("audio",), live=False) as feed, asyncio.TaskGroup() as both:
            both.create_task(send(feed))
            async for part in feed:
                parts.append(part)
        assert isinstance(parts[-1], MediaEmbedding)
        return parts[-1]

    assert len((await title()).segments) == 1
    known = await here.space()
    quieter = replace(known.sound, silence_dbfs=known.sound.silence_dbfs - 1)
    here._space = replace(known, sound=quieter)  # that of the gateway before it came back
    with pytest.raises(ExceptionGroup) as group:
        await title()
    assert group.group_contains(SpaceMismatchError)
    assert len((await title()).segments) == 1, "the space is asked for again"


async def test_the_commands_speak_to_a_gateway(gateway: Gateway, media: Path) -> None:
    command = str(Path(sys.executable).with_name("resonance"))
    server = ("--server", f"grpc://{gateway.address}", "--json")
    found = []
    for arguments in (("embed", str(media / SAME[2])), ("status",)):
        process = await asyncio.create_subprocess_exec(
            command, *arguments, *server, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        found.append(json.loads(out))
        if arguments[0] == "embed":
            assert process.returncode == 0, err
    title, status = found
    assert title["media"] == str(media / SAME[2])
    assert len(title["title"]) == 1788
    assert status["fingerprint"] == title["space"]["fingerprint"]
    assert {"uploads", "live_feeds", "queued", "segments_per_s", "refused"} <= status.keys()


async def test_a_live_stream_has_the_segments_of_the_film(
    gateway: Gateway, here: GatewayEmbedder, media: Path, tmp_path: Path
) -> None:
    """From the command line, as it would be sent by a camera, and beside it as a film; and it is stored."""
    film = mpeg_ts(media / "video" / "tabletop_toy_crystal.mp4")
    title = await here.embed(film)
    command = str(Path(sys.executable).with_name("resonance"))
    server = ("--server", f"grpc://{gateway.address}", "--json")
    sink = str(tmp_path / "store")
    process = await asyncio.create_subprocess_exec(
        *(command, "follow", "-", "--name", "cam-1", "--every", "1", "--sink", sink, *server),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(film)
    lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert [set(line) for line in lines] == [{"info"}, {"segment"}]  # though no end has come
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130, err
    lines += [json.loads(line) for line in out.splitlines()]
    segments = [line["segment"] for line in lines if "segment" in line]
    titles = [line["title"] for line in lines if "title" in line]
    assert [s["index"] for s in segments] == [s.index for s in title.segments]
    for ours, theirs in zip(segments, title.segments, strict=True):
        np.testing.assert_allclose(ours["vector"], theirs.vector, atol=1e-6)
    assert [t["rolling"] for t in titles] == [True] * len(segments) + [False]
    assert {t["media"] for t in titles} == {"cam-1"}
    np.testing.assert_allclose(titles[-1]["title"], title.title, atol=1e-6)
    store = open_store(sink)
    (row,) = pa.Table.from_batches(list(store.titles())).to_pylist()
    assert (row["media_id"], row["uri"]) == ("cam-1", "-")
    assert len(row["segments"]) == len(segments)
    np.testing.assert_allclose(row["vector"], title.title, atol=1e-6)


def mpeg_ts(path: Path) -> bytes:
    """The film as it would be broadcast: the same packets."""
    output = io.BytesIO()
    with av.open(str(path)) as source, av.open(output, "w", format="mpegts") as target:
        pictures = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
    return output.getvalue()


async def test_the_commands_follow_nothing_without_a_gateway(media: Path) -> None:
    command = str(Path(sys.executable).with_name("resonance"))
    film = str(media / "video" / "tabletop_toy_crystal.mp4")
    for arguments, told in (
        (("-", "--server", "triton://127.0.0.1:1"), "a live stream needs a gateway"),
        ((film, "--server", "grpc://127.0.0.1:1"), "came a file that is whole"),
    ):
        process = await asyncio.create_subprocess_exec(
            *(command, "follow", *arguments),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "COLUMNS": "200"},
        )
        _, err = await process.communicate()
        assert process.returncode == 2
        assert told in err.decode()


async def test_who_follows_what_has_not_begun_can_leave(gateway: Gateway, tmp_path: Path) -> None:
    command, path = str(Path(sys.executable).with_name("resonance")), tmp_path / "camera"
    os.mkfifo(path)
    process = await asyncio.create_subprocess_exec(
        *(command, "follow", str(path), "--server", f"grpc://{gateway.address}"),
        stderr=asyncio.subprocess.PIPE,
    )
    sender = await asyncio.to_thread(os.open, path, os.O_WRONLY)  # it is being read, and nothing is sent
    try:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, err = await process.communicate()
    finally:
        os.close(sender)
    assert (process.returncode, err) == (143, b"")


async def test_the_documents_live_feed(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    document = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()
    (block,) = [part for part in document.split("```") if "gateway.feed(" in part]
    example: dict[str, Any] = {"__name__": "example"}
    exec(compile(block.removeprefix("python"), "docs/gateway.md", "exec"), example)  # noqa: S102
    await example["watch"](gateway.address, 68)
    said = [line.partition(" [")[0] for line in capsys.readouterr().out.splitlines()]
    windows = [f"{at} to {at + 8} s" for at in range(0, 64, 8)]
    assert said == [*windows, "so far", "64 to 68 s", "in all"]
