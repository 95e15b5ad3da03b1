"""A process of its own for what may hang, or take its process along, such as a decoder on the GPU."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from resonance.serving.launch import die_with_parent


class ApartError(RuntimeError):
    """The process did not answer in time, or ended."""


class Apart:
    """Runs one call at a time; its process is started with the first, and again after one that was lost."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        """What `function`, which can be pickled, returns or raises there.

        Raises:
            ApartError: no answer within `timeout_s`, or the process ended; it is killed.
        """
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, there = context.Pipe()
            self._process = context.Process(target=_serve, args=(there,), daemon=True)
            self._process.start()
            there.close()
        try:
            error, value = self._exchange(self._pipe, (function, arguments), timeout_s)
        except BaseException:  # whatever it does, nobody waits for it any more
            self.close()
            raise
        if error is not None:
            raise error
        return value

    def _exchange(self, pipe: Connection, job: object, timeout_s: float) -> Any:
        try:
            pipe.send(job)
            if pipe.poll(timeout_s):
                return pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(5)
            raise ApartError(f"its process ended (exit code {self._process.exitcode})") from None
        raise ApartError(f"no answer within {timeout_s:g} s")

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._pipe = self._process = None


def _serve(pipe: Connection) -> None:
    """Answer calls until the other side is gone."""
    die_with_parent()
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: tuple[Exception | None, Any] = None, function(*arguments)
        except Exception as error:
            answer = _sendable(error), None
        pipe.send(answer)


def _sendable(error: Exception) -> Exception:
    """`error`, or its text where the other side could not make it again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
