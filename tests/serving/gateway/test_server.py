"""The gateway's start and stop, without a Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resonance.serving.errors import StartError
from resonance.serving.gateway.reading import NURSERY
from resonance.serving.gateway.server import Gateway, GatewaySettings


async def _no_question(*what: Any) -> None:
    pass


async def test_a_gateway_that_cannot_read_uploads_says_so_in_a_line(tmp_path: Path, monkeypatch) -> None:
    NURSERY.close()
    monkeypatch.setattr("resonance.serving.gateway.reading.nursery.ZYGOTE", "resonance.nothing")
    monkeypatch.setattr(Gateway, "_ask_space", _no_question)
    with pytest.raises(StartError, match=r"no process to read uploads with \(it ended\); expected room"):
        await Gateway(GatewaySettings(triton="localhost:1", spool_folder=tmp_path)).start()
