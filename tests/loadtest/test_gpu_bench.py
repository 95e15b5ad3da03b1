"""The GPU bench runs here in small form, and its arithmetic is right."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resonance.loadtest.bench import films
from resonance.loadtest.gpu_bench import (
    aoti_part,
    child,
    clocks,
    decode_part,
    encoders,
    end_to_end_part,
    latency_part,
    machine,
    measure,
    media,
    nvdec,
    part,
    pipeline,
    profile_part,
    run,
    towers_part,
)
from resonance.loadtest.gpu_bench.apart import Apart, ApartError
from resonance.loadtest.gpu_bench.attention import warm
from resonance.loadtest.gpu_bench.child import measure_apart
from resonance.loadtest.gpu_bench.encoders import QUICK, REAL, Encoder, encoder
from resonance.loadtest.gpu_bench.flops import counted, tiles_filled
from resonance.loadtest.gpu_bench.htsat import Htsat, join, shift_mask, split
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.media import choose_keyframes
from resonance.loadtest.gpu_bench.part import Job
from resonance.loadtest.gpu_bench.report import Report, one_line, plain
from resonance.loadtest.gpu_bench.results import Journal, PartResult
from resonance.loadtest.gpu_bench.run import CLOSING_S, LAST_S, allowed, bars, main
from resonance.loadtest.gpu_bench.timing import Deadline, StageClock, percentile
from resonance.loadtest.gpu_bench.towers import fuse_activations
from resonance.loadtest.gpu_bench.towers_part import measure_compiled, measure_towers, tuned_ways, ways
from resonance.loadtest.gpu_bench.variants import ENDS, compiled
from resonance.serving.launch import die_with_parent
from resonance.training import tuning
from resonance.training.tuning import ENVIRONMENT


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


def bench(matrix_tflops: float) -> Bench:
    return Bench("cpu", torch.float32, True, matrix_tflops, PartResult(), Deadline(60))


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


class Replayed:
    """In the place of a CUDA graph: does again what was captured, and writes over the output."""

    def __init__(self, call: Any) -> None:
        self.call, self.out = call, call()

    def replay(self) -> None:
        self.out.copy_(self.call())


def test_segments_from_a_graph_are_those_that_were_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(call: Any) -> tuple[Replayed, torch.Tensor]:
        graph = Replayed(call)
        return graph, graph.out

    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    clock, rng = StageClock("cpu"), np.random.default_rng(3)
    assert built.fixed(2, 4, 128_000).fed_by == "launches: no NVIDIA GPU"
    monkeypatch.setattr(pipeline, "has_graphs", lambda device: True)
    monkeypatch.setattr(pipeline, "captured", captured)
    fixed = built.fixed(2, 4, 128_000)
    assert fixed.fed_by == "CUDA graph"
    before = None
    for _ in range(2):
        frames = rng.integers(0, 256, (2, 4, 224, 224, 3), dtype=np.uint8)
        pcm, ids = (0.1 * rng.standard_normal((2, 128_000))).astype(np.float32), built.ids(2)
        want = built.vectors(frames, pcm, ids, StageClock("cpu"))
        torch.testing.assert_close(fixed.run(frames, pcm, ids, clock), want, atol=1e-5, rtol=0)
        assert before is None or not torch.allclose(want, before, atol=1e-3)
        before = want
    assert set(clock.read()) == {"copy", "graph"}


def test_segments_that_cannot_be_captured_are_launched_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(call: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    monkeypatch.setattr(pipeline, "has_graphs", lambda device: True)
    monkeypatch.setattr(pipeline, "captured", refuse)
    monkeypatch.setattr(pipeline, "device_lost", lambda device: False)
    fixed = built.fixed(1, 4, 128_000)
    assert fixed.fed_by.startswith("launches: the capture is refused (RuntimeError: operation not permitted")
    frames, pcm = np.zeros((1, 4, 224, 224, 3), np.uint8), np.zeros((1, 128_000), np.float32)
    assert fixed.run(frames, pcm, built.ids(1), StageClock("cpu")).isfinite().all()


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


def test_bars_take_the_best_variant_and_say_whether_they_are_met() -> None:
    rows = [
        {"encoder": "siglip-b16", "variant": v, "batch": 64, "of_matrix_rate": share, "cosine_fp32": cosine}
        for v, share, cosine in (
            ("eager", 0.4, 0.9999),
            ("compiled", 0.61, 0.9999),
            ("wrong", 0.7, 0.99),
            ("broken", 0.7, float("nan")),
        )
    ]
    parts = {
        "encoders": {"rows": rows},
        "latency": {"rows": [{"p50_ms": 30.0, "bar_ms": 25.0, "film": "1080p H.264", "decoder": "PyAV"}]},
    }
    found = {row["bar"]: row for row in bars(parts)}
    assert found["siglip-b16, share of the matrix rate"]["met"] is True
    assert "compiled" in found["siglip-b16, share of the matrix rate"]["how"]
    assert found["one segment, p50 ms"]["met"] is False
    assert len(found) == 2


def test_keyframes_nearest_to_the_quarters_are_chosen_once_and_in_order() -> None:
    times = [0.0, 2.0, 4.0, 6.0, 6.9, 8.0, 15.0]
    clips = choose_keyframes([(t, t) for t in times], 0.0, 3)
    assert [[t for t, _ in clip] for clip in clips] == [[0.0, 2.0, 4.0, 6.9], [8.0, 15.0], []]


def test_percentiles_and_plain_tables() -> None:
    assert percentile([float(i) for i in range(100)], 0.5) == 50.0
    assert percentile([1.0], 0.95) == 1.0
    assert plain(["a", "bb"], [["ccc", "d"]]) == ["a    bb", "ccc  d "]


def test_quick_runs_every_part_that_needs_no_compiler(tmp_path: Path, capsys) -> None:
    out = tmp_path / "figures.json"
    parts = ["encoders", "end_to_end", "latency", "decode", "tensorrt"]
    arguments = ["--device", "cpu", "--quick", "--out", str(out), "--films", str(tmp_path), "--parts", *parts]
    assert main(arguments) == 0
    figures = json.loads(out.read_text())
    assert figures["environment"]["device"] == "cpu"
    assert set(figures["parts"]) == {"peak", *parts}  # the matrix rate comes along: shares rest on it
    best = max(row["tflops"] for row in figures["parts"]["peak"]["rows"])
    rows = figures["parts"]["encoders"]["rows"]
    assert {row["encoder"] for row in rows} == {e.name for e in QUICK}
    for row in rows:
        assert row["tflops"] <= best * 1.05
        assert row["of_matrix_rate"] == pytest.approx(row["tflops"] / best)
        assert row["cosine_fp32"] >= 0.999
    films = [r for r in figures["parts"]["end_to_end"]["rows"] if r["film"] != "decoded beforehand"]
    samplings = {row["sampling"]: row for row in films}
    assert samplings["uniform"]["frames_decoded_per_s"] > samplings["keyframes"]["frames_decoded_per_s"]
    assert all(row["p95_ms"] >= row["p50_ms"] > 0 for row in figures["parts"]["latency"]["rows"])
    assert any("DALI" in text for text in figures["parts"]["decode"]["skipped"])
    assert any("no NVIDIA GPU" in text for text in figures["parts"]["tensorrt"]["skipped"])
    assert "skipped: everything: no NVIDIA GPU" in capsys.readouterr().out


def test_the_command_keeps_its_memory(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--parts", "peak", "--out", str(out)]
    bare = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    command = [sys.executable, "-m", "resonance.loadtest.gpu_bench", *arguments]
    ran = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(out.read_text())
    assert "MALLOC_MMAP_MAX_=0" in figures["environment"]["memory_kept"]
    assert figures["environment"]["command"].endswith("--parts peak --out " + str(out))
    assert [row["when"] for row in figures["parts"]["peak"]["rows"]] == ["before"] * 2


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch compiles C++ and there is no compiler"
)
def test_quick_runs_the_compilers(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(["--device", "cpu", "--quick", "--out", str(out), "--parts", "compiled", "aoti"]) == 0
    parts = json.loads(out.read_text())["parts"]
    assert [row["variant"] for row in parts["compiled"]["rows"]] == [
        "compiled, activation fused",
        "compiled",
    ]
    assert [row["variant"] for row in parts["aoti"]["rows"]] == ["AOTI: compile", "AOTI", "AOTI"]


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


@pytest.mark.parametrize(("before", "after"), [(100.0, 200.0), (200.0, 100.0)])
def test_shares_are_of_the_higher_of_two_matrix_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: float, after: float
) -> None:
    def rate(found: Bench) -> None:
        later = found.matrix_tflops > 0
        found.result.row({"when": "after" if later else "before", "tflops": after if later else before})

    monkeypatch.setattr(part, "measure_peak", rate)
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--out", str(out), "--parts", "encoders"]
    assert main(arguments) == 0
    figures = json.loads(out.read_text())
    assert figures["matrix_tflops"] == {"before": before, "after": after, "of": 200.0}
    assert [row["tflops"] for row in figures["parts"]["peak"]["rows"]] == [before, after]
    for row in figures["parts"]["encoders"]["rows"]:
        assert row["of_matrix_rate"] == pytest.approx(row["tflops"] / 200)


def test_a_run_without_time_left_says_so_and_keeps_its_file(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = [
        "--device",
        "cpu",
        "--quick",
        "--out",
        str(out),
        "--parts",
        "encoders",
        "--total-seconds",
        "1",
    ]
    assert main(arguments) == 0
    parts = json.loads(out.read_text())["parts"]
    assert parts["encoders"]["skipped"] == ["everything: the run's time is used up"]


def test_the_film_of_the_bars_is_one_as_services_stream_it() -> None:
    """The same rate, grain and encoder as the films that the CPU's figures are measured on."""
    streamed = films.streamed("h264", 1080)
    made_of = {"name": "", "loop_s": 0}
    assert replace(media.FILM, **made_of) == replace(streamed, **made_of)
    assert (
        media.FILM.loop_s % films.SCENE_S == 0
    )  # where the loop begins anew the picture changes as in a cut
    assert media.FILM.loop_s * media.FILM.bit_rate / 8 < 10e6  # and it is made in seconds
    assert set(media.LABELS) == {media.FILM, media.EASY_FILM, media.QUICK_FILM}


