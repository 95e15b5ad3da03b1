"""One real Triton over the small repository for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc.aio import InferenceServerClient

from resonance.serving.server import ServerSettings, TritonServer
from tests.serving.small_repository import make_repository


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def small_server(small_repository: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(model_repository=small_repository)) as server:
        yield server


@pytest.fixture
async def triton(small_server: TritonServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(small_server.grpc_address) as client:
        yield client
