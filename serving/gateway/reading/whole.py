"""Small things read at once, such as the examples of a query."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from resonance.clients.media.types import SegmentInput
from resonance.serving.gateway.reading.limits import ReadLimits, ReadRequest
from resonance.serving.gateway.reading.process import MediaProcess
from resonance.serving.gateway.reading.spool import SpoolBudget
from resonance.space.descriptor import Descriptor


async def read_all(
    request: ReadRequest,
    data: bytes,
    descriptor: Descriptor,
    limits: ReadLimits,
    spool_folder: Path,
    budget: SpoolBudget,
    *,
    on_violation: Literal["refuse", "kill"] = "refuse",
) -> list[SegmentInput]:
    """All segments of `data`; keyframes that decode to nothing are left to the caller.

    Raises:
        MediaError, OverloadedError: see `MediaProcess`.
    """
    source = MediaProcess(request, descriptor, limits, spool_folder, budget, on_violation=on_violation)
    sending = asyncio.create_task(_send(source, data))
    try:
        await source.open()
        segments = []
        while (segment := await source.next()) is not None:
            segments.append(segment)
        return segments
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await source.close()


async def _send(source: MediaProcess, data: bytes) -> None:
    await source.feed(0, data)
    await source.end()
