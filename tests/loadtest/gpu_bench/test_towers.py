"""Towers, their variants and rows: the arithmetic is right, and what fails loses its own row."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resonance.loadtest.gpu_bench import (
    aoti_part,
    encoders,
    measure,
    pipeline,
    profile_part,
    towers_part,
)
from resonance.loadtest.gpu_bench.attention import warm
from resonance.loadtest.gpu_bench.encoders import QUICK, REAL, Encoder, encoder
from resonance.loadtest.gpu_bench.flops import counted, tiles_filled
from resonance.loadtest.gpu_bench.htsat import Htsat, join, shift_mask, split
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.timing import Deadline, StageClock
from resonance.loadtest.gpu_bench.towers import fuse_activations
from resonance.loadtest.gpu_bench.towers_part import measure_compiled, measure_towers, tuned_ways, ways
from resonance.loadtest.gpu_bench.variants import ENDS, compiled
from tests.loadtest.gpu_bench.small import bench


@pytest.mark.parametrize("tower", [*REAL, *QUICK], ids=lambda e: e.name)
def test_the_formula_counts_what_torch_counts(tower: Encoder) -> None:
    assert tower.flops == tower.counted_flops()


@pytest.mark.parametrize("name", ["siglip-b16", "clip-b32", "clip-l14", "minilm-l6", "e5-base", "clap-htsat"])
def test_towers_have_the_parameters_and_products_of_transformers(name: str) -> None:
    import transformers as t

    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    with torch.device("meta"):
        reference = {
            "siglip-b16": lambda: t.SiglipVisionModel(t.SiglipVisionConfig()),
            "clip-b32": lambda: t.CLIPVisionModelWithProjection(t.CLIPVisionConfig()),
            "clip-l14": lambda: t.CLIPVisionModelWithProjection(
                t.CLIPVisionConfig(patch_size=14, num_attention_heads=16, projection_dim=768, **large)
            ),
            "minilm-l6": lambda: t.BertModel(
                t.BertConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=6),
                add_pooling_layer=False,
            ),
            "e5-base": lambda: t.XLMRobertaModel(
                t.XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1),
                add_pooling_layer=False,
            ),
            "clap-htsat": lambda: t.ClapAudioModelWithProjection(t.ClapAudioConfig()),
        }[name]().eval()
        ours = encoder(name).shell()
    inputs = encoder(name).inputs(1, 0).to("meta")
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in reference.parameters())
    assert counted(reference, (inputs,)) == encoder(name).flops


def test_windows_come_back_and_a_shifted_window_sees_no_other_side() -> None:
    grid = torch.arange(2 * 8 * 8 * 3.0).view(2, 8, 8, 3)
    assert torch.equal(join(split(grid, 4), 8, 4), grid)
    mask = shift_mask(8, 4, 2)  # (4, 16, 16)
    assert not mask[0].any()  # the first window has not been wrapped
    assert (mask[3] < 0).any()
    assert torch.equal(mask, mask.transpose(1, 2))


def test_a_rate_above_the_matrix_rate_is_an_error_and_no_figure() -> None:
    tower = encoder("quick-bert")
    reference = tower.build()
    true, absurd = bench(1e3), bench(1e-9)
    for b in (true, absurd):
        b.measure(tower, "eager", reference, 3, reference)
    assert len(true.result.rows) == 1
    assert not true.result.errors
    assert absurd.result.rows == []
    assert "is above the matrix rate of 1e-09" in absurd.result.errors[0]


def test_a_tower_that_is_not_equal_to_fp32_is_an_error() -> None:
    tower = encoder("quick-siglip")
    b, reference = bench(1e3), tower.build()

    def other(x: torch.Tensor) -> torch.Tensor:
        out = reference(x)
        return out + 0.3 * torch.randn(out.shape)

    b.measure(tower, "noisy", other, 3, reference)
    assert "with fp32 (at least 0.999)" in b.result.errors[0]


class Refusing(torch.nn.Module):
    """A tower that one batch fails in."""

    def __init__(self, module: torch.nn.Module, batch: int) -> None:
        super().__init__()
        self.module, self.batch = module, batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == self.batch:
            raise RuntimeError("No execution plans support the graph")
        out: torch.Tensor = self.module(x)
        return out


def test_a_batch_that_fails_loses_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_refusal(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
        for suffix, way in ways(module):
            yield suffix, Refusing(way, 1) if suffix == "" else way

    monkeypatch.setattr(towers_part, "ways", with_a_refusal)
    found = bench(1e3)
    tower = encoder("quick-bert")
    measure_towers(found, [tower])
    rows = [(row["variant"], row["batch"]) for row in found.result.rows]
    fused = "eager, activation fused"
    assert rows == [(fused, 1), ("eager", 3), (fused, 3)]
    (error,) = found.result.errors
    assert error == "quick-bert, eager, batch 1: RuntimeError: No execution plans support the graph"


def test_a_capture_that_is_refused_loses_the_row_of_the_graph_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the GPU, with everything that needs one put aside."""
    measured: list[tuple[str, int]] = []

    def refuse(run: Any, example: torch.Tensor) -> Any:
        if len(example) == 1:
            raise RuntimeError("operation not permitted when stream is capturing")
        return run

    monkeypatch.setattr(towers_part, "graphed", refuse)
    monkeypatch.setattr(measure, "device_lost", lambda device: False)
    monkeypatch.setattr(Bench, "place", lambda self, x: x)
    monkeypatch.setattr(Encoder, "inputs", lambda self, batch, seed, device: torch.zeros(batch, 1))
    monkeypatch.setattr(Bench, "measure", lambda self, e, name, run, batch, _: measured.append((name, batch)))
    found = bench(1e3)
    found.device = "cuda"
    for batch in (1, 8, 512):
        towers_part.measure_both(
            found, QUICK[0], ("eager", "CUDA graph"), torch.nn.Identity(), batch, torch.nn.Identity()
        )
    assert measured == [("eager", 1), ("eager", 8), ("CUDA graph", 8), ("eager", 512)]
    (error,) = found.result.errors
    assert error.startswith("quick-siglip, CUDA graph, batch 1: RuntimeError: operation not permitted")


