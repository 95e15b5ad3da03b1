"""Cleaning up goes to its end."""

from __future__ import annotations

import asyncio

import pytest

from resonance.clients.finishing import to_the_end


async def test_it_is_finished_however_often_it_is_cancelled() -> None:
    done: list[str] = []

    async def clean_up() -> None:
        for step in ("first", "second", "third"):
            await asyncio.sleep(0.02)
            done.append(step)

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await to_the_end(clean_up())
            done.append("not reached: it is cancelled after the cleaning up")

    task = asyncio.create_task(work())
    for _ in range(4):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["first", "second", "third"]


async def test_what_it_raises_is_raised() -> None:
    async def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await to_the_end(fails())


async def test_a_cancellation_goes_before_what_it_raises() -> None:
    async def fails() -> None:
        await asyncio.sleep(0.05)
        raise OSError("no")

    task = asyncio.create_task(to_the_end(fails()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
