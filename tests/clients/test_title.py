"""Segments into titles through the real fusion head, long titles included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resonance.clients.embedder import Embedder
from resonance.clients.title import FusionRows, complete_segment, fuse_title
from resonance.clients.transport import Tensors, TritonTransport
from resonance.serving.server import TritonServer
from resonance.space.blocks import unit
from tests.clients.gateway.broken_gateway import make_segment


def rows(n: int, seed: int = 0) -> FusionRows:
    rng = np.random.default_rng(seed)
    # segments of one title resemble each other: a common direction and their own
    blocks = (rng.standard_normal((1, 3, 596)) + 0.7 * rng.standard_normal((n, 3, 596))).astype(np.float32)
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    present = rng.random((n, 3)) < 0.7
    present[:, 1] |= ~present.any(1)
    return FusionRows(blocks, present, np.arange(n, dtype=np.float32) * 8)


def scenes(n: int, length: int) -> FusionRows:
    """Segments of scenes that last `length` windows each."""
    given = rows(-(-n // length))
    return FusionRows(
        given.blocks.repeat(length, axis=0)[:n],
        given.present.repeat(length, axis=0)[:n],
        np.arange(n, dtype=np.float32) * 8,
    )


class EvenFusion:
    """A head that has learned nothing: a title is the unit mean of its segments. `kept`: what it got."""

    kept: Tensors

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        self.kept = inputs
        pooled = (inputs["BLOCKS"] * inputs["PRESENT"][:, :, None]).sum(axis=0)  # (3, 596)
        title = unit(pooled.astype(np.float64)).reshape(1788) / np.sqrt(3)
        salience = np.full(len(inputs["TIMES"]), 1 / len(inputs["TIMES"]), np.float32)
        return {"TITLE": title.astype(np.float32), "SALIENCE": salience}

    async def close(self) -> None:
        """Nothing is open."""


async def test_one_window_over_the_limit_counts_as_one_window() -> None:
    given = rows(65)
    fused = await fuse_title(EvenFusion(), given, max_segments=64, timeout_s=30)
    whole = await fuse_title(EvenFusion(), given, max_segments=65, timeout_s=30)
    assert fused.salience.shape == (65,)
    assert fused.salience.sum() == pytest.approx(1, abs=1e-6)
    assert fused.salience.max() <= 1 / 64 + 1e-6
    assert float(whole.title @ fused.title) > 0.999


async def test_each_window_of_a_title_over_the_limit_counts_and_in_its_place() -> None:
    given = scenes(60, 2)
    given.present[::2] = [True, False, True]
    given.present[1::2] = [True, True, False]
    head = EvenFusion()
    fused = await fuse_title(head, given, max_segments=30, timeout_s=30)
    assert head.kept["PRESENT"].all()
    np.testing.assert_allclose(head.kept["BLOCKS"], given.blocks[::2], atol=1e-6)
    np.testing.assert_array_equal(head.kept["TIMES"], given.times_s[::2])
    np.testing.assert_allclose(fused.salience, 1 / 60, atol=1e-6)


async def test_a_title_over_the_limit_stays_near_the_whole_one(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    for given, limit, least in ((rows(50), 7, 0.9), (rows(50), 49, 0.99), (scenes(50, 10), 49, 0.99)):
        whole = await fuse_title(transport, given, max_segments=50, timeout_s=30)
        fused = await fuse_title(transport, given, max_segments=limit, timeout_s=30)
        assert float(whole.title @ fused.title) > least
        assert np.linalg.norm(fused.title) == pytest.approx(1, abs=1e-5)
        assert fused.salience.sum() == pytest.approx(1, abs=1e-4)
    await transport.close()


async def test_a_segment_is_completed_as_it_is_in_its_title(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    given = rows(50)
    inputs = {"BLOCKS": given.blocks, "PRESENT": given.present, "TIMES": given.times_s}
    together = await transport.infer("title_fusion", inputs, ("SEGMENTS",), timeout_s=30)
    for row in (0, 7, 49):
        a, b, c = given.present[row]
        alone = await complete_segment(transport, given.blocks[row], (a, b, c), timeout_s=30)
        np.testing.assert_allclose(alone, together["SEGMENTS"][row], atol=1e-6)
    await transport.close()


@pytest.mark.parametrize("n", [1, 2, 1024])
async def test_one_request_takes_up_to_the_limit(server: TritonServer, n: int) -> None:
    transport = TritonTransport(server.grpc_address)
    fused = await fuse_title(transport, rows(n), max_segments=1024, timeout_s=60)
    assert fused.salience.shape == (n,)
    assert np.isfinite(fused.title).all()
    await transport.close()


async def test_a_title_is_the_same_whenever_its_clock_began(embedder: Embedder) -> None:
    """That of a live feed may count from years ago, where float32 has steps of two windows."""
    began_s = 9 * 365 * 86_400.0
    segments = [make_segment(index) for index in range(8)]
    later = [replace(s, start_s=began_s + 8 * s.index, end_s=began_s + 8 * s.index + 8) for s in segments]
    now, then = await embedder.fuse(segments), await embedder.fuse(later)
    assert np.array_equal(now.title, then.title)
    assert [s.salience for s in now.segments] == [s.salience for s in then.segments]
