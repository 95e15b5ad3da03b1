"""Label values of metrics: a bounded number of them, and none that a caller chose."""

from __future__ import annotations

import re

OTHER = "other"
_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,100}")


class BoundedLabels:
    """Lets through the first `most` different plain words; everything later is ``other``.

    A second fence: what is counted are names of methods, models and reasons of this code. Should free text
    ever come by, it can neither fill the memory of whoever scrapes nor be read there.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """`value`, or ``other``."""
        if value in self._known:
            return value
        if len(self._known) >= self._most or not _PLAIN.fullmatch(value):
            return OTHER
        self._known.add(value)
        return value
