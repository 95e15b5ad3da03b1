"""Ctrl-C, which a terminal sends to every process of a command at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C: whoever starts them hears it and ends them.

    They inherit the mask of this thread, so that there is no moment, as before an initializer runs, in which
    it would end them with a traceback. What comes meanwhile is heard here: at once where another thread of
    this process takes it (those of libraries do), else afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
