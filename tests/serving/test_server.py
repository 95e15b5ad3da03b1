"""Starting, looking after and ending a real Triton."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Never

import numpy as np
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, model_config_pb2

from resonance.serving import process, shm
from resonance.serving.decoder import Decoder
from resonance.serving.errors import (
    PortTakenError,
    RepositoryChangedError,
    RepositoryError,
    ServerDiedError,
    SharedMemoryError,
    StartError,
)
from resonance.serving.loaded_files import LoadedFiles
from resonance.serving.ports import choose_ports, is_free
from resonance.serving.readiness import PROBES, probe, probe_all, probe_inputs
from resonance.serving.repository import read_repository
from resonance.serving.server import ServerSettings, TritonServer
from resonance.serving.triton_log import TritonLog
from resonance.serving.warm import AT_ONCE

SERVE = "import typer; from resonance.serving.cli import serve; typer.run(serve)"
FREE_PORTS = ["--grpc-port=0", "--http-port=0", "--metrics-port=0"]


@pytest.fixture
def repository(small_repository: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(small_repository, tmp_path / "models"))


def start_command(repository: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVE, "--model-repository", str(repository), *FREE_PORTS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_ready(command: subprocess.Popen[str]) -> dict[str, str]:
    assert command.stdout is not None
    words = command.stdout.readline().split()
    assert words[:1] == ["ready"], command.communicate(timeout=60)
    return dict(word.split("=", 1) for word in words[1:])


def sleep_on(address: str, seconds: float) -> float:
    with InferenceServerClient(address) as client:
        tensor = InferInput("SECONDS", [1], "FP32")
        tensor.set_data_from_numpy(np.array([seconds], np.float32))
        return float(client.infer("slow", [tensor]).as_numpy("SLEPT")[0])


def waiting_for(address: str, model: str) -> int:
    """Requests that wait until `model` begins with them, as Triton's metrics at `address` say."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        told = answer.read().decode()
    found = re.findall(
        rf'^nv_inference_pending_request_count{{model="{model}",.*}} (\d+)', told, re.MULTILINE
    )
    return sum(map(int, found))


def regions_of(pid: int) -> list[str]:
    names = [p.name for p in shm.SHM.glob("resonance-*") if p.suffix != ".lock"]
    return [name for name in names if name.split("-")[2] == str(pid)]


def test_every_model_has_answered_when_it_is_ready(small_server):
    assert small_server.models == ["encoder", "inverse", "lookup", "slow", "whole"]
    assert small_server.space is None
    assert small_server.grpc_address.startswith("127.0.0.1:")
    stubs = process.stubs(small_server.pid)
    assert sorted(stubs.values()) == small_server.models
    assert len(regions_of(os.getpid())) >= len(stubs)


def test_every_model_was_warmed_up(small_server):
    with InferenceServerClient(small_server.grpc_address) as client:
        statistics = client.get_inference_statistics().model_stats
    assert {model.name for model in statistics} >= set(small_server.models)
    assert all(model.inference_stats.success.count > AT_ONCE for model in statistics)
    assert all(model.inference_stats.fail.count == 0 for model in statistics)


def test_it_listens_on_loopback_only(small_server):
    addresses = {
        c.laddr.ip for c in psutil.Process(small_server.pid).net_connections() if c.status == "LISTEN"
    }
    assert {a.removeprefix("::ffff:") for a in addresses} == {"127.0.0.1"}


