"""Aligning heads on a library: how long 100,000 segments take, and what re-balancing does for a small group.

The features are drawn, not encoded: what an encoder would have said decides neither question.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resonance.export.families import FAMILIES
from resonance.space.descriptor import MODALITIES
from resonance.training.align import align_family
from resonance.training.contrast import recall_gap
from resonance.training.features import Entry, FeatureExtractor, TitleFeatures, projection_of, save_features
from resonance.training.heads import HeadSettings, train_projections
from resonance.training.recalls import group_recalls
from resonance.training.segments import Segments, project
from resonance.training.world.factors import draw_title
from resonance.training.world.film import write_film

SEED = 3
SEGMENTS_A_TITLE = 50
#: Titles of the fairness measure, the share of them in the small group, and the steps.
TITLES, SMALL_SHARE, STEPS = 200, 0.1, 100


@dataclass(frozen=True, slots=True)
class Drawn:
    """How features are drawn: segments differ in `causes` numbers, of which every modality sees a linear
    view with `noise` added; of its view the small group shares the part `shared` with the large one."""

    causes: int = 24
    noise: float = 0.7
    shared: float = 1.0


#: Few steps on many causes: what is learned has to be chosen, and the many choose unless weighed down.
CONTENDED = Drawn(causes=96, noise=1.0, shared=0.5)


@dataclass(frozen=True, slots=True)
class AlignTime:
    """Seconds to align a library whose features are on disk, beside what encoding it would take here."""

    segments: int
    align_s: float
    share_of_encoding: float


@dataclass(frozen=True, slots=True)
class GroupGap:
    """Recall@1 across modalities of a large and a small group after alignment, and the gap between them."""

    balance: float
    large_group: float
    small_group: float
    gap: float


def measure_align_time(folder: Path, *, segments: int = 100_000) -> list[AlignTime]:
    """`align_family` of `tiny` with its default settings on `segments`."""
    encode_s = _encoding_s(folder)
    seconds = _align(_titles(segments // SEGMENTS_A_TITLE, Drawn(), small_share=0.0), HeadSettings())
    return [AlignTime(segments, seconds, seconds / (segments * encode_s))]


def measure_fairness() -> list[GroupGap]:
    """One title in ten belongs to a group whose features mean partly something else; projections aligned
    plainly and with `balance`. Either group alone could be aligned: one matrix has to serve both."""
    rows = []
    for balance in (0.0, 0.5, 1.0):
        segments = Segments.of(list(_titles(TITLES, CONTENDED, small_share=SMALL_SHARE)))
        projections = nn.ModuleList(projection_of(graph) for graph in encoders().values())
        base = HeadSettings()
        settings = replace(base, loop=replace(base.loop, steps=STEPS), balance=balance)
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            train_projections(projections, segments, settings, Path(folder), torch.device("cpu"))
        with torch.inference_mode():
            recalls = group_recalls(project(projections, segments.features), segments)
        rows.append(GroupGap(balance, recalls[0], recalls[1], recall_gap(recalls)))
    return rows


def _titles(count: int, drawn: Drawn, *, small_share: float) -> Iterator[TitleFeatures]:
    """Titles of two groups, of which 'b', the small one, comes first."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    widths = {m: projection_of(graph).in_features for m, graph in encoders().items()}

    def view(modality: str) -> NDArray[np.float64]:
        return rng.normal(size=(drawn.causes, widths[modality])) / drawn.causes**0.5

    views = {"a": {m: view(m) for m in MODALITIES}}
    views["b"] = {
        m: drawn.shared**0.5 * views["a"][m] + (1 - drawn.shared) ** 0.5 * view(m) for m in MODALITIES
    }
    for i in range(count):
        group = "b" if i < round(count * small_share) else "a"
        causes = rng.normal(size=(SEGMENTS_A_TITLE, drawn.causes)) + rng.normal(size=drawn.causes)
        features = {
            m: (
                causes @ views[group][m] + drawn.noise * rng.normal(size=(SEGMENTS_A_TITLE, widths[m]))
            ).astype(np.float32)
            for m in MODALITIES
        }
        times_s = np.arange(SEGMENTS_A_TITLE, dtype=np.float32) * 8.0
        yield TitleFeatures(features, np.ones((SEGMENTS_A_TITLE, 3), bool), times_s, group)


def encoders() -> dict[str, nn.Module]:
    """The graphs of `tiny`'s encoders by modality."""
    graphs = {g.model: g for g in FAMILIES["tiny"].graphs}
    return {m: graphs[f"{m}_encoder"].build() for m in MODALITIES}


def _align(titles: Iterator[TitleFeatures], settings: HeadSettings) -> float:
    """Seconds from features on disk to heads on disk."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, title in enumerate(titles):
            files.append(Path(folder, f"{i}.npz"))
            save_features(files[-1], title)
        started = time.perf_counter()
        align_family(
            FAMILIES["tiny"],
            files,
            settings,
            Path(folder, "work"),
            Path(folder, "heads.safetensors"),
            torch.device("cpu"),
        )
        return time.perf_counter() - started


def _encoding_s(folder: Path, *, films: int = 4, segments: int = 6) -> float:
    """Seconds a segment of reading and encoding films as `resonance align` does."""
    folder.mkdir(parents=True, exist_ok=True)
    extractor = FeatureExtractor(FAMILIES["tiny"])
    paths = [folder / f"align{i}.mkv" for i in range(films)]
    for i, path in enumerate(paths):
        title = draw_title(np.random.Generator(np.random.PCG64([SEED, i])), held_out=True)
        write_film(title, path, segments=segments, seed=i)
    extractor.title(Entry(paths[0], paths[0].with_suffix(".srt")))
    started = time.perf_counter()
    count = sum(len(extractor.title(Entry(p, p.with_suffix(".srt"))).present) for p in paths)
    return (time.perf_counter() - started) / count
