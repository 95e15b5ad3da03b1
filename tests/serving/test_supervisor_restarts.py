"""When the supervisor starts Triton again: its rules alone, before a stand-in for the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resonance.serving.decoder import DALI_MODEL
from resonance.serving.errors import RepositoryChangedError
from resonance.serving.health import ModelHealth
from resonance.serving.server import ServerSettings, TritonServer
from resonance.serving.supervisor import Supervisor, SupervisorSettings


class StandIn(TritonServer):
    """Starts nothing. `failures` are what its next starts, or its reloads, fail with."""

    def __init__(self) -> None:
        super().__init__(ServerSettings(model_repository=Path("nowhere")))
        self.models = ["encoder"]
        self.failures: list[Exception] = []
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        if self.failures:
            raise self.failures.pop(0)

    def stop(self, drain_s: float | None = None) -> None:
        pass

    def reload(self, name: str, *, hung: bool = False) -> None:
        raise self.failures.pop(0)

    def ended(self) -> str | None:
        return None


def looking_after(server: StandIn, **settings: Any) -> tuple[Supervisor, ModelHealth]:
    return Supervisor(server, SupervisorSettings(backoff_s=0.0, **settings)), ModelHealth("nowhere")


@pytest.mark.parametrize(("model", "starts"), [("encoder", 1), (DALI_MODEL, 0)])
async def test_a_model_whose_files_changed_has_all_of_triton_started_again(model, starts):
    server = StandIn()
    supervisor, health = looking_after(server)
    server.failures = [RepositoryChangedError(f"model {model}: model.onnx changed")]
    loaded_again = await supervisor._reload(health, model, "its process died", hung=False)
    assert (server.starts, supervisor.restarts, loaded_again) == (starts, starts, starts == 0)
