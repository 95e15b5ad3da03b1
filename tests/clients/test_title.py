"""Segments into titles through the real fusion head, long titles included."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.clients.title import FusionRows, fuse_title
from resonance.clients.transport import TritonTransport
from resonance.serving.server import TritonServer


def rows(n: int, seed: int = 0) -> FusionRows:
    rng = np.random.default_rng(seed)
    # segments of one title resemble each other: a common direction and their own
    blocks = (rng.standard_normal((1, 3, 596)) + 0.7 * rng.standard_normal((n, 3, 596))).astype(np.float32)
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    present = rng.random((n, 3)) < 0.7
    present[:, 1] |= ~present.any(1)
    return FusionRows(blocks, present, np.arange(n, dtype=np.float32) * 8)


async def test_segments_do_not_depend_on_how_a_title_is_chunked(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    given = rows(50)
    whole = await fuse_title(transport, given, max_segments=1024, timeout_s=30)
    chunked = await fuse_title(transport, given, max_segments=7, timeout_s=30)
    np.testing.assert_allclose(chunked.segments, whole.segments, atol=1e-6)
    for fused in (whole, chunked):
        assert fused.title.shape == (1788,)
        assert np.linalg.norm(fused.title) == pytest.approx(1, abs=1e-5)
        assert fused.salience.sum() == pytest.approx(1, abs=1e-4)
    await transport.close()


async def test_a_chunked_title_stays_near_the_whole_one(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    given = rows(50)
    whole = await fuse_title(transport, given, max_segments=1024, timeout_s=30)
    chunked = await fuse_title(transport, given, max_segments=7, timeout_s=30)
    await transport.close()
    assert float(whole.title @ chunked.title) > 0.9


@pytest.mark.parametrize("n", [1, 2, 1024])
async def test_one_request_takes_up_to_the_limit(server: TritonServer, n: int) -> None:
    transport = TritonTransport(server.grpc_address)
    fused = await fuse_title(transport, rows(n), max_segments=1024, timeout_s=60)
    assert fused.segments.shape == (n, 1788)
    assert np.isfinite(fused.title).all()
    await transport.close()
