"""Triton's log: what it wrote since a start, its last error, and whether it has answered its last request."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

_TAIL_LINES = 20
#: What Triton 2.51 ends with when a process does not get the processor for 10 s while holding a lock.
LOCK_FAILURE = "boost::interprocess::lock_exception"
#: Triton's words once the last request is answered and all models are unloaded. (Those before, of inferences
#: in flight, know nothing of one that a model is at work on.)
_ANSWERED = "Found 0 live models"
_FLUSH_S = 1.0  # for answers on their way out, once all models are done
#: Said at every start without a GPU; never the reason why one failed.
_NO_GPU = "CudaDriverHelper has not been initialized"


class TritonLog:
    """The log from here on: the file may be kept over many starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = self._size()

    def has_grown(self) -> bool:
        """Whether Triton has written anything."""
        return self._size() > self._began

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Its last lines; empty where it cannot be read."""
        try:
            with self._path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                began = self._began if self._began <= size else 0  # emptied meanwhile
                log.seek(max(began, size - 400 * lines))  # it may have grown for weeks
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def last_error(self) -> str:
        """Triton's last error line without its time and source position; empty where there is none."""
        lines = self.tail(1000).splitlines()
        errors = [line for line in lines if re.match(r"E\d{4} |error:|tritonserver: |  what\(\): ", line)]
        errors = [line for line in errors if _NO_GPU not in line]
        return re.sub(r"^E\d{4} \S+ \d+ [\w.]+:\d+\] ", "", errors[-1]).strip('" ') if errors else ""

    def drain_watch(self) -> Callable[[], bool]:
        """Tells whether every request was answered and only a client's open stream keeps Triton alive."""
        answered_s = math.inf

        def drained() -> bool:
            nonlocal answered_s
            if answered_s == math.inf and _ANSWERED in self.tail():
                answered_s = time.monotonic()
            return time.monotonic() - answered_s >= _FLUSH_S

        return drained

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
