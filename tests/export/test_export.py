"""What `make export` made: every graph equals torch, and rows do not see each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from resonance.export import contract, onnx_export
from resonance.export.cards import FamilyCard, GraphCard, Tolerance
from resonance.export.families import FAMILIES
from resonance.export.onnx_export import (
    TRIMMED_BY_KEY,
    ExportError,
    cpu_session,
    export_graph,
    make_inputs,
    validate,
)
from resonance.export.weights import seed_weights, weights_sha256
from resonance.space.descriptor import Descriptor
from tests.export.test_aoti import SmallText, card


@pytest.mark.parametrize("graph", FAMILIES["tiny"].graphs, ids=lambda graph: graph.model)
def test_the_graph_in_the_repository_equals_torch(graph: GraphCard, model_repository: Path) -> None:
    path = model_repository / graph.model / "1" / "model.onnx"
    model = contract.model(graph.model)
    tensors = validate(graph.build().eval(), model, path, graph.tolerance)
    assert [tensor.name for tensor in tensors] == [output.name for output in model.outputs]
    for tensor in tensors:
        assert tensor.max_abs <= graph.tolerance[tensor.name].max_abs
        assert tensor.min_cosine >= graph.tolerance[tensor.name].min_cosine
    onnx.checker.check_model(str(path))
    if model.max_batch_size:
        _check_rows_are_independent(model, path)


def _check_rows_are_independent(model: contract.Model, path: Path) -> None:
    session = cpu_session(path)
    inputs = make_inputs(model, batch=5, seed=9)
    together = session.run(None, inputs)
    for i in range(5):
        alone = session.run(None, {name: value[i : i + 1] for name, value in inputs.items()})
        for all_rows, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(all_rows[i], one[0], atol=1e-5 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_family_fills_every_graph_of_the_contract(family: FamilyCard) -> None:
    assert [g.model for g in family.graphs] == [m.name for m in contract.GRAPHS]


def test_a_text_is_itself_in_any_company(model_repository: Path) -> None:
    """Bit for bit; and what the file says may be trimmed changes nothing but rounding."""
    session = cpu_session(model_repository / "transcript_encoder" / "1" / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map[TRIMMED_BY_KEY] == "MASK"
    inputs = make_inputs(contract.model("transcript_encoder"), batch=8, seed=7)
    inputs["MASK"][:, 24:] = 0
    together = session.run(None, inputs)[0]
    for row in range(8):
        alone = session.run(None, {name: array[row : row + 1] for name, array in inputs.items()})[0]
        assert np.array_equal(alone, together[row : row + 1])
    trimmed = session.run(None, {name: array[:, :24] for name, array in inputs.items()})[0]
    np.testing.assert_allclose(trimmed, together, atol=1e-6)
    assert not np.array_equal(together[0], together[1])


def test_tiny_stays_tiny() -> None:
    from resonance.export.weights import count_parameters

    # 1.6 million of them are the table of hashed n-grams, which costs no arithmetic, and 0.4 million read the
    # rhythm; the limit is 12 MB of files, see test_weights_are_small_enough_to_commit
    total = sum(count_parameters(g.build()) for g in FAMILIES["tiny"].graphs)
    assert 2.5e6 < total < 5e6


def test_weights_of_a_seed_are_the_same_twice_and_other_for_another() -> None:
    def made(seed: int) -> str:
        module = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
        seed_weights(module, seed)
        return weights_sha256(module)

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_a_graph_that_differs_is_refused_with_figures(model_repository: Path) -> None:
    graph = next(g for g in FAMILIES["tiny"].graphs if g.model == "transcript_encoder")
    module = graph.build()
    with torch.no_grad():
        module.projection.weight.add_(torch.randn_like(module.projection.weight) * 0.05)
    path = model_repository / graph.model / "1" / "model.onnx"
    with pytest.raises(ExportError, match=r"TRANSCRIPT at batch 1 differs by .*allowed"):
        validate(module, contract.model(graph.model), path, {"TRANSCRIPT": Tolerance(1e-5, 0.99999)})


def test_a_file_with_other_tensors_is_refused_by_name(model_repository: Path) -> None:
    path = model_repository / "audio_encoder" / "1" / "model.onnx"
    graph = next(g for g in FAMILIES["tiny"].graphs if g.model == "transcript_encoder")
    with pytest.raises(ExportError, match=r"inputs are .*PCM.* expected .*IDS"):
        validate(graph.build(), contract.model(graph.model), path, graph.tolerance)


def test_repository_describes_the_space_it_holds(model_repository: Path) -> None:
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    card = FAMILIES[descriptor.name]
    weights = {g.model: weights_sha256(g.build()) for g in card.graphs}
    assert card.describe(weights).fingerprint == descriptor.fingerprint


def test_weights_too_large_for_one_file_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, path = card(SmallText), tmp_path / "model.onnx"
    whole = export_graph(graph, path)
    monkeypatch.setattr(onnx_export, "MOST_INLINE_BYTES", 1000)
    split = export_graph(graph, path)
    beside = tmp_path / "model.onnx.data"
    assert split.size_bytes == path.stat().st_size + beside.stat().st_size
    assert split.weights_sha256 == whole.weights_sha256
    monkeypatch.undo()
    export_graph(graph, path)
    assert not beside.exists(), "what an earlier export left must go"
