"""A zygote on a machine that runs out: the fork of number `FAILING_FORK` fails, and a reader whose upload is
named ``3 threads`` gets three."""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

from resonance.serving.gateway.reading import zygote
from resonance.serving.gateway.reading.child import Child

forks = 0
fork, run, start = os.fork, Child.run, threading.Thread.start


def _fork() -> int:
    global forks
    forks += 1
    if forks == int(os.environ.get("FAILING_FORK", "0")):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()


def _run(child: Child) -> None:
    left, _, threads = child._job.request.media_id.partition(" ")
    started: list[threading.Thread] = []

    def _start(thread: threading.Thread, *given: Any) -> None:
        if len(started) == int(left):
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    if threads == "threads":
        threading.Thread.start = _start  # type: ignore[method-assign]
    run(child)


if __name__ == "__main__":
    os.fork, Child.run = _fork, _run  # type: ignore[method-assign]
    zygote.main()
