"""A client process and when its parts arrived."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resonance.loadtest.chaos.titles import Title


@dataclass(slots=True)
class RunningJob:
    """One process of `resonance.loadtest.chaos.job`.

    Attributes:
        arrivals_s: when each segment, and at last the title, was said to be there, by `time.monotonic`.
        titled: whether the title came.
    """

    process: asyncio.subprocess.Process
    arrivals_s: list[float] = field(default_factory=list)
    titled: bool = False
    first: asyncio.Event = field(default_factory=asyncio.Event)
    _errors: bytes = b""
    _listening: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, address: str, title: Title, journal: Path, environment: Mapping[str, str]
    ) -> RunningJob:
        """Begin, or go on with what `journal` holds."""
        transcript = ["--transcript", str(title.transcript)] if title.transcript else []
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "resonance.loadtest.chaos.job", f"grpc://{address}"),
            *(str(title.path), str(journal), "--name", title.name, *transcript),
            env=dict(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        job = cls(started)
        job._listening = asyncio.create_task(job._listen())
        return job

    @property
    def running(self) -> bool:
        """Whether it has neither ended nor said that the title is there."""
        return self.process.returncode is None and not self.titled

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    async def wait(self, timeout_s: float) -> str:
        """Wait for its end; why it failed, empty where it did not. Killed after `timeout_s`."""
        try:
            code = await asyncio.wait_for(self.process.wait(), timeout_s)
        except TimeoutError:
            self.kill()
            await self.process.wait()
            return f"not done within {timeout_s:g} s"
        assert self._listening is not None
        await self._listening
        last = self._errors.decode(errors="replace").strip().splitlines()[-1:]
        return "" if code == 0 else f"exit code {code}: {' '.join(last)}"

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        errors = asyncio.create_task(self.process.stderr.read())
        async for line in self.process.stdout:
            self.arrivals_s.append(time.monotonic())
            self.titled = line.startswith(b"title")
            self.first.set()
        self.first.set()
        self._errors = await errors
