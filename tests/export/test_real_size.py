"""Every kind of pretrained encoder at the size of its published checkpoint, random weights.

Run with `make test-real-size`; it prints the table of docs/families.md. Not part of `make test`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from resonance.export import contract
from resonance.export.build import _quiet_exporter
from resonance.export.onnx_export import cpu_session, export_graph, make_inputs
from tests.export import random_checkpoints, references
from tests.export.test_pretrained import CARDS, prepared, vectors

pytestmark = pytest.mark.real_size

NAMES = (
    "siglip-base", "siglip2-base-text", "clip-base", "clap", "clap-fused", "minilm", "e5-base", "bge-m3",
)  # fmt: skip
#: Items a timed request holds: one picture, one window of sound, one row of tokens.
AXES = {"frames": 1, "tokens": 64}
TIMED_S = 5.0


@pytest.mark.parametrize("name", NAMES)
def test_real_size(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = CARDS[name]
    folder = random_checkpoints.MAKERS[card.checkpoint](tmp_path / "checkpoint", random_checkpoints.REAL)
    ours, reference, projection = vectors(card, folder)
    matrix = projection.weight.detach().numpy().astype(np.float64)
    cosine = (references.unit_rows(ours) * references.unit_rows(reference @ matrix.T)).sum(1).min()
    assert cosine >= 0.9999

    graph, _ = prepared(card, folder)
    path = tmp_path / "model.onnx"
    with _quiet_exporter():
        report = export_graph(graph, path)

    session = cpu_session(path)
    inputs = make_inputs(contract.model(graph.model), batch=1, seed=3, axes=AXES)
    session.run(None, inputs)
    started, runs = time.monotonic(), 0
    while time.monotonic() - started < TIMED_S or runs < 3:
        session.run(None, inputs)
        runs += 1
    rate = runs / (time.monotonic() - started)

    worst = max(t.max_abs for t in report.tensors if not t.name.endswith("SIGNALS"))
    with capsys.disabled():
        print(
            f"\n| {name} | {report.parameters / 1e6:.1f} | {report.size_bytes / 1e6:.0f} | "
            f"{1 - cosine:.0e} | {worst:.0e} | {report.seconds:.0f} | {rate:.2f} |"
        )
