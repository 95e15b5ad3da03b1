"""Fixtures every part shares: the exported repository and the real media."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from resonance.clients.embedder import Embedder
from resonance.serving.server import ServerSettings, TritonServer

ROOT = Path(__file__).resolve().parent.parent

# A shell has commands behind `&` ignore Ctrl-C, Python leaves it so, and what is started here inherits it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair: a stall of a busy one says nothing about a property.
# Every run draws the same examples, so that only a change makes one fail, here as in CI, which may not say
# that it is one; `pytest --hypothesis-profile=anew` draws others.
settings.register_profile(
    "resonance", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("anew", settings.get_profile("resonance"), derandomize=False)
settings.load_profile("resonance")


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The repository that `make export` filled; the Makefile exports before it tests."""
    repository = ROOT / "model_repository"
    if not (repository / "space_descriptor" / "1" / "space.json").exists():
        pytest.fail("the models are not exported; run `make export` first")
    return repository


@pytest.fixture(scope="session")
def media() -> Path:
    """A folder of real media; RESONANCE_MEDIA names it, else ../shared/media."""
    folder = Path(os.environ.get("RESONANCE_MEDIA", ROOT.parent / "shared" / "media"))
    if not folder.is_dir():
        pytest.skip(f"no real media at {folder}; set RESONANCE_MEDIA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def server(model_repository: Path) -> Iterator[TritonServer]:
    """A real Triton over the exported models, one for the whole run."""
    with TritonServer(ServerSettings(model_repository=model_repository)) as running:
        yield running


@pytest.fixture
async def embedder(server: TritonServer) -> AsyncIterator[Embedder]:
    """A client of that server."""
    async with Embedder(server.grpc_address) as client:
        yield client


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """SVT-AV1 makes its caller a real-time thread where it runs as root; it would starve the server."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
