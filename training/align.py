"""From cached features to heads that `resonance export --heads` takes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resonance.export.cards import FamilyCard
from resonance.export.contract import ENCODERS
from resonance.export.graphs.fusion import FusionGraph
from resonance.export.weights import save_heads
from resonance.space.reference import FEWEST_BLOCKS, Reference
from resonance.training.align_report import AlignReport, RecallMoved, kept_line
from resonance.training.fairness import mean_dependence
from resonance.training.features import TitleFeatures, load_features, projection_of
from resonance.training.heads import HeadSettings, TooLittleError, train_heads
from resonance.training.plot import plot_losses
from resonance.training.segments import Segments, project

#: By what titles are split, judged and made fair: a checkpoint of other rules is of another run.
RULES = "films held out whole, recall over rows, fairness by titles"
#: Segments that sigmas and axes of the aligned space are calibrated on, at most.
REFERENCE_SEGMENTS = 1024


def align_family(
    card: FamilyCard,
    files: list[Path],
    settings: HeadSettings,
    work: Path,
    heads: Path,
    device: torch.device,
    *,
    groups: Sequence[str] | None = None,
    audited: Sequence[tuple[int, ...]] | None = None,
) -> AlignReport:
    """Train projections and fusion head of `card` on cached features and write `heads`, and beside it a
    reference set (``.reference.npz``).

    A run that was stopped goes on; one of other titles or settings begins anew beside it.

    Args:
        groups: whose each title is, in the order of `files`, for `settings.balance` and the report. One file
            may be there for titles of several groups.
        audited: the groups of each title that `settings.fairness` is about, in the same order.

    Raises:
        TooLittleError: there is nothing to learn from.
    """
    titles = load_features(files)
    if groups is not None:
        titles = [replace(title, group=group) for title, group in zip(titles, groups, strict=True)]
    if audited is not None:
        titles = [replace(title, audited=of) for title, of in zip(titles, audited, strict=True)]
    if not titles:
        raise TooLittleError("no title could be read; give media the client can embed")
    segments = Segments.of(titles)
    graphs = {g.model: g.build() for g in card.graphs}
    projections = nn.ModuleList(projection_of(graphs[name]) for name in ENCODERS)
    fusion = cast(FusionGraph, graphs["title_fusion"])
    with torch.inference_mode():
        untouched = project(projections, segments.features)
    runs = work / "runs" / _run_name(card, files, titles, settings)
    trained = train_heads(projections, fusion, titles, settings, runs, device)
    blocks = trained.blocks
    reference = _reference(blocks, segments.present)
    heads.parent.mkdir(parents=True, exist_ok=True)
    _write(graphs, card, reference, heads)
    plot_losses(
        runs / "projections" / "losses.csv", heads.with_name("projections.png"), "projections", trained.held
    )
    if not trained.fusion_lacks:
        plot_losses(runs / "fusion" / "losses.csv", heads.with_name("fusion.png"), "fusion")
    held_rows = trained.held_rows

    def moved(where: str, rows: Tensor) -> RecallMoved:
        return RecallMoved.of(where, segments.take(rows), untouched[rows], blocks[rows])

    return AlignReport(
        len(titles),
        len(segments.present),
        tuple(sorted({t.group for t in titles})),
        moved("titles that it was aligned on", ~held_rows),
        moved("titles held out", held_rows) if trained.held is not None else None,
        kept_line(trained.held, settings.loop.steps),
        reference is not None,
        trained.fusion_lacks,
        (_dependence(untouched, segments), _dependence(blocks, segments)) if audited is not None else None,
    )


def _dependence(blocks: Tensor, segments: Segments) -> float:
    return mean_dependence(blocks, segments.present, segments.audited, segments.titles)


def _run_name(
    card: FamilyCard, files: list[Path], titles: list[TitleFeatures], settings: HeadSettings
) -> str:
    """Of everything that decides the weights: a checkpoint is gone on with by the same run alone.

    Names of feature files change with what they hold.
    """
    parts = [card.name, repr(settings), RULES]
    parts += [f"{file.stem} {title.audited} {title.group}" for file, title in zip(files, titles, strict=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def reference_rows(present: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows of bool [N, 3] drawn at random, ascending: a third of them with each modality, all that have it
    where there are fewer."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(present))
    share = REFERENCE_SEGMENTS // present.shape[1]
    first = [order[there[order]][:share] for there in present.T]
    drawn = dict.fromkeys(np.concatenate([*first, order]).tolist())  # each once, in the order they came
    return np.sort(np.array(list(drawn)[:REFERENCE_SEGMENTS], np.intp))


def _reference(blocks: Tensor, present: Tensor) -> Reference | None:
    """None where a modality has too few segments."""
    rows = reference_rows(present.numpy())
    chosen = present.numpy()[rows]
    if (chosen.sum(0) < FEWEST_BLOCKS).any():
        return None
    return Reference(blocks.numpy()[rows].astype(np.float16), chosen)


def _write(
    graphs: Mapping[str, nn.Module], card: FamilyCard, reference: Reference | None, heads: Path
) -> None:
    """Heads and reference set, each whole. Wherever this is stopped, no heads stand beside the set of others:
    an export would calibrate on it. Of heads without one it says so."""
    beside = heads.with_suffix(".reference.npz")
    for path in (heads, beside):
        _remove_halves(path)
    new_heads, new_reference = (
        path.with_name(f".half-{uuid.uuid4().hex}-{path.name}") for path in (heads, beside)
    )
    try:
        save_heads(graphs, new_heads, {g.model: g.preprocessing for g in card.graphs})
        if reference is not None:
            arrays = io.BytesIO()  # as `save_features` does
            np.savez_compressed(arrays, blocks=reference.blocks, present=reference.present)
            new_reference.write_bytes(arrays.getbuffer())
        beside.unlink(missing_ok=True)
        os.replace(new_heads, heads)
        if reference is not None:
            os.replace(new_reference, beside)
    finally:
        for left in (new_heads, new_reference):
            left.unlink(missing_ok=True)


def _remove_halves(path: Path) -> None:
    """What a run that was killed left of it; others may write files of their own into the folder."""
    for half in path.parent.glob(".half-*"):
        if re.fullmatch(rf"\.half-[0-9a-f]{{32}}-{re.escape(path.name)}", half.name):
            half.unlink(missing_ok=True)
