"""When the supervisor starts Triton again: its rules alone, before a stand-in for the server."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from resonance.serving.decoder import DALI_MODEL
from resonance.serving.errors import RepositoryChangedError, ServerDiedError, StartError
from resonance.serving.health import ModelHealth
from resonance.serving.server import ServerSettings, TritonServer
from resonance.serving.supervisor import Supervisor, SupervisorSettings
from resonance.serving.supervisor_gateway import GatewayProcess


class StandIn(TritonServer):
    """Starts nothing. `failures` are what its next starts, or its reloads, fail with."""

    def __init__(self) -> None:
        super().__init__(ServerSettings(model_repository=Path("nowhere")))
        self.models = ["encoder"]
        self.failures: list[Exception] = []
        self.starts = 0

    def _launch(self) -> None:
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


def test_files_that_change_while_they_are_loaded_again_fail_the_start():
    server = StandIn()
    server.failures = [RepositoryChangedError(f"model encoder: changed {at}") for at in "ab"]
    with pytest.raises(RepositoryChangedError, match="changed b"):
        server.start()
    assert server.starts == 2


async def test_a_full_disk_is_tried_again_by_the_rule():
    server = StandIn()
    supervisor, health = looking_after(server, restarts=3)
    full = OSError(errno.ENOSPC, "No space left on device", "site")
    server.failures = [full, shutil.Error([("a", "b", str(full))])]
    await supervisor._restart(health, "ended by itself")
    assert (server.starts, supervisor.restarts) == (3, 3)
    server.failures = [full]
    with pytest.raises(ServerDiedError, match="started again 3 times"):
        await supervisor._restart(health, "ended by itself")


def test_a_start_without_room_is_told_in_a_line():
    server = StandIn()
    server.failures = [OSError(errno.ENOSPC, "No space left on device", "site")]
    with pytest.raises(StartError, match=r"No space left on device: 'site'; expected some, and rights"):
        server.start()


async def test_a_gateway_without_room_for_a_process_is_told_in_a_line(monkeypatch):
    def no_room(*what: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("resonance.serving.supervisor_gateway.process.start_talking", no_room)
    with pytest.raises(StartError, match=r"Resource temporarily unavailable\); expected room for one more"):
        await GatewayProcess(lambda: ["gateway"]).start()
