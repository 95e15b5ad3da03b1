"""The sync embedder has the async one's methods and parameters, and gives the same vectors."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding
from resonance.clients.sync import SyncEmbedder
from resonance.serving.server import TritonServer


def public(kind: type) -> dict[str, list[tuple[str, object, object]]]:
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_sync_is_in_step_with_async() -> None:
    assert public(SyncEmbedder) == public(Embedder)


def test_sync_embeds_and_streams(server: TritonServer, media: Path) -> None:
    path = media / "video" / "transcode_elf_hevc_aac.mp4"
    with SyncEmbedder(server.grpc_address) as embedder:
        whole = embedder.embed(path)
        *_, last = embedder.stream(path)
        for _ in embedder.stream(path):
            break  # leaving early must neither hang nor leak
        assert isinstance(last, MediaEmbedding)
        np.testing.assert_allclose(last.title, whole.title, atol=1e-6)
        assert embedder.space().fingerprint == whole.space.fingerprint
