"""A title from an upload, over as many calls as it takes: each segment once, in order, then the title."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, MutableSequence, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from resonance.clients.errors import NotResumableError, ServerError, ServerFaultError
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.enums import sampling_to_message
from resonance.clients.gateway.messages import (
    FieldNames,
    info_from_message,
    segment_from_message,
    stored_to_messages,
    title_from_message,
)
from resonance.clients.gateway.retrying import Retrying, RetryPolicy, may_retry
from resonance.clients.gateway.title_call import embed_media, finish
from resonance.clients.gateway.uploading import Upload
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef
from resonance.space.descriptor import Descriptor
from resonance.v1 import embedding_pb2 as pb


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far the gateway is in this call: bytes received, segments answered, end of the last one."""

    received_bytes: int
    segments: int
    media_s: float


class Sent(Protocol):
    """What calls send. Attributes: as of `Upload`."""

    @property
    def name(self) -> str: ...
    @property
    def media_id(self) -> str: ...
    @property
    def mode(self) -> pb.Mode: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def subtitles(self) -> pb.SubtitleFile | None: ...

    def chunks(self) -> AsyncGenerator[pb.Chunk, None]:
        """The bytes of one call."""


class TitleCalls:
    """The calls of one title: what each sends, and what the caller gets of its answers.

    Args:
        sent: not closed here.
        segments: those of an earlier run, which are not handed out again; new ones are put behind them.
        rolling_every: segments between two rolling titles of a live feed; 0: it is none.
        silence_s: see `embed_media`.
        on_progress: called for each message that says how far the gateway is.
    """

    def __init__(
        self,
        connection: GatewayConnection,
        descriptor: Descriptor,
        sent: Sent,
        *,
        sampling: str | None,
        segments: MutableSequence[Segment],
        rolling_every: int,
        retries: RetryPolicy,
        silence_s: float,
        on_progress: Callable[[UploadProgress], None] | None = None,
    ) -> None:
        self._connection, self._sent, self._silence_s = connection, sent, silence_s
        self._space = SpaceRef.of(descriptor)
        self._names = FieldNames.of(descriptor)
        self.segments = segments
        self.turn, self.retrying = connection.turn(), Retrying(retries)
        self._on_progress = on_progress
        self._info_given = False
        self._start = pb.EmbedMediaStart(
            media_id=sent.media_id,
            mode=sent.mode,
            sampling=sampling_to_message(sampling),
            expected_fingerprint=descriptor.fingerprint,
            idempotency_key=uuid.uuid4().hex,
            live=bool(rolling_every),
            rolling_title_segments=rolling_every,
            size_bytes=sent.size_bytes,
            subtitles=sent.subtitles,
        )

    async def one(self) -> AsyncGenerator[Part, None]:
        """What one call gives: what is known of the media, segments, titles; the last one is not rolling.

        Raises:
            ResonanceError, SpaceError: as the gateway raised it, or what is sent.
        """
        async with aclosing(
            embed_media(self._connection, self.turn, self._requests(), silence_s=self._silence_s)
        ) as answers:
            async for answer in answers:
                part = self._part(answer)
                if isinstance(part, MediaEmbedding) and not part.rolling:
                    await finish(answers)
                    yield part
                    return
                if part is not None:
                    yield part
        raise ServerFaultError(f"{self._connection.address}: the call ended without a title; expected one")

    def _part(self, answer: pb.EmbedMediaResponse) -> Part | None:
        """What the caller gets of an answer."""
        with self._connection.reading_answer():
            match answer.WhichOneof("message"):
                case "info" if not self._info_given:
                    self._info_given = True
                    return info_from_message(answer.info, self._sent.name)
                case "segment":
                    after = self.segments[-1].index if self.segments else -1
                    segment = segment_from_message(answer.segment, self._names, after=after)
                    self.segments.append(segment)
                    self.retrying.progressed()
                    self.turn.progressed()
                    return segment
                case "title":
                    title = title_from_message(answer.title, self.segments, self._space, self._names)
                    return replace(title, media=self._sent.name)
                case "progress" if self._on_progress is not None:
                    told = answer.progress
                    self._on_progress(UploadProgress(told.received_bytes, told.segments, told.media_s))
        return None

    async def _requests(self) -> AsyncGenerator[pb.EmbedMediaRequest, None]:
        yield pb.EmbedMediaRequest(start=self._start)
        for stored in stored_to_messages(tuple(self.segments), self._space.fingerprint):
            yield pb.EmbedMediaRequest(stored=stored)
        async with aclosing(self._sent.chunks()) as chunks:
            async for chunk in chunks:
                yield pb.EmbedMediaRequest(chunk=chunk)


class TitleUpload:
    """One title of what has an end. Arguments: see `TitleCalls`."""

    def __init__(
        self,
        connection: GatewayConnection,
        descriptor: Descriptor,
        upload: Upload,
        *,
        sampling: str | None,
        done: Sequence[Segment],
        retries: RetryPolicy,
        silence_s: float,
        on_progress: Callable[[UploadProgress], None] | None = None,
    ) -> None:
        self._upload = upload
        self._calls = TitleCalls(
            connection,
            descriptor,
            upload,
            sampling=sampling,
            segments=list(done),
            rolling_every=0,
            retries=retries,
            silence_s=silence_s,
            on_progress=on_progress,
        )

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What is known of the media, its segments, its title; the call is made again where it breaks,
        at once at another gateway where one serves.

        Raises:
            NotResumableError: it broke, and the source cannot be read again.
            ResonanceError, SpaceError: the last call's, when trying again does not help.
        """
        calls = self._calls
        while True:
            try:
                async with aclosing(calls.one()) as parts:
                    async for part in parts:
                        yield part
                return
            except Exception as error:
                if not may_retry(error):
                    raise
                broken = error
            if self._upload.spent:
                raise NotResumableError(
                    f"{self._upload.name}: the connection broke after {len(calls.segments)} segments "
                    f"({broken}), and a source that cannot seek gives nothing twice; give a file, or go on "
                    "with `done` and the same media from its start",
                    retry_after_s=broken.retry_after_s if isinstance(broken, ServerError) else None,
                ) from broken
            await calls.turn.failed(broken, calls.retrying.wait_after)
