"""The embedder without async: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from resonance.clients.credentials import Credentials
from resonance.clients.embedder import DEFAULT_SERVER, Embedder
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

    A test holds the two in step: same public methods, same parameters.
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="resonance-client", daemon=True)
        self._thread.start()
        self._leaving: set[asyncio.Task[None]] = set()

        async def make() -> Embedder:  # on the loop, where grpc.aio binds its channel
            return Embedder(
                server,
                expected_fingerprint=expected_fingerprint,
                max_in_flight=max_in_flight,
                request_timeout_s=request_timeout_s,
                limits=limits,
                credentials=credentials,
                transport=transport,
            )

        try:
            self._embedder = self._call(make())
        except BaseException:
            self._stop_loop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the connection and end the thread."""
        if not self._loop.is_closed():
            self._call(self._embedder.close())
            self._stop_loop()

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
        try:
            while (part := self._call(_next(parts))) is not None:
                yield part
        finally:
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
        ended = threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda _: ended.set())

        self._loop.call_soon_threadsafe(begin)
        try:
            ended.wait()
        except BaseException:  # Ctrl-C comes to this thread alone; what it leaves must have ended
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            ended.wait()
            raise
        return tasks[0].result()

    def _leave(self, parts: AsyncGenerator[Any, None]) -> None:
        """End a stream's work, and wait for that where it can be waited for.

        A forgotten stream is collected at any time and in any thread: in the loop's own, which would wait for
        itself; after `close`; or at the interpreter's end, when the loop stands still.
        """
        if self._loop.is_closed() or sys.is_finalizing():
            return
        if threading.current_thread() is not self._thread:
            self._call(_close(parts))
            return

        def begin() -> None:
            closing = self._loop.create_task(_close(parts))
            self._leaving.add(closing)  # the loop itself would let it be collected
            closing.add_done_callback(self._leaving.discard)

        self._loop.call_soon(begin)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(parts: AsyncGenerator[T, None]) -> T | None:
    return await anext(parts, None)


async def _close(parts: AsyncGenerator[Any, None]) -> None:
    await parts.aclose()
