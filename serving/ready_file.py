"""The file that is there while every model serves: for probes that can run a command and no gRPC."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from resonance.serving.health import ModelState


class ReadyFile:
    """The ready line, a line a model and one of restarts, all of ``key=value`` after the first word.

    ``model=NAME state=serving since_s=UNIX reloads=N`` and ``restarts triton=N gateway=N``. A model that
    another stands in for may be ``state=not-serving``.

    A reader finds a whole file or none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = ""
        self._written = ""
        self._offset_s = time.time() - time.monotonic()
        self.remove()  # of a server that was killed

    def begin(self, line: str) -> None:
        """Set the first line."""
        self._line = line

    def update(
        self, states: Mapping[str, ModelState], reloads: Mapping[str, int], restarts: Mapping[str, int]
    ) -> None:
        """Say that everything serves that has to; writes only what has changed.

        `reloads` is by model, `restarts` by process, since the start.
        """
        lines = [self._line]
        lines += [
            f"model={name} state={'serving' if state.serving else 'not-serving'} "
            f"since_s={state.since_s + self._offset_s:.0f} reloads={reloads.get(name, 0)}"
            for name, state in sorted(states.items())
        ]
        lines.append(" ".join(["restarts", *(f"{what}={n}" for what, n in restarts.items())]))
        text = "\n".join(lines) + "\n"
        if text == self._written:
            return
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(text)
        beside.replace(self._path)
        self._written = text

    def remove(self) -> None:
        """Say that something does not serve, or that all is being stopped."""
        self._written = ""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
