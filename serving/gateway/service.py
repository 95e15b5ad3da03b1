"""`resonance.v1.EmbeddingService` over the clients' pipeline: calls in, answers and typed errors out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar

import grpc

from resonance.clients.errors import ResonanceError
from resonance.clients.gateway.faults import to_status
from resonance.clients.gateway.messages import (
    FieldNames,
    presence_to_message,
    segments_from_messages,
    title_to_message,
    vector_message_bytes,
)
from resonance.clients.pipeline import fuse_segments
from resonance.clients.served_space import check_fingerprint
from resonance.serving.gateway.call_transport import CallTransport
from resonance.serving.gateway.calls import abort, current_call
from resonance.serving.gateway.media_call import MediaCall
from resonance.serving.gateway.metrics import Stage
from resonance.serving.gateway.query_call import embed_query
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.start import check_id
from resonance.serving.health import ModelHealth, ModelState
from resonance.space.errors import SpaceError, SpaceMismatchError
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import EmbeddingServiceServicer

T = TypeVar("T")
OURS = (ResonanceError, SpaceError)
_STATES: Mapping[bool | None, pb.ModelState] = {
    None: pb.MODEL_STATE_UNSPECIFIED,
    True: pb.MODEL_STATE_SERVING,
    False: pb.MODEL_STATE_NOT_SERVING,
}


class EmbeddingService(EmbeddingServiceServicer):
    """See proto/resonance/v1/embedding.proto."""

    def __init__(self, shared: Shared, health: ModelHealth) -> None:
        self._shared, self._health = shared, health

    async def GetSpace(
        self, request: pb.GetSpaceRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetSpaceResponse:
        """The space that is served now."""
        return await self._answer(context, self._space)

    async def EmbedMedia(
        self, request_iterator: AsyncIterator[pb.EmbedMediaRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Segments while the media arrives, the title last."""
        about = current_call()
        transport = self._transport(context)
        call = MediaCall(self._shared, about.caller.name, transport, aiter(request_iterator), context.write)
        try:
            await call.run()
        except OURS as error:
            await abort(context, to_status(error, call.media_id))
        finally:
            about.media_id, about.segments = call.media_id, call.answered
            about.received_bytes = call.received_bytes

    async def EmbedQuery(
        self, request: pb.EmbedQueryRequest, context: grpc.aio.ServicerContext
    ) -> pb.EmbedQueryResponse:
        """One vector of all examples."""

        async def embedded() -> pb.EmbedQueryResponse:
            found = await embed_query(
                request, self._shared, self._transport(context), current_call().caller.name
            )
            message = pb.EmbedQueryResponse(
                fingerprint=found.space.fingerprint, present=presence_to_message(found.present)
            )
            fields = pb.EmbedQueryResponse
            message.MergeFromString(vector_message_bytes(found.vector, fields.VECTOR_FIELD_NUMBER))
            message.MergeFromString(vector_message_bytes(found.unweighted, fields.UNWEIGHTED_FIELD_NUMBER))
            return message

        return await self._answer(context, embedded, request.query_id)

    async def FuseTitle(
        self, request: pb.FuseTitleRequest, context: grpc.aio.ServicerContext
    ) -> pb.FuseTitleResponse:
        """A title of stored segments."""

        async def fused() -> pb.FuseTitleResponse:
            check_id(request.media_id, "media_id")
            check_fingerprint(request.fingerprint, "fingerprint")
            descriptor = await self._shared.served.known()
            if request.fingerprint != descriptor.fingerprint:
                raise SpaceMismatchError(request.fingerprint, descriptor.fingerprint, "the server")
            segments = segments_from_messages(request.segments, FieldNames.of(descriptor))
            async with self._shared.admission.query(current_call().caller.name):
                with self._shared.metrics.time(Stage.FUSION):
                    title = await fuse_segments(
                        self._transport(context),
                        self._shared.served,
                        descriptor,
                        segments,
                        media=request.media_id,
                        timeout_s=self._shared.limits.request_timeout_s,
                    )
            return pb.FuseTitleResponse(title=title_to_message(title))

        return await self._answer(context, fused, request.media_id)

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetStatusResponse:
        """What is under way; answers without asking any model."""
        shared, admission, metrics = self._shared, self._shared.admission, self._shared.metrics
        space = shared.served.last_known
        rate = metrics.throughput()
        return pb.GetStatusResponse(
            fingerprint=space.fingerprint if space else "",
            space_name=space.name if space else "",
            models=[_model(name, state) for name, state in sorted(self._health.snapshot().items())],
            uploads=admission.uploads,
            live_feeds=admission.live_feeds,
            queries=admission.queries,
            queued=admission.queued,
            segments_in_flight=admission.segments_in_flight,
            spooled_bytes=shared.budget.used_bytes,
            segments_per_s=rate.segments_per_s,
            media_s_per_s=rate.media_s_per_s,
            refused=metrics.refused_by_reason(),
            abandoned=metrics.abandoned(),
            uptime_s=metrics.uptime_s(),
            max_uploads=shared.limits.max_uploads,
        )

    async def _space(self) -> pb.GetSpaceResponse:
        descriptor = await self._shared.served.ask()
        return pb.GetSpaceResponse(
            fingerprint=descriptor.fingerprint,
            name=descriptor.name,
            trained=descriptor.trained,
            descriptor_json=descriptor.to_json(),
        )

    def _transport(self, context: grpc.aio.ServicerContext) -> CallTransport:
        shared = self._shared
        return CallTransport(shared.transport, shared.metrics, shared.tracing, context.time_remaining)

    async def _answer(
        self, context: grpc.aio.ServicerContext, work: Callable[[], Awaitable[T]], media_id: str = ""
    ) -> T:
        """What `work` gives; its typed errors become the call's status."""
        current_call().media_id = media_id
        try:
            return await work()
        except OURS as error:
            await abort(context, to_status(error, media_id))


def _model(name: str, state: ModelState) -> pb.ModelStatus:
    return pb.ModelStatus(
        name=name,
        state=_STATES[state.serving],
        reason=state.reason,
        checked_s_ago=time.monotonic() - state.checked_s if state.checked_s else 0.0,
    )
