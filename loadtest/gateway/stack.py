"""The server under load: a real Triton and a gateway before it, each in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resonance.loadtest.gateway.usage import Watch
from resonance.serving import process
from resonance.serving.errors import StartError
from resonance.serving.server import ServerSettings, TritonServer

START_TIMEOUT_S = 60.0


class Stack:
    """A context manager.

    Args:
        repository: the exported models.
        triton: one that runs already; None starts one.
        limits: flags of `resonance gateway`, such as ``{"max-uploads": 4}``.

    Attributes:
        address: ``host:port`` of the gateway.
    """

    def __init__(
        self,
        repository: Path,
        *,
        triton: TritonServer | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self._repository, self._given, self._limits = repository, triton, dict(limits or {})
        self._closing = ExitStack()
        self.address = ""
        self.gateway_pid = self.triton_pid = 0
        self._metrics_address = self._triton_metrics_address = ""

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            triton = self._given or starting.enter_context(
                TritonServer(ServerSettings(model_repository=self._repository))
            )
            self.triton_pid, self._triton_metrics_address = triton.pid, triton.metrics_address
            self.spool = Path(starting.enter_context(tempfile.TemporaryDirectory(prefix="gateway-load-")))
            gateway = self._start_gateway(triton.client_address, self.spool / "gateway.log")
            starting.callback(stop, gateway, 30)
            self.gateway_pid = gateway.pid
            self.address, self._metrics_address = _ready(gateway, self.spool / "gateway.log")
            self._closing = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def watch(self, every_s: float = 0.5) -> Watch:
        """A watch over its processes."""
        return Watch(self.gateway_pid, self.triton_pid, every_s)

    def gateway_metrics(self) -> dict[str, float]:
        """Samples of the gateway's /metrics by name and labels as they stand there."""
        return _scrape(self._metrics_address)

    def triton_computed(self) -> int:
        """Inferences that Triton has ended so far."""
        return int(_sum_of(_scrape(self._triton_metrics_address), "nv_inference_count"))

    def abandoned(self) -> int:
        """Calls so far whose caller was gone before the end."""
        return int(_sum_of(self.gateway_metrics(), "resonance_gateway_abandoned_total"))

    def spooled_bytes(self) -> int:
        """Bytes of uploads on disk, as the gateway tells."""
        return int(_sum_of(self.gateway_metrics(), "resonance_gateway_spooled_bytes"))

    def _start_gateway(self, triton_address: str, log: Path) -> subprocess.Popen[bytes]:
        flags = [f"--{name}={value:g}" for name, value in self._limits.items()]
        command = [
            *(sys.executable, "-m", "resonance.serving.gateway"),
            *(f"--triton={triton_address}", "--port=0", "--metrics-port=0"),
            f"--spool-folder={self.spool}",
            *flags,
        ]
        return process.start_process(command, os.environ, log)


def _ready(gateway: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    """Addresses of calls and of metrics, from the line that says it is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while gateway.poll() is None and time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("ready "):
                words = dict(word.split("=", 1) for word in line.split()[1:])
                return words["gateway"], words["metrics"]
        time.sleep(0.05)
    said = log.read_text()
    last = said.splitlines()[-1] if said else "it wrote nothing"
    raise StartError(f"the gateway did not start: {last}", said[-2000:])


def stop(child: subprocess.Popen[Any], timeout_s: float) -> None:
    """SIGTERM, and SIGKILL after `timeout_s`; nothing where `child` has ended."""
    child.terminate()
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _scrape(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _sum_of(samples: Mapping[str, float], name: str) -> float:
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)
