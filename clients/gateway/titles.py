"""A title from an upload, over as many calls as it takes: each segment once, in order, then the title."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

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


class TitleUpload:
    """One title.

    Args:
        upload: what is sent; not closed here.
        done: segments of an earlier run; they are not handed out again.
        silence_s: see `embed_media`.
        on_progress: called for each message that says how far the gateway is.
    """

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
        self._connection, self._upload, self._silence_s = connection, upload, silence_s
        self._space = SpaceRef.of(descriptor)
        self._names = FieldNames.of(descriptor)
        self._segments = list(done)
        self._turn, self._retrying = connection.turn(), Retrying(retries)
        self._on_progress = on_progress
        self._info_given = False
        self._start = pb.EmbedMediaStart(
            media_id=upload.media_id,
            mode=upload.mode,
            sampling=sampling_to_message(sampling),
            expected_fingerprint=descriptor.fingerprint,
            idempotency_key=uuid.uuid4().hex,
            size_bytes=upload.size_bytes,
            subtitles=upload.subtitles,
        )

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What is known of the media, its segments, its title; the call is made again where it breaks,
        at once at another gateway where one serves.

        Raises:
            NotResumableError: it broke, and the source cannot be read again.
            ResonanceError, SpaceError: the last call's, when trying again does not help.
        """
        while True:
            try:
                async with aclosing(self._one_call()) as parts:
                    async for part in parts:
                        yield part
                return
            except Exception as error:
                if not may_retry(error):
                    raise
                broken = error
            if self._upload.spent:
                raise NotResumableError(
                    f"{self._upload.name}: the connection broke after {len(self._segments)} segments "
                    f"({broken}), and a source that cannot seek gives nothing twice; give a file, or go on "
                    "with `done` and the same media from its start",
                    retry_after_s=broken.retry_after_s if isinstance(broken, ServerError) else None,
                ) from broken
            await self._turn.failed(broken, self._retrying.wait_after)

    async def _one_call(self) -> AsyncGenerator[Part, None]:
        async with aclosing(
            embed_media(self._connection, self._turn, self._requests(), silence_s=self._silence_s)
        ) as answers:
            async for answer in answers:
                if isinstance(part := self._part(answer), MediaEmbedding):
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
                    return info_from_message(answer.info, self._upload.name)
                case "segment":
                    after = self._segments[-1].index if self._segments else -1
                    segment = segment_from_message(answer.segment, self._names, after=after)
                    self._segments.append(segment)
                    self._retrying.progressed()
                    self._turn.progressed()
                    return segment
                case "title":
                    title = title_from_message(answer.title, self._segments, self._space, self._names)
                    return replace(title, media=self._upload.name)
                case "progress" if self._on_progress is not None:
                    told = answer.progress
                    self._on_progress(UploadProgress(told.received_bytes, told.segments, told.media_s))
        return None

    async def _requests(self) -> AsyncGenerator[pb.EmbedMediaRequest, None]:
        yield pb.EmbedMediaRequest(start=self._start)
        for stored in stored_to_messages(tuple(self._segments), self._space.fingerprint):
            yield pb.EmbedMediaRequest(stored=stored)
        async with aclosing(self._upload.chunks()) as chunks:
            async for chunk in chunks:
                yield pb.EmbedMediaRequest(chunk=chunk)
