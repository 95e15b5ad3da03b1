"""What a reading process may do to the rest of the machine: nothing. For Linux.

It keeps the two descriptors it has, its memory and its threads. Whatever is not on the list below is
refused with EPERM, so that a library that asks in vain goes on; `strict` ends the process with SIGSYS
instead, so that a test sees it.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from typing import Any

try:
    import pyseccomp
except (ImportError, OSError, RuntimeError):  # no libseccomp on this machine
    pyseccomp = None

#: Calls that work on what the process has already.
ALLOWED = (
    "read", "readv", "pread64", "preadv", "write", "writev", "recvfrom", "recvmsg", "sendto", "sendmsg",
    "shutdown", "close", "fstat", "lseek", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk",
    "futex", "futex_waitv", "membarrier", "set_robust_list", "rseq", "exit", "exit_group",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "sched_yield",
    "sched_getaffinity", "getpid", "gettid", "clock_gettime", "clock_getres", "clock_nanosleep",
    "nanosleep", "gettimeofday", "times", "getrusage", "sysinfo", "uname", "getrandom", "poll", "ppoll",
    "select", "pselect6",
)  # fmt: skip
CLONE_THREAD = 0x00010000
PR_SET_NAME = 15
MAX_DESCRIPTORS = 16
#: Address space beyond private memory: what allocators and thread stacks reserve without using it.
RESERVED_BYTES = 2 * 1024**3


def can_filter() -> bool:
    """Whether system calls can be filtered on this machine."""
    return pyseccomp is not None


def limit_resources(memory_bytes: int) -> None:
    """Private memory beyond what there is now, no file written, no core dump, few descriptors."""
    private, whole = _memory_bytes()
    for kind, most in (
        (resource.RLIMIT_DATA, private + memory_bytes),
        (resource.RLIMIT_AS, whole + memory_bytes + RESERVED_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
    ):
        hard = resource.getrlimit(kind)[1]
        capped = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (capped, capped))


def _memory_bytes() -> tuple[int, int]:
    """(private, whole address space) of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        fields = [int(field) for field in file.read().split()]
    page = resource.getpagesize()
    return fields[5] * page, fields[0] * page


def build_filter(*, strict: bool) -> Callable[[], None] | None:
    """What installs the filter in the process that calls it; None where there is no libseccomp."""
    if pyseccomp is None:
        return None
    refuse = pyseccomp.KILL_PROCESS if strict else pyseccomp.ERRNO(errno.EPERM)
    rules: Any = pyseccomp.SyscallFilter(refuse)
    for name in ALLOWED:
        rules.add_rule(pyseccomp.ALLOW, name)
    # the C library then asks the older call, whose flags can be looked at
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    a_thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD)
    rules.add_rule(pyseccomp.ALLOW, "clone", a_thread)
    rules.add_rule(pyseccomp.ALLOW, "prctl", pyseccomp.Arg(0, pyseccomp.EQ, PR_SET_NAME))

    def install() -> None:
        for call in ("tgkill", "tkill"):  # abort() and raise() on itself
            own = os.getpid()
            rules.add_rule(pyseccomp.ALLOW, call, pyseccomp.Arg(0, pyseccomp.EQ, own))
        rules.load()

    return install
