"""The embedder without async: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from resonance.clients.credentials import Credentials
from resonance.clients.embedder import DEFAULT_SERVER, Embedder
from resonance.clients.errors import UsageError
from resonance.clients.face import Source, Transcript
from resonance.clients.media.types import Limits
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Segment
from resonance.clients.transport import Transport
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Weights

T = TypeVar("T")


class SyncEmbedder:
    """`Embedder` for code that is not async; arguments, results and errors are the same.

    Threads may share one. It does not survive a fork: make it in the child.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        expected_fingerprint: str | None = None,
        max_in_flight: int = 6,
        request_timeout_s: float = 30.0,
        limits: Limits | None = None,
        credentials: Credentials | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._server = server
        self._embedder = Embedder(
            server,
            expected_fingerprint=expected_fingerprint,
            max_in_flight=max_in_flight,
            request_timeout_s=request_timeout_s,
            limits=limits,
            credentials=credentials,
            transport=transport,
        )
        self._process = os.getpid()
        # between what begins and the end; the collector may begin something anywhere, here too (`_leave`)
        self._closing = threading.RLock()
        self._closed = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._streams: set[AsyncGenerator[Any, None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="resonance-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the connection and end the thread. Calls under way in other threads end with UsageError."""
        if self._process != os.getpid():
            return  # the connection and the thread are the parent's
        with self._closing:
            first, self._closed = not self._closed, True
        if first:
            try:
                _Running(self._loop, self._end(), set()).result()
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()

    def space(self) -> Descriptor:
        """See `Embedder.space`."""
        return self._call(self._embedder.space())

    def embed(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
    ) -> MediaEmbedding:
        """See `Embedder.embed`."""
        return self._call(
            self._embedder.embed(source, sampling=sampling, transcript=transcript, name=name, done=done)
        )

    def embed_text(self, text: str, *, name: str = "text") -> MediaEmbedding:
        """See `Embedder.embed_text`."""
        return self._call(self._embedder.embed_text(text, name=name))

    def stream(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
    ) -> Iterator[Part]:
        """See `Embedder.stream`; leaving the loop early ends the work under way."""
        parts = self._embedder.stream(source, sampling=sampling, transcript=transcript, name=name, done=done)
        self._streams.add(parts)
        try:
            while (part := self._call(_next(parts))) is not None:
                yield part
        finally:
            self._streams.discard(parts)
            self._leave(parts)

    def embed_query(
        self,
        *,
        image: Source | None = None,
        sound: Source | None = None,
        text: str | None = None,
        video: Source | None = None,
        weights: Weights | Mapping[str, float] | None = None,
    ) -> QueryEmbedding:
        """See `Embedder.embed_query`."""
        return self._call(
            self._embedder.embed_query(image=image, sound=sound, text=text, video=video, weights=weights)
        )

    def fuse(self, segments: Sequence[Segment], *, name: str = "media") -> MediaEmbedding:
        """See `Embedder.fuse`."""
        return self._call(self._embedder.fuse(segments, name=name))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, or raises.

        Raises:
            UsageError: closed before or meanwhile; a process that was forked.
        """
        if self._process != os.getpid():
            work.close()
            raise UsageError(
                f"{self._server}: a SyncEmbedder does not survive a fork; make one in the child, or start "
                "processes with 'spawn'"
            )
        with self._closing:
            if self._closed:
                work.close()
                raise UsageError(f"{self._server}: asked after it was closed; make another embedder")
            running = _Running(self._loop, work, self._under_way)
        try:
            return running.result()
        except asyncio.CancelledError:
            raise UsageError(f"{self._server}: closed here while a call was under way") from None

    async def _end(self) -> None:
        under_way = tuple(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        try:
            for parts in tuple(self._streams):
                await parts.aclose()
        finally:
            await self._embedder.close()

    def _leave(self, parts: AsyncGenerator[Any, None]) -> None:
        """End a stream's work, and wait for that where it can be waited for.

        A forgotten stream is collected at any time and in any thread: in the loop's own, which would wait for
        itself; after `close`, which ended it; or at the interpreter's end, when the loop stands still.
        """
        if self._closed or self._process != os.getpid() or sys.is_finalizing():
            return
        if threading.current_thread() is self._thread:
            self._loop.call_soon(_begin, self._loop, _close(parts), self._under_way)
            return
        with suppress(UsageError):  # closed meanwhile
            self._call(_close(parts))


class _Running(Generic[T]):
    """A coroutine on a loop in another thread; `tasks` holds its task while it runs."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[Any]]
    ) -> None:
        self._loop, self._work, self._tasks = loop, work, tasks
        self._ended = threading.Event()
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = _begin(self._loop, self._work, self._tasks)
        self._task.add_done_callback(lambda _: self._ended.set())

    def result(self) -> T:
        """Wait for its end. Errors: its own; CancelledError where it was cancelled."""
        try:
            self._ended.wait()
        except BaseException:  # Ctrl-C comes to this thread alone; what it leaves must have ended
            self._loop.call_soon_threadsafe(lambda: self._task.cancel())
            self._ended.wait()
            raise
        return self._task.result()


def _begin(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[Any]]
) -> asyncio.Task[T]:
    task = loop.create_task(work)
    tasks.add(task)  # the loop itself would let it be collected
    task.add_done_callback(tasks.discard)
    return task


async def _next(parts: AsyncGenerator[T, None]) -> T | None:
    return await anext(parts, None)


async def _close(parts: AsyncGenerator[Any, None]) -> None:
    await parts.aclose()
