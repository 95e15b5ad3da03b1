"""The gateway beside Triton: a stand-in where its process alone matters, then the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from resonance.serving.cli import log_format_of
from resonance.serving.errors import StartError
from resonance.serving.gateway.log_format import LogFormat
from resonance.serving.ports import choose_ports
from resonance.serving.server import ServerSettings, TritonServer
from resonance.serving.supervisor import Supervisor, SupervisorSettings
from resonance.serving.supervisor_gateway import GatewayProcess
from tests.serving.test_server import SERVE
from tests.waiting import until

STAND_IN = Path(__file__).with_name("gateway_stand_in.py")

#: `resonance serve --gateway` with another command for the gateway, the same but for that.
SERVE_STAND_IN = f"""
import sys, typer
from resonance.serving import cli
own = [sys.executable, {str(STAND_IN)!r}]
cli.gateway_command = lambda server, host, port, options: [*own, str(port), *options]
typer.run(cli.serve)
"""


def start(script: str, repository: Path, *more: str) -> subprocess.Popen[str]:
    flags = [f"--model-repository={repository}", "--gateway", "--gateway-port=0", "--metrics-port=0"]
    command = [sys.executable, "-c", script, *flags, "--drain-seconds=3", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_ready(command: subprocess.Popen[str]) -> dict[str, str]:
    assert command.stdout is not None
    words = command.stdout.readline().split()
    assert words[:1] == ["ready"], command.communicate(timeout=60)
    return dict(word.split("=", 1) for word in words[1:])


def words_of(ready: str) -> dict[str, str]:
    """Of the ready line, the first."""
    return dict(word.split("=", 1) for word in ready.splitlines()[0].split()[1:])


def notes(log: Path) -> list[str]:
    return [line.rsplit(" ", 1)[0] for line in log.read_text().splitlines()] if log.exists() else []


def gateways(command: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(command.pid).children()
    return [p for p in children if any(str(STAND_IN) in word for word in p.cmdline())]


@pytest.fixture
def started(small_repository: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path, Path]]:
    """The command, the stand-in's log and the ready file."""
    log, ready_file = tmp_path / "log", tmp_path / "ready"
    command = start(SERVE_STAND_IN, small_repository, f"--ready-file={ready_file}", "--", str(log))
    yield command, log, ready_file
    command.kill()
    command.communicate()


def listens(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def test_it_is_started_after_triton_and_stopped_before_it(started):
    command, log, ready_file = started
    ready = read_ready(command)
    assert list(ready) == ["gateway", "grpc", "triton_metrics", "metrics", "space"]
    assert ready_file.read_text().splitlines()[0].split()[1] == f"gateway={ready['gateway']}"
    assert notes(log) == ["started keys=0"]
    family = psutil.Process(command.pid).children(recursive=True)
    command.terminate()
    until(lambda: "drains" in notes(log), 5)
    assert not ready_file.exists()
    assert listens(ready["grpc"])  # what the gateway still answers needs it
    _, err = command.communicate(timeout=30)
    levels = {json.loads(line)["level"] for line in err.splitlines()}  # as the gateway's own lines
    assert (command.returncode, levels - {"info"}) == (0, set())
    assert notes(log)[1:] == ["drains", "drained"]
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("options", "format_"),
    [
        ([], LogFormat.JSON),
        (["--log-format", "text"], LogFormat.TEXT),
        (["--log-format=json", "--port", "1", "--log-format=text"], LogFormat.TEXT),
        (["--log-format=text", "--log-format", "json"], LogFormat.JSON),
        (["--log-format", "none of these"], LogFormat.JSON),
        (["--log-format"], LogFormat.JSON),
    ],
)
def test_the_supervisors_lines_look_as_the_gateways(options, format_):
    assert log_format_of(options) is format_


def test_one_that_died_comes_back_on_its_port(started):
    command, log, ready_file = started
    address = read_ready(command)["gateway"]
    (first,) = gateways(command)
    before = words_of(ready_file.read_text())
    first.kill()

    def told() -> str:
        with contextlib.suppress(FileNotFoundError):  # there is none for a moment
            return ready_file.read_text()
        return ""

    until(lambda: "gateway=1" in told().rpartition("restarts ")[2], 20)
    assert notes(log) == ["started keys=0"] * 2
    assert listens(address)
    # the file tells where the metrics are now: the probe of a container asks there
    (second,) = gateways(command)
    assert words_of(told()) == before | {"metrics": f"127.0.0.1:{1 + second.pid % 60_000}"}
    assert words_of(told()) != before
    command.kill()  # and it ends with its parent
    until(lambda: not listens(address), 5)


def test_one_that_does_not_start_ends_the_command(small_repository, tmp_path):
    command = start(SERVE_STAND_IN, small_repository, "--", str(tmp_path / "log"), "--broken")
    out, err = command.communicate(timeout=30)
    assert (command.returncode, out) == (1, "")
    lines = err.splitlines()
    assert "what is wrong with it" in lines
    assert lines[-1] == (
        "resonance serve: the gateway ended while starting: exit code 1; its reason stands above"
    )


