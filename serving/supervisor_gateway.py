"""The gateway as a process beside Triton: started, watched and ended by the supervisor."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from resonance.serving import process
from resonance.serving.errors import StartError
from resonance.serving.signs_of_life import SIGN_OF_LIFE, SUPERVISED_VARIABLE

START_TIMEOUT_S = 60.0
#: A gateway that has said nothing for so long hangs; one on a busy machine is late by a few seconds.
HANGS_AFTER_S = 20.0
#: Who looks so late was stopped itself, and may have yet to hear what was said meanwhile.
_LATE_S = 5.0
_LOOK_S = 0.05

_log = logging.getLogger(__name__)


class GatewayProcess:
    """A command that prints ``ready gateway=HOST:PORT …`` on stdout once it takes calls, and signs of life.

    Its stderr is ours. It ends with us, however we end: by SIGKILL.

    Args:
        command: gives the program and its arguments; the same ports each time.
        hangs_after_s: without a sign of life.

    Attributes:
        told: the words ``key=value`` of its ready line; empty until it is ready.
    """

    def __init__(self, command: Callable[[], Sequence[str]], *, hangs_after_s: float = HANGS_AFTER_S) -> None:
        self._hangs_after_s = hangs_after_s
        self._heard_at = 0.0
        self._looked_at = 0.0
        self.told: Mapping[str, str] = {}
        self._command = command
        self._environment = dict(os.environ) | {SUPERVISED_VARIABLE: "1"}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether it runs and said so."""
        return bool(self.told) and self.ended() is None and self._process is not None

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        if self._process is None:
            raise StartError("the gateway is not started")
        return self._process.pid

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it and return once it is ready.

        Raises:
            StartError: it ended before, or took longer than `timeout_s`; it is gone then.
        """
        self.told = {}
        try:
            self._process = started = process.start_talking(self._command(), self._environment)
        except OSError as error:
            raise StartError(f"no process for the gateway ({error}); expected room for one more") from error
        threading.Thread(target=self._listen, args=(started,), daemon=True).start()
        deadline = time.monotonic() + timeout_s
        try:
            while not self.told:
                if self.ended():
                    raise StartError(
                        f"the gateway ended while starting: {self.ended()}; its reason stands above"
                    )
                if time.monotonic() > deadline:
                    raise StartError(f"the gateway was not ready within {timeout_s:g} s")
                await asyncio.sleep(_LOOK_S)
        except BaseException:
            await self.stop(drain_s=0)
            raise

    def fault(self) -> str:
        """Why it does not serve any more: how it ended, or that it hangs; empty while all is well.

        Silence counts for who looks every few seconds: after a longer pause hearing begins anew.
        """
        if (how := self.ended()) is not None:
            return f"ended by itself ({how})"
        now = time.monotonic()
        if now - self._looked_at > _LATE_S:
            self._heard_at = now
        self._looked_at = now
        silent_s = now - self._heard_at
        if self.told and silent_s > self._hangs_after_s:
            return f"hangs: no sign of life for {silent_s:.0f} s"
        return ""

    def ended(self) -> str | None:
        """How it ended; None while it runs, or was not started."""
        code = None if self._process is None else self._process.poll()
        return None if code is None else process.ending(code)

    async def stop(self, drain_s: float) -> None:
        """SIGTERM, up to `drain_s` for calls in flight, then SIGKILL to it and all its children."""
        if self._process is None:
            return
        stopping, self._process = self._process, None
        if not await asyncio.to_thread(process.end, stopping, drain_s=drain_s) and drain_s > 0:
            _log.warning("the gateway did not end within %g s and was killed", drain_s)

    def _listen(self, started: subprocess.Popen[bytes]) -> None:
        """Read its stdout to the end, so that it never waits for us."""
        assert started.stdout is not None
        with started.stdout as lines:
            for line in lines:
                words = line.decode(errors="replace").split()
                if started is self._process:
                    self._heard_at = time.monotonic()
                if words == [SIGN_OF_LIFE]:
                    continue
                if words[:1] == ["ready"] and started is self._process:
                    self.told = dict(word.split("=", 1) for word in words[1:] if "=" in word)
                elif words:
                    _log.info("gateway: %s", " ".join(words))
