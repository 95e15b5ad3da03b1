"""The space of the exported models, for gateways that no Triton stands behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.retrying import RetryPolicy
from resonance.space.descriptor import Descriptor
from tests.clients.gateway.broken_gateway import BrokenGateway, broken_gateway

FAST = RetryPolicy(attempts=4, retry_for_s=10.0, first_wait_s=0.01, most_wait_s=0.02)


@pytest.fixture(scope="session")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")


@pytest.fixture
async def broken(descriptor: Descriptor) -> AsyncIterator[BrokenGateway]:
    async with broken_gateway(descriptor) as running:
        yield running


@pytest.fixture
async def impatient(broken: BrokenGateway) -> AsyncIterator[GatewayEmbedder]:
    """A client of that gateway that tries again at once."""
    async with GatewayEmbedder(broken.address, retries=FAST, silence_s=5.0) as client:
        yield client
