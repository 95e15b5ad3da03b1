"""Cleaning up that a cancellation cannot cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, however often this is cancelled meanwhile; be cancelled after it.

    A second cancellation (a deadline that passes while a cancelled call is being left) would otherwise end a
    `finally` in its middle, and leave processes and files behind.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])  # raises nothing of `work`, whose error would go before a cancellation
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError from task.exception()
    task.result()
