"""The file that is there while every model serves: for probes that can run a command and no gRPC."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from resonance.serving.errors import StartError
from resonance.serving.health import ModelState
from resonance.space.descriptor import Descriptor

#: What every ready file begins with.
_FIRST_WORD = b"ready "

_log = logging.getLogger(__name__)


def ready_line(addresses: Mapping[str, str], space: Descriptor | None) -> str:
    """One line of ``key=value`` that programs can read: addresses and what is served."""
    words = {**addresses, "space": "none"}
    if space is not None:
        words |= {"space": space.name, "fingerprint": space.fingerprint[:12]}
        words["trained"] = str(space.trained).lower()
    return " ".join(["ready", *(f"{key}={value}" for key, value in words.items())])


def _is_ready_file(path: Path) -> bool:
    """Or nothing at all, which also a file without a byte is. Root removes even devices."""
    if not path.is_file():
        return not path.exists()
    with path.open("rb") as file:
        return file.read(len(_FIRST_WORD)) in (b"", _FIRST_WORD)


class ReadyFile:
    """The ready line, a line a model and one of restarts, all of ``key=value`` after the first word.

    ``model=NAME state=serving since_s=UNIX reloads=N`` and ``restarts triton=N gateway=N``. A model that
    another stands in for may be ``state=not-serving``.

    A reader finds a whole file or none. Where it cannot be written later, the server serves on without it.

    Raises:
        StartError: it cannot be written, or what is there is no ready file: that would be removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        self._failing = False
        try:
            is_own = _is_ready_file(path)
            self._beside.touch()
            self._beside.unlink()
        except OSError as error:
            raise StartError(
                f"ready file {path}: cannot be written ({error.strerror}); expected one in a folder that is "
                "there"
            ) from None
        if not is_own:
            raise StartError(
                f"ready file {path}: something else is there, which would be removed; expected none, or one "
                "that a server wrote"
            )
        self._written = ""
        self._offset_s = time.time() - time.monotonic()
        self.remove()  # of a server that was killed

    def update(
        self,
        line: str,
        states: Mapping[str, ModelState],
        reloads: Mapping[str, int],
        restarts: Mapping[str, int],
    ) -> None:
        """Say that everything serves that has to; writes only what has changed.

        `line` is the first, `reloads` is by model, `restarts` by process, since the start.
        """
        lines = [line]
        lines += [
            f"model={name} state={'serving' if state.serving else 'not-serving'} "
            f"since_s={state.since_s + self._offset_s:.0f} reloads={reloads.get(name, 0)}"
            for name, state in sorted(states.items())
        ]
        if restarts:
            lines.append(" ".join(["restarts", *(f"{what}={n}" for what, n in restarts.items())]))
        text = "\n".join(lines) + "\n"
        if text == self._written:
            return
        try:
            self._beside.write_text(text)
            self._beside.replace(self._path)
        except OSError as error:  # tried again at the next look
            if not self._failing:
                _log.warning("ready file %s: cannot be written (%s)", self._path, error.strerror)
            self._failing = True
            with contextlib.suppress(OSError):
                self._beside.unlink()
            return
        self._written, self._failing = text, False

    def remove(self) -> None:
        """Say that something does not serve, or that all is being stopped."""
        self._written = ""
        try:
            self._path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("ready file %s: cannot be removed (%s)", self._path, error.strerror)
