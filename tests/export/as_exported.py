"""Exports whose graphs are those of `make export`: what comes after them is what a test is about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resonance.export.cards import GraphCard, GraphReport
from resonance.export.onnx_files import files_of, size_of
from resonance.export.weights import count_parameters, weights_sha256


@contextmanager
def graphs_of(repository: Path) -> Iterator[None]:
    """Let `export_family` take each graph from `repository` instead of making it."""

    def copied(card: GraphCard, path: Path) -> GraphReport:
        path.parent.mkdir(parents=True)
        for part in files_of(repository / card.model / "1" / "model.onnx"):
            shutil.copy(part, path.parent)
        module = card.build()
        return GraphReport(
            card.model,
            parameters=count_parameters(module),
            size_bytes=size_of(path),
            seconds=0.0,
            weights_sha256=weights_sha256(module),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resonance.export.build.export_graph", copied)
        yield
