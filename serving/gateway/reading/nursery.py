"""The gateway's side of the zygote: processes that read uploads, started, ended and accounted for."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resonance.clients.errors import OverloadedError, ServerFaultError

log = logging.getLogger(__name__)

ZYGOTE = "resonance.serving.gateway.reading.zygote"
#: A process that is forked has one thread; libraries of arrays must not start theirs in it before. More than
#: one arena would ask /proc how memory is overcommitted when it first shrinks, from a process that may not.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
}  # fmt: skip
#: What else it has of the gateway's own, by name and by how names begin: what Python and the loader need. The
#: others may hold keys and tokens, and a reader that hostile media took over could tell them to who sent it.
KEPT = frozenset(("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "GCONV_PATH", "GLIBC_TUNABLES"))
KEPT_PREFIXES = ("PYTHON", "LD_", "LC_")
START_TIMEOUT_S = 60.0
#: The zygote answers within milliseconds; it reaps only what was killed or has hung up.
ANSWER_TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 1024
#: Until processes that end give room back.
RETRY_AFTER_S = 5.0


def environment() -> dict[str, str]:
    """Of the zygote, and so of every reading process."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    return {**kept, **ENVIRONMENT}


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended. `status`: exit status, or the negative number of a signal."""

    status: int
    memory_bytes: int


class Nursery:
    """Starts reading processes, by a zygote that is started on first use and again if it should be gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._warned = False
        self._children: set[int] = set()  # of the zygote that runs

    async def spawn(self, connection: int, spool: int, *, strict: bool) -> int:
        """The number of a new process that has those two descriptors; the caller closes its own.

        Raises:
            OverloadedError: the machine has no room for one more.
            ServerFaultError: no process can be started.
        """
        return await asyncio.to_thread(self._spawn, connection, spool, strict)

    async def reap(self, pid: int) -> Death:
        """Kill the process, if it still runs, and forget it.

        Raises:
            ServerFaultError: it was gone with the zygote, which is no fault of what it read.
        """
        return await asyncio.to_thread(self._reap, pid)

    async def warm_up(self) -> None:
        """Start the zygote, so that the first upload need not wait for it (about a second)."""
        await asyncio.to_thread(self._warm_up)

    def close(self) -> None:
        """End the zygote and with it every process."""
        with self._lock:
            self._end()

    def _warm_up(self) -> None:
        with self._lock, self._faults():
            self._started()

    def _spawn(self, connection: int, spool: int, strict: bool) -> int:
        with self._lock, self._faults():
            answer = self._ask([connection, spool], do="spawn", strict=strict)
            if "refused" in answer:
                raise OverloadedError(
                    f"no process to read an upload with ({answer['refused']}) beside {len(self._children)}; "
                    "expected room for one on the gateway's machine (pids limit, ulimit -u, memory); send it "
                    "again later",
                    retry_after_s=RETRY_AFTER_S,
                )
            pid = int(answer["pid"])
            self._children.add(pid)
            return pid

    def _reap(self, pid: int) -> Death:
        with self._lock, self._faults():
            if pid not in self._children or self._zygote is None or self._zygote.poll() is not None:
                raise ServerFaultError("the process that read the upload was ended; send it again")
            self._children.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # its number is its own until it is reaped
            answer = self._ask([], do="reap", pid=pid)
            return Death(answer["status"], answer["memory_bytes"])

    def _ask(self, descriptors: list[int], **request: Any) -> dict[str, Any]:
        control = self._started()
        socket.send_fds(control, [json.dumps(request).encode()], descriptors)
        return self._answer(control)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """A zygote that does not answer as it should is ended; the next upload starts another."""
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            self._end()
            raise ServerFaultError(
                f"no process to read an upload with ({type(error).__name__}: {error}); send it again"
            ) from error

    @staticmethod
    def _answer(control: socket.socket) -> dict[str, Any]:
        data = control.recv(MAX_ANSWER_BYTES)
        if not data:
            raise ConnectionError("it ended")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _started(self) -> socket.socket:
        if self._control is not None and self._zygote is not None and self._zygote.poll() is None:
            return self._control
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", ZYGOTE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,  # a Ctrl-C at the terminal is answered by the gateway
            )
        self._control = ours
        ours.settimeout(START_TIMEOUT_S)
        ready = self._answer(ours)
        ours.settimeout(ANSWER_TIMEOUT_S)
        if not ready["filtered"] and not self._warned:
            self._warned = True
            log.warning("no libseccomp here: processes that read uploads are not kept from system calls")
        return ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
        self._control = self._zygote = None
        self._children.clear()


#: The one of this process.
NURSERY = Nursery()
atexit.register(NURSERY.close)
