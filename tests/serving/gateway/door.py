"""A small real server behind the gateway's doors: every kind of RPC, and handlers that go wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from resonance.serving.gateway.callers import Authenticator
from resonance.serving.gateway.calls import current_call
from resonance.serving.gateway.interceptors import CallInterceptor
from resonance.serving.gateway.listening import RefusedBelow, core_options
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.tls import ServerTls, TlsFiles
from resonance.serving.gateway.tokens import TokenFile
from resonance.serving.gateway.tracing import Tracing
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc as pb_grpc

SERVICE = "/resonance.v1.EmbeddingService"
CONTENT = "the-butler-did-it"
ALICE, BOB = "a" * 40, "b" * 40


class Service(pb_grpc.EmbeddingServiceServicer):
    """GetSpace tells who calls; EmbedMedia echoes; GetStatus fails, quoting media; EmbedQuery refuses."""

    async def GetSpace(self, request: Any, context: Any) -> pb.GetSpaceResponse:  # noqa: N802
        return pb.GetSpaceResponse(name=current_call().caller.name)

    async def GetStatus(self, request: Any, context: Any) -> pb.GetStatusResponse:  # noqa: N802
        raise RuntimeError(f"cannot read {CONTENT}")

    async def EmbedQuery(self, request: Any, context: Any) -> pb.EmbedQueryResponse:  # noqa: N802
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "parts: none; expected at least one")
        raise AssertionError

    async def EmbedMedia(self, requests: Any, context: Any) -> AsyncIterator[pb.EmbedMediaResponse]:  # noqa: N802
        call = current_call()
        async for request in requests:
            if request.HasField("start"):
                call.media_id = request.start.media_id
                if request.start.media_id == "hang":
                    await asyncio.Event().wait()
                yield pb.EmbedMediaResponse(accepted=pb.EmbedMediaAccepted(space_name=call.caller.name))
            else:
                call.received_bytes += len(request.chunk.data)
                call.segments += 1
                yield pb.EmbedMediaResponse(segment=pb.Segment(index=call.segments))


async def _count(requests: Any, context: Any) -> bytes:
    return str(len([r async for r in requests])).encode()


async def _tell(request: Any, context: Any) -> None:
    await context.write(b"1")


@dataclass
class Door:
    """What a test needs to knock."""

    port: int
    metrics: GatewayMetrics
    interceptor: CallInterceptor

    def plain(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"localhost:{self.port}")

    def secure(self, authority: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.aio.Channel:
        key = client.private_key_pem.bytes() if client else None
        chain = client.cert_chain_pems[0].bytes() if client else None
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, chain)
        return grpc.aio.secure_channel(f"localhost:{self.port}", trusted)


@asynccontextmanager
async def open_door(
    *,
    tls: TlsFiles | None = None,
    tokens: TokenFile | None = None,
    tracing: Tracing | None = None,
    service: pb_grpc.EmbeddingServiceServicer | None = None,
    health_service: health_pb2_grpc.HealthServicer | None = None,
    idle_timeout_s: float = 120.0,
) -> AsyncIterator[Door]:
    """A server on a free port of loopback."""
    metrics = GatewayMetrics(gpu=False)
    interceptor = CallInterceptor(Authenticator(tokens), metrics, tracing or Tracing(), idle_timeout_s)
    server = grpc.aio.server(interceptors=[interceptor], options=core_options())
    metrics.add_collector(RefusedBelow(interceptor))
    pb_grpc.add_EmbeddingServiceServicer_to_server(service or Service(), server)
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_service or checks, server)
    reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
    counter = {
        "Count": grpc.stream_unary_rpc_method_handler(_count),
        "Tell": grpc.unary_stream_rpc_method_handler(_tell),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Counter", counter),))
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = ServerTls(tls, on_connection=metrics.connection_began).credentials()
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield Door(port, metrics, interceptor)
    finally:
        await server.stop(0.2)


async def ask(
    channel: grpc.aio.Channel, headers: Mapping[str, str] | None = None, method: str = "GetSpace"
) -> tuple[str, str]:
    """Call once and close: ("OK", the caller's name as the server knows it), or the code and message."""
    stub = pb_grpc.EmbeddingServiceStub(channel)
    message = getattr(pb, f"{method}Request")()
    try:
        async with channel:
            answer = await getattr(stub, method)(message, timeout=5, metadata=tuple((headers or {}).items()))
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", getattr(answer, "name", "")


async def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for what happens in its own time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not happen"
        await asyncio.sleep(0.01)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def write_tokens(path: Path, text: str = f"alice {ALICE}\n# a comment\nbob {BOB} # old\n") -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def write_certificate(folder: Path, leaf: trustme.LeafCert, name: str = "server") -> TlsFiles:
    """The leaf's files, replaced one after the other as a renewal would."""
    files = TlsFiles(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    for path, content in (
        (files.certificate, b"".join(pem.bytes() for pem in leaf.cert_chain_pems)),
        (files.key, leaf.private_key_pem.bytes()),
    ):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.chmod(0o600)
        fresh.replace(path)
    return files
