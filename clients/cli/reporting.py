"""How commands say that they failed."""

from __future__ import annotations

from rich.console import Console


def failed_with(error: Exception) -> int:
    """One line on stderr; gives the exit code."""
    line = " ".join(str(error).split())
    Console(stderr=True).print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return 1
