"""One call of EmbedQuery: examples read, media in processes of their own, embedded, and made one vector."""

from __future__ import annotations

import asyncio
import math
import time

from resonance.clients.errors import InvalidFieldError, MediaLimitError
from resonance.clients.face import title_of
from resonance.clients.finishing import to_the_end
from resonance.clients.media.text import TextReader, decode_text
from resonance.clients.pipeline import TitleOptions, TitlePipeline
from resonance.clients.query import MODALITIES_OF_KIND, Example, query_of
from resonance.clients.results import MediaEmbedding, QueryEmbedding
from resonance.clients.served_space import check_fingerprint
from resonance.clients.sources import InlineSource, SegmentSource
from resonance.clients.transport import Transport
from resonance.serving.gateway.reading import MediaProcess, ReadRequest
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.start import check_id
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.errors import SpaceMismatchError
from resonance.space.scores import Weights
from resonance.v1 import embedding_pb2 as pb

MAX_PARTS = 16
#: How often it is looked whether a part's media are still being read.
LOOK_S = 0.1


async def embed_query(
    request: pb.EmbedQueryRequest, shared: Shared, transport: Transport, caller: str
) -> QueryEmbedding:
    """The query of all parts.

    Raises:
        InvalidFieldError: no part, an empty one, too many or too large ones, or part of a fingerprint.
        MediaError: a part's own fault.
        SpaceMismatchError, SpaceError, ServerError: see `resonance.clients.errors`.
    """
    check_id(request.query_id, "query_id")
    if not 1 <= len(request.parts) <= MAX_PARTS:
        raise InvalidFieldError("parts", str(len(request.parts)), f"1 to {MAX_PARTS}")
    size_bytes = sum(part.ByteSize() for part in request.parts)
    if size_bytes > shared.limits.max_query_bytes:
        raise InvalidFieldError(
            "parts", f"{size_bytes:,} bytes", f"at most {shared.limits.max_query_bytes:,}"
        )
    check_fingerprint(request.expected_fingerprint or None)
    weights = _weights(request)
    descriptor = await shared.served.known()
    if request.expected_fingerprint not in ("", descriptor.fingerprint):
        raise SpaceMismatchError(request.expected_fingerprint, descriptor.fingerprint, "the server")
    async with shared.admission.query(caller):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_example(part, at, descriptor, shared, transport, caller))
                    for at, part in enumerate(request.parts)
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return query_of([task.result() for task in tasks], weights, descriptor)


async def _example(
    part: pb.QueryPart,
    at: int,
    descriptor: Descriptor,
    shared: Shared,
    transport: Transport,
    caller: str,
) -> Example:
    kind = part.WhichOneof("example")
    if kind is None:
        raise InvalidFieldError(f"parts[{at}].example", "nothing", "image, sound, text or video")
    weight = part.weight if part.HasField("weight") else 1.0
    if not (math.isfinite(weight) and weight > 0):
        raise InvalidFieldError(f"parts[{at}].weight", str(weight), "a finite number above 0, or none for 1")
    given = getattr(part, kind)
    data = given.encode() if isinstance(given, str) else given
    most = shared.limits.max_query_text_bytes
    if kind == "text" and len(data) > most:
        raise InvalidFieldError(f"parts[{at}].text", f"{len(data):,} bytes", f"at most {most:,}")
    title = await _title(kind, data, f"parts[{at}] ({kind})", descriptor, shared, transport, caller)
    return Example.of(kind, title, weight)


async def _title(
    kind: str,
    data: bytes,
    name: str,
    descriptor: Descriptor,
    shared: Shared,
    transport: Transport,
    caller: str,
) -> MediaEmbedding:
    if kind == "text":  # words take no decoder, so they need no process to be confined in
        text = InlineSource(lambda: TextReader(decode_text(data, name), descriptor, name=name))
        return await _embedded(text, descriptor, shared, transport)
    request = ReadRequest(
        media_id=name,
        mode="encoded",
        sampling=None,
        modalities=MODALITIES_OF_KIND[kind],
        first_index=0,
        live=False,
        size_bytes=len(data),
        subtitles=None,
    )
    most_s = shared.limits.max_query_media_s
    source = shared.media_process(request, descriptor, caller, max_media_s=most_s)
    feeding = asyncio.create_task(_feed(source, data))
    embedding = asyncio.create_task(_embedded(source, descriptor, shared, transport))
    try:
        read_s = 0.0  # without the time in which models are waited for, which have deadlines of their own
        while not embedding.done():
            if read_s > most_s:  # of little media, such as an animation of large frames, may come much work
                raise MediaLimitError(
                    name, f"media that is read for over {most_s:g} s", "what is read sooner"
                )
            reading, looked_at_s = source.reading, time.monotonic()
            under_way = [task for task in (feeding, embedding) if not task.done()]
            await asyncio.wait(under_way, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            read_s += time.monotonic() - looked_at_s if reading else 0.0
            if feeding.done() and not embedding.done():
                feeding.result()  # where it failed, what is embedded would wait for bytes that never come
        return embedding.result()
    finally:
        await to_the_end(_leave(feeding, embedding, source))


async def _embedded(
    source: SegmentSource, descriptor: Descriptor, shared: Shared, transport: Transport
) -> MediaEmbedding:
    options = TitleOptions(
        max_in_flight=shared.limits.max_segments_per_stream,
        request_timeout_s=shared.limits.request_timeout_s,
        slot=shared.segment_place,
    )
    pipeline = TitlePipeline(transport, shared.served, descriptor, source, options)
    return await title_of(pipeline.parts())


async def _leave(
    feeding: asyncio.Task[None], embedding: asyncio.Task[MediaEmbedding], source: MediaProcess
) -> None:
    feeding.cancel()
    embedding.cancel()
    await asyncio.gather(feeding, embedding, return_exceptions=True)
    await source.close()  # where the pipeline never began


async def _feed(source: MediaProcess, data: bytes) -> None:
    await source.feed(0, data)
    await source.end()


def _weights(request: pb.EmbedQueryRequest) -> Weights:
    """Raises `WeightError`: not weights."""
    given = request.weights
    return Weights(**{name: getattr(given, name) for name in MODALITIES if given.HasField(name)})
