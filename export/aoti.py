"""Graphs as AOTInductor packages (`model.pt2`): compiled once, served with nothing but PyTorch.

One package a graph with a dynamic batch, not one a batch size: a package holds its own copy of the
weights and takes half a minute to several minutes to compile, and what a fixed batch could gain, the
launches of small batches, CUDA graphs give at run time (`serving/backends/aoti`). `make gpu-bench` times
both.

On the GPU the encoder's tower runs in bf16 or fp16; what stands around it (pixel scaling, log-mel,
pooling, projection, unit norm, signals) and the fusion head stay fp32, for they are small and their
errors are not. Precisions are tried in order, and the first that holds is taken, as with 8 bits
(`resonance.export.quantise`). On the CPU there is fp32 alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from resonance.export import contract
from resonance.export.aoti_compile import (
    AotiError,
    built_for,
    check_compiler,
    choose_device,
    compile_package,
    load,
)
from resonance.export.aoti_judge import judge, made_up_rows, outputs_of
from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE, ArtifactReport, Row, Trial
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.graphs.lowered import lowered
from resonance.export.staging import hidden_folder
from resonance.export.weights import weights_sha256

if TYPE_CHECKING:
    from resonance.export.reference import Reference

#: Precisions of the tower by device, the one to try first first.
PRECISIONS: Mapping[str, Mapping[str, torch.dtype]] = {
    "cuda": {"aoti-bf16": torch.bfloat16, "aoti-fp16": torch.float16, "aoti-fp32": torch.float32},
    "cpu": {"aoti-fp32": torch.float32},
}


def package_family(
    card: FamilyCard,
    repository: Path,
    reference: Reference,
    *,
    device: str,
    on_graph: Callable[[ArtifactReport], None] = lambda report: None,
) -> list[ArtifactReport]:
    """Compile every graph of `card` to 1/model.pt2 in `repository`, each with its note beside it.

    Raises:
        AotiError: no compiler, or no precision of a graph held; its package is not there then.
    """
    check_compiler(device)
    reports = []
    for graph in card.graphs:
        path = repository / graph.model / "1" / AOTI_PACKAGE
        report = package_graph(graph, path, reference.rows.get(graph.model, []), device=device)
        write_note(path, report, graph, device=device, source=reference.source)
        reports.append(report)
        on_graph(report)
    return reports


def package_graph(
    card: GraphCard, path: Path, rows: Sequence[Row], *, device: str, autotune: bool = True
) -> ArtifactReport:
    """Compile `card` into `path`: the first precision that agrees with fp32 torch on the CPU.

    Raises:
        AotiError: none does; the message has each one's figures, and `path` is not there.
    """
    model = contract.model(card.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in (path, path.with_name(AOTI_NOTE)):
        stale.unlink(missing_ok=True)
    rows = [*rows, *made_up_rows(model)]
    fp32 = card.build().eval()
    expected = [outputs_of(fp32, model, row.inputs, "cpu") for row in rows]
    report = ArtifactReport(card.model, "none", card.artifact_floor, len(rows), _size(fp32))
    precisions = PRECISIONS[device]
    if not hasattr(fp32, "encoder"):
        precisions = {"aoti-fp32": torch.float32}
    with hidden_folder(path.parent) as folder:
        for artifact, dtype in precisions.items():
            trial = Trial(artifact)
            report.trials.append(trial)
            file = folder / AOTI_PACKAGE
            try:
                module = lowered(card.build().eval(), dtype).to(device)
                compile_package(module, model, card.arguments, file, device=device, autotune=autotune)
                run = load(file, device)
                judge(trial, card, model, rows, expected, run, fp32, device, dtype)
            except Exception as error:  # of many kinds: tracing, tuning, the C++ compiler, the loader
                trial.refused.append(f"cannot be made: {_one_line(error)}")
            if not trial.refused:
                trial.size_bytes = file.stat().st_size
                os.replace(file, path)
                report.chosen = artifact
                return report
    reasons = "; ".join(f"{t.artifact}: {', '.join(t.refused)}" for t in report.trials)
    raise AotiError(f"{card.model}: no precision holds on {device}: {reasons}")


def write_note(path: Path, report: ArtifactReport, card: GraphCard, *, device: str, source: str) -> None:
    """The record beside the package; the backend refuses one that was made for another place."""
    note = {
        "artifact": report.chosen,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "weights_sha256": weights_sha256(card.build().eval()),
        "reference": f"{source}, and random inputs",
        "built_for": built_for(device),
        **asdict(report),
    }
    path.with_name(AOTI_NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _size(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _one_line(error: Exception) -> str:
    """Kind and text: the compiler's says what failed in its second line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


__all__ = [
    "AotiError",
    "built_for",
    "check_compiler",
    "choose_device",
    "package_family",
    "package_graph",
    "write_note",
]
