"""From cached features to heads that `resonance export --heads` takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from resonance.training.contrast import recall_gap
from resonance.training.fairness import mean_dependence
from resonance.training.features import TitleFeatures, load_features, projection_of
from resonance.training.heads import (
    HeadSettings,
    Segments,
    TooLittleError,
    chance_recalls,
    compared_counts,
    group_recalls,
    project,
    train_heads,
)
from resonance.training.plot import plot_losses

#: Segments that sigmas and axes of the aligned space are calibrated on, at most.
REFERENCE_SEGMENTS = 1024


@dataclass(frozen=True, slots=True)
class AlignReport:
    """Before and after: recall@1 of one modality by another within the data, by group.

    Attributes:
        chance: what guessing would reach.
        compared: segments that each pair of modalities was compared among, by pair.
        fusion_lacks: why the fusion head was not trained; "" where it was.
        dependence: of blocks on the audited groups before and after; None where none were given.
    """

    titles: int
    segments: int
    groups: tuple[str, ...]
    chance: dict[int, float]
    before: dict[int, float]
    after: dict[int, float]
    calibrated: bool
    compared: dict[str, int]
    fusion_lacks: str = ""
    dependence: tuple[float, float] | None = None

    def lines(self) -> list[str]:
        """What a person reads."""
        found = [f"{self.titles} titles, {self.segments} segments"]
        for group, name in enumerate(self.groups):
            if group in self.after:
                label = f"group '{name}': " if name else ""
                found.append(
                    f"{label}recall@1 across modalities {self.before[group]:.3f} -> {self.after[group]:.3f} "
                    f"(chance {self.chance[group]:.3f}; on the data it was aligned on)"
                )
        # few segments are easily told apart: what recall means depends on how many there were
        among = ", ".join(f"{pair} {count:,}" for pair, count in self.compared.items())
        found.append(
            f"recall is the mean over pairs of modalities, among the segments that have both: {among}"
        )
        if len(self.after) > 1:
            found.append(f"gap between groups {recall_gap(self.before):.3f} -> {recall_gap(self.after):.3f}")
        if self.dependence is not None:
            found.append(
                "blocks depend on the audited groups: {:.4f} -> {:.4f} (0: not at all)".format(
                    *self.dependence
                )
            )
        if self.fusion_lacks:
            found.append(f"the fusion head was NOT trained, and stays as it was: {self.fusion_lacks}")
        if not self.calibrated:
            found.append(
                f"fewer than {FEWEST_BLOCKS} segments of a modality: no reference set; sigmas are 1, no axes"
            )
        return found


def align_family(
    card: FamilyCard,
    files: list[Path],
    settings: HeadSettings,
    work: Path,
    heads: Path,
    device: torch.device,
    *,
    audited: Mapping[Path, tuple[int, ...]] | None = None,
) -> AlignReport:
    """Train projections and fusion head of `card` on cached features and write `heads`, and beside it a
    reference set (``.reference.npz``).

    A run that was stopped goes on; one of other titles or settings begins anew beside it.

    Args:
        audited: the groups of each file's title that `settings.fairness` is about; of all files, or None.

    Raises:
        TooLittleError: there is nothing to learn from.
    """
    titles = load_features(files)
    if audited is not None:
        titles = [replace(title, audited=audited[file]) for title, file in zip(titles, files, strict=True)]
    if not titles:
        raise TooLittleError("no title could be read; give media the client can embed")
    segments = Segments.of(titles)
    graphs = {g.model: g.build() for g in card.graphs}
    projections = nn.ModuleList(projection_of(graphs[name]) for name in ENCODERS)
    fusion = cast(FusionGraph, graphs["title_fusion"])
    with torch.inference_mode():
        untouched = project(projections, segments.features)
        before = group_recalls(untouched, segments)
    runs = work / "runs" / _run_name(card, files, titles, settings)
    trained = train_heads(projections, fusion, titles, settings, runs, device)
    blocks = trained.blocks
    heads.parent.mkdir(parents=True, exist_ok=True)
    save_heads(graphs, heads, {g.model: g.preprocessing for g in card.graphs})
    for stage in ("projections", "fusion"):
        log = runs / stage / "losses.csv"
        if log.exists():
            plot_losses(log, heads.with_name(f"{stage}.png"), stage)
    calibrated = _write_reference(blocks, segments.present, heads.with_suffix(".reference.npz"))
    return AlignReport(
        len(titles),
        len(segments.present),
        tuple(sorted({t.group for t in titles})),
        chance_recalls(segments),
        before,
        group_recalls(blocks, segments),
        calibrated,
        compared_counts(segments),
        trained.fusion_lacks,
        (_dependence(untouched, segments), _dependence(blocks, segments)) if audited is not None else None,
    )


def _dependence(blocks: Tensor, segments: Segments) -> float:
    return mean_dependence(blocks, segments.present, segments.audited)


def _run_name(
    card: FamilyCard, files: list[Path], titles: list[TitleFeatures], settings: HeadSettings
) -> str:
    """Of everything that decides the weights: a checkpoint is gone on with by the same run alone.

    Names of feature files change with what they hold.
    """
    parts = [card.name, repr(settings)]
    parts += [f"{file.stem} {title.audited}" for file, title in zip(files, titles, strict=True)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def reference_rows(present: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows of bool [N, 3] drawn at random, ascending: a third of them with each modality, all that have it
    where there are fewer."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(present))
    share = REFERENCE_SEGMENTS // present.shape[1]
    first = [order[there[order]][:share] for there in present.T]
    drawn = dict.fromkeys(np.concatenate([*first, order]).tolist())  # each once, in the order they came
    return np.sort(np.array(list(drawn)[:REFERENCE_SEGMENTS], np.intp))


def _write_reference(blocks: Tensor, present: Tensor, path: Path) -> bool:
    """The reference set; False, and no file, where a modality has too few segments."""
    rows = reference_rows(present.numpy())
    chosen = present.numpy()[rows]
    if (chosen.sum(0) < FEWEST_BLOCKS).any():
        path.unlink(missing_ok=True)
        return False
    reference = Reference(blocks.numpy()[rows].astype(np.float16), chosen)
    np.savez_compressed(path, blocks=reference.blocks, present=reference.present)
    return True
