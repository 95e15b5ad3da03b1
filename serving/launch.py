"""Becomes another program that ends when its parent does: ``launch.py PARENT_PID PROGRAM [ARGUMENT…]``.

Run as a script with `python -I -S`; imports nothing of ours. A preexec function would do the same after
fork, but runs Python between fork and exec, which deadlocks in a parent with threads (gRPC has some).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>; kept across exec

#: What stands in this variable replaces SECRET_MARK in the arguments, and the program does not inherit it.
#: Arguments are for every user of the machine to read, the environment only for the same one.
SECRET_VARIABLE = "RESONANCE_LAUNCH_SECRET"  # noqa: S105 (a name)
SECRET_MARK = "{secret}"  # noqa: S105 (what the secret is put in place of)


def die_with_parent() -> None:
    """SIGKILL for this process as soon as the one that started it is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then exec; the process id stays.

    Not SIGTERM: with a client's stream open, Triton would wait for it and serve nobody for ever.
    """
    parent, program = int(sys.argv[1]), sys.argv[2]
    die_with_parent()
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    secret = os.environ.pop(SECRET_VARIABLE, SECRET_MARK)
    os.execv(program, [argument.replace(SECRET_MARK, secret) for argument in sys.argv[2:]])


if __name__ == "__main__":
    main()
