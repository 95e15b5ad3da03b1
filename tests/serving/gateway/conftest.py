"""A real gateway before the run's real Triton."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.server import TritonServer
from resonance.v1 import embedding_pb2_grpc

MakeGateway = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def make_gateway(server: TritonServer, tmp_path: Path) -> MakeGateway:
    """Starts a gateway with settings of one's own: `limits`, and fields of `GatewaySettings`."""

    @contextlib.asynccontextmanager
    async def made(limits: GatewayLimits | None = None, **settings: object) -> AsyncIterator[Gateway]:
        plain = GatewaySettings(
            triton=server.grpc_address,
            port=0,
            metrics_port=0,
            drain_s=1.0,
            spool_folder=tmp_path,
            limits=limits or GatewayLimits(),
        )
        gateway = Gateway(replace(plain, **settings))  # type: ignore[arg-type]
        await gateway.start()
        try:
            yield gateway
        finally:
            await gateway.stop()

    return made


@pytest.fixture
async def gateway(make_gateway: MakeGateway) -> AsyncIterator[Gateway]:
    """One with the default settings."""
    async with make_gateway() as running:
        yield running


@pytest.fixture
async def stub(gateway: Gateway) -> AsyncIterator[embedding_pb2_grpc.EmbeddingServiceStub]:
    """Plain calls to it."""
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        yield embedding_pb2_grpc.EmbeddingServiceStub(channel)
