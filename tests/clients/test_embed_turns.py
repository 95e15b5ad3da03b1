"""Many titles at once: few are read at a time, all are embedded, and who waits for bytes holds none up."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from resonance.clients.embedder import TITLES_AT_ONCE, Embedder
from resonance.loadtest.films import loop, streamed

TITLES = 3 * TITLES_AT_ONCE


@pytest.fixture(scope="module")
def title(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loop(replace(streamed("h264", 180), loop_s=2), tmp_path_factory.mktemp("title"))


@pytest.fixture(scope="module")
def data(title: Path) -> bytes:
    return title.read_bytes()


def titles_open() -> int:
    return sum(thread.name.startswith("resonance-read-video") for thread in threading.enumerate())


async def test_of_many_titles_few_are_read_at_a_time(embedder: Embedder, title: Path, data: bytes) -> None:
    most, ended = 0, False

    async def look() -> None:
        nonlocal most
        while not ended:
            most = max(most, titles_open())
            await asyncio.sleep(0.002)

    looking = asyncio.create_task(look())
    sources = [title if i % 2 else data for i in range(TITLES)]
    found = await asyncio.gather(*(embedder.embed(source) for source in sources))
    ended = True
    await looking
    assert len(found) == TITLES
    assert all(len(one.segments) == 1 for one in found)
    assert 2 <= most <= TITLES_AT_ONCE


async def test_pipes_that_give_nothing_yet_hold_nobody_up(
    embedder: Embedder, title: Path, data: bytes
) -> None:
    ends = [os.pipe() for _ in range(TITLES_AT_ONCE + 1)]
    readers = [os.fdopen(reading, "rb") for reading, _ in ends]
    waiting = [asyncio.create_task(embedder.embed(reader)) for reader in readers]
    async with asyncio.timeout(10):
        await embedder.embed(title)
    assert not any(task.done() for task in waiting)
    for _, writing in ends:
        with os.fdopen(writing, "wb") as pipe:
            await asyncio.to_thread(pipe.write, data)
    assert all(len(one.segments) == 1 for one in await asyncio.gather(*waiting))
    for reader in readers:
        reader.close()