def test_requests_in_flight_are_answered_and_nothing_is_left(repository, tmp_path):
    ready_file = tmp_path / "ready"
    ready_file.write_text("ready grpc=127.0.0.1:1\n")  # left by a server that was killed
    command = start_command(repository, f"--ready-file={ready_file}")
    ready = read_ready(command)
    first, *models, restarts = ready_file.read_text().splitlines()
    assert first.split() == ["ready", *(f"{k}={v}" for k, v in ready.items())]
    assert restarts == "restarts triton=0 gateway=0"
    assert [line.split()[:2] for line in models] == [
        [f"model={name}", "state=serving"] for name in ("encoder", "inverse", "lookup", "slow", "whole")
    ]
    assert ready.keys() == {"grpc", "http", "metrics", "space"}
    family = psutil.Process(command.pid).children(recursive=True)
    assert len(family) > 5
    answers: list[float] = []
    clients = [
        threading.Thread(target=lambda: answers.append(sleep_on(ready["grpc"], 2.0))) for _ in range(3)
    ]
    for client in clients:
        client.start()
    # The first runs, two wait: the model takes one at a time. Seen twice: for a moment the first waits, too.
    seen, began = 0, time.monotonic()
    while seen < 2:
        assert time.monotonic() - began < 20
        seen = seen + 1 if waiting_for(ready["metrics"], "slow") == 2 else 0
        time.sleep(0.05)
    command.send_signal(signal.SIGTERM)
    while ready_file.exists():  # until it is no longer ready
        assert len(answers) < 3
        time.sleep(0.02)
    assert len(answers) < 3  # while it still answers
    for client in clients:
        client.join(timeout=20)
    out, err = command.communicate(timeout=30)
    assert answers == pytest.approx([2.0] * 3)
    assert (command.returncode, out, err) == (0, "", "")
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert regions_of(command.pid) == []