@pytest.mark.parametrize(("part_s", "left_s"), [(150.0, 1500.0), (530.0, 560.0), (150.0, 40.0), (150.0, 3.0)])
def test_a_part_is_ended_before_the_run_is(part_s: float, left_s: float) -> None:
    seconds, limit_s = allowed(part_s, left_s)
    assert limit_s + child.GRACE_S <= left_s
    assert seconds <= part_s
    assert limit_s >= seconds + LAST_S


def test_the_commands_for_half_an_hour_are_whole_and_fit_it() -> None:
    text = Path(__file__).parents[2].joinpath("docs/gpu.md").read_text(encoding="utf-8")
    block = text.partition("**Where there are 30 minutes")[2].split("```")[1]
    seconds = []
    for line in block.strip().splitlines():
        start, _, arguments = line.partition(" python3 -m resonance.loadtest.gpu_bench ")
        assert start == "PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH}"
        args = run._parse(shlex.split(arguments))
        assert str(args.out).startswith("$OUT/")
        seconds.append(args.total_seconds)
    assert max(seconds) < 600 - 30
    assert sum(seconds) <= 27 * 60


def test_a_run_has_its_time_from_the_start_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything that imports torch, which takes seconds."""
    begun: dict[str, float] = {}

    def measured(*, begun_s: float) -> int:
        begun["process"] = begun_s
        return 0

    monkeypatch.setattr(tuning, "restart_tuned", lambda: begun.update(torch=time.monotonic()))
    monkeypatch.setattr(run, "main", measured)
    before = time.monotonic()
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("resonance.loadtest.gpu_bench", run_name="__main__")
    assert before <= begun["process"] <= begun["torch"]


def test_time_that_has_passed_before_a_run_is_not_there_for_its_parts(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--parts", "peak", "--total-seconds", "60", "--out", str(out)]
    assert main(arguments, begun_s=time.monotonic() - (60 - CLOSING_S - LAST_S - child.GRACE_S)) == 0
    skipped = json.loads(out.read_text())["parts"]["peak"]["skipped"]
    assert skipped == ["everything: the run's time is used up"]


@pytest.mark.parametrize("keyframes_only", [False, True])
def test_dali_decodes_as_many_frames_as_it_is_asked_for(tmp_path: Path, keyframes_only: bool) -> None:
    from resonance.loadtest.gpu_bench.dali_decode import DaliDecoder, film_files

    film = next(f for f in media.CODECS if f.name == "vp9")
    path = media.make(replace(film, width=320, height=180, loop_s=4), tmp_path, whole=False)
    assert len(film_files(path, keyframes_only=True)) == 2
    decoder = DaliDecoder("cpu")
    assert not decoder.missing()
    assert decoder.frames_per_s(path, keyframes_only=keyframes_only, seconds=0.2) > 25
    h264 = media.make(replace(media.QUICK_FILM, loop_s=4), tmp_path, whole=False)
    with pytest.raises(RuntimeError):  # DALI on the CPU knows no H.264
        decoder.frames_per_s(h264, keyframes_only=keyframes_only, seconds=0.1)


def test_keyframes_that_dali_decodes_are_pyavs_and_become_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vp9 = next(f for f in media.CODECS if f.name == "vp9")
    film = replace(vp9, name="vp9_180p_1min", width=320, height=180, loop_s=6)
    path = media.make(film, tmp_path, whole=True)
    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    decoder = nvdec.KeyframePictures("cpu", rows=32)
    assert not decoder.missing()
    decoded, encoded = (media.read_stretch(str(path), 0, 4, how) for how in ("keyframes", "encoded"))
    assert len(encoded.files) == 4 * media.KEYFRAMES
    assert encoded.frames.size == 0
    assert np.array_equal(encoded.pcm, decoded.pcm)
    pyav = decoded.frames.reshape(-1, 224, 224, 3).astype(np.int16)
    difference = np.abs(decoder.pictures(encoded.files).numpy() - pyav).mean(axis=(1, 2, 3))
    assert difference.max() < 5
    decoder.check(encoded.files)
    monkeypatch.setattr(nvdec, "pyav_picture", lambda file: np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match=r"picture \d+ of DALI, CPU differs from PyAV's by .* below 5"):
        decoder.check(encoded.files)
    monkeypatch.undo()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), die_with_parent) as pool:
        row = end_to_end_part.run_decoded_there(pool, 1, built, decoder, path, film.duration_s, 0.5)
    assert row["hours_per_hour"] > 0  # type: ignore[operator]
    assert row["cpu_decode_s_per_h"] == 0  # the workers decode sound alone
    assert row["decoder_busy"] > 0  # type: ignore[operator]
    assert row["frames_decoded_per_s"] == pytest.approx(row["hours_per_hour"] / 8 * 4)  # type: ignore[operator]
    found, segment = bench(0.0), latency_part.Segment(path)
    decoder = nvdec.KeyframePictures("cpu", rows=media.KEYFRAMES)
    alone = latency_part.measure_decoded_there(found, segment, built, decoder)
    assert alone["p95_ms"] >= alone["p50_ms"] > alone["decode_p50_ms"] > 0  # type: ignore[operator]
    assert len(segment.files()) == media.KEYFRAMES
    monkeypatch.setattr(nvdec, "pyav_picture", lambda file: np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match=r"picture \d+ of DALI, CPU differs from PyAV's"):
        latency_part.measure_decoded_there(found, segment, built, decoder)


def test_memory_that_dali_wrote_nothing_into_is_no_record(tmp_path: Path) -> None:
    from resonance.loadtest.gpu_bench.dali_decode import DaliRun, pyav_pictures

    film = next(f for f in media.CODECS if f.name == "vp9")
    path = media.make(replace(film, width=320, height=180, loop_s=4), tmp_path, whole=False)
    expected = pyav_pictures(path, 2, keyframes_only=True)
    decoder = DaliRun("cpu")
    got = [picture[None] for picture in expected] * 3
    decoder._check(path, got, 1, expected)
    with pytest.raises(ValueError, match=r"sample 1 of DALI, CPU differs .* by \d+\.\d of 255 levels"):
        decoder._check(path, [got[0], np.zeros_like(got[1])], 1, expected)
    with pytest.raises(ValueError, match=r"sample 0 .* expected below 5"):
        decoder._check(path, got[::-1], 1, expected)  # another keyframe's
    with pytest.raises(ValueError, match=r"gave \[1, 2\] frames a sample; expected 1"):
        decoder._check(path, [got[0], np.repeat(got[1], 2, 0)], 1, expected)
    with pytest.raises(ValueError, match="PyAV decodes 2 of the first 3 keyframes"):
        pyav_pictures(path, 3, keyframes_only=True)


def test_a_codec_that_dali_is_not_sent_is_skipped_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resonance.loadtest.gpu_bench import decode_part
    from resonance.loadtest.gpu_bench.dali_decode import DaliDecoder

    films = [f for f in media.CODECS if f.name in ("vp9", "av1")]
    small = tuple(replace(f, width=320, height=180, loop_s=4) for f in films)
    monkeypatch.setattr(media, "CODECS", small)
    monkeypatch.setattr(decode_part, "DECODERS", (DaliDecoder("cpu"),))
    result = PartResult()
    decode_part.measure_decode(Bench("cpu", torch.float32, False, 0.0, result, Deadline(60)), tmp_path)
    assert result.errors == []
    (row,) = result.rows
    assert row["codec"] == "vp9"
    assert row["frames_per_s"] > 0
    assert row["keyframes_per_s"] > 0
    (skipped,) = result.skipped
    assert skipped.startswith("av1, DALI, CPU: ")
    assert skipped.endswith("av1 is not sent to DALI, but to PyAV")


def sleep_and_tell(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"


def die() -> None:
    os._exit(3)


def refuse() -> None:
    raise ValueError("no such codec")


def test_what_hangs_or_dies_apart_takes_nothing_along() -> None:
    apart = Apart()
    with pytest.raises(ValueError, match="no such codec"):
        apart.call(refuse, timeout_s=30)
    assert apart.call(sleep_and_tell, 0.0, timeout_s=30) == "awake"
    with pytest.raises(ApartError, match=r"no answer within 0\.3 s"):
        apart.call(sleep_and_tell, 60.0, timeout_s=0.3)
    with pytest.raises(ApartError, match="exit code 3"):
        apart.call(die, timeout_s=30)
    assert apart.call(sleep_and_tell, 0.0, timeout_s=30) == "awake"
    apart.close()


def test_a_decoder_that_refuses_everything_is_told_and_has_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        name = "refusing"

        def missing(self) -> str:
            return ""

        def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
            raise RuntimeError("no NVDEC here")

        def close(self) -> None:
            pass

    monkeypatch.setattr(media, "CODECS", (replace(media.QUICK_FILM, loop_s=4),))
    monkeypatch.setattr(decode_part, "DECODERS", (Refusing(),))
    found = bench(0.0)
    found.quick = False
    decode_part.measure_decode(found, tmp_path)
    assert found.result.rows == []
    assert len(found.result.errors) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cut_off_keeps_the_rows_of_its_part(tmp_path: Path, number: int) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "-c", CUT_OFF, "--device", "cpu", "--quick", "--parts", "peak", "encoders"]
    ran = subprocess.run(
        [*command, "--out", str(out)],
        env=os.environ | {"CUT_OFF_BY": str(int(number))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1, ran.stderr
    assert "ERROR: cut off" in ran.stderr
    parts = json.loads(out.read_text())["parts"]
    assert len(parts["encoders"]["rows"]) == 1
    assert out.with_suffix(".png").exists()


#: The bench, sent a signal after its first row of a tower.
CUT_OFF = """
import os, sys
from resonance.loadtest.gpu_bench import measure, run

