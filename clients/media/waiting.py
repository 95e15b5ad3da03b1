"""Waiting for what may never answer: a pipe without a writer, a file system that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from resonance.clients.errors import MediaStalledError

T = TypeVar("T")


def within(timeout_s: float, name: str, work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread that is left behind when it does not end in time.

    Raises:
        MediaStalledError: it did not. Whatever `work` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="resonance-open", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        raise MediaStalledError(name, f"no answer for {timeout_s:g} s", "a source that answers")
    return results[0]