async def test_one_that_does_not_drain_is_killed(tmp_path):
    port = choose_ports("127.0.0.1", {"gateway": 0})["gateway"]
    gateway = GatewayProcess(lambda: [sys.executable, str(STAND_IN), str(port), str(tmp_path / "log")])
    await gateway.start()
    assert gateway.ready
    os.kill(gateway.pid, signal.SIGSTOP)
    began = time.monotonic()
    await gateway.stop(drain_s=0.5)
    assert 0.5 <= time.monotonic() - began < 3
    assert not listens(f"127.0.0.1:{port}")


async def test_one_that_hangs_is_seen_by_its_silence(tmp_path):
    command = [sys.executable, str(STAND_IN), "0", str(tmp_path / "log")]
    gateway = GatewayProcess(lambda: command, hangs_after_s=1.5)
    await gateway.start()
    try:
        await asyncio.sleep(2)
        assert gateway.fault() == ""
        os.kill(gateway.pid, signal.SIGSTOP)
        await asyncio.sleep(2)
        assert gateway.fault().startswith("hangs: no sign of life for ")
    finally:
        await gateway.stop(drain_s=0)


def test_who_was_stopped_itself_begins_to_hear_anew(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("resonance.serving.supervisor_gateway.time.monotonic", lambda: now)
    gateway = GatewayProcess(lambda: [], hangs_after_s=20)
    gateway.told = {"gateway": "here"}
    assert gateway.fault() == ""
    now += 24  # stopped: what the gateway said meanwhile is not read yet
    assert gateway.fault() == ""
    for _ in range(20):
        now += 1
        assert gateway.fault() == ""
    now += 1
    assert gateway.fault() == "hangs: no sign of life for 21 s"


async def test_one_that_never_gets_ready_is_not_waited_for(tmp_path):
    gateway = GatewayProcess(lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
        await gateway.start(timeout_s=0.3)
    with pytest.raises(StartError, match="not started"):
        _ = gateway.pid


#: Stands in for the gateway where it needs Triton, whose address it is given, and waits 0.2 s for it.
NEEDS_TRITON = """
import socket, sys, time
time.sleep(0.2)
host, port = sys.argv[1].rsplit(":", 1)
socket.create_connection((host, int(port))).close()
print("ready gateway=127.0.0.1:1 metrics=127.0.0.1:2", flush=True)
while True:
    print("alive", flush=True)
    time.sleep(0.2)
"""
SLOW_TO_LOAD = """
    def initialize(self, args):
        with open({seconds!r}) as file:
            time.sleep(float(file.read()))
"""


async def test_a_gateway_that_died_with_triton_waits_until_that_is_loaded(small_repository, tmp_path):
    repository = Path(shutil.copytree(small_repository, tmp_path / "models"))
    seconds = tmp_path / "seconds"
    seconds.write_text("0")
    with (repository / "slow" / "1" / "model.py").open("a") as model:
        model.write(SLOW_TO_LOAD.format(seconds=str(seconds)))
    server = TritonServer(ServerSettings(model_repository=repository, drain_s=1))
    gateway = GatewayProcess(lambda: [sys.executable, "-c", NEEDS_TRITON, server.grpc_address])
    announced = asyncio.Event()
    supervisor = Supervisor(
        server,
        SupervisorSettings(restarts=2, backoff_s=0.1),
        gateway=gateway,
        announce=lambda line: announced.set(),
    )
    running = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(announced.wait(), 30)
        seconds.write_text("3")
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: server.ended() or supervisor.restarts)
        os.kill(gateway.pid, signal.SIGKILL)
        serves = asyncio.to_thread(until, lambda: supervisor.gateway_restarts and gateway.ready)
        await asyncio.wait_for(serves, 30)
        assert (supervisor.restarts, supervisor.gateway_restarts) == (1, 1)
    finally:
        supervisor.stop()
        await running


class Watcher:
    """What grpc.health.v1 of the gateway says, from now on."""

    def __init__(self, address: str) -> None:
        self.said: list[int] = []
        self._channel = grpc.insecure_channel(address)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        stub = health_pb2_grpc.HealthStub(self._channel)
        with contextlib.suppress(grpc.RpcError):
            for answer in stub.Watch(health_pb2.HealthCheckRequest(service="")):
                self.said.append(answer.status)

    def waits_for(self, status: int, within_s: float) -> float:
        return until(lambda: self.said[-1:] == [status], within_s)


def test_the_real_gateway_goes_on_through_a_restart_of_triton(model_repository):
    command = start(SERVE, model_repository, "--", "--metrics-port=0")
    try:
        ready = read_ready(command)
        assert ready["space"] != "none"
        watcher = Watcher(ready["gateway"])
        state = health_pb2.HealthCheckResponse
        watcher.waits_for(state.SERVING, 30)
        (triton,) = [p for p in psutil.Process(command.pid).children() if "tritonserver" in p.exe()]
        triton.kill()
        watcher.waits_for(state.NOT_SERVING, 5)
        watcher.waits_for(state.SERVING, 60)
        command.terminate()
        _, err = command.communicate(timeout=40)
        assert command.returncode == 0, err
        assert "Triton ended by itself (killed by signal 9); starting it again" in err
        assert not listens(ready["gateway"])
        assert not listens(ready["grpc"])
    finally:
        command.kill()
        command.communicate()
