"""AOTInductor packages: judged like every artifact, and refused by name where they cannot run."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.export import aoti, contract
from resonance.export.aoti_cli import served_space
from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE
from resonance.export.axes import DEFAULT_AXES
from resonance.export.cards import GraphCard, Tolerance
from resonance.export.families.tiny import TINY
from resonance.export.graphs.lowered import lowered
from resonance.export.graphs.pooling import unit
from resonance.export.onnx_export import ExportError, make_inputs
from resonance.export.weights import weights_sha256
from resonance.serving.backends.aoti import runner
from resonance.serving.backends.aoti.runner import PackageError, Runner
from resonance.space.descriptor import BLOCK_WIDTH, Descriptor

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="AOTInductor needs a C++ compiler"
)


class SmallText(nn.Module):
    """Pooled embeddings: compiles in seconds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder = nn.Embedding(300, 16)
        self.projection = nn.Linear(16, BLOCK_WIDTH, bias=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weight = mask.to(torch.float32).unsqueeze(-1)
        return unit(self.projection((self.encoder(ids) * weight).sum(1)))


class LoudText(SmallText):
    """As a graph that no precision can hold: its rows depend on their batch."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return unit(super().forward(ids, mask) + 0.1 * super().forward(ids, mask).mean(0))


def card(build: type[nn.Module]) -> GraphCard:
    return GraphCard(
        "transcript_encoder",
        build,
        ("ids", "mask"),
        {},
        "made up",
        "none",
        {"TRANSCRIPT": Tolerance(1e-5, 0.99999)},
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / AOTI_PACKAGE
    report = aoti.package_graph(card(SmallText), path, [], device="cpu")
    aoti.write_note(path, report, card(SmallText), device="cpu", source="nothing")
    return path


@needs_compiler
def test_a_package_has_a_record_like_every_artifact(package: Path) -> None:
    note = json.loads(package.with_name(AOTI_NOTE).read_text())
    assert note["artifact"] == note["chosen"] == "aoti-fp32"
    assert note["built_for"]["device"] == "cpu"
    assert note["built_for"]["torch"] == torch.__version__
    assert note["trials"][0]["min_cosine"] >= 0.9999
    assert note["trials"][0]["refused"] == []


@needs_compiler
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64])
def test_the_runner_gives_what_torch_gives_at_any_batch(package: Path, batch: int) -> None:
    inputs = make_inputs(contract.model("transcript_encoder"), batch=batch, seed=batch, axes={"tokens": 32})
    tensors = [torch.from_numpy(inputs[name]) for name in ("IDS", "MASK")]
    (found,) = Runner(str(package), "cpu", batched=True).run(tensors)
    with torch.inference_mode():
        np.testing.assert_allclose(found, SmallText().eval()(*tensors), atol=1e-6)


class Replay:
    """Stands in for a CUDA graph: runs the same call on the same tensors, into the same outputs."""

    def __init__(self, call, inputs: list[torch.Tensor]) -> None:
        self._call, self.inputs, self.outputs = call, inputs, call(inputs)

    def replay(self) -> None:
        for place, value in zip(self.outputs, self._call(self.inputs), strict=True):
            place.copy_(value)


@needs_compiler
def test_batches_run_in_the_smallest_graph_that_holds_them(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[int] = []

    def capture(call, inputs: list[torch.Tensor], place: object) -> runner.Captured:
        captured.append(inputs[0].shape[0])
        graph = Replay(call, inputs)
        return runner.Captured(graph, graph.inputs, graph.outputs)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "capture", capture)
    monkeypatch.setattr(runner, "MOST_GRAPHS", 2)
    graphed = Runner(str(package), "cpu", batched=True)
    graphed._graph_batches = [1, 4]  # as on a GPU
    model, torch_model = contract.model("transcript_encoder"), SmallText().eval()
    for batch, tokens in ((3, 32), (4, 32), (1, 32), (2, 32), (5, 32), (3, 64), (2, 32)):
        inputs = make_inputs(model, batch=batch, seed=batch, axes={"tokens": tokens})
        tensors = [torch.from_numpy(inputs[name]) for name in ("IDS", "MASK")]
        (found,) = graphed.run(tensors)
        with torch.inference_mode():
            np.testing.assert_allclose(found, torch_model(*tensors), atol=1e-6)
    # 4 x 32 first; 1 x 32; five rows have no graph; 4 x 64 drops 1 x 32, the longest unused
    assert captured == [4, 1, 4]
    assert len(graphed._graphs) == 2


@needs_compiler
def test_a_graph_whose_rows_depend_on_their_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(aoti.AotiError, match=r"no precision holds on cpu.*a row alone and in a batch"):
        aoti.package_graph(card(LoudText), tmp_path / AOTI_PACKAGE, [], device="cpu")
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"torch": "1.0"}, "was built for torch 1.0, here"),
        ({"device": "cuda"}, "was built for device cuda, here cpu"),
        ({"cpu": "Z80"}, "was built for cpu Z80, here"),
    ],
)
def test_a_package_of_another_place_is_refused(package: Path, tmp_path: Path, change, reason) -> None:
    note = json.loads(package.with_name(AOTI_NOTE).read_text())
    note["built_for"] |= change
    copy = tmp_path / AOTI_PACKAGE
    copy.write_bytes(package.read_bytes())
    copy.with_name(AOTI_NOTE).write_text(json.dumps(note))
    with pytest.raises(PackageError, match=reason) as caught:
        Runner(str(copy), "cpu", batched=True)
    assert "resonance export FAMILY --target aoti" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def space() -> Descriptor:
    return TINY.describe({graph.model: weights_sha256(graph.build()) for graph in TINY.graphs})


@pytest.mark.parametrize("changed", ["", "transcript_encoder", "visual_encoder"])
def test_packages_are_made_beside_the_same_space_alone(
    changed: str, space: Descriptor, tmp_path: Path
) -> None:
    """Equal weights are not enough: a tokenizer or constants of preprocessing make another space."""
    if changed:
        encoder = space.encoders[changed]
        other = replace(encoder, preprocessing={**encoder.preprocessing, "one more": 1})
        space = replace(space, encoders={**space.encoders, changed: other})
    path = tmp_path / "space_descriptor" / "1" / "space.json"
    path.parent.mkdir(parents=True)
    path.write_text(space.to_json())
    assert (served_space(TINY, tmp_path) is None) == bool(changed)


@pytest.mark.parametrize("asked", ["nothing", "--axes", "--int8"])
def test_axes_and_int8_are_made_though_the_space_stands_there(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*args: object, **named: object) -> None:
        raise ExportError("exported first")

    monkeypatch.setattr("resonance.export.build.export_family", reached)
    monkeypatch.setattr("resonance.export.aoti_cli.export_packages", lambda *args: True)
    options = {"nothing": [], "--axes": ["--axes", str(DEFAULT_AXES)], "--int8": ["--int8"]}[asked]
    arguments = ["export", "tiny", "--target", "aoti", "--model-repository", str(tmp_path), *options]
    result = CliRunner().invoke(make_app(), arguments)
    assert (result.exit_code, "exported first" in result.output) == (
        (0, False) if asked == "nothing" else (1, True)
    )


def test_a_missing_or_broken_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / AOTI_PACKAGE
    with pytest.raises(PackageError, match=r"model\.pt2 is missing"):
        Runner(str(path), "cpu", batched=True)
    path.write_bytes(b"no archive")
    with pytest.raises(PackageError, match=r"artifact\.aoti\.json is missing"):
        Runner(str(path), "cpu", batched=True)
    path.with_name(AOTI_NOTE).write_text("{}")
    with pytest.raises(PackageError, match="is no record of a package"):
        Runner(str(path), "cpu", batched=True)
    path.with_name(AOTI_NOTE).write_text(json.dumps({"built_for": aoti.built_for("cpu")}))
    with pytest.raises(PackageError, match="cannot be loaded"):
        Runner(str(path), "cpu", batched=True)


def test_a_process_of_the_second_gpu_takes_nothing_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch does on the current GPU, such as waiting for it before a capture, makes a context there."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(runner.GraphPlace, "of", lambda device: None)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path, **options: options["device_index"])
    path = tmp_path / AOTI_PACKAGE
    path.write_bytes(b"no archive")
    path.with_name(AOTI_NOTE).write_text(json.dumps({"built_for": aoti.built_for("cuda")}))
    assert Runner(str(path), "cuda:1", batched=True)._package == 1
    assert current == [torch.device("cuda:1")]


@pytest.mark.parametrize("weights", ["space's", "other", "of a model that the space does not have"])
def test_a_package_of_another_space_is_refused(weights: str, space: Descriptor, tmp_path: Path) -> None:
    """What another export left, or a copy brought here, would be served under this space's fingerprint."""
    model = "my_model" if weights.startswith("of a model") else "transcript_encoder"
    descriptor, path = tmp_path / runner.SPACE, tmp_path / model / "1" / AOTI_PACKAGE
    for file in (descriptor, path):
        file.parent.mkdir(parents=True)
    descriptor.write_text(space.to_json())
    path.write_bytes(b"no archive")
    came = space.encoders["transcript_encoder"].weights_sha256 if weights == "space's" else "f" * 64
    note = {"built_for": aoti.built_for("cpu"), "weights_sha256": came}
    path.with_name(AOTI_NOTE).write_text(json.dumps(note))
    wanted = space.encoders["transcript_encoder"].weights_sha256[:12]
    reason = f"has the weights ffffffffffff, and .* says {wanted} of transcript_encoder; build it"
    with pytest.raises(PackageError, match=reason if weights == "other" else "cannot be loaded"):
        Runner(str(path), "cpu", batched=True)


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(aoti.AotiError, match=r"'no-such-compiler' is not on PATH; install a compiler"):
        aoti.check_compiler("cpu")


def test_without_a_gpu_the_gpu_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert aoti.choose_device("auto") == "cpu"
    with pytest.raises(aoti.AotiError, match="sees no NVIDIA GPU here; use --device cpu"):
        aoti.choose_device("cuda")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_tower_of_tiny_runs_in_half_precision_and_stays_near(dtype: torch.dtype) -> None:
    for graph in TINY.graphs:
        model = contract.model(graph.model)
        inputs = make_inputs(model, batch=3, seed=5)
        tensors = [torch.from_numpy(inputs[t.name]) for t in model.inputs]
        with torch.inference_mode():
            want = graph.build().eval()(*tensors)
            got = lowered(graph.build().eval(), dtype)(*tensors)
        want, got = (x if isinstance(x, tuple) else (x,) for x in (want, got))
        for a, b, tensor in zip(want, got, model.outputs, strict=True):
            assert b.dtype is torch.float32, tensor.name
            worst = nn.functional.cosine_similarity(torch.atleast_2d(a), torch.atleast_2d(b)).min()
            assert worst > 0.99, (graph.model, tensor.name)
