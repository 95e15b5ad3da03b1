"""Waiting for what may never answer: a pipe without a writer, a file system that hangs.

Waiting for bytes that a sender has not sent yet is no fault of the media: `Waits` keeps account of it, so
that it counts neither as a stall nor as work.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from resonance.clients.errors import MediaStalledError

T = TypeVar("T")

#: How often a wait looks whether it has lasted too long.
LOOK_S = 0.25


class Waits:
    """Seconds that each thread has waited for bytes under way, the present wait included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent_s: dict[int, float] = {}
        self._since_s: dict[int, float] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What is done inside is waiting for bytes."""
        thread, started = threading.get_ident(), time.monotonic()
        with self._lock:
            self._since_s[thread] = started
        try:
            yield
        finally:
            with self._lock:
                del self._since_s[thread]
                self._spent_s[thread] = self._spent_s.get(thread, 0.0) + time.monotonic() - started

    def seconds(self, thread: int | None) -> float:
        """Of the thread with that identifier; never falls."""
        with self._lock:
            if thread is None or not (self._spent_s or self._since_s):
                return 0.0
            since = self._since_s.get(thread)
            return self._spent_s.get(thread, 0.0) + (time.monotonic() - since if since is not None else 0.0)


def within(
    timeout_s: float | Callable[[], float], name: str, work: Callable[[], T], waits: Waits | None = None
) -> T:
    """The result of `work`, done in a thread that is left behind when it does not end in time.

    Args:
        timeout_s: a function is asked again and again: what `work` finds may be allowed more time.
        waits: where the thread's waiting for bytes is kept; it does not count.

    Raises:
        MediaStalledError: it did not end. Whatever `work` raises.
    """
    allowed_s = timeout_s if callable(timeout_s) else lambda: timeout_s
    is_fixed = waits is None and not callable(timeout_s)
    results: list[T] = []
    errors: list[BaseException] = []
    before_s: list[float] = []  # what was waited under this thread's number, which an ended one may have had

    def run() -> None:
        if waits is not None:
            before_s.append(waits.seconds(threading.get_ident()))
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="resonance-open", daemon=True)
    started = time.monotonic()
    thread.start()
    while thread.is_alive():
        waited_s = waits.seconds(thread.ident) - before_s[0] if waits is not None and before_s else 0.0
        left_s = allowed_s() - (time.monotonic() - started - waited_s)
        if left_s <= 0:
            break
        thread.join(left_s if is_fixed else min(left_s, LOOK_S))
    if errors:
        raise errors[0]
    if not results:
        raise _stalled(name, allowed_s())
    return results[0]


async def awaited_within(
    timeout_s: float | None, name: str, work: Callable[[], T], *, unwanted: Callable[[T], None] | None = None
) -> T:
    """`within` on an event loop, without one of the few threads of its own.

    Those serve all that runs there: what waits for a sender, as for a camera, would keep the others out.

    Args:
        timeout_s: None where `work` itself gives up.
        unwanted: given what `work` makes after whoever waited for it has left; from its thread.

    Raises:
        MediaStalledError: it did not end. Whatever `work` raises, which is no StopIteration or TimeoutError.
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()  # who leaves does not wait, and the thread has its say to nobody

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    def left(done: Future[T]) -> None:
        if unwanted is not None and done.exception() is None:
            unwanted(done.result())

    threading.Thread(target=run, name="resonance-open", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(result)
    except asyncio.CancelledError:
        result.add_done_callback(left)
        raise
    except TimeoutError:
        if timeout_s is None:
            raise
        result.add_done_callback(left)
        raise _stalled(name, timeout_s) from None


def _stalled(name: str, waited_s: float) -> MediaStalledError:
    return MediaStalledError(name, f"no answer for {waited_s:g} s", "a source that answers")
