"""Titles of stored segments that know other axes than the space has; found by fuzzing FuseTitle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.pipeline import fuse_segments
from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import TritonTransport
from resonance.serving.server import TritonServer


async def test_axes_that_stored_segments_lack_are_read_off_their_vectors(
    server: TritonServer, embedder: Embedder
) -> None:
    article = " ".join(f"The {n} boats leave the harbour while it rains." for n in range(120))
    whole = await embedder.embed_text(article)
    assert whole.axes
    assert len(whole.segments) > 1
    forgotten = [
        replace(s, axes={}) if s.index % 2 else replace(s, axes={"other": 0.5}) for s in whole.segments
    ]
    transport = TritonTransport(server.grpc_address)
    try:
        served = ServedSpace(transport, timeout_s=30.0)
        fused = await fuse_segments(
            transport, served, await served.ask(), forgotten, media="article", timeout_s=30.0
        )
    finally:
        await transport.close()
    assert fused.axes.keys() == whole.axes.keys()
    for name, axis in whole.axes.items():
        assert fused.axes[name].value == pytest.approx(axis.value, abs=1e-6)
