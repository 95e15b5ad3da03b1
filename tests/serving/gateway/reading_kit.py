"""Uploads for the tests of reading processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from resonance.clients.errors import ResonanceError
from resonance.clients.media.types import SegmentInput
from resonance.serving.gateway.reading import (
    MediaProcess,
    MemoryBudget,
    ReadLimits,
    ReadRequest,
    SpoolBudget,
)
from resonance.serving.gateway.reasons import Kill, Refusal
from resonance.space.descriptor import Descriptor

Ranges = Sequence[tuple[int, int]]


def make_process(
    descriptor: Descriptor,
    folder: Path,
    *,
    limits: ReadLimits | None = None,
    budget: SpoolBudget | None = None,
    memory: MemoryBudget | None = None,
    caller: str = "",
    strict: bool = True,
    on_killed: Callable[[Kill], None] = lambda reason: None,
    on_refused: Callable[[Refusal], None] = lambda reason: None,
    on_given_up: Callable[[ResonanceError], None] = lambda error: None,
    **request: Any,
) -> MediaProcess:
    """A process for an upload named ``film``; forbidden system calls end it unless `strict` is False."""
    asked = ReadRequest(**{"media_id": "film", "mode": "encoded", **request})
    room = budget or SpoolBudget(1 << 30)
    return MediaProcess(
        asked,
        descriptor,
        limits or ReadLimits(),
        folder,
        room,
        on_violation="kill" if strict else "refuse",
        caller=caller,
        memory=memory,
        on_killed=on_killed,
        on_refused=on_refused,
        on_given_up=on_given_up,
    )


async def send(process: MediaProcess, data: bytes, *, chunk: int, order: Ranges | None = None) -> None:
    """All of `data` in chunks, in file order or that of `order`, and the end."""
    for start, length in order or [(0, len(data))]:
        for at in range(start, start + length, chunk):
            await process.feed(at, data[at : min(at + chunk, start + length)])
    await process.end()


@asynccontextmanager
async def sending(
    process: MediaProcess, data: bytes, *, chunk: int = 65_537, order: Ranges | None = None
) -> AsyncIterator[MediaProcess]:
    """The upload under way; closed in the end."""
    task = asyncio.create_task(send(process, data, chunk=chunk, order=order))
    try:
        yield process
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ResonanceError):
            await task
        await process.close()


async def read_to_end(process: MediaProcess) -> list[SegmentInput]:
    """Its segments."""
    await process.open()
    segments = []
    while (segment := await process.next()) is not None:
        segments.append(segment)
    return segments


def is_alive(pid: int) -> bool:
    """Whether a process of that number is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def gone(pid: int, within_s: float = 3.0) -> bool:
    """Whether the process ends in time."""
    for _ in range(round(within_s / 0.02)):
        if not is_alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def children_of(pid: int) -> list[int]:
    """Numbers of the processes that it has."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