def test_a_batch_that_fails_in_a_package_loses_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = encoder("quick-bert")
    monkeypatch.setattr(aoti_part, "load_package", lambda file, device: Refusing(tower.build(), 1))
    found = bench(1e3)
    aoti_part._measure(found, tower, Path("none.pt2"), dynamic=True)
    assert [row["batch"] for row in found.result.rows] == [3]
    assert [e.split(":")[0] for e in found.result.errors] == ["quick-bert, AOTI, batch 1"]


class WantsOtherAttention(torch.nn.Module):
    """A tower that cuDNN's attention has no plan for."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *x: torch.Tensor) -> Any:
        if torch.backends.cuda.cudnn_sdp_enabled():
            raise RuntimeError("No execution plans support the graph.")
        return self.module(*x)


@pytest.fixture
def cudnn_attention() -> Iterator[None]:
    yield
    torch.backends.cuda.enable_cudnn_sdp(True)


REFUSED = "it refuses (RuntimeError: No execution plans support the graph.), so another one is measured"


@pytest.mark.usefixtures("cudnn_attention")
def test_a_tower_that_cudnn_refuses_is_measured_without_and_the_next_one_with() -> None:
    allowed: list[bool] = []

    class Watched(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> Any:
            allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
            return self.module(x)

    tower = encoder("quick-htsat")
    found = bench(1e3)
    _, module = found.towers(replace(tower, shell=lambda: WantsOtherAttention(tower.shell())))
    assert found.result.skipped == [f"quick-htsat, cuDNN's attention: {REFUSED}"]
    with torch.inference_mode():
        assert module(tower.inputs(1, 0)).isfinite().all()
    found.towers(replace(tower, shell=lambda: Watched(tower.shell())))
    assert allowed == [True]
    assert len(found.result.skipped) == 1


@pytest.mark.usefixtures("cudnn_attention")
def test_segments_that_cudnn_refuses_become_vectors_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(size: Any) -> torch.nn.Module:
        return WantsOtherAttention(Htsat(size))

    monkeypatch.setattr(pipeline, "Htsat", other)
    notes: list[str] = []
    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=notes.append)
    assert notes == [f"segments to vectors, cuDNN's attention: {REFUSED}"]
    frames, pcm = np.zeros((2, 4, 224, 224, 3), np.uint8), np.zeros((2, 128_000), np.float32)
    vectors = built.vectors(frames, pcm, built.ids(2), StageClock("cpu"))
    assert vectors.isfinite().all()


@pytest.mark.usefixtures("cudnn_attention")
@pytest.mark.parametrize("always", [False, True])
def test_a_package_that_fails_to_compile_is_tried_once_more_without_cudnn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, always: bool
) -> None:
    tried: list[bool] = []

    def compile_package(*arguments: Any, **options: Any) -> None:
        tried.append(torch.backends.cuda.cudnn_sdp_enabled())
        if always or tried[-1]:
            raise KeyError("aten._scaled_dot_product_cudnn_attention")

    monkeypatch.setattr(aoti_part, "compile_package", compile_package)
    monkeypatch.setattr(aoti_part, "die_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", ["", "quick-bert", str(tmp_path / "a.pt2"), "cpu", "float32"])
    if always:
        with pytest.raises(KeyError):
            aoti_part.main()
    else:
        aoti_part.main()
    assert tried == [True, False]
    log = tmp_path / "0.log"
    log.write_text(capsys.readouterr().err)
    notes = aoti_part._notes(log)
    refused = "it refuses (KeyError: 'aten._scaled_dot_product_cudnn_attention'), so another one is measured"
    assert notes == ([] if always else [f"quick-bert, compiling, cuDNN's attention: {refused}"])


@pytest.mark.usefixtures("cudnn_attention")
def test_what_fails_without_cudnn_too_has_it_back() -> None:
    def broken() -> None:
        raise RuntimeError(f"out of luck with {torch.backends.cuda.cudnn_sdp_enabled()}")

    notes: list[str] = []
    with pytest.raises(RuntimeError, match="out of luck with True"):
        warm(broken, "cpu", "a tower", notes.append)
    assert notes == []
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_parity_on_inputs_that_do_not_matter_is_an_error() -> None:
    tower = encoder("quick-siglip")
    b = bench(1e3)

    def constant(x: torch.Tensor) -> torch.Tensor:
        return torch.ones(x.shape[0], 8)

    b.measure(tower, "constant", constant, 3, constant)  # type: ignore[arg-type]
    assert "parity shows nothing" in b.result.errors[0]


@pytest.mark.parametrize(
    ("apart", "wrong", "shows_something"),
    [
        (0.012, 2e-5, True),  # HTSAT, in bf16
        (0.002, 2e-5, True),
        (0.012, 9e-4, True),
        (0.002, 9e-4, False),  # within what fp32 allows, and nearly as far as another input
        (1e-7, 0.0, False),
    ],
)
def test_parity_is_held_against_how_far_inputs_are_apart(
    monkeypatch: pytest.MonkeyPatch, apart: float, wrong: float, shows_something: bool
) -> None:
    monkeypatch.setattr(measure, "parity", lambda run, reference, x: (1 - wrong, 1 - apart))
    found, tower = bench(1e3), encoder("quick-bert")
    found.measure(tower, "eager", tower.build(), 3, torch.nn.Identity())
    assert ("parity shows nothing" in " ".join(found.result.errors)) is not shows_something
    assert len(found.result.errors) == (not shows_something)
    assert found.result.rows[0]["error_of_distance"] == pytest.approx(wrong / apart)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("quick-siglip", 2e-3), ("quick-bert", 1e-5), ("quick-clip", 1e-5)]
)
def test_a_fused_activation_is_that_activation(name: str, tolerance: float) -> None:
    """On the CPU the fused product takes the exact GELU, so a tower with the tanh one moves a little."""
    tower = encoder(name)
    plain_tower, fused = tower.build(), tower.build()
    assert fuse_activations(fused)
    x = tower.inputs(3, 1)
    want, got = plain_tower(x), fused(x)
    torch.testing.assert_close(got, want, atol=tolerance, rtol=0)
    if name == "quick-siglip":
        assert not torch.equal(got, want)


def test_a_tower_of_other_layers_has_no_fused_variant() -> None:
    module = encoder("quick-htsat").build()
    assert [suffix for suffix, _ in ways(module)] == [""]


@pytest.mark.parametrize("tower", QUICK, ids=lambda e: e.name)
def test_a_tower_is_the_same_each_time_and_inputs_are_those_of_their_seed(tower: Encoder) -> None:
    """Packages are compiled in other processes, and compared with a tower that is built here."""
    one, other = tower.build().state_dict(), tower.build("cpu").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(tower.inputs(3, 7), tower.inputs(3, 7, "cpu"))
    assert not torch.equal(tower.inputs(3, 7), tower.inputs(3, 8))


@pytest.mark.parametrize("name", ["quick-siglip", "quick-clip"])
def test_patches_are_the_convolution_and_lie_in_order(name: str) -> None:
    tower = encoder(name)
    module = tower.build()
    x = tower.inputs(2, 1)
    rows = module.patches(x)  # type: ignore[operator]
    convolved = module.patch(x).flatten(2).transpose(1, 2)  # type: ignore[operator]
    torch.testing.assert_close(rows, convolved, atol=1e-5, rtol=0)
    assert rows.is_contiguous()


def test_graphs_of_the_profile_come_in_the_order_that_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from resonance.export.families.tiny import TINY

    tried: list[str] = []

    def measured(found: Bench, name: str, folder: Path, max_autotune: bool) -> None:
        tried.append(name)
        if name == "audio_encoder":
            raise RuntimeError("no kernel image")

    monkeypatch.setattr(profile_part, "_measure", measured)
    monkeypatch.setattr("resonance.export.aoti_compile.check_compiler", lambda device: None)
    found = bench(0.0)
    found.quick, found.deadline = False, Deadline(600)
    profile_part.measure_profile(found, max_autotune=False)
    assert tried == ["visual_encoder", "audio_encoder", "transcript_encoder", "title_fusion"]
    assert set(tried) == {card.model for card in TINY.graphs}
    assert found.result.errors == ["audio_encoder: RuntimeError: no kernel image"]


def test_what_the_compiler_lacks_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = bench(1e3)
    measure_compiled(found, QUICK, max_autotune=False)
    assert found.result.errors == found.result.rows == []
    assert found.result.skipped == ["everything: torch.compile needs no-such-compiler, and none is here"]
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme=None: "/nowhere")
    measure_compiled(found, QUICK, max_autotune=False)
    assert found.result.errors == found.result.rows == []
    assert found.result.skipped[1].startswith("everything: /nowhere has no Python.h")


def test_the_bar_that_needs_tuning_is_tuned_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(e.name, suffix) for e, suffix in tuned_ways(REAL)] == [
        ("clip-l14", ", activation fused"),
        ("siglip-b16", ""),
    ]
    assert tuned_ways([encoder("minilm-l6")]) == []
    small = [
        replace(encoder("quick-siglip"), name="siglip-b16"),
        replace(encoder("quick-clip"), name="clip-l14"),
    ]
    monkeypatch.setattr(towers_part, "no_compiler", lambda device: "")
    tuned: list[bool] = []

    def as_it_is(module: torch.nn.Module, *, max_autotune: bool) -> torch.nn.Module:
        tuned.append(max_autotune)
        return module

    monkeypatch.setattr(towers_part, "compiled", as_it_is)
    found = bench(1e3)
    found.quick, found.deadline = False, Deadline(600)
    measure_compiled(found, small, max_autotune=True)
    rows = [(row["encoder"], row["variant"]) for row in found.result.rows]
    fused = "compiled, activation fused"
    plain_rows = [(name, way) for name in ("siglip-b16", "clip-l14") for way in (fused, "compiled")]
    best = [("clip-l14", f"{fused}, max-autotune"), ("siglip-b16", "compiled, max-autotune")]
    tuned_rows = [row for row in best for _ in range(2)]  # at two batches
    assert rows == plain_rows + tuned_rows
    assert tuned == [False] * 4 + [True] * 4
    found.result.rows.clear()
    measure_compiled(found, small, max_autotune=False, tuned_only=True)
    assert [(row["encoder"], row["variant"]) for row in found.result.rows] == tuned_rows


def test_a_small_tower_is_compiled_whole_and_a_deep_one_by_layer_with_its_ends() -> None:
    with torch.device("meta"):
        small, deep = (compiled(encoder(name).shell()) for name in ("minilm-l6", "clip-l14"))
    under_compiler = {name for name, m in small.named_modules() if m._compiled_call_impl is not None}
    assert under_compiler == {""}
    under_compiler = {name for name, m in deep.named_modules() if m._compiled_call_impl is not None}
    assert under_compiler == {f"blocks.{i}" for i in range(24)}
    for name in ENDS:
        assert vars(deep)[name] is not None  # in the place of the class's own
        assert name not in vars(small)


def test_towers_have_equal_shares_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []
    monkeypatch.setattr(towers_part, "no_compiler", lambda device: "")
    monkeypatch.setattr(
        towers_part, "_measure_compiled", lambda found, *_, **__: left.append(found.deadline.left())
    )
    found = bench(1e3)
    found.quick, found.deadline = False, Deadline(300)
    measure_compiled(found, REAL[:3], max_autotune=True)
    # nothing is used here, so the second has half of all; what is tuned has all that is left
    assert left == pytest.approx([100, 150, 300, 300, 300], abs=1)


@pytest.mark.parametrize(
    ("name", "size", "batch", "filled"),
    [
        ("siglip-b16", encoders.SIGLIP_B16, 28, 0.97),
        ("siglip-b16", encoders.SIGLIP_B16, 256, 0.99),
        ("clip-l14", encoders.CLIP_L14, 16, 0.97),
        ("clip-l14", encoders.CLIP_L14, 32, 0.97),
        ("minilm-l6", encoders.MINILM, 132, 0.86),
        ("minilm-l6", encoders.MINILM, 128, 0.83),
        ("clip-b32", encoders.CLIP_B32, 112, 0.99),
        ("e5-base", encoders.E5_BASE, 44, 1.0),
    ],
)
def test_batches_fill_the_gpu_as_their_table_says(name: str, size: Any, batch: int, filled: float) -> None:
    assert batch in encoder(name).batches
    assert tiles_filled(size.tokens * batch, size.width, size.mlp) == pytest.approx(filled, abs=0.005)


def test_one_picture_more_than_a_wave_holds_costs_a_wave() -> None:
    width, mlp = 256, 256
    assert tiles_filled(132 * 128, width, mlp) == 1
    assert tiles_filled(132 * 128 + 1, width, mlp) == pytest.approx(
        (3 + 1 + 1 + 1) / (4 + 2 + 2 + 2), abs=1e-3
    )
    first = tiles_filled(encoders.SIGLIP_B16.tokens * 28, 768, 3072)
    assert first > 1.3 * tiles_filled(encoders.SIGLIP_B16.tokens * 32, 768, 3072)
