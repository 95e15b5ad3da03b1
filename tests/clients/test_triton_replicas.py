"""Two real Tritons, and two real gateways, behind one address."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient

from resonance.clients import triton_replicas
from resonance.clients.embedder import Embedder
from resonance.clients.errors import ServerUnavailableError, SpaceChangedError
from resonance.clients.gateway.connection import HEALTH_SERVICE
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.clients.sample import render_sample
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceMismatchError

SPACE_FILE = Path("space_descriptor", "1", "space.json")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six segments with pictures, sound and words."""
    return render_sample(tmp_path_factory.mktemp("sample") / "film.mp4", duration_s=48.0)[0]


@contextmanager
def running_triton(repository: Path) -> Iterator[TritonServer]:
    """Killed at the end: nobody waits for an answer then."""
    server = TritonServer(ServerSettings(model_repository=repository))
    server.start()
    try:
        yield server
    finally:
        server.stop(0)


@pytest.fixture(scope="module")
def second(model_repository: Path) -> Iterator[TritonServer]:
    """Another of the same models, which tests may kill and start again."""
    with running_triton(model_repository) as running:
        yield running


@pytest.fixture(scope="module")
def foreign(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One whose vectors are of another space."""
    repository = tmp_path_factory.mktemp("foreign") / "models"
    shutil.copytree(model_repository, repository, symlinks=True, copy_function=_link)
    space = Descriptor.load(model_repository / SPACE_FILE)
    other = replace(space, segment=replace(space.segment, min_tail_s=space.segment.min_tail_s + 0.5))
    assert other.fingerprint != space.fingerprint
    (repository / SPACE_FILE).unlink()
    (repository / SPACE_FILE).write_text(other.to_json())
    with running_triton(repository) as running:
        yield running


def _link(source: str, target: str) -> None:
    if Path(source).suffix == ".onnx":
        os.symlink(Path(source).resolve(), target)
    else:
        shutil.copy2(source, target)


def inferences(server: TritonServer) -> int:
    with InferenceServerClient(server.grpc_address) as client:
        statistics = client.get_inference_statistics().model_stats
    return sum(model.inference_count for model in statistics if model.name == "visual_encoder")


def assert_same(found: MediaEmbedding, wanted: MediaEmbedding) -> None:
    """Bit for bit."""
    assert np.array_equal(found.title, wanted.title)
    for a, b in zip(found.segments, wanted.segments, strict=True):
        assert np.array_equal(a.vector, b.vector)
        assert dict(a.signals) == dict(b.signals)


def both(*servers: TritonServer) -> str:
    return "triton://" + ",".join(server.grpc_address for server in servers)


async def embed_again_and_again(embedder: Embedder, film: Path) -> None:
    """The first titles may be embedded before the second server is connected."""
    for _ in range(20):
        await embedder.embed(film)


async def rest_and_more(embedder: Embedder, parts: AsyncGenerator[Part, None], film: Path) -> None:
    """A title that is under way, and then others."""
    async with aclosing(parts):
        async for _ in parts:
            pass
    for _ in range(200):
        await embedder.embed(film)
        await asyncio.sleep(0.05)


async def test_requests_go_to_both_and_vectors_are_the_same(
    server: TritonServer, second: TritonServer, film: Path
) -> None:
    async with Embedder(server.grpc_address) as alone:
        wanted = await alone.embed(film)
    before = inferences(server), inferences(second)
    async with Embedder(both(server, second)) as embedder:
        titles = await asyncio.gather(*(embedder.embed(film) for _ in range(4)))
    for title in titles:
        assert_same(title, wanted)
    asked = inferences(server) - before[0], inferences(second) - before[1]
    assert sum(asked) == 4 * len(wanted.segments) == 24
    assert min(asked) >= 8  # in turn, but the second one is connected a moment later


async def test_a_triton_that_is_killed_is_missed_by_nobody_and_used_again(
    server: TritonServer, second: TritonServer, film: Path
) -> None:
    async with Embedder(both(server, second)) as embedder:
        wanted = await embedder.embed(film)
        titles = [asyncio.create_task(embedder.embed(film)) for _ in range(4)]
        await asyncio.sleep(0.1)
        os.killpg(second.pid, signal.SIGKILL)
        for title in await asyncio.gather(*titles):
            assert_same(title, wanted)
        began = time.monotonic()
        assert_same(await embedder.embed(film), wanted)
        assert time.monotonic() - began < 5.0
        await asyncio.to_thread(second.stop, 0)
        await asyncio.to_thread(second.start)
        before = inferences(second)
        began = time.monotonic()
        while inferences(second) == before:
            assert time.monotonic() - began < 5.0
            assert_same(await embedder.embed(film), wanted)


async def test_a_triton_that_hangs_is_given_up_and_its_requests_go_on_elsewhere(
    server: TritonServer, second: TritonServer, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tenth of the time that it takes otherwise."""
    quick = tuple((name, value // 10) for name, value in triton_replicas.KEEPALIVE)
    monkeypatch.setattr(triton_replicas, "KEEPALIVE", quick)
    async with Embedder(both(server, second)) as embedder:
        wanted = await embedder.embed(film)
        os.killpg(second.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert_same(await embedder.embed(film), wanted)
            assert time.monotonic() - began < 5.0
        finally:
            os.killpg(second.pid, signal.SIGCONT)


async def test_no_triton_is_one_clear_error() -> None:
    async with Embedder("triton://127.0.0.1:1,127.0.0.1:2") as embedder:
        with pytest.raises(ServerUnavailableError, match="resonance serve"):
            await embedder.space()


async def test_tritons_of_two_spaces_are_refused(
    server: TritonServer, foreign: TritonServer, film: Path
) -> None:
    async with Embedder(both(server, foreign)) as embedder:
        with pytest.raises(SpaceMismatchError) as raised:
            await embed_again_and_again(embedder, film)
    assert server.space is not None
    assert foreign.space is not None
    assert {raised.value.expected, raised.value.found} == {
        server.space.fingerprint,
        foreign.space.fingerprint,
    }


async def test_a_triton_that_comes_back_with_another_space_answers_nothing(
    server: TritonServer, second: TritonServer, foreign: TritonServer, film: Path
) -> None:
    """It is asked for its space before anything else, though a title is under way."""
    port = int(second.grpc_address.rpartition(":")[2])
    before = inferences(foreign)
    async with Embedder(both(server, second)) as embedder:
        await embedder.embed(film)
        parts = embedder.stream(film)
        async for part in parts:
            if isinstance(part, Segment):
                break
        await asyncio.to_thread(second.stop, 0)
        try:
            async with _forwarded(port, foreign.grpc_address):
                with pytest.raises(SpaceMismatchError, match=str(port)):
                    await rest_and_more(embedder, parts, film)
        finally:
            await asyncio.to_thread(second.start)
    assert inferences(foreign) == before


@asynccontextmanager
async def _forwarded(port: int, address: str) -> AsyncIterator[None]:
    """What connects to `port` of this machine reaches `address`."""
    host, _, to = address.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(to))
        for task in (carry(reader, back), carry(there, writer)):
            tasks.add(asyncio.create_task(task))

    listening = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def gateway(triton: TritonServer) -> AsyncIterator[Gateway]:
    running = Gateway(GatewaySettings(triton=triton.grpc_address, port=0, metrics_port=0, drain_s=0.0))
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def test_a_title_of_a_gateway_that_ends_goes_on_at_the_other(
    server: TritonServer, second: TritonServer, film: Path
) -> None:
    async with gateway(server) as other, gateway(second) as first:
        async with Embedder(f"grpc://{first.address}") as alone:
            wanted = await alone.embed(film)
        async with Embedder(f"grpc://{first.address},{other.address}") as embedder:
            for _ in range(3):  # until both are connected, and titles go to them in turn
                await embedder.embed(film)
            parts = [embedder.stream(film, name=str(n)) for n in range(2)]
            heads = [[await anext(stream) for _ in range(2)] for stream in parts]
            assert all(isinstance(head[1], Segment) for head in heads)
            began = time.monotonic()
            await first.stop()
            for head, stream in zip(heads, parts, strict=True):
                title = [*head, *[part async for part in stream]][-1]
                assert isinstance(title, MediaEmbedding)
                assert_same(title, wanted)
            assert time.monotonic() - began < 10.0


async def test_a_gateway_whose_triton_died_is_missed_by_nobody_and_left_out(
    server: TritonServer, second: TritonServer, film: Path
) -> None:
    """Its own port is open, and its health says that it does not serve."""
    async with gateway(server) as good, gateway(second) as bad:
        async with Embedder(f"grpc://{good.address},{bad.address}") as embedder:
            wanted = await embedder.embed(film)
            titles = [asyncio.create_task(embedder.embed(film)) for _ in range(4)]
            await asyncio.sleep(0.1)
            os.killpg(second.pid, signal.SIGKILL)
            for title in await asyncio.gather(*titles):
                assert_same(title, wanted)
            began = time.monotonic()
            while await health_of(bad) == health_pb2.HealthCheckResponse.SERVING:
                assert time.monotonic() - began < 20.0
                await asyncio.sleep(0.05)
            while bad.address in serving(embedder) or bad.metrics.value("uploads"):
                assert time.monotonic() - began < 30.0  # the client is told what its health says
                await asyncio.sleep(0.05)
            before = segments_answered(good), calls_of(bad)
            for _ in range(4):
                assert_same(await embedder.embed(film), wanted)
            assert segments_answered(good) - before[0] == 4 * len(wanted.segments)
            assert calls_of(bad) == before[1] > 0
        await asyncio.to_thread(second.stop, 0)
        await asyncio.to_thread(second.start)


def serving(embedder: Embedder) -> list[str]:
    """Addresses of the gateways that the client knows to serve."""
    assert isinstance(embedder._backend, GatewayEmbedder)
    return [replica.address for replica in embedder._backend._connection._replicas.serving()]


async def health_of(running: Gateway) -> int:
    async with grpc.aio.insecure_channel(running.address) as channel:
        request = health_pb2.HealthCheckRequest(service=HEALTH_SERVICE)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


def segments_answered(running: Gateway) -> float:
    return running.metrics.registry.get_sample_value("resonance_gateway_segments_total") or 0.0


def calls_of(running: Gateway) -> float:
    """Calls of EmbedMedia that have ended."""
    method = f"/{HEALTH_SERVICE}/EmbedMedia"
    return sum(
        sample.value
        for metric in running.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "resonance_gateway_calls_total" and sample.labels["method"] == method
    )


async def test_gateways_of_two_spaces_are_refused(
    server: TritonServer, foreign: TritonServer, film: Path
) -> None:
    assert server.space is not None
    async with gateway(server) as one, gateway(foreign) as other:
        address = f"grpc://{one.address},{other.address}"
        async with Embedder(address) as embedder:
            with pytest.raises(SpaceChangedError):
                await embed_again_and_again(embedder, film)
        async with Embedder(address, expected_fingerprint=server.space.fingerprint) as embedder:
            with pytest.raises(SpaceMismatchError):
                await embed_again_and_again(embedder, film)
