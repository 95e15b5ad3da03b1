"""Several gateways behind one address: calls in turn, on at another, none of those that do not serve."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from resonance.clients import balancing
from resonance.clients.credentials import Credentials
from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    CredentialsError,
    OverloadedError,
    ServerFaultError,
    ServerUnavailableError,
    SpaceChangedError,
    UsageError,
)
from resonance.clients.gateway.connection import HEALTH_SERVICE
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.retrying import RetryPolicy
from resonance.clients.results import MediaEmbedding, Segment
from resonance.serving.ports import choose_ports
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceMismatchError
from resonance.v1.embedding_pb2_grpc import add_EmbeddingServiceServicer_to_server
from tests.clients.gateway.broken_gateway import BrokenGateway, Call, completes

#: So long that a test which waits once more than it must does not end in time.
SLOW = RetryPolicy(attempts=3, retry_for_s=60.0, first_wait_s=20.0, most_wait_s=20.0)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Door:
    """A gateway with a health service, which can be stopped and started again on its port."""

    service: BrokenGateway
    host: str
    credentials: grpc.ServerCredentials | None
    port: int = 0
    server: Any = None
    health: Any = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_EmbeddingServiceServicer_to_server(self.service, self.server)
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        await self.serves(SERVING)
        if self.credentials is None:
            self.port = self.server.add_insecure_port(self.address)
        else:
            self.port = self.server.add_secure_port(self.address, self.credentials)
        await self.server.start()

    async def serves(self, state: int) -> None:
        await self.health.set(HEALTH_SERVICE, state)

    async def kill(self) -> None:
        await self.server.stop(None)


@asynccontextmanager
async def doors(
    descriptor: Descriptor,
    *hosts: str,
    credentials: tuple[grpc.ServerCredentials, ...] = (),
    port: int = 0,
) -> AsyncIterator[list[Door]]:
    made = [
        Door(BrokenGateway(descriptor), host, credentials[i] if credentials else None, port)
        for i, host in enumerate(hosts or ("127.0.0.1", "127.0.0.1"))
    ]
    for door in made:
        await door.start()
    try:
        yield made
    finally:
        for door in made:
            await door.kill()


@pytest.fixture
async def two(descriptor: Descriptor) -> AsyncIterator[tuple[Door, Door]]:
    async with doors(descriptor) as (one, other):
        yield one, other


def address_of(*given: Door) -> str:
    return ",".join(door.address for door in given)


async def ask(client: GatewayEmbedder) -> None:
    """One call, whatever was asked before."""
    client._space = None
    await client.space()


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> float:
    """How long it took until it holds, in seconds."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def asked(*given: Door) -> tuple[int, ...]:
    return tuple(door.service.spaces_asked for door in given)


async def reaches(client: GatewayEmbedder, door: Door) -> bool:
    before = door.service.spaces_asked
    await ask(client)
    return door.service.spaces_asked > before


async def test_calls_go_to_both_in_turn(two: tuple[Door, Door]) -> None:
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        await until(lambda: reaches(client, two[0]), 5)
        await until(lambda: reaches(client, two[1]), 5)
        before = asked(*two)
        for _ in range(20):
            await ask(client)
        assert [now - then for now, then in zip(asked(*two), before, strict=True)] == [10, 10]


async def test_one_is_killed_and_comes_back(two: tuple[Door, Door]) -> None:
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        await until(lambda: reaches(client, two[1]), 5)
        under_way = [asyncio.create_task(ask(client)) for _ in range(20)]
        await two[0].kill()
        await asyncio.gather(*under_way)
        began, before = time.monotonic(), asked(*two)
        for _ in range(20):
            await ask(client)
        assert time.monotonic() - began < 2.0
        assert [now - then for now, then in zip(asked(*two), before, strict=True)] == [0, 20]
        await two[0].start()
        took_s = await until(lambda: reaches(client, two[0]), 10)
        assert took_s < 5.0


