"""Figures of a measurement that was written down, and which of them have fallen since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from resonance.clients.errors import UsageError

#: A figure may be lower by as much: two points.
ALLOWED = 0.02


def read_figures(path: Path) -> dict[str, float]:
    """Of a JSON that `resonance evaluate-tiny --json` wrote.

    Raises:
        UsageError: the file cannot be read or is none.
    """
    expected = "expected what `resonance evaluate-tiny --json` writes"
    try:
        written = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: it cannot be read ({error.strerror}); {expected}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: it is no JSON ({error}); {expected}") from error
    figures = written.get("figures") if isinstance(written, dict) else None
    if not isinstance(figures, dict) or not all(isinstance(v, int | float) for v in figures.values()):
        raise UsageError(f"{path}: it has no 'figures' by name; {expected}")
    return figures


def fallen(figures: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """A line for each figure of `before` that is now lower than `ALLOWED`, not a number, or not there."""
    return [
        f"{name}: {figures.get(name)} against {value:.3f}"
        for name, value in before.items()
        if not figures.get(name, 0.0) >= value - ALLOWED
    ]
