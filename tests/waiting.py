"""For what happens in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], within_s: float = 20.0) -> float:
    """Seconds until `holds`."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() - began_s < within_s, f"it did not happen within {within_s:g} s"
        time.sleep(0.02)
    return time.monotonic() - began_s
