"""TLS, mutual TLS and tokens over real connections."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trustme

from resonance.clients.credentials import Credentials
from resonance.clients.errors import RequestRejectedError, ServerUnavailableError
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.retrying import RetryPolicy
from resonance.clients.transport import TritonTransport
from resonance.space.descriptor import Descriptor
from tests.clients.gateway.broken_gateway import broken_gateway


async def fingerprint(address: str, credentials: Credentials | None) -> str:
    async with GatewayEmbedder(address, credentials=credentials, request_timeout_s=5.0) as embedder:
        return (await embedder.space()).fingerprint


@asynccontextmanager
async def far_away(address: str, delay_s: float) -> AsyncIterator[str]:
    """Another address of the same, from which each byte takes so long, and as long back."""
    loop = asyncio.get_running_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            loop.call_later(delay_s, writer.write, data)
        loop.call_later(delay_s, writer.close)

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = address.rpartition(":")
        its_reader, its_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(carry(reader, its_writer), carry(its_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(both, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_gateway_on_another_continent_is_reached(descriptor: Descriptor) -> None:
    async with broken_gateway(descriptor) as gateway, far_away(gateway.address, 0.3) as address:
        assert await fingerprint(address, None) == descriptor.fingerprint


async def test_mutual_tls_and_who_is_left_outside(descriptor: Descriptor, tmp_path: Path) -> None:
    ours, others = trustme.CA(), trustme.CA()
    server, client, stranger = (ca.issue_cert("127.0.0.1") for ca in (ours, ours, others))
    for name, blob in {
        "ca": ours.cert_pem,
        "others-ca": others.cert_pem,
        "cert": client.cert_chain_pems[0],
        "key": client.private_key_pem,
        "strange-cert": stranger.cert_chain_pems[0],
        "strange-key": stranger.private_key_pem,
    }.items():
        blob.write_to_path(tmp_path / name)
    mutual = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=ours.cert_pem.bytes(),
        require_client_auth=True,
    )
    good = Credentials(
        token="s3cret",  # noqa: S106
        ca_file=tmp_path / "ca",
        cert_file=tmp_path / "cert",
        key_file=tmp_path / "key",
    )
    async with broken_gateway(descriptor, mutual) as gateway:
        assert await fingerprint(gateway.address, good) == descriptor.fingerprint
        assert gateway.space_metadata["authorization"] == "Bearer s3cret"
        for bad in (
            None,  # plain text on a TLS port
            replace(good, cert_file=None, key_file=None),
            replace(good, cert_file=tmp_path / "strange-cert", key_file=tmp_path / "strange-key"),
            replace(good, ca_file=tmp_path / "others-ca"),
            replace(good, ca_file=None, tls=True),  # this machine does not know our authority
        ):
            with pytest.raises(ServerUnavailableError, match=r"with TLS if and only if this is \(--tls, and"):
                await fingerprint(gateway.address, bad)
        assert gateway.spaces_asked == 1


async def test_a_command_says_one_line_of_a_handshake_that_fails(descriptor: Descriptor) -> None:
    async with broken_gateway(descriptor) as gateway:
        command = str(Path(sys.executable).with_name("resonance"))
        words = ("status", "--tls", "--server", f"grpc://{gateway.address}")
        process = await asyncio.create_subprocess_exec(
            command, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    (line,) = err.decode().splitlines()
    assert "with TLS if and only if this is" in line


@asynccontextmanager
async def proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """An HTTP proxy that refuses; gives the first line of each connection to it."""
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield asked


async def ask_gateway(address: str, credentials: Credentials) -> None:
    once = RetryPolicy(attempts=1)
    async with GatewayEmbedder(address, credentials=credentials, retries=once) as embedder:
        await embedder.space()


async def ask_triton(address: str, credentials: Credentials) -> None:
    transport = TritonTransport(address, credentials=credentials, attempts=1)
    try:
        await transport.infer("model", {}, ("X",), timeout_s=5.0)
    finally:
        await transport.close()


async def test_a_proxy_of_the_environment_never_sees_plain_text(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca")
    cert = ca.issue_cert("127.0.0.1")
    tls = grpc.ssl_server_credentials([(cert.private_key_pem.bytes(), cert.cert_chain_pems[0].bytes())])
    plain = Credentials(token="s3cret")  # noqa: S106
    encrypted = Credentials(token="s3cret", ca_file=tmp_path / "ca")  # noqa: S106
    elsewhere = "gateway.invalid:8080"
    async with proxy_of_the_environment(monkeypatch) as asked:
        for server, credentials in ((None, plain), (tls, encrypted)):
            async with broken_gateway(descriptor, server) as here:
                await ask_gateway(here.address, credentials)
                with pytest.raises(RequestRejectedError):  # it is no Triton, but it was reached
                    await ask_triton(here.address, credentials)
        for ask in (ask_gateway, ask_triton):
            with pytest.raises(ServerUnavailableError):
                await ask(elsewhere, Credentials())
            assert asked == []
            with pytest.raises(ServerUnavailableError):
                await ask(elsewhere, encrypted)
            assert set(asked) == {f"CONNECT {elsewhere} HTTP/1.1"}
            asked.clear()