END_A_SERVER = """if True:
    import subprocess, time
    from resonance.serving import process

    server = subprocess.Popen(["sh", "-c", "sleep 60 & exec sleep 60"], process_group=0)
    while not process._children(server.pid):
        time.sleep(0.01)
    began = time.monotonic()
    process.end(server, drain_s=0)
    print(time.monotonic() - began)
"""
#: Runs its argument as a child, and does not hear of orphans, which come to it: PR_SET_CHILD_SUBREAPER is 36.
SLOW_INIT = """if True:
    import ctypes, subprocess, sys

    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def test_the_dead_whom_init_has_not_heard_of_are_no_delay():
    command = [sys.executable, "-c", SLOW_INIT, END_A_SERVER]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert float(ended.stdout) < 5


def test_an_open_stream_does_not_keep_it_alive(repository):
    server = TritonServer(ServerSettings(model_repository=repository, drain_s=30))
    server.start()
    before = regions_of(os.getpid())
    server_name = server._prefix.removesuffix("-")
    with InferenceServerClient(server.grpc_address) as client:
        client.start_stream(callback=lambda result, error: None)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 15
    assert len(before) - len(regions_of(os.getpid())) == 5  # its own are gone, another server's are not
    assert not list(shm.SHM.glob(f"{server_name}*")), "nor is its lock there"


def test_a_killed_command_takes_its_server_along_and_the_next_start_cleans_up(repository):
    command = start_command(repository)
    read_ready(command)
    family = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.communicate(timeout=10)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    for place in (shm.SHM, Path(tempfile.gettempdir())):
        shm.remove_stale_regions(place)
        assert [p.name for p in place.glob("resonance-*") if p.name.split("-")[2] == str(command.pid)] == []


def test_stubs_of_dead_servers_are_ended_and_others_are_kept(small_server):
    namespace, pid, start = shm.own_prefix().split("-")[1:4]
    kept = process.stubs(small_server.pid).keys()

    def stands_in(region: str) -> subprocess.Popen[bytes]:
        words = [f"/somewhere/{process.STUB}", "-c", f"{region} 2>&-; sleep 60"]
        return subprocess.Popen(words, executable="/bin/sh", stderr=subprocess.DEVNULL, process_group=0)

    dead = stands_in(f"resonance-{namespace}-{pid}-{int(start) + 1}-1-region")
    living = stands_in(f"resonance-{namespace}-{pid}-{start}-1-region")
    try:
        assert dead.pid in process.end_stale_stubs()
        assert dead.wait(timeout=5) == -signal.SIGKILL
        assert living.poll() is None
        assert process.stubs(small_server.pid).keys() == kept
    finally:
        for one in (dead, living):
            with contextlib.suppress(ProcessLookupError):  # one that was ended before its sleep began
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def test_a_dead_stub_is_noticed_and_its_model_answers_again(repository):
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        for model in ("slow", "encoder", "slow"):  # both backends; one again
            assert server.check() == []
            pid = next(pid for pid, name in process.stubs(server.pid).items() if name == model)
            os.kill(pid, signal.SIGKILL)
            while pid in process.stubs(server.pid):  # the signal takes its time on a busy machine
                time.sleep(0.01)
            assert server.check() == [model]
            with InferenceServerClient(server.grpc_address) as client:
                probe(client, model, timeout_s=5)
        assert sorted(process.stubs(server.pid).values()) == server.models


def test_a_replaced_process_that_is_well_ends_by_itself(repository):
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(sleep_on, server.grpc_address, 3.0) for _ in range(2)]
            deadline = time.monotonic() + 30
            while waiting_for(server.metrics_address, "slow") != 1:  # then the other is being answered
                assert time.monotonic() < deadline
                time.sleep(0.05)
            old = process.stubs(server.pid)
            server.reload("slow")
            assert [answer.result() for answer in answers] == [3.0, 3.0]
        gone = old.keys() - process.stubs(server.pid).keys()
        assert [old[pid] for pid in gone] == ["slow"]
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < server.settings.drain_s  # nothing was given up on


def test_a_model_whose_files_changed_is_not_loaded_alone(repository, monkeypatch):
    server = TritonServer(ServerSettings(model_repository=repository))
    killed = []
    monkeypatch.setattr(server, "_process", SimpleNamespace(pid=1))
    monkeypatch.setattr(process, "stubs", lambda server: {7: "slow", 8: "encoder"})
    monkeypatch.setattr(process, "kill_stubs", lambda pids, server: killed.append(pids))
    server._files = LoadedFiles(read_repository(repository, "cpu"))  # as at its start
    code = repository / "slow" / "1" / "model.py"
    os.utime(code, ns=(0, code.stat().st_mtime_ns + 1))
    with pytest.raises(RepositoryChangedError, match=rf"model slow: {code} changed since .*; expected"):
        server.reload("slow", hung=True)
    assert killed == [{7: "slow"}]  # what hangs holds memory, and requests


def test_an_export_that_ends_while_models_are_loaded_has_all_of_them_loaded_again(
    repository, monkeypatch, caplog
):
    weights = repository / "encoder" / "1" / "model.onnx"
    exports = [weights]

    def probe_all_after_an_export(*args):
        for changed in exports:
            os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
        exports.clear()
        return probe_all(*args)

    monkeypatch.setattr("resonance.serving.server.probe_all", probe_all_after_an_export)
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        assert not any(server._files.changed(model) for model in server.models)
    (told,) = (record.message for record in caplog.records if "starting again" in record.message)
    assert told.startswith(f"model encoder: {weights} changed since ")


def test_what_a_model_was_loaded_from(repository):
    models = read_repository(repository, "cpu")
    space = repository / "space_descriptor" / "1" / "space.json"
    space.parent.mkdir(parents=True)
    for path in (space, weights := repository / "encoder" / "1" / "model.onnx"):
        path.write_bytes(b"one")
    cached = repository / "slow" / "1" / "__pycache__" / "model.pyc"
    cached.parent.mkdir(exist_ok=True)
    cached.touch()
    made = repository / "slow" / "1" / ".export-a" / "encoder" / "1" / "model.onnx"  # by one under way
    made.parent.mkdir(parents=True)
    made.touch()
    loaded = LoadedFiles(models)
    shutil.rmtree(repository / "slow" / "1" / ".export-a")
    cached.write_bytes(b"compiled anew")
    weights.with_name("model.plan").touch()  # of another target
    assert not any(loaded.changed(model.name) for model in models)
    weights.write_bytes(b"other")
    assert loaded.changed("encoder") == [weights]
    assert loaded.changed("slow") == []
    space.unlink()
    assert loaded.changed("slow") == [space]


def test_check_says_that_the_server_died(repository):
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        os.kill(server.pid, signal.SIGKILL)
        server._process.wait()
        with pytest.raises(ServerDiedError, match="killed by signal 9"):
            server.check()


def test_where_there_are_no_models_the_advice_is_to_export_some(tmp_path):
    advice = r"run `make export`, or name one with --model-repository$"
    with pytest.raises(RepositoryError, match=rf"models is not a folder; {advice}"):
        read_repository(tmp_path / "models", "cpu")
    with pytest.raises(RepositoryError, match=rf"holds no model; {advice}"):
        read_repository(tmp_path, "cpu")


def test_a_repository_that_may_not_be_read_is_named(repository, monkeypatch):
    def refused(folder: Path) -> Never:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)  # root may read everything
    with pytest.raises(RepositoryError, match=rf"{repository}: cannot be read \(Permission denied\)"):
        read_repository(repository, "cpu")


def test_missing_files_are_named(repository):
    (repository / "encoder" / "1" / "model.onnx").unlink()
    (repository / "whole" / "1" / "model.onnx").unlink()
    command = start_command(repository)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 1
    # before it, what servers that were killed meanwhile left may be told of
    assert err.splitlines()[-1] == (
        "resonance serve: missing from the model repository: encoder/1/model.onnx, whole/1/model.onnx; "
        "run `make export`"
    )
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: (r / "whole/1/model.onnx").write_bytes(b"no graph"), "whole: .*cannot be loaded"),
        (lambda r: (r / "slow/1/model.py").write_text("import nothing_there"), "slow: .*No module named"),
        (
            lambda r: shutil.copy(r / "lookup/1/model.onnx", r / "encoder/1/model.onnx"),
            "encoder: .*does not fit its config: the graph's input.*INDEX.*input X is not in the graph",
        ),
        (
            lambda r: (r / "slow/1/model.py").write_text(
                (r / "slow/1/model.py").read_text().replace("time.sleep", "time.slip")
            ),
            r"slow fails its probe \(SECONDS float32\[1\]\): .*slip",
        ),
    ],
)
def test_a_bad_model_is_named_with_its_reason_in_one_line(repository, spoil, reason):
    spoil(repository)
    server = TritonServer(ServerSettings(model_repository=repository))
    with pytest.raises(RepositoryError, match=reason) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_reason_of_a_failed_start_is_its_own(repository, tmp_path, monkeypatch):
    log = tmp_path / "triton.log"
    log.write_text("""E1101 10:00:00.000000 1 a.cc:1] "failed to load 'encoder': weights are damaged"\n""")
    # as where the kernel kills Triton before it says a word
    monkeypatch.setattr("resonance.serving.server.triton_command", lambda *given, **named: ["/bin/false"])
    server = TritonServer(ServerSettings(model_repository=repository, log_file=log))
    with pytest.raises(StartError, match=r"Triton ended while starting: exit code 1$") as failed:
        server.start()
    assert failed.value.log_tail == ""


def test_a_log_that_was_emptied_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "triton.log"
    path.write_text("of an earlier start\n" * 20)
    log = TritonLog(path)
    assert (log.has_grown(), log.tail(), log.last_error()) == (False, "", "")
    path.write_text("""E1101 10:00:00.000000 1 a.cc:1] "failed to load 'encoder': weights are damaged"\n""")
    assert log.last_error() == "failed to load 'encoder': weights are damaged"


def test_an_occupied_port_is_named(repository):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = TritonServer(ServerSettings(model_repository=repository, http_port=port))
        with pytest.raises(PortTakenError, match=rf"http port {port} on 127.0.0.1 is taken.*--http-port"):
            server.start()


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_it_serves_on_an_address_of_ipv6(repository):
    with TritonServer(ServerSettings(model_repository=repository, host="::1")) as server:
        assert server.grpc_address.startswith("[::1]:")
        assert sleep_on(server.grpc_address, 0.0) == 0.0
        for address, path in ((server.http_address, "v2/health/ready"), (server.metrics_address, "metrics")):
            with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as answer:
                assert answer.status == 200


def test_a_port_is_looked_at_where_it_is_to_listen(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert choose_ports("127.0.0.1", {"metrics": port}, {"metrics": "127.0.0.2"}) == {"metrics": port}
        with pytest.raises(PortTakenError, match=r"metrics port \d+ on 127\.0\.0\.1 is taken"):
            choose_ports("127.0.0.2", {"metrics": port}, {"metrics": "127.0.0.1"})
    with pytest.raises(
        PortTakenError, match=rf"http port {port} on 127\.0\.0\.1 is the grpc port, too; give"
    ):
        choose_ports("127.0.0.1", {"grpc": port, "http": port})


def test_a_picked_port_is_picked_by_no_other_process():
    port = choose_ports("127.0.0.1", {"grpc": 0})["grpc"]
    code = (
        "from resonance.serving import ports\n"
        f"ports._FREE_PORTS = range({port}, {port + 2})\n"
        "ports.random.sample = lambda among, k: list(among)\n"
        "print(ports.choose_ports('127.0.0.1', {'grpc': 0})['grpc'])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == port + 1


@pytest.mark.parametrize("purpose", ["grpc", "http", "metrics"])
def test_a_port_that_another_server_opened_first_is_not_called_its_own(repository, monkeypatch, purpose):
    settings = ServerSettings(model_repository=repository)
    chosen = choose_ports("127.0.0.1", dict.fromkeys(("grpc", "http", "metrics"), 0))
    with TritonServer(settings) as first:
        chosen[purpose] = int(getattr(first, f"{purpose}_address").rpartition(":")[2])
        monkeypatch.setattr("resonance.serving.server.choose_ports", lambda *_: chosen)
        with pytest.raises(PortTakenError, match=f"{purpose} port {chosen[purpose]} on 127.0.0.1 is taken"):
            TritonServer(settings).start()


@pytest.mark.parametrize("flag", ["--log-file", "--ready-file"])
def test_a_file_that_cannot_be_written_is_told_in_a_line(repository, flag):
    command = start_command(repository, f"{flag}=/nowhere/file")
    _, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "/nowhere/file: cannot be written (No such file or directory)" in " ".join(said.split())
    assert "Traceback" not in said


def test_ports_that_were_given_are_used(repository):
    server = TritonServer(ServerSettings(model_repository=repository, grpc_port=19_431))
    if not is_free("127.0.0.1", 19_431):
        pytest.skip("port 19431 is in use on this machine")
    with server:
        assert server.grpc_address == "127.0.0.1:19431"


def test_the_gpu_target_says_what_is_missing(repository):
    server = TritonServer(ServerSettings(model_repository=repository, target="gpu"))
    with pytest.raises(RepositoryError, match=r"encoder needs the backend 'tensorrt'.*--target cpu"):
        server.start()


def test_the_region_of_a_replaced_process_goes_though_it_is_slow_to_die(repository, monkeypatch):
    monkeypatch.setattr("resonance.serving.server._STUB_GRACE_S", 0.0)
    monkeypatch.setattr(process, "kill_stubs", lambda pids, server: [])
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        old = [pid for pid, name in process.stubs(server.pid).items() if name == "slow"]
        named = process.stub_regions(server.pid) - process.stub_regions(server.pid, but_of=old)
        there = {path.name for path in shm.SHM.iterdir()} & named
        assert there
        callers = [threading.Thread(target=sleep_on, args=(server.grpc_address, 2.0)) for _ in range(2)]
        for caller in callers:
            caller.start()
        while waiting_for(server.metrics_address, "slow") != 1:  # then the other is being answered
            time.sleep(0.05)
        server.reload("slow")
        assert set(old) & process.stubs(server.pid).keys()  # it answers what it has
        assert not there & {path.name for path in shm.SHM.iterdir()}
        for caller in callers:
            caller.join()


def test_regions_of_dead_servers_are_removed_and_others_are_kept(tmp_path):
    own = shm.own_prefix()
    namespace, pid, start = own.split("-")[1:4]
    dead = f"resonance-{namespace}-{pid}-{int(start) + 1}-1-region"  # the number was used again
    elsewhere = f"resonance-{int(namespace) + 1}-{pid}-1-1-region"  # another container's
    names = [f"{own}region", dead, elsewhere, "resonance-notes", "psm_1234"]
    for name in names:
        (tmp_path / name).touch()
    assert shm.remove_stale_regions(tmp_path) == [dead]
    assert {p.name for p in tmp_path.iterdir()} == set(names) - {dead}
    assert shm.remove_regions(own, tmp_path) == [f"{own}region"]


def test_names_of_another_container_go_once_their_server_is_gone(tmp_path):
    """As in a pod, whose volumes outlive its containers, and where folders are shared."""
    namespace, pid, start = shm.own_prefix().split("-")[1:4]
    prefixes = [f"resonance-{int(namespace) + n}-{pid}-{start}-1-" for n in (1, 2)]
    killed, living = (shm.Claim(prefix, tmp_path) for prefix in prefixes)
    for prefix in prefixes:
        (tmp_path / f"{prefix}run").mkdir()
        (tmp_path / f"{prefix}run" / "file").touch()
        (tmp_path / f"{prefix}region").touch()
    os.close(killed._descriptor)  # as the kernel does
    gone, kept = ({f"{p}run", f"{p}region", f"{p[:-1]}.lock"} for p in prefixes)
    assert set(shm.remove_stale_regions(tmp_path)) == gone
    assert {p.name for p in tmp_path.iterdir()} == kept
    living.let_go()
    assert {p.name for p in tmp_path.iterdir()} == kept - {f"{prefixes[1][:-1]}.lock"}


def test_too_little_shared_memory_is_refused_with_numbers(small_repository, monkeypatch):
    models = read_repository(small_repository, "cpu")
    usage = shutil._ntuple_diskusage(64 * shm.MIB, 62 * shm.MIB, 2 * shm.MIB)
    monkeypatch.setattr(shm.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(SharedMemoryError, match="2 MiB free, the 5 model processes need at least 6 MiB"):
        shm.check_room(models)


def test_probes_fit_the_exported_models(model_repository):
    known = set()
    for model in read_repository(model_repository, "cpu", Decoder.DALI):
        arrays = probe_inputs(model.config)
        known |= arrays.keys()
        for tensor in model.config.input:
            shape = (
                arrays[tensor.name].shape[1:] if model.config.max_batch_size else arrays[tensor.name].shape
            )
            assert len(shape) == len(tensor.dims)
            assert all(want in (-1, came) for want, came in zip(tensor.dims, shape, strict=True))
    assert set(PROBES) == known, "a probe that no model takes"


def test_a_tensor_unknown_to_the_probes_is_sent_zeros():
    config = model_config_pb2.ModelConfig(max_batch_size=4)
    config.input.add(name="NEW", data_type=model_config_pb2.TYPE_INT64, dims=[-1, 3])
    config.input.add(name="WORDS", data_type=model_config_pb2.TYPE_STRING, dims=[2])
    config.input.add(name="MAYBE", data_type=model_config_pb2.TYPE_FP32, dims=[1], optional=True)
    arrays = probe_inputs(config)
    assert arrays.keys() == {"NEW", "WORDS"}
    assert arrays["NEW"].shape == (1, 1, 3)
    assert arrays["WORDS"].tolist() == [[b"", b""]]
