"""A gateway that misbehaves on purpose, over a real connection: what a healthy one is never seen to do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from resonance.clients.gateway.faults import STATUS_TRAILER, to_status
from resonance.clients.gateway.messages import segment_to_message
from resonance.clients.media.types import SampledBy
from resonance.clients.results import Segment
from resonance.serving.gateway.calls import CODES
from resonance.space.descriptor import Descriptor
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import EmbeddingServiceServicer, add_EmbeddingServiceServicer_to_server


def unit_vector(seed: int) -> np.ndarray:
    blocks = np.random.default_rng(seed).standard_normal((3, 596))
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True)
    return (blocks.reshape(-1) / math.sqrt(3)).astype(np.float32)


def make_segment(index: int) -> Segment:
    return Segment(
        index=index,
        start_s=8.0 * index,
        end_s=8.0 * index + 8.0,
        present=(True, False, True),
        vector=unit_vector(index),
        signals={},
        sampled_by=SampledBy.KEYFRAMES,
        frame_times_s=(),
    )


def make_title(media_id: str, fingerprint: str, count: int) -> pb.Title:
    return pb.Title(
        media_id=media_id,
        fingerprint=fingerprint,
        vector=unit_vector(99).tolist(),
        present=pb.Presence(visual=True),
        salience=[1 / count] * count,
    )


@dataclass
class Call:
    """One call of EmbedMedia as the server saw it."""

    context: Any
    metadata: dict[str, str]
    start: pb.EmbedMediaStart = field(default_factory=pb.EmbedMediaStart)
    stored: list[int] = field(default_factory=list)
    received: dict[int, bytes] = field(default_factory=dict)
    #: Frames, sound, cues and marks, in order.
    raw: list[Any] = field(default_factory=list)
    #: Some of the media was received; all of it was.
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, **message: Any) -> None:
        await self.context.write(pb.EmbedMediaResponse(**message))

    async def segment(self, index: int) -> None:
        await self.answer(segment=segment_to_message(make_segment(index)))

    async def title(self, count: int, *, rolling: bool = False, first: int = 0) -> None:
        title = make_title(self.start.media_id, self.start.expected_fingerprint, count)
        title.first_index, title.rolling = first, rolling
        await self.answer(title=title)

    async def fail(self, error: Exception) -> None:
        status = to_status(error, self.start.media_id)
        trailer = ((STATUS_TRAILER, status.SerializeToString()),)
        await self.context.abort(CODES[status.code], status.message, trailer)


Script = Callable[[Call], Awaitable[None]]


async def completes(call: Call) -> None:
    """One segment and the title, once all has come."""
    await call.complete.wait()
    await call.segment(0)
    await call.title(1)


async def hangs(call: Call) -> None:
    """One segment, and nothing more."""
    await call.segment(0)
    await asyncio.Event().wait()


class BrokenGateway(EmbeddingServiceServicer):
    """Answers the n-th call of EmbedMedia by the n-th script, every further one by the last."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.scripts: list[Script] = []
        self.calls: list[Call] = []
        self.address = ""
        self.read_media = True
        self.spaces_asked = 0
        self.space_metadata: dict[str, str] = {}

    async def GetSpace(self, request: Any, context: Any) -> pb.GetSpaceResponse:  # noqa: N802
        self.spaces_asked += 1
        self.space_metadata = {str(k): str(v) for k, v in context.invocation_metadata()}
        return pb.GetSpaceResponse(descriptor_json=self.descriptor.to_json())

    async def EmbedMedia(self, requests: Any, context: Any) -> None:  # noqa: N802
        call = Call(context, {str(k): str(v) for k, v in context.invocation_metadata()})
        self.calls.append(call)
        script = self.scripts[min(len(self.calls), len(self.scripts)) - 1]
        reading = asyncio.create_task(self._read(call, requests))
        try:
            await script(call)
        except asyncio.CancelledError:
            call.cancelled.set()
            raise
        finally:
            reading.cancel()

    async def FuseTitle(self, request: Any, context: Any) -> pb.FuseTitleResponse:  # noqa: N802
        count = len(request.segments)
        return pb.FuseTitleResponse(title=make_title(request.media_id, request.fingerprint, count))

    async def _read(self, call: Call, requests: Any) -> None:
        async for request in requests:
            match request.WhichOneof("message"):
                case "start":
                    call.start = request.start
                case "stored":
                    call.stored += [s.index for s in request.stored.segments]
                case "chunk":
                    call.received[request.chunk.offset_bytes] = request.chunk.data
                    call.begun.set()
                    if not self.read_media:
                        return
                case "frame" | "sound" | "cue" | "mark" as kind:
                    call.raw.append(getattr(request, kind))
                    call.begun.set()
        call.complete.set()


@asynccontextmanager
async def broken_gateway(
    descriptor: Descriptor, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[BrokenGateway]:
    """It listens on a free port of this machine, with TLS where there are `credentials`."""
    server, service = grpc.aio.server(), BrokenGateway(descriptor)
    add_EmbeddingServiceServicer_to_server(service, server)
    at = "127.0.0.1:0"
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    service.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
