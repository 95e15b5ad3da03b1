"""The embedder that sends media to a gateway, which reads it and asks the models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from resonance.clients.credentials import Credentials
from resonance.clients.errors import InvalidFieldError, ServerFaultError, SpaceChangedError
from resonance.clients.face import Source, Transcript, title_of
from resonance.clients.gateway.checks import float_vector, some_presence
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.feed import Feed
from resonance.clients.gateway.live import LiveStream
from resonance.clients.gateway.live_title import LiveTitle
from resonance.clients.gateway.messages import FieldNames, media_id_of, segment_to_message, title_from_message
from resonance.clients.gateway.retrying import RetryPolicy
from resonance.clients.gateway.server_status import ServerStatus, status_from_message
from resonance.clients.gateway.titles import TitleUpload, UploadProgress
from resonance.clients.gateway.uploading import Upload, in_thread, open_upload, read_example, text_upload
from resonance.clients.media.text import check_text
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, QueryEmbedding, Segment, SpaceRef
from resonance.clients.served_space import check_fingerprint
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.errors import DescriptorError, SpaceMismatchError
from resonance.space.scores import Weights
from resonance.v1 import embedding_pb2 as pb

#: Single calls give up sooner than titles: nothing was done yet that would be lost.
SINGLE_CALL_RETRIES = RetryPolicy(attempts=4, retry_for_s=30.0, first_wait_s=0.1, most_wait_s=2.0)
#: Longest picture, sound or clip of a query that is read into memory; the gateway has its own, lower bound.
MAX_EXAMPLE_BYTES = 512 * 1024 * 1024


class GatewayEmbedder:
    """See `resonance.clients.embedder.Embedder`, whose methods these are, and more that only a gateway has.

    A call that breaks is made again with the segments that it gave, so that the caller of `stream` sees each
    segment once, in order, and the title.

    Args:
        address: host:port, or several: see `GatewayConnection`.
        expected_fingerprint: refuse a server that embeds into another space.
        request_timeout_s: deadline of everything but titles and feeds.
        credentials: token and certificates.
        retries: how often a title is taken up again without a new segment between.
        silence_s: a title or feed of which for so long nothing was taken and nothing answered is given up.

    Raises:
        UsageError: an empty or a repeated host. InvalidFieldError: a fingerprint that is none.
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """

    def __init__(
        self,
        address: str,
        *,
        expected_fingerprint: str | None = None,
        request_timeout_s: float = 30.0,
        credentials: Credentials | None = None,
        retries: RetryPolicy | None = None,
        silence_s: float = 300.0,
    ) -> None:
        check_fingerprint(expected_fingerprint)
        self._connection = GatewayConnection(
            address, credentials, timeout_s=request_timeout_s, retries=SINGLE_CALL_RETRIES
        )
        self._expected = expected_fingerprint
        self._retries = retries or RetryPolicy()
        self._silence_s = silence_s
        self._space: Descriptor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Free the connection."""
        await self._connection.close()

    async def space(self) -> Descriptor:
        """See `Embedder.space`."""
        if self._space is None:
            answer: pb.GetSpaceResponse = await self._connection.ask("GetSpace", pb.GetSpaceRequest())
            where = f"the space of {self._connection.address}"
            try:
                descriptor = Descriptor.from_json(answer.descriptor_json, where=where)
            except DescriptorError as malformed:
                raise ServerFaultError(str(malformed)) from malformed
            if self._expected is not None and descriptor.fingerprint != self._expected:
                raise SpaceMismatchError(self._expected, descriptor.fingerprint, self._connection.address)
            self._space = descriptor
        return self._space

    async def embed(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
    ) -> MediaEmbedding:
        """See `Embedder.embed`."""
        return await title_of(
            self.stream(source, sampling=sampling, transcript=transcript, name=name, done=done)
        )

    async def embed_text(self, text: str, *, name: str = "text") -> MediaEmbedding:
        """See `Embedder.embed_text`."""
        check_text(text, name)
        return await title_of(self._stream(text_upload(text, name), None, (), None))

    async def stream(
        self,
        source: Source,
        *,
        sampling: str | None = None,
        transcript: Transcript | None = None,
        name: str | None = None,
        done: Sequence[Segment] = (),
        on_progress: Callable[[UploadProgress], None] | None = None,
    ) -> AsyncGenerator[Part, None]:
        """See `Embedder.stream`. What cannot seek is sent as it comes, and cannot be taken up again.

        Args:
            on_progress: called when the gateway says how far it is.

        Raises:
            NotResumableError: the connection broke, and `source` cannot seek.
        """
        upload = await in_thread(source, name, lambda: open_upload(source, transcript=transcript, name=name))
        async with aclosing(self._stream(upload, sampling, done, on_progress)) as parts:
            async for part in parts:
                yield part

    async def follow(
        self,
        stream: LiveStream,
        *,
        sampling: str | None = None,
        rolling_every: int = 8,
        done: Sequence[Segment] = (),
        on_break: Callable[[Exception], None] | None = None,
    ) -> AsyncGenerator[Part, None]:
        """What is known of a live stream, its segments as they happen, a rolling title every `rolling_every`
        of them, and the last title once it ends by itself or by `LiveStream.end`.

        Titles cover the last segments only. Where the connection, the gateway or an address breaks, it goes
        on with what happens then. What was lost is in no segment, and the times do not count it.

        Args:
            stream: closed here in the end.
            done: segments of an earlier run, which this one goes on from.
            on_break: called with what something broke with, once until there is a segment again.

        Raises:
            NotResumableError: the connection broke, and a pipe brings what cannot be read from its middle.
            DeadlineExceededError: nothing came for too long.
            NotMediaError: the source cannot be opened or read, also after a while.
            As `Embedder.stream`.
        """
        try:
            descriptor = await self.space()
            title = LiveTitle(
                self._connection,
                descriptor,
                stream,
                sampling=sampling,
                rolling_every=rolling_every,
                done=done,
                retries=self._retries,
                silence_s=self._silence_s,
                fuse=lambda segments: self.fuse(segments, name=stream.name),
                on_break=on_break,
            )
            async with aclosing(title.parts()) as parts:
                async for part in parts:
                    yield part
        except (SpaceChangedError, SpaceMismatchError) as other:
            raise self._forget_space(other) from other
        finally:
            stream.close()

    async def _stream(
        self,
        upload: Upload,
        sampling: str | None,
        done: Sequence[Segment],
        on_progress: Callable[[UploadProgress], None] | None,
    ) -> AsyncGenerator[Part, None]:
        try:
            descriptor = await self.space()
            title = TitleUpload(
                self._connection,
                descriptor,
                upload,
                sampling=sampling,
                done=done,
                retries=self._retries,
                silence_s=self._silence_s,
                on_progress=on_progress,
            )
            async with aclosing(title.parts()) as parts:
                async for part in parts:
                    yield part
        except (SpaceChangedError, SpaceMismatchError) as other:
            raise self._forget_space(other) from other
        finally:
            await asyncio.to_thread(upload.close)

    def _forget_space(self, error: SpaceChangedError | SpaceMismatchError) -> Exception:
        """Ask for the space again the next time; a space that nobody named has changed, not mismatched."""
        known, self._space = self._space, None
        if known is None or self._expected is not None or isinstance(error, SpaceChangedError):
            return error
        return SpaceChangedError(
            f"{self._connection.address}: the server's space changed from {known.fingerprint[:12]} to "
            f"{error.found[:12]} meanwhile; embed the media again"
        )

    async def embed_query(
        self,
        examples: Sequence[tuple[str, Source]],
        weights: Weights | Mapping[str, float] | None = None,
    ) -> QueryEmbedding:
        """See `Embedder.embed_query`; `examples` are (kind, source), kind image, sound, text or video."""
        if not isinstance(weights, Weights):
            weights = Weights.from_mapping(weights or {})
        descriptor = await self.space()
        request = pb.EmbedQueryRequest(
            query_id="query",
            parts=[await _part(kind, source) for kind, source in examples],
            weights=pb.Weights(**{m: getattr(weights, m) for m in MODALITIES}),
            expected_fingerprint=descriptor.fingerprint,
        )
        answer: pb.EmbedQueryResponse = await self._ask("EmbedQuery", request)
        with self._connection.reading_answer():
            return QueryEmbedding(
                vector=float_vector(answer.vector, "vector"),
                unweighted=float_vector(answer.unweighted, "unweighted"),
                present=some_presence(answer.present, "present"),
                space=SpaceRef.of(descriptor),
            )

    async def fuse(self, segments: Sequence[Segment], *, name: str = "media") -> MediaEmbedding:
        """See `Embedder.fuse`.

        Raises:
            RequestRejectedError: more segments than a message holds, by default about 2,300.
        """
        descriptor = await self.space()
        request = pb.FuseTitleRequest(
            media_id=media_id_of(name),
            segments=[segment_to_message(segment) for segment in segments],
            fingerprint=descriptor.fingerprint,
        )
        answer: pb.FuseTitleResponse = await self._ask("FuseTitle", request)
        with self._connection.reading_answer():
            names = FieldNames.of(descriptor)
            title = title_from_message(answer.title, segments, SpaceRef.of(descriptor), names)
        return replace(title, media=name)

    async def status(self) -> ServerStatus:
        """What the server does now; of several, one of them.

        Raises:
            ServerError: no answer.
        """
        return status_from_message(await self._connection.ask("GetStatus", pb.GetStatusRequest()))

    @asynccontextmanager
    async def feed(
        self,
        media_id: str,
        *,
        modalities: Collection[str] = MODALITIES,
        live: bool = True,
        rolling_every: int = 8,
        done: Sequence[Segment] = (),
    ) -> AsyncIterator[Feed]:
        """A feed of frames, sound and words.

        Args:
            modalities: what will be sent; a window waits for each of them.
            live: without an end: rolling titles come every `rolling_every` segments, over the last ones only,
                and what comes too late for its window is dropped and told in their `damage`. Where it is not
                live, that is refused.
            done: segments of an earlier feed of the same media. Times go on: what lies in the windows up to
                the last of them is passed over.

        Raises:
            InvalidFieldError: an unknown modality. ServerError: no answer.
        """
        feed = Feed(
            self._connection,
            await self.space(),
            media_id,
            modalities=modalities,
            live=live,
            rolling_every=rolling_every,
            done=done,
            silence_s=self._silence_s,
        )
        try:
            async with feed:
                yield feed
        except (SpaceChangedError, SpaceMismatchError) as other:
            raise self._forget_space(other) from other
        except BaseExceptionGroup as several:  # of a TaskGroup around sending and taking
            if several.subgroup((SpaceChangedError, SpaceMismatchError)) is not None:
                self._space = None
            raise

    async def _ask(self, method: str, request: object) -> Any:
        try:
            return await self._connection.ask(method, request)
        except SpaceMismatchError as other:
            raise self._forget_space(other) from other


async def _part(kind: str, source: Source) -> pb.QueryPart:
    if kind == "text":
        check_text(text := str(source), "text")
        return pb.QueryPart(text=text)
    if kind not in ("image", "sound", "video"):
        raise InvalidFieldError("examples", f"'{kind}'", "image, sound, text or video")
    part = pb.QueryPart()
    left = threading.Event()
    try:
        data = await in_thread(
            source, None, lambda: read_example(source, MAX_EXAMPLE_BYTES, left=left.is_set)
        )
    finally:
        left.set()
    setattr(part, kind, data)
    return part
