"""How frames are chosen, as an option."""

from __future__ import annotations

from enum import StrEnum


class SamplingChoice(StrEnum):
    """How frames are chosen."""

    KEYFRAMES = "keyframes"
    UNIFORM = "uniform"
