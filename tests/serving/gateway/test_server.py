"""The gateway's start and stop, without a Triton."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resonance.clients import transport
from resonance.clients.errors import SpaceChangedError
from resonance.clients.served_space import ServedSpace
from resonance.serving import supervisor
from resonance.serving.errors import StartError
from resonance.serving.gateway import cli, server, tracing
from resonance.serving.gateway.reading import NURSERY
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.health import ModelHealth
from resonance.space.descriptor import Descriptor
from tests.serving.gateway.door import until

#: The gateway's command, whose start fails once it has a process that reads uploads. It prints whether
#: something still held its stderr when that was given back.
FAILING = """
import runpy
from resonance.serving.errors import StartError
from resonance.serving.gateway import server
from resonance.serving.gateway.core_log import StderrLines
from resonance.serving.gateway.reading import NURSERY

async def start(self):
    await NURSERY.warm_up()
    raise StartError("not today")

def close(self):
    close_it(self)
    print(self._thread.is_alive(), flush=True)

server.Gateway.start = start
close_it, StderrLines.close = StderrLines.close, close
runpy.run_module("resonance.serving.gateway", run_name="__main__")
"""


def test_nothing_is_waited_for_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"  # what holds stderr open is waited for for 2 s
    assert (done.returncode, done.stderr) == (1, "resonance gateway: not today\n")


def test_the_supervisor_waits_for_all_that_a_stop_takes() -> None:
    assert server._FLUSH_S + transport.SETTLE_S + tracing._CLOSE_TIMEOUT_S < supervisor._GATEWAY_MARGIN_S


async def _no_question(*what: Any) -> None:
    pass


async def test_a_gateway_that_cannot_read_uploads_says_so_in_a_line(tmp_path: Path, monkeypatch) -> None:
    NURSERY.close()
    monkeypatch.setattr("resonance.serving.gateway.reading.nursery.ZYGOTE", "resonance.nothing")
    monkeypatch.setattr(Gateway, "_ask_space", _no_question)
    with pytest.raises(StartError, match=r"no process to read uploads with \(it ended\); expected room"):
        await Gateway(GatewaySettings(triton="localhost:1", spool_folder=tmp_path)).start()


class Changing:
    """A Triton that tells its space, `space`."""

    def __init__(self, space: Descriptor) -> None:
        self.space = space

    async def infer(self, model: str, inputs: Any, outputs: Any, *, timeout_s: float) -> dict[str, Any]:
        return {"SPACE": np.array([self.space.to_json().encode()], object)}

    async def close(self) -> None: ...


@pytest.fixture
def spaces(model_repository: Path) -> tuple[Descriptor, Descriptor]:
    """Two of them."""
    one = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    trained_on = {name: replace(e, weights_sha256="0" * 64) for name, e in one.encoders.items()}
    return one, replace(one, encoders=trained_on)


async def test_a_space_is_told_when_it_changes(spaces: tuple[Descriptor, Descriptor]) -> None:
    triton, told = Changing(spaces[0]), []
    served = ServedSpace(triton, on_change=told.append)
    for _ in range(2):
        await served.ask()
    triton.space = spaces[1]
    with pytest.raises(SpaceChangedError):
        await served.require_same(spaces[0], "film.mp4")
    await served.known()  # asked again after that
    assert [space.fingerprint for space in told] == [space.fingerprint for space in spaces]


async def test_a_triton_that_comes_back_is_asked_for_its_space(
    spaces: tuple[Descriptor, Descriptor], tmp_path: Path
) -> None:
    triton, health = Changing(spaces[0]), ModelHealth("nowhere")
    gateway = Gateway(GatewaySettings(triton="nowhere"))
    served = ServedSpace(triton, on_change=gateway._space_changed)
    following = asyncio.create_task(server._follow_space(served, health))

    def shown(space: Descriptor) -> float:
        labels = {"name": space.name, "fingerprint": space.fingerprint, "trained": str(space.trained).lower()}
        return gateway.metrics.value("space_info", **labels)

    try:
        for space in spaces:
            triton.space = space
            health._settle("space_descriptor", "Triton does not answer")
            await asyncio.sleep(0)
            health.answered(["space_descriptor"])
            await until(lambda space=space: shown(space))
        assert not shown(spaces[0])
    finally:
        following.cancel()


class Started:
    """A gateway that is started and stopped at once."""

    address = metrics_address = "here"

    def __init__(self, space: Descriptor) -> None:
        self.space = space
        self.tell: Any = None

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.tell(self.space)

    def when_space_changes(self, tell: Any) -> None:
        self.tell = tell


async def test_the_ready_file_tells_the_space_of_now(
    spaces: tuple[Descriptor, Descriptor], tmp_path: Path
) -> None:
    file, gateway = tmp_path / "ready", Started(spaces[0])
    running = asyncio.create_task(cli.run(gateway, file))
    await until(lambda: gateway.tell is not None)
    assert spaces[0].fingerprint[:12] in file.read_text()
    gateway.tell(spaces[1])
    assert spaces[1].fingerprint[:12] in file.read_text()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert not file.exists()  # nor written again by what changes while it stops
