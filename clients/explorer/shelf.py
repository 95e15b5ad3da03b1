"""Examples that were embedded, kept so that sliders, weights and removals need no encoder."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from resonance.clients.explorer.errors import ExpiredExampleError
from resonance.clients.query import Example


@dataclass(frozen=True, slots=True)
class HeldExample:
    """An example by the key that its page knows it by. `kind`: what a person would call it."""

    key: str
    kind: str
    example: Example


class ExampleShelf:
    """The last `kept` examples of all pages; the longest unused is forgotten first."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._held: OrderedDict[str, HeldExample] = OrderedDict()

    def put(self, kind: str, example: Example) -> HeldExample:
        """Keep it under a new key, which nobody can guess."""
        held = HeldExample(secrets.token_urlsafe(16), kind, example)
        self._held[held.key] = held
        while len(self._held) > self._kept:
            self._held.popitem(last=False)
        return held

    def get(self, key: str) -> HeldExample:
        """The example.

        Raises:
            ExpiredExampleError: it was forgotten, or the explorer was started again.
        """
        if key not in self._held:
            raise ExpiredExampleError(
                f"example '{key[:40]}' is gone; expected one of the last {self._kept}: give it again"
            )
        self._held.move_to_end(key)
        return self._held[key]
