"""Queries whose media cannot be taken; those that can: test_service.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resonance.clients.errors import InvalidFieldError, MediaLimitError, OverloadedError
from resonance.clients.transport import Tensors
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.query_call import embed_query
from resonance.serving.gateway.shares import Share
from resonance.v1 import embedding_pb2 as pb
from tests.clients.media.synthetic import sound
from tests.serving.gateway.shared_kit import shared_of


def noise(duration_s: int) -> bytes:
    samples = np.random.default_rng(2).normal(0, 0.1, duration_s * 16_000).astype(np.float32)
    return sound(samples, rate_hz=16_000)


async def test_a_full_spool_refuses_a_query_and_its_place_is_free_again(
    model_repository: Path, tmp_path: Path
) -> None:
    shared = shared_of(model_repository, tmp_path, GatewayLimits(max_queries=1))
    shared.budget.take(shared.budget.max_bytes - 10_000, Share("a"))  # what uploads hold
    request = pb.EmbedQueryRequest(parts=[pb.QueryPart(sound=noise(1))])
    with pytest.raises(OverloadedError, match=r"on disk and 32,0.. came"):
        await asyncio.wait_for(embed_query(request, shared, shared.transport, "a"), 5)
    assert shared.admission.queries == 0


async def test_a_query_for_a_space_whose_fingerprint_was_cut_is_refused(
    model_repository: Path, tmp_path: Path
) -> None:
    shared = shared_of(model_repository, tmp_path, GatewayLimits())
    request = pb.EmbedQueryRequest(parts=[pb.QueryPart(text="x")], expected_fingerprint="1a06db3c10ce")
    with pytest.raises(InvalidFieldError, match=r"expected_fingerprint: '1a06db3c10ce'; expected all 64"):
        await embed_query(request, shared, shared.transport, "a")


async def test_a_query_has_media_of_a_bounded_length(model_repository: Path, tmp_path: Path) -> None:
    shared = shared_of(model_repository, tmp_path, GatewayLimits(max_query_media_s=5.0))
    request = pb.EmbedQueryRequest(parts=[pb.QueryPart(sound=noise(20))])
    with pytest.raises(MediaLimitError, match=r"parts\[0\] \(sound\): .* 5 s"):
        await asyncio.wait_for(embed_query(request, shared, shared.transport, "a"), 10)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
async def test_a_weight_that_is_none_is_named_before_anything_is_embedded(
    model_repository: Path, tmp_path: Path, weight: float
) -> None:
    shared = shared_of(model_repository, tmp_path, GatewayLimits())
    parts = [pb.QueryPart(text="x"), pb.QueryPart(text="y", weight=weight)]
    with pytest.raises(InvalidFieldError) as refused:
        await embed_query(pb.EmbedQueryRequest(parts=parts), shared, shared.transport, "a")
    assert refused.value.field == "parts[1].weight"


async def test_models_that_are_slow_are_no_fault_of_the_media(
    model_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = shared_of(model_repository, tmp_path, GatewayLimits(max_query_media_s=2.0))
    tell = shared.transport.infer

    async def slow(
        model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, Any]:
        if model != "space_descriptor":
            await asyncio.sleep(3)
            raise OverloadedError("the models have much to do", retry_after_s=1.0)
        return await tell(model, inputs, outputs, timeout_s=timeout_s)

    monkeypatch.setattr(shared.transport, "infer", slow)
    request = pb.EmbedQueryRequest(parts=[pb.QueryPart(sound=noise(1))])
    with pytest.raises(OverloadedError, match="the models have much to do"):
        await asyncio.wait_for(embed_query(request, shared, shared.transport, "a"), 10)
    assert shared.admission.queries == 0


async def test_a_query_has_media_that_is_read_for_a_bounded_time(
    model_repository: Path, tmp_path: Path
) -> None:
    """A file of 300 bytes, 0.9 s long, whose frames take half a second each."""
    screen = (5000).to_bytes(2, "little") * 2
    head = b"GIF89a" + screen + bytes((0xF0, 0, 0)) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\x04\x01\0\0\0" + b"\x2c\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"
    shared = shared_of(model_repository, tmp_path, GatewayLimits(max_query_media_s=1.0))
    request = pb.EmbedQueryRequest(parts=[pb.QueryPart(video=head + 9 * frame + b";")])
    with pytest.raises(MediaLimitError, match=r"parts\[0\] \(video\): media that is read for over 1 s"):
        await asyncio.wait_for(embed_query(request, shared, shared.transport, "a"), 10)
    assert shared.admission.queries == 0
