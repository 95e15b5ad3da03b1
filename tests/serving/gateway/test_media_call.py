"""Calls of EmbedMedia that end before their media does, without gRPC; whole ones: test_service.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resonance.clients.errors import OverloadedError
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.media_call import MediaCall
from resonance.serving.gateway.shared import Shared
from resonance.v1 import embedding_pb2 as pb
from tests.clients.media.synthetic import even_times, film
from tests.serving.gateway.shared_kit import shared_of


async def never(answer: pb.EmbedMediaResponse) -> None:
    """A caller who does not read its answers."""
    await asyncio.Event().wait()


def call_of(shared: Shared, caller: str, data: bytes) -> asyncio.Task[None]:
    """A call that sends `data` and then neither more nor the end."""

    async def messages() -> AsyncIterator[pb.EmbedMediaRequest]:
        start = pb.EmbedMediaStart(media_id=f"of {caller}", mode=pb.MODE_ENCODED)
        yield pb.EmbedMediaRequest(start=start)
        yield pb.EmbedMediaRequest(chunk=pb.Chunk(offset_bytes=0, data=data))
        await asyncio.Event().wait()

    return asyncio.create_task(MediaCall(shared, caller, shared.transport, messages(), never).run())


async def test_who_does_not_read_gives_up_the_disk_that_others_need(
    model_repository: Path, tmp_path: Path
) -> None:
    options = {"preset": "ultrafast", "sc_threshold": "0"}
    data = film(even_times(60, 10), rate=10, gop=20, options=options, container="matroska", size=(160, 120))
    limits = GatewayLimits(max_spool_bytes=60_000, max_media_bytes=60_000)
    shared = shared_of(model_repository, tmp_path, limits)
    holds = call_of(shared, "a", data[:55_000])
    async with asyncio.timeout(10):
        await asyncio.sleep(2)  # it gives an answer by now, which is not taken
        assert shared.budget.used_bytes == 55_000
        with pytest.raises(OverloadedError, match=r"55,000 bytes on disk and 10,000 came"):
            await call_of(shared, "b", data[:10_000])
        with pytest.raises(OverloadedError, match=r"55,000 bytes on disk of this call.*holds most"):
            await holds
    assert shared.budget.used_bytes == 0
