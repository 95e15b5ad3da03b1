"""The gateway's start and stop, without a Triton."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from resonance.serving import supervisor
from resonance.serving.errors import StartError
from resonance.serving.gateway import server, tracing
from resonance.serving.gateway.reading import NURSERY
from resonance.serving.gateway.server import Gateway, GatewaySettings

#: The gateway's command, whose start fails once it has a process that reads uploads.
FAILING = """
import runpy, time
from resonance.serving.errors import StartError
from resonance.serving.gateway import server
from resonance.serving.gateway.reading import NURSERY

async def start(self):
    await NURSERY.warm_up()
    print(time.monotonic(), flush=True)
    raise StartError("not today")

server.Gateway.start = start
runpy.run_module("resonance.serving.gateway", run_name="__main__")
"""


def test_nothing_is_waited_for_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - float(done.stdout) < 1.9  # what holds stderr open is waited for for 2 s
    assert (done.returncode, done.stderr) == (1, "resonance gateway: not today\n")


def test_the_supervisor_waits_for_all_that_a_stop_takes() -> None:
    assert supervisor._GATEWAY_MARGIN_S > server._FLUSH_S + tracing._CLOSE_TIMEOUT_S


async def _no_question(*what: Any) -> None:
    pass


async def test_a_gateway_that_cannot_read_uploads_says_so_in_a_line(tmp_path: Path, monkeypatch) -> None:
    NURSERY.close()
    monkeypatch.setattr("resonance.serving.gateway.reading.nursery.ZYGOTE", "resonance.nothing")
    monkeypatch.setattr(Gateway, "_ask_space", _no_question)
    with pytest.raises(StartError, match=r"no process to read uploads with \(it ended\); expected room"):
        await Gateway(GatewaySettings(triton="localhost:1", spool_folder=tmp_path)).start()
