"""A confined process can open nothing, reach nobody and start nothing; what it has goes on working."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from resonance.serving.gateway.reading import confine

pytestmark = pytest.mark.skipif(not confine.can_filter(), reason="libseccomp is not installed")

#: What is tried in a process of its own, as one line of Python each.
FORBIDDEN = {
    "open a file": "open('/etc/hostname')",
    "write a file": "os.open('/tmp/resonance-leak', os.O_CREAT | os.O_WRONLY)",
    "list a folder": "os.listdir('/')",
    "look at a file": "os.stat('/etc/hostname')",
    "make a socket": "socket.socket()",
    "make a pair": "socket.socketpair()",
    "connect": "ours.connect('/run/x')",
    "fork": "os.fork()",
    "run a program": "os.execv('/bin/true', ['true'])",
    "kill another": "os.kill(os.getppid(), 0)",
    "trace": "checked(libc.ptrace(0, 0, 0, 0))",
    "mount": "checked(libc.mount(b'a', b'/mnt', b'tmpfs', 0, 0))",
    "share memory": "os.memfd_create('x')",
}  # fmt: skip
PROGRAM = """
import ctypes, errno, os, socket, sys, threading
from resonance.serving.gateway.reading import confine
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
ours, theirs = socket.socketpair()
install = confine.build_filter(strict={strict})
install()
try:
    {line}
except OSError as error:
    theirs.send(b'x')
    works = []
    thread = threading.Thread(target=lambda: works.append(ours.recv(1)))
    thread.start()
    thread.join()
    os._exit(40 if error.errno == errno.EPERM and works == [b'x'] else 41)
os._exit(42)
"""


def _tried(line: str, *, strict: bool) -> int:
    program = PROGRAM.format(line=line, strict=strict)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_refused(what: str) -> None:
    assert _tried(FORBIDDEN[what], strict=False) == 40


@pytest.mark.parametrize("what", ["open a file", "make a socket", "run a program"])
def test_a_strict_one_ends(what: str) -> None:
    assert _tried(FORBIDDEN[what], strict=True) == -signal.SIGSYS


def test_memory_and_files_are_limited() -> None:
    program = (
        "from resonance.serving.gateway.reading import confine\n"
        "confine.limit_resources(64 << 20)\n"
        "small = bytearray(32 << 20)\n"
        "try:\n    large = bytearray(128 << 20)\n"
        "except MemoryError:\n    print('refused')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert result.stdout.strip() == b"refused"