def measured(self, *arguments, inner=measure.Bench.measure):
    inner(self, *arguments)
    os.kill(os.getpid(), int(os.environ["CUT_OFF_BY"]))

measure.Bench.measure = measured
sys.exit(run.main())
"""


#: A part in a process of its own; what is in `CHILD` happens to it at the rows of a tower.
CHILD = """
import os, signal, time
from resonance.loadtest.gpu_bench import measure, part

def measured(self, encoder, variant, run, batch, reference, inner=measure.Bench.measure):
    {before}
    inner(self, encoder, variant, run, batch, reference)

measure.Bench.measure = measured
part.main()
"""


def quick_job(tmp_path: Path, part: str, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "device": "cpu",
        "quick": True,
        "encoders": (),
        "max_autotune": False,
        "tuned_only": False,
        "limit_s": 60.0,
        "films": str(tmp_path),
        "seconds": 60.0,
        "matrix_tflops": 0.0,
        "journal": str(tmp_path / "rows.jsonl"),
        "run": "now",
    }
    return Job(part, **fields | changes)


def test_a_part_that_dies_keeps_its_rows_and_the_towers_after_it_have_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    dies = "if (encoder.name, batch) == ('quick-clip', 3): os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(child, "PROGRAM", (sys.executable, "-c", CHILD.format(before=dies)))
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--out", str(out), "--parts", "encoders"]
    assert main(arguments) == 1
    parts = json.loads(out.read_text())["parts"]
    best = max(row["tflops"] for row in parts["peak"]["rows"])
    rows = parts["encoders"]["rows"]
    measured = [(row["encoder"], row["variant"], row["batch"]) for row in rows]
    assert measured[:4] == [
        ("quick-siglip", way, batch) for batch in (1, 3) for way in ("eager", "eager, activation fused")
    ]
    assert ("quick-clip", "eager", 1) in measured
    assert {"quick-bert", "quick-htsat"} < {name for name, _, _ in measured}
    assert all(row["of_matrix_rate"] == pytest.approx(row["tflops"] / best) for row in rows)  # handed over
    (error,) = parts["encoders"]["errors"]
    assert error == (
        "the process of this part died (SIGKILL; often memory that is short) at: quick-clip, eager, batch 3"
    )
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    journal = [t["row"] for t in told if t["part"] == "encoders" and "row" in t]
    # written before the rate was measured again: shares are of what was known then
    first = max(row["tflops"] for row in parts["peak"]["rows"] if row["when"] == "before")
    assert [row.pop("of_matrix_rate") for row in journal] == pytest.approx(
        [r["tflops"] / first for r in rows]
    )
    assert journal == [{k: v for k, v in row.items() if k != "of_matrix_rate"} for row in rows]
    assert "encoders: encoder quick-clip, variant eager, batch 1, ms " in capfd.readouterr().out


def test_a_part_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = "if batch == 3: time.sleep(600)"
    monkeypatch.setattr(child, "PROGRAM", (sys.executable, "-c", CHILD.format(before=hangs)))
    result = PartResult()
    measure_apart(quick_job(tmp_path, "encoders", limit_s=30.0, encoders=("quick-bert",)), result)
    assert [row["batch"] for row in result.rows] == [1, 1]  # as it is, and with its activation fused
    (error,) = result.errors
    assert error == ("the process of this part died (it was ended after 30 s) at: quick-bert, eager, batch 3")


def test_processes_that_decode_have_no_torch(tmp_path: Path) -> None:
    """Of a part in a process of its own: Python tells every import of it and of those that it spawns."""
    job = quick_job(tmp_path, "end_to_end")
    ran = subprocess.run(
        [*child.PROGRAM, json.dumps(asdict(job))],
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0
    imported = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()]
    assert imported.count("resonance.loadtest.gpu_bench.media") == 2  # the part's own, and its decoder's
    assert imported.count("torch") == 1


def test_a_run_of_processes_that_is_cut_off_leaves_rows_and_no_process(tmp_path: Path) -> None:
    cut_off = "if batch == 3: os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    script = (
        "import sys\nfrom resonance.loadtest.gpu_bench import child, run\n"
        f"child.PROGRAM = (sys.executable, '-c', {CHILD.format(before=cut_off)!r})\nsys.exit(run.main())\n"
    )
    out = tmp_path / "figures.json"
    arguments = ["--device", "cpu", "--quick", "--apart", "--parts", "encoders", "--out", str(out)]
    ran = subprocess.run(  # returns when nobody holds its output open any more
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 1, ran.stderr
    assert "ERROR: cut off" in ran.stderr
    assert [row["batch"] for row in json.loads(out.read_text())["parts"]["encoders"]["rows"]] == [1, 1]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl", "now", "encoders")
    journal.tell("row", {"ms": 1.0})
    whole = journal.size()
    with journal.path.open("ab") as file:
        file.write(b'{"run": "now", "part": "encod')
    journal.tell("row", {"ms": float("nan")})
    Journal(journal.path, "another day", "encoders").tell("row", {"ms": 3.0})
    assert list(journal.since(0)) == [("row", {"ms": 1.0}), ("row", {"ms": None})]
    assert list(journal.since(whole)) == [("row", {"ms": None})]


def test_nothing_more_is_tried_on_a_device_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "device_lost", lambda device: True)
    found = bench(1e3)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(measure.DeviceLostError, match="lost since quick-bert, eager, batch 1"):  # noqa: SIM117
        with found.going_on("quick-bert"):
            towers_part.measure_both(
                found, encoder("quick-bert"), ("eager", "CUDA graph"), broken, 1, torch.nn.Identity()
            )
    assert len(found.result.errors) == 1


def test_numbers_that_json_has_no_word_for_are_null(tmp_path: Path) -> None:
    report = Report(tmp_path / "figures.json", {})
    report.add("encoders", PartResult(rows=[{"cosine_fp32": float("nan"), "ms": float("inf"), "batch": 1}]))
    (row,) = json.loads(report.path.read_text())["parts"]["encoders"]["rows"]
    assert row == {"cosine_fp32": None, "ms": None, "batch": 1}


def test_what_the_compiler_lacks_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = bench(1e3)
    measure_compiled(found, QUICK, max_autotune=False)
    assert found.result.errors == found.result.rows == []
    assert found.result.skipped == ["everything: torch.compile needs no-such-compiler, and none is here"]


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


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("0", "0"), ("0", "1"), ("0", "0"), ("0", "1")], "2"),
        ([("0", "0"), ("1", "0")], "1"),  # two sockets
        ([("0", "0"), ("0", "0"), ("0", "1")], "1.5"),  # what a container was given
        ([(None, None)], "unknown"),
        ([], "unknown"),
    ],
)
def test_threads_that_share_a_core_are_counted(
    fields: list[tuple[str | None, str | None]], expected: str
) -> None:
    text = "\n\n".join(
        f"processor\t: {i}\nmodel name\t: Some CPU: fast\n"
        + ("" if socket is None else f"physical id\t: {socket}\ncore id\t\t: {core}")
        for i, (socket, core) in enumerate(fields)
    )
    cpus = machine.processors(text)
    assert [cpu["model name"] for cpu in cpus] == ["Some CPU: fast"] * len(fields)
    assert machine.threads_per_core(cpus) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", {}),
        ("\n", {}),
        (
            "580.1, 1980 MHz, 2619 MHz, 1980 MHz, 75 W, 700 W, 30\nanother GPU\n",
            {"driver_version": "580.1", "power.limit": "700 W", "temperature.gpu": "30"},
        ),
    ],
)
def test_nvidia_smi_may_answer_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: dict[str, str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = machine.gpu_state()
    assert bool(found) == bool(expected)
    assert found.items() >= expected.items()


SMI_HEADER = (
    "timestamp, clocks.current.sm [MHz], clocks.current.memory [MHz], power.draw [W], temperature.gpu"
)
SMI_LINE = "2026/11/30 02:00:00.500, {} MHz, 2619 MHz, 650.12 W, 61, {} %"


def test_clocks_are_read_while_a_part_runs_and_those_at_rest_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    lines = [
        f"{SMI_HEADER}, utilization.gpu [%]",
        *(SMI_LINE.format(*s) for s in ((345, 0), (1980, 99), (1755, 100), (1965, 90))),
    ]
    said.write_text("\n".join([*lines, "2026/11/30 02:00:02.500, [N/A], [N/A]", ""]))
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho $$ > {tmp_path}/pid\necho "$@" > {tmp_path}/asked\ncat {said}\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result, path = PartResult(), tmp_path / "out" / "figures-peak-clocks.csv"
    with clocks.sampled(path, result):
        until = time.monotonic() + 30
        while not (path.exists() and "N/A" in path.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    (found,) = result.clocks
    assert found == {
        "file": path.name, "sm_mhz_median": 1965, "sm_mhz_lowest": 1755, "samples": 4, "under_load": 3,
    }  # fmt: skip
    asked = (tmp_path / "asked").read_text()
    assert asked.split()[:2] == ["-i", "0"]
    assert "--query-gpu=timestamp,clocks.sm," in asked  # reads and changes nothing
    report = Report(tmp_path / "figures.json", {})
    report.add("peak", result)
    assert json.loads(report.path.read_text())["parts"]["peak"]["clocks"] == [found]


def test_without_nvidia_smi_a_part_runs_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = PartResult()
    with clocks.sampled(tmp_path / "clocks.csv", result):
        pass
    assert result.skipped == ["clocks: nvidia-smi is not here"]
    assert result.clocks == []


def test_what_can_be_loaded_is_said_and_what_not_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOADED", {"C": ("no-such.so", "libc.so.6"), "NVDEC": ("no-such.so.1",)})
    monkeypatch.setattr(machine, "IMPORTED", {"PyAV": "av", "DALI": "no_such_module"})
    found = machine.environment("cpu")
    assert found["C"] == found["PyAV"] == "can be loaded"
    assert found["NVDEC"].startswith("no: no-such.so.1 cannot be loaded here (no-such.so.1: cannot open")
    assert found["DALI"].startswith("no: no_such_module cannot be imported here (ModuleNotFoundError")


def test_an_error_is_told_with_its_second_line() -> None:
    assert one_line(RuntimeError("backend='inductor' raised:\nno g++")) == (
        "RuntimeError: backend='inductor' raised: no g++"
    )


def test_wrong_use_is_told(capsys) -> None:
    assert main(["--device", "cpu"]) == 2
    assert "use --device cpu --quick" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["--device", "cuda"]) == 2
        assert "sees no NVIDIA GPU here" in capsys.readouterr().err


def test_agreement_of_samplings_is_scored_right() -> None:
    from resonance.loadtest.bench.sampling import agreement

    uniform = np.eye(4, dtype=np.float32)
    same = agreement("same", list("abcd"), uniform, uniform)
    assert (same.cosine_min, same.finds_itself, same.same_nearest, same.between_others) == (1, 1, 1, 0)
    swapped = agreement("swapped", list("abcd"), uniform[[1, 0, 2, 3]], uniform)
    assert (swapped.cosine_min, swapped.finds_itself, swapped.least) == (0, 0.5, "a")
    with pytest.raises(ValueError, match="4 and 3 vectors; expected two or more, as many"):
        agreement("fewer", list("abcd"), uniform, uniform[:3])


def test_keyframes_decode_to_as_many_frames_as_the_film_has(tmp_path: Path) -> None:
    from resonance.loadtest.bench.decoding import measure_gain
    from resonance.loadtest.bench.films import H264_2S

    # the middle of several: what else runs in this process may stretch one of them
    gain = measure_gain(replace(H264_2S, width=320, height=180, loop_s=4), tmp_path, rounds=9)
    assert (gain.frames, gain.keyframes) == (4 * 25, 2)
    assert gain.gain > 1
