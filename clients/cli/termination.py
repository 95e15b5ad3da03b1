"""How commands that are no servers end when they are told to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is embedded is written, and no half of a file is left. Once
    Python has heard the first, a second one ends it at once. Servers have an end of their own, as has whoever
    ignores SIGTERM or handles it.
    """
    is_heard = threading.current_thread() is threading.main_thread()  # which alone hears signals
    if not is_heard or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    owner, told = os.getpid(), False

    def leave() -> None:
        raise SystemExit(128 + signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal told
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # a forked worker, whose job would take it for an error and go on
            os.kill(os.getpid(), number)
            return
        told = True
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(number, frame)
            return
        # Ctrl-C is ignored, as by what a script runs in the background
        try:
            from asyncio import get_running_loop  # which not every command loads, or may be loading

            loop = get_running_loop()
        except (ImportError, RuntimeError):
            leave()
        else:
            loop.call_soon_threadsafe(leave)  # not amidst a step, which may be the one that writes

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if told:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    except typer.Exit as ended:
        if told and ended.exit_code == 128 + signal.SIGINT:  # of a command that hears Ctrl-C itself
            raise typer.Exit(128 + signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
