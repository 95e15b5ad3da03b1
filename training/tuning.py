"""The process environment in which training on a CPU, and decoding there, is fast.

``python -m resonance.training.tuning COMMAND …`` runs a command in it.
"""

from __future__ import annotations

import os
import sys

#: Threads that wait sleep, so that a neighbour on the same cores costs its share and not ten times it;
#: memory once taken is kept, since large tensors given back and faulted in again at every step cost more
#: than the arithmetic (measured: 10 times on a virtual machine).
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def restart_tuned() -> None:
    """Start this very command again in `ENVIRONMENT`; the C library reads it only at start."""
    if all(name in os.environ for name in ENVIRONMENT):
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ENVIRONMENT, **os.environ})


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], {**ENVIRONMENT, **os.environ})
