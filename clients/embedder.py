"""The client: media in, segments out while they complete, the title last."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from resonance.clients.balancing import hosts_of, is_name_of_several
from resonance.clients.credentials import Credentials
from resonance.clients.direct import DirectEmbedder
from resonance.clients.errors import UsageError
from resonance.clients.face import Backend, Source, Transcript, title_of
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.media.text import check_text
from resonance.clients.media.types import Limits
from resonance.clients.paths import is_file
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Segment
from resonance.clients.transport import Transport, TritonTransport
from resonance.clients.triton_replicas import TritonReplicas
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Weights

DEFAULT_SERVER = "localhost:8001"
TRITON, GATEWAY = "triton://", "grpc://"
#: Titles that `embed` reads at once: two a core. Each has threads of its own that share one interpreter: with
#: 64 at once on two cores the client used 75% more CPU and throughput fell by a fifth.
TITLES_AT_ONCE = 2 * (os.cpu_count() or 1)


class Embedder:
    """Embeds media against one server: a gateway, which reads media itself, or Triton, with the reading here.

    Use as an async context manager::

        async with Embedder("grpc://localhost:8080") as embedder:
            async for part in embedder.stream("clip.mp4"):
                ...  # MediaInfo, Segment, Segment, ..., MediaEmbedding

    Feeds, progress and status, which only a gateway has, are on
    `resonance.clients.gateway.embedder.GatewayEmbedder`.

    It can be made anywhere, and belongs to the event loop and the process of its first call: elsewhere, in a
    second ``asyncio.run`` or after a fork, its calls raise UsageError. So do those that its closing ends.

    Args:
        server: ``grpc://host:port`` of a gateway, ``triton://host:port`` (or just ``host:port``) of Triton;
            of several with one space ``grpc://a:8080,b:8080``, ``grpc://dns:///name:8080`` (each address of
            the name) or ``triton://a:8001,b:8001``, see `resonance.clients.balancing`.
        expected_fingerprint: refuse a server that embeds into another space; all 64 digits.
        max_in_flight: segments read and not yet answered; a gateway has its own bound.
        request_timeout_s: deadline of each request to a model, and of a gateway's single answers.
        limits: caps on hostile input that is read here; a gateway has its own.
        credentials: token and certificates.
        transport: what carries the requests to models; by default gRPC to `server`.

    Raises:
        UsageError: an address of neither kind, or credentials that contradict it.
        InvalidFieldError: a fingerprint that is none.
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
        self._backend: Backend
        self._turns: asyncio.Semaphore | None = None
        if transport is None and server.startswith(GATEWAY):
            self._backend = GatewayEmbedder(
                server.removeprefix(GATEWAY),
                expected_fingerprint=expected_fingerprint,
                request_timeout_s=request_timeout_s,
                credentials=credentials,
            )
            return
        self._turns = asyncio.Semaphore(TITLES_AT_ONCE)
        self._backend = DirectEmbedder(
            transport or _triton(server, credentials),
            expected_fingerprint=expected_fingerprint,
            max_in_flight=max_in_flight,
            request_timeout_s=request_timeout_s,
            limits=limits or Limits(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Free the connection."""
        await self._backend.close()

    async def space(self) -> Descriptor:
        """The space this server embeds into, asked once.

        Raises:
            SpaceMismatchError: it is not the expected one.
            ServerError: no answer, or not a descriptor.
        """
        return await self._backend.space()

    async def embed(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
    ) -> MediaEmbedding:
        """The whole title; see `stream` for the arguments and errors.

        Of files that are read here, `TITLES_AT_ONCE` are read at a time, and further calls wait for their
        turn. What may wait for something else, such as a pipe, has no turn.
        """
        async with self._turn(source):
            return await title_of(
                self.stream(source, sampling=sampling, transcript=transcript, name=name, done=done)
            )

    def _turn(self, source: Source) -> AbstractAsyncContextManager[None]:
        if self._turns is None:
            return nullcontext()
        whole = isinstance(source, bytes) or (isinstance(source, str | Path) and is_file(Path(source)))
        return self._turns if whole else nullcontext()

    async def embed_text(self, text: str, *, name: str = "text") -> MediaEmbedding:
        """Text alone (an article, a sentence), split at the space's token limit.

        Raises:
            NoModalityError: there are no words. NotMediaError: it holds what is not UTF-8.
            ServerError, RequestRejectedError: see `resonance.clients.errors`.
        """
        check_text(text, name)
        return await self._backend.embed_text(text, name=name)

    async def stream(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
    ) -> AsyncGenerator[Part, None]:
        """What is known of the media, its segments in order, each as soon as it is embedded, the title.

        Args:
            source: a path, the bytes of a file, or a binary file object.
            sampling: ``keyframes`` or ``uniform``; by default what the space says.
            transcript: the path of a subtitle file, or its bytes as a
                `resonance.clients.media.words.SubtitleFile`; by default one beside `source`, else a stream in
                it.
            name: what to call the media in results and errors.
            done: segments that an earlier run of the same media handed out, in order from the first. The
                later ones are handed out, and a title of all.

        Raises:
            MediaError: the input's own fault, by kind.
            ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        parts = self._backend.stream(source, sampling=sampling, transcript=transcript, name=name, done=done)
        async with aclosing(parts):
            async for part in parts:
                yield part

    async def embed_query(
        self,
        *,
        image: Source | None = None,
        sound: Source | None = None,
        text: str | None = None,
        video: Source | None = None,
        weights: Weights | Mapping[str, float] | None = None,
    ) -> QueryEmbedding:
        """One query vector of the examples given; see `resonance.space.scores` for what it means.

        Raises:
            UsageError: no example. MediaError: an example's own fault. WeightError: weights that are none.
            ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        if text is not None:
            check_text(text, "text")
        given = {"image": image, "sound": sound, "text": text, "video": video}
        examples = [(kind, source) for kind, source in given.items() if source is not None]
        return await self._backend.embed_query(examples, weights)

    async def fuse(self, segments: Sequence[Segment], *, name: str = "media") -> MediaEmbedding:
        """A title of segments that were embedded before, in their order.

        Raises:
            NoModalityError: there is no segment.
            ServerError, RequestRejectedError, SpaceMismatchError: the server's.
        """
        return await self._backend.fuse(segments, name=name)


def _triton(server: str, credentials: Credentials | None) -> Transport:
    address = server.removeprefix(TRITON)
    if len(hosts_of(address)) > 1 or is_name_of_several(address):
        return TritonReplicas(address, credentials=credentials)
    if "://" in address:
        raise UsageError(f"server '{server}'; expected {GATEWAY}HOST:PORT or {TRITON}HOST:PORT")
    return TritonTransport(address, credentials=credentials)