async def test_one_that_was_never_there_is_not_waited_for(two: tuple[Door, Door]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        absent = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with GatewayEmbedder(f"{absent},{address_of(two[0])}", retries=SLOW) as client:
            began = time.monotonic()
            for _ in range(10):
                await ask(client)
            assert time.monotonic() - began < 2.0
    assert two[0].service.spaces_asked == 10


async def test_none_there_is_one_clear_error() -> None:
    async with GatewayEmbedder("127.0.0.1:1,127.0.0.1:2") as client:
        with pytest.raises(ServerUnavailableError, match="is the gateway running"):
            await client.space()


async def test_one_whose_port_is_open_but_that_does_not_serve_is_left_out(two: tuple[Door, Door]) -> None:
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        await until(lambda: reaches(client, two[0]), 5)
        await two[0].serves(NOT_SERVING)
        await until(lambda: _stays_away(client, two[0]), 5)
        before = asked(*two)
        for _ in range(10):
            await ask(client)
        assert [now - then for now, then in zip(asked(*two), before, strict=True)] == [0, 10]
        await two[0].serves(SERVING)
        await until(lambda: reaches(client, two[0]), 5)


async def test_two_that_do_not_serve_yet_are_waited_for(
    two: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that finds none refuses in no time: four tries were over within a tenth of a second."""
    monkeypatch.setattr(balancing, "REST_S", 20.0)  # so long that sleeping for it is told from waiting
    for door in two:
        await door.serves(NOT_SERVING)
    async with GatewayEmbedder(address_of(*two)) as client:
        asking = asyncio.create_task(client.space())
        await asyncio.sleep(1.5)
        await two[1].serves(SERVING)
        began = time.monotonic()
        await asking
        assert time.monotonic() - began < 5.0  # it is not slept for
    assert asked(*two) == (0, 1)


async def _stays_away(client: GatewayEmbedder, door: Door) -> bool:
    return not any([await reaches(client, door) for _ in range(3)])


@pytest.mark.parametrize("fault", [OverloadedError("full", retry_after_s=30.0), ServerFaultError("a model")])
async def test_a_title_goes_on_at_once_at_the_other(
    two: tuple[Door, Door], tmp_path: Path, fault: Exception
) -> None:
    """With the segments it has, and however long the first asks to wait."""

    async def breaks(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await call.segment(1)
        await call.fail(fault)

    async def completes(call: Call) -> None:
        await call.complete.wait()
        await call.segment(2)
        await call.title(3)

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    # whichever comes first breaks
    calls: list[Call] = []

    async def script(call: Call) -> None:
        calls.append(call)
        await (breaks if len(calls) == 1 else completes)(call)

    for door in two:
        door.service.scripts = [script]
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        began = time.monotonic()
        parts = [part async for part in client.stream(film)]
        assert time.monotonic() - began < 5.0
    assert [p.index for p in parts if isinstance(p, Segment)] == [0, 1, 2]
    assert isinstance(parts[-1], MediaEmbedding)
    assert [len(door.service.calls) for door in two] == [1, 1]
    assert [call.stored for call in calls] == [[], [0, 1]]
    assert all(call.start.expected_fingerprint for call in calls)


@asynccontextmanager
async def slow_to_connect(door: Door, delay_s: float) -> AsyncIterator[str]:
    """Another address of `door`, whose connections stand still for so long at first."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        its_reader, its_writer = await asyncio.open_connection(door.host, door.port)
        await asyncio.gather(copy(reader, its_writer), copy(its_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_one_that_connects_while_another_is_waited_for_is_taken(
    two: tuple[Door, Door], tmp_path: Path
) -> None:
    async def refuses(call: Call) -> None:
        await call.fail(OverloadedError("full", retry_after_s=20.0))

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    two[0].service.scripts, two[1].service.scripts = [refuses], [completes]
    async with (
        slow_to_connect(two[1], 1.0) as late,
        GatewayEmbedder(f"{two[0].address},{late}", retries=SLOW) as client,
    ):
        began = time.monotonic()
        assert isinstance([part async for part in client.stream(film)][-1], MediaEmbedding)
        assert time.monotonic() - began < 10.0
    assert [len(door.service.calls) for door in two] == [1, 1]


async def test_titles_under_way_on_a_gateway_that_is_killed_end_at_the_other(
    two: tuple[Door, Door], tmp_path: Path
) -> None:
    started = 0
    stopped = asyncio.Event()

    async def script(call: Call) -> None:
        nonlocal started
        started += 1
        await call.begun.wait()
        for index in range(len(call.stored), 2):
            await call.segment(index)
        await stopped.wait()
        for index in range(max(len(call.stored), 2), 4):
            await call.segment(index)
        await call.title(4)

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    for door in two:
        door.service.scripts = [script]
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        await until(lambda: reaches(client, two[0]), 5)
        await until(lambda: reaches(client, two[1]), 5)
        titles = [asyncio.create_task(client.embed(film, name=str(n))) for n in range(8)]

        async def all_started() -> bool:
            return started == 8

        await until(all_started, 5)
        await asyncio.sleep(0.2)
        assert [len(door.service.calls) for door in two] == [4, 4]
        began = time.monotonic()
        await two[0].kill()
        stopped.set()
        found = await asyncio.gather(*titles)
        assert time.monotonic() - began < 5.0
    assert all([s.index for s in title.segments] == [0, 1, 2, 3] for title in found)
    assert [len(door.service.calls) for door in two] == [4, 8]


async def test_when_all_have_failed_it_waits_and_gives_up(two: tuple[Door, Door], tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.fail(ServerFaultError("a model"))

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    for door in two:
        door.service.scripts = [script]
    policy = RetryPolicy(attempts=3, retry_for_s=60.0, first_wait_s=0.01, most_wait_s=0.02)
    async with GatewayEmbedder(address_of(*two), retries=policy) as client:
        with pytest.raises(ServerFaultError, match="a model"):
            await client.embed(film)
    tries = [len(door.service.calls) for door in two]
    assert sum(tries) in (5, 6)  # a server that is not connected yet is not there
    assert min(tries) >= 2


async def test_two_spaces_are_an_error_and_never_mixed(two: tuple[Door, Door], tmp_path: Path) -> None:
    """The gateways' own check, which `BrokenGateway` leaves to its script: see test_real_gateway."""

    async def refuses(call: Call) -> None:
        await call.fail(SpaceMismatchError(call.start.expected_fingerprint, "cd" * 32, "the server"))

    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    for door in two:
        door.service.scripts = [refuses]
    async with GatewayEmbedder(address_of(*two), retries=SLOW) as client:
        with pytest.raises(SpaceChangedError, match="cdcdcdcdcdcd"):
            await client.embed(film)


async def test_each_certificate_is_held_against_its_own_host(descriptor: Descriptor, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca")

    def of(name: str) -> grpc.ServerCredentials:
        made = authority.issue_cert(name)
        return grpc.ssl_server_credentials([(made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes())])

    trusted = Credentials(ca_file=tmp_path / "ca", token="t" * 32)
    hosts = ("127.0.0.1", "localhost", "127.0.0.1")
    certificates = tuple(of(name) for name in ("127.0.0.1", "localhost", "localhost"))
    async with doors(descriptor, *hosts, credentials=certificates) as (one, two, wrong):
        async with GatewayEmbedder(address_of(one, two, wrong), credentials=trusted, retries=SLOW) as client:
            await until(lambda: reaches(client, one), 5)
            await until(lambda: reaches(client, two), 5)
            for _ in range(10):
                await ask(client)
        assert wrong.service.spaces_asked == 0
        assert one.service.space_metadata["authorization"] == "Bearer " + "t" * 32


class NameServer(asyncio.DatagramProtocol):
    """Knows one name: every question for an IPv4 address is answered with `addresses`."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        end = 12  # of the header; then labels, each with its length, up to an empty one
        while data[end]:
            end += data[end] + 1
        question = data[12 : end + 5]
        (kind,) = struct.unpack("!H", question[-4:-2])
        found = [socket.inet_aton(address) for address in self.addresses] if kind == 1 else []
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
        answers = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + address for address in found]
        self.transport.sendto(header + question + b"".join(answers), sender)


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    yield server
    transport.close()


async def test_a_name_of_several_and_what_it_stands_for_later(
    descriptor: Descriptor, names: NameServer, tmp_path: Path
) -> None:
    """TLS, too: each address has to prove that it is the name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca")

    def of(name: str) -> grpc.ServerCredentials:
        made = authority.issue_cert(name)
        return grpc.ssl_server_credentials([(made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes())])

    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
    certificates = tuple(of(n) for n in ("gateways.test", "gateways.test", "gateways.test", "127.0.0.4"))
    port = choose_ports("0.0.0.0", {"gateway": 0})["gateway"]  # noqa: S104 (free on all four)
    async with doors(descriptor, *hosts, credentials=certificates, port=port) as (one, two, late, wrong):
        names.addresses = [one.host, two.host, wrong.host]
        server = names.transport.get_extra_info("sockname")[1]
        async with GatewayEmbedder(
            f"dns://127.0.0.1:{server}/gateways.test:{port}",
            credentials=Credentials(ca_file=tmp_path / "ca"),
            retries=SLOW,
        ) as client:
            await until(lambda: reaches(client, one), 5)
            await until(lambda: reaches(client, two), 5)
            before = asked(one, two)
            for _ in range(20):
                await ask(client)
            got = [now - then for now, then in zip(asked(one, two), before, strict=True)]
            assert sum(got) == 20
            assert min(got) >= 7  # gRPC begins a new round each time that it tries the wrong one again
            names.addresses = [one.host, late.host]
            await two.kill()
            for _ in range(20):
                await ask(client)
            await until(lambda: reaches(client, late), 10)
        assert wrong.service.spaces_asked == 0


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("", "empty host"),  # as of a variable that is not set
        ("triton://", "empty host"),
        ("grpc://a:1,,b:2", "empty host"),
        ("grpc://a:1,", "empty host"),
        ("grpc://a:1, a:1", "twice"),
        ("triton://a:1,a:1", "twice"),
        ("triton://dns:///tritons:8001", "which one answers cannot be told"),
        ("triton://a:1,dns:///tritons:8001", "name each"),
        ("http://a:1", "expected grpc://"),
    ],
)
async def test_addresses_that_cannot_be_used(server: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Embedder(server)


async def test_a_token_travels_in_the_open_to_none_of_them() -> None:
    with pytest.raises(CredentialsError, match=r"b\.example:2"):
        GatewayEmbedder("127.0.0.1:1,b.example:2", credentials=Credentials(token="t" * 32))
