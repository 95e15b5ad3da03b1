"""The server's process tree: its stubs, how much CPU it used, and its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import psutil

from resonance.serving import shm
from resonance.serving.errors import StartError
from resonance.serving.launch import SECRET_VARIABLE

STUB = "triton_python_backend_stub"
_log = logging.getLogger(__name__)
_LAUNCH = Path(__file__).with_name("launch.py")

# The kernel counts the death of the *thread* that started a process as its parent's death, so servers
# are started by a thread that lives as long as the interpreter. Its one worker starts on first use.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resonance-starter")


def start_process(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, secret: str | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, output to `log`; it is killed when we die.

    Args:
        secret: put in place of `launch.SECRET_MARK` in the command, without standing in our own arguments.
    """
    given = dict(environment) | ({} if secret is None else {SECRET_VARIABLE: secret})
    try:
        output = log.open("ab")
    except OSError as error:
        raise StartError(
            f"log file {log}: cannot be written ({error.strerror}); expected one in a folder that is there"
        ) from None
    with output:
        return _start(command, given, stdout=output, stderr=subprocess.STDOUT)


def start_talking(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Like `start_process`, but its stdout is a pipe that the caller reads and its stderr is ours."""
    return _start(command, environment, stdout=subprocess.PIPE, stderr=None)


def _start(
    command: Sequence[str], environment: Mapping[str, str], *, stdout: IO[bytes] | int, stderr: int | None
) -> subprocess.Popen[bytes]:
    def start() -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid())]
        return subprocess.Popen(
            [*launcher, *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,  # Ctrl-C in a terminal reaches us alone; we then stop the server in order
        )

    return _starter.submit(start).result()


def stubs(pid: int) -> dict[int, str]:
    """Living stub processes of server `pid`: process id -> name of the model each serves."""
    found = {}
    for child in _children(pid):
        with contextlib.suppress(psutil.Error):
            arguments = child.cmdline()
            if child.status() == psutil.STATUS_ZOMBIE or len(arguments) < 2:
                continue
            if os.path.basename(arguments[0]) == STUB:
                found[child.pid] = _model_of(arguments)
    return found


def end_stale_stubs() -> list[int]:
    """Kill stubs of servers whose supervisor is gone; their process ids.

    A stub notices the end of its server only between requests and while it holds no lock: one that was in the
    middle of something stays, and keeps its memory.
    """
    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = process.cmdline()
            if len(arguments) > 2 and os.path.basename(arguments[0]) == STUB and shm.is_stale(arguments[2]):
                process.kill()
                ended.append(process.pid)
    if ended:
        _log.info("ended %d model process(es) of servers that are gone", len(ended))
    return ended


def stub_regions(pid: int, *, but_of: Collection[int] = ()) -> set[str]:
    """Shared memory regions of living stubs of server `pid`, but of those processes: each has its own in its
    command line."""
    named: set[str] = set()
    for stub in stubs(pid).keys() - set(but_of):
        with contextlib.suppress(psutil.Error):
            named.update(psutil.Process(stub).cmdline()[2:])
    return named


def listening_ports(pid: int) -> set[int] | None:
    """TCP ports on which process `pid` accepts connections; None where this machine does not tell."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as own:
            if own.getsockname()[1] not in _listening(os.getpid()):
                return None
        return _listening(pid)
    except psutil.NoSuchProcess:
        return set()
    except (psutil.Error, OSError):
        return None


def _listening(pid: int) -> set[int]:
    connections = psutil.Process(pid).net_connections("tcp")
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that process `pid` and its living descendants have used so far."""
    total = 0.0
    for process in (psutil.Process(pid), *_children(pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def end(
    process: subprocess.Popen[bytes], *, drain_s: float, drained: Callable[[], bool] = lambda: False
) -> bool:
    """SIGTERM, wait up to `drain_s` for requests in flight, SIGKILL whatever is left, wait until it is gone.

    Args:
        drained: asked while waiting; True ends the wait early.

    Returns:
        Whether the server ended by itself or had drained.
    """
    family = _children(process.pid)
    over = True
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + drain_s
        while not (over := process.poll() is not None or drained()) and time.monotonic() < deadline:
            time.sleep(0.05)
        family = [*_children(process.pid), *family]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its group: stubs outlive it by a moment or for good
    process.wait()
    for child in family:  # psutil compares start times, so a pid used again is not hit
        with contextlib.suppress(psutil.Error):
            child.kill()
    deadline = time.monotonic() + 10
    while any(map(_lives, family)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return over


def kill_stubs(pids: Mapping[int, str], server: int) -> list[int]:
    """SIGKILL those of the stubs `pids` that server `server` still has; a stopped process obeys as well."""
    left = [pid for pid in stubs(server) if pid in pids]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def ending(code: int) -> str:
    """How a process ended, from its return code."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    """False for one that is dead and that only the init process, which may be slow, has yet to hear of."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _model_of(arguments: Sequence[str]) -> str:
    """The model's name in a stub's command line: <stub> <path of model.py> … <instance name> <backend>."""
    return arguments[-2].rsplit("_", 2)[0] if len(arguments) > 2 else ""
