"""Where the pipeline takes a title's segments from, without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from resonance.clients.media.types import Frames, MediaInfo, ReadTimes, SegmentInput


class SegmentSource(Protocol):
    """A title being read. `times` adds up while it is."""

    times: ReadTimes

    async def open(self) -> MediaInfo:
        """What is known of the media; called once, first.

        Raises:
            MediaError: the input's own fault, by kind.
        """
        ...

    async def next(self) -> SegmentInput | None:
        """The next window with content, None at the end. Errors: see `open`."""
        ...

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """The segment's frames decoded in order, where its keyframes decode to nothing."""
        ...

    async def close(self) -> None:
        """Free files and end threads; may be called at any time."""
        ...


class Reader(Protocol):
    """A title read by blocking calls: media, a picture or text."""

    info: MediaInfo
    times: ReadTimes

    def segments(self) -> Iterator[SegmentInput]:
        """Windows with content, in order. Blocks."""
        ...

    def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """The segment's frames decoded in order. Blocks."""
        ...

    def close(self) -> None:
        """Free files and end threads."""
        ...


class ThreadedSource:
    """A `Reader` in threads of its own, so that titles read side by side never wait for a thread.

    Args:
        opener: opens the reader; blocks.
        left: set when nobody waits for the reader any more, for an opener that may take long.
    """

    def __init__(self, opener: Callable[[], Reader], left: threading.Event | None = None) -> None:
        self.times = ReadTimes()
        self._opener = opener
        self._left = left or threading.Event()
        self._reader: Reader | None = None
        self._inputs: Iterator[SegmentInput] = iter(())
        # one reads on while the other decodes a window again
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="resonance-source")

    async def open(self) -> MediaInfo:
        """See `SegmentSource`."""
        reader = await asyncio.get_running_loop().run_in_executor(self._threads, self._open)
        return reader.info

    def _open(self) -> Reader:
        self._reader = self._opener()
        self.times = self._reader.times
        self._inputs = self._reader.segments()
        if self._left.is_set():  # `close` may have come before there was a reader
            self._reader.close()
        return self._reader

    async def next(self) -> SegmentInput | None:
        """See `SegmentSource`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, next, self._inputs, None)

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """See `SegmentSource`."""
        assert self._reader is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._reader.decode_segment, segment)

    async def close(self) -> None:
        """See `SegmentSource`."""
        self._left.set()
        if self._reader is not None:
            await asyncio.to_thread(self._reader.close)
        self._threads.shutdown(wait=False, cancel_futures=True)


class InlineSource:
    """A `Reader` whose calls do not block, such as one of text, read on the event loop itself."""

    def __init__(self, opener: Callable[[], Reader]) -> None:
        self.times = ReadTimes()
        self._opener = opener
        self._inputs: Iterator[SegmentInput] = iter(())

    async def open(self) -> MediaInfo:
        """See `SegmentSource`."""
        reader = self._opener()
        self.times, self._inputs = reader.times, reader.segments()
        return reader.info

    async def next(self) -> SegmentInput | None:
        """See `SegmentSource`."""
        return next(self._inputs, None)

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """There is nothing to decode again."""
        return None

    async def close(self) -> None:
        """Nothing is open."""
