"""Whether two reads of a title gave the same, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from resonance.clients.media.types import Frames, Pcm, SegmentInput


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, Frames | Pcm):
        return type(a) is type(b) and all(
            _same(getattr(a, f.name), getattr(b, f.name)) for f in fields(type(a))
        )
    return bool(a == b)


def assert_same(came: Sequence[SegmentInput], expected: Sequence[SegmentInput], what: str = "") -> None:
    """Every field of every segment."""
    assert [s.index for s in came] == [s.index for s in expected], what
    for a, b in zip(came, expected, strict=True):
        for field in fields(SegmentInput):
            assert _same(getattr(a, field.name), getattr(b, field.name)), (what, a.index, field.name)
