"""What died or hangs comes back: a real Triton whose processes are killed and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.clients.transport import CHANNEL_OPTIONS
from resonance.serving import process, shm
from resonance.serving.decoder import DALI_MODEL
from resonance.serving.errors import RepositoryError, ServerDiedError
from resonance.serving.readiness import probe
from resonance.serving.server import ServerSettings, TritonServer
from resonance.serving.supervisor import Restarts, Supervisor, SupervisorSettings
from tests.serving.test_server import read_ready, regions_of, sleep_on, start_command
from tests.waiting import until

INTERVAL_S, TIMEOUT_S = 0.5, 1.0
QUICK = [f"--probe-interval={INTERVAL_S}", f"--probe-timeout={TIMEOUT_S}", "--drain-seconds=2"]
SLACK_S = 3.0  # Triton's own check of a stub (1 s) and a busy machine
#: Where models that are well are not to be loaded again: no stall of a busy machine lasts so long.
PATIENT_S = 5.0


@pytest.fixture
def repository(small_repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_repository, tmp_path / "models"))


class Serve:
    """`resonance serve` as a command."""

    def __init__(self, repository: Path, folder: Path, *options: str) -> None:
        self.ready_file = folder / "ready"
        self.command = start_command(repository, f"--ready-file={self.ready_file}", *QUICK, *options)
        self.ready = read_ready(self.command)
        self.grpc = self.ready["grpc"]

    @property
    def triton(self) -> psutil.Process:
        """The server's process; there is a moment without one while it is started again."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for child in psutil.Process(self.command.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.status() != psutil.STATUS_ZOMBIE and "tritonserver" in child.exe():
                        return child
            time.sleep(0.02)
        raise AssertionError("no tritonserver")

    def stub(self, model: str) -> int:
        return next(pid for pid, name in process.stubs(self.triton.pid).items() if name == model)

    def answers(self, model: str, within_s: float = 3.0) -> bool:
        with InferenceServerClient(self.grpc) as client:
            try:
                probe(client, model, timeout_s=within_s)
            except (RepositoryError, InferenceServerException):
                return False
        return True

    def told(self) -> str:
        """What the ready file says; empty while there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self.ready_file.read_text()
        return ""

    def terminate(self) -> tuple[int, str, float]:
        """Exit code, stderr, and seconds that it took."""
        began = time.monotonic()
        family = psutil.Process(self.command.pid).children(recursive=True)
        self.command.terminate()
        _, err = self.command.communicate(timeout=40)
        took_s = time.monotonic() - began
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert regions_of(self.command.pid) == []
        assert not list(Path(tempfile.gettempdir()).glob(f"resonance-*-{self.command.pid}-*"))
        assert not self.ready_file.exists()
        return self.command.returncode, err, took_s


@pytest.fixture
def serve(repository: Path, tmp_path: Path) -> Iterator[Serve]:
    running = Serve(repository, tmp_path)
    yield running
    running.command.kill()
    running.command.communicate()


@pytest.fixture
def patient(repository: Path, tmp_path: Path) -> Iterator[Serve]:
    running = Serve(repository, tmp_path, f"--probe-timeout={PATIENT_S}")
    yield running
    running.command.kill()
    running.command.communicate()


def test_a_killed_and_a_stopped_stub_come_back_while_others_answer(patient):
    serve, stop, others = patient, threading.Event(), []

    def ask_others() -> None:
        while not stop.is_set():
            others.append(serve.answers("lookup", within_s=10))

    def was_reloaded(times: int) -> bool:
        return re.search(f"model=encoder state=serving .* reloads={times}", serve.told()) is not None

    asking = threading.Thread(target=ask_others)
    asking.start()
    try:
        os.kill(serve.stub("encoder"), signal.SIGKILL)
        until(lambda: was_reloaded(1), 20)
        assert serve.answers("encoder", within_s=10)
        stopped = serve.stub("encoder")
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: not serve.ready_file.exists(), INTERVAL_S + PATIENT_S + SLACK_S)
        until(lambda: serve.answers("encoder"), 15 + PATIENT_S)
        until(lambda: was_reloaded(2), 10)
        assert stopped not in process.stubs(serve.triton.pid)
    finally:
        stop.set()
        asking.join()
    assert len(others) > 20
    assert all(others)
    code, err, _ = serve.terminate()
    assert code == 0
    lines = [line for line in err.splitlines() if "loading it again" in line and "model encoder: " in line]
    times, told = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", time) for time in times)
    assert told[0] == "W model encoder: its process died; loading it again (reload 1)"
    assert told[1].startswith("W model encoder: ")
    assert len(lines) == 2


def test_one_bad_process_of_two_is_found(repository, tmp_path):
    config = repository / "lookup" / "configs" / "cpu.pbtxt"
    written = config.read_text()
    config.write_text(re.sub(r"count: 1", "count: 2", written))
    assert config.read_text() != written
    serve = Serve(repository, tmp_path)
    try:
        bad = serve.stub("lookup")
        os.kill(bad, signal.SIGSTOP)
        until(lambda: bad not in process.stubs(serve.triton.pid), 40)
        until(serve.ready_file.exists, 10)
        assert list(process.stubs(serve.triton.pid).values()).count("lookup") == 2
    finally:
        _, err, _ = serve.terminate()
    assert "model lookup: " in err


def test_a_model_that_hangs_in_its_work_is_loaded_again_and_its_caller_told(serve):
    told: list[str] = []

    def hang() -> None:
        try:
            sleep_on(serve.grpc, 1000.0)
        except InferenceServerException as error:
            told.append(str(error.status()))

    caller = threading.Thread(target=hang)
    caller.start()
    until(lambda: not serve.ready_file.exists(), INTERVAL_S + TIMEOUT_S + SLACK_S)
    until(serve.ready_file.exists, 15)
    assert sleep_on(serve.grpc, 0.01) == pytest.approx(0.01)
    caller.join(10)
    assert told == ["StatusCode.INTERNAL"]


def test_a_model_that_another_stands_in_for_takes_nobody_along(repository, tmp_path):
    """As DALI on a GPU whose decoder is broken: PyAV decodes, and nothing else is to suffer."""
    slow, broken = repository / "slow", repository / DALI_MODEL
    shutil.copytree(slow, broken)
    for config in (broken / "config.pbtxt", broken / "configs" / "cpu.pbtxt"):
        config.write_text(config.read_text().replace('name: "slow"', f'name: "{DALI_MODEL}"'))
    dies = "import os\n" + (slow / "1" / "model.py").read_text().replace("answers = []", "os._exit(1)")
    (broken / "1" / "model.py").write_text(dies)
    serve = Serve(repository, tmp_path, "--decoder=dali", f"--probe-timeout={PATIENT_S}")
    try:
        triton = serve.triton.pid

        def others_answer() -> None:
            assert serve.answers("lookup", within_s=10)
            assert serve.ready_file.exists()
            time.sleep(0.1)

        began = time.monotonic()
        while not re.search(f"model={DALI_MODEL} state=not-serving .* reloads=3", serve.told()):
            assert time.monotonic() - began < 45  # and no minute is over when the intervals below are
            others_answer()
        reloaded = time.monotonic()
        while time.monotonic() - reloaded < 12 * INTERVAL_S:
            others_answer()
        assert re.search(f"model={DALI_MODEL} state=not-serving .* reloads=3", serve.told())
        assert serve.triton.pid == triton
    finally:
        code, err, _ = serve.terminate()
    assert code == 0
    assert f"W serving without model {DALI_MODEL}, another stands in: " in err
    assert len(re.findall(f"model {DALI_MODEL}: .*loading it again", err)) == 3
    assert "starting it again" not in err


def test_a_killed_triton_answers_again_on_its_port(serve):
    stop, failures, answered = threading.Event(), set(), []

    def ask() -> None:
        # with gRPC's own pauses before it connects again, which grow, it may find the new one after the rest
        with InferenceServerClient(serve.grpc, channel_args=CHANNEL_OPTIONS) as client:
            while not stop.is_set():
                try:
                    probe(client, "whole", timeout_s=20)
                    answered.append(time.monotonic())
                except (RepositoryError, InferenceServerException) as error:
                    cause = error.__cause__ if isinstance(error, RepositoryError) else error
                    failures.add(str(cause.status()))
                    time.sleep(0.05)

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        until(lambda: len(answered) > 30, 30)
        killed = time.monotonic()
        serve.triton.kill()
        until(lambda: bool(failures) and answered[-1] > killed + 0.2, 15)
        until(serve.ready_file.exists, 10)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failures == {"StatusCode.UNAVAILABLE"}
    until(lambda: serve.told().startswith(f"ready grpc={serve.grpc} "), 10)
    assert serve.told().splitlines()[-1] == "restarts triton=1 gateway=0"
    starts = {name.split("-")[4] for name in regions_of(serve.command.pid)}
    assert starts == {"2"}  # the regions of the first are gone


def test_a_stopped_triton_is_started_again(serve):
    hung = serve.triton
    hung.suspend()
    until(lambda: not serve.ready_file.exists(), 5)
    until(serve.ready_file.exists, 20)
    assert not hung.is_running()
    assert serve.answers("slow")


def test_sigterm_is_bounded_with_an_open_stream_and_a_stopped_stub(serve):
    os.kill(serve.stub("slow"), signal.SIGSTOP)
    with InferenceServerClient(serve.grpc) as client:
        client.start_stream(callback=lambda result, error: None)
        code, _, took_s = serve.terminate()
    assert code == 0
    assert took_s < 2 + 5 + SLACK_S


def test_sigterm_ends_a_restart_that_is_under_way(serve, repository):
    model = repository / "slow" / "1" / "model.py"
    model.write_text(
        model.read_text()
        + "\n    def initialize(self, arguments):\n        time.sleep(60)\n        raise RuntimeError\n"
    )
    first = serve.triton
    first.kill()
    until(lambda: serve.triton.pid != first.pid, 10)
    until(lambda: "slow" in process.stubs(serve.triton.pid).values(), 10)
    code, err, took_s = serve.terminate()
    assert (code, took_s < 20) == (0, True)  # the model would take a minute
    assert "starting it again" in err


def test_a_triton_that_dies_too_often_is_given_up(repository, tmp_path):
    server = TritonServer(ServerSettings(model_repository=repository))
    file = tmp_path / "ready"
    supervisor = Supervisor(server, SupervisorSettings(restarts=1), ready_file=file)
    regions_before = regions_of(os.getpid())

    def kill_twice() -> None:
        for _ in range(2):
            until(file.exists, 20)
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: not file.exists(), 20)

    killing = threading.Thread(target=kill_twice)
    killing.start()
    with pytest.raises(
        ServerDiedError, match=r"ended by itself \(killed by signal 9\); started again 1 times"
    ):
        asyncio.run(supervisor.run())
    killing.join()
    assert supervisor.restarts == 1
    assert regions_of(os.getpid()) == regions_before


def test_a_model_that_does_not_come_back_is_named_at_the_end(repository):
    server = TritonServer(ServerSettings(model_repository=repository))

    def spoil(line: str) -> None:
        (repository / "slow" / "1" / "model.py").write_text("import nothing_there")
        os.kill(next(p for p, n in process.stubs(server.pid).items() if n == "slow"), signal.SIGKILL)

    with pytest.raises(ServerDiedError, match=r"could not be started \(.*slow: .*nothing_there.*giving up"):
        asyncio.run(Supervisor(server, SupervisorSettings(restarts=1), announce=spoil).run())


def test_waits_grow_and_old_restarts_are_forgotten(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("resonance.serving.supervisor.time.monotonic", lambda: now)
    restarts = Restarts("it", SupervisorSettings(restarts=4, window_s=60, backoff_s=1, max_backoff_s=3))
    assert [restarts.next("ended") for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ServerDiedError, match="it ended; started again 4 times within 60 s"):
        restarts.next("ended")
    now += 61
    assert restarts.next("ended") == 0
    assert restarts.count == 5


def test_a_command_that_was_killed_leaves_nothing_after_the_next_start(serve, repository):
    family = psutil.Process(serve.command.pid).children(recursive=True)
    os.kill(serve.stub("slow"), signal.SIGSTOP)
    serve.command.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    with TritonServer(ServerSettings(model_repository=repository)):
        for place in (shm.SHM, Path(tempfile.gettempdir())):
            assert not list(place.glob(f"resonance-*-{serve.command.pid}-*"))


def test_wrong_use_is_exit_code_2(repository):
    command = start_command(repository, "--", "--port=1")
    _, err = command.communicate(timeout=30)
    assert command.returncode == 2
    assert "options after -- are for --gateway" in " ".join(err.replace("│", " ").split())
