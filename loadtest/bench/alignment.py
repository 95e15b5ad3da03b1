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

from resonance.export.cards import families
from resonance.space.descriptor import MODALITIES
from resonance.training.align import align_family
from resonance.training.contrast import recall_gap
from resonance.training.features import Entry, FeatureExtractor, TitleFeatures, projection_of, save_features
from resonance.training.heads import HeadSettings
from resonance.training.world.factors import draw_title
from resonance.training.world.film import write_film

SEED = 3
SEGMENTS_A_TITLE = 50
#: Numbers that a segment's features are made of, and the noise added to them.
HIDDEN_CAUSES, NOISE = 24, 0.7


@dataclass(frozen=True, slots=True)
class AlignTime:
    """Seconds to align a library whose features are on disk, beside what encoding it would take here."""

    segments: int
    align_s: float
    share_of_encoding: float


@dataclass(frozen=True, slots=True)
class GroupGap:
    """Recall@1 across modalities of a large and a small group after alignment, and the gap between them."""

    loss: str
    large_group: float
    small_group: float
    gap: float


def measure_align_time(folder: Path, *, segments: int = 100_000) -> list[AlignTime]:
    """`align_family` of `tiny` with its default settings on `segments`."""
    encode_s = _encoding_s(folder)
    _, seconds = _align(_titles(segments // SEGMENTS_A_TITLE, small_share=0.0), HeadSettings())
    return [AlignTime(segments, seconds, seconds / (segments * encode_s))]


def measure_fairness(*, titles: int = 200) -> list[GroupGap]:
    """One title in ten belongs to a group whose pictures mean something else; aligned without and with
    `balance`. Each alone could be aligned as well as the other: one matrix has to serve both."""
    rows = []
    for name, balance in (("plain", False), ("balanced by group", True)):
        settings = replace(HeadSettings(), balance=balance)
        after, _ = _align(_titles(titles, small_share=0.1), settings)
        rows.append(GroupGap(name, after[0], after[1], recall_gap(after)))
    return rows


def _titles(count: int, *, small_share: float) -> Iterator[TitleFeatures]:
    """Titles whose three features are linear views of the same causes; group 'b' mixes them otherwise."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    widths = _widths()
    views = {
        group: {m: rng.normal(size=(HIDDEN_CAUSES, widths[m])) / HIDDEN_CAUSES**0.5 for m in MODALITIES}
        for group in "ab"
    }
    for i in range(count):
        group = "b" if i < round(count * small_share) else "a"
        causes = rng.normal(size=(SEGMENTS_A_TITLE, HIDDEN_CAUSES)) + rng.normal(size=HIDDEN_CAUSES)
        features = {
            m: (causes @ views[group][m] + NOISE * rng.normal(size=(SEGMENTS_A_TITLE, widths[m]))).astype(
                np.float32
            )
            for m in MODALITIES
        }
        times_s = np.arange(SEGMENTS_A_TITLE, dtype=np.float32) * 8.0
        yield TitleFeatures(features, np.ones((SEGMENTS_A_TITLE, 3), bool), times_s, group)


def _widths() -> dict[str, int]:
    graphs = {g.model: g for g in families()["tiny"].graphs}
    return {m: projection_of(graphs[f"{m}_encoder"].build()).in_features for m in MODALITIES}


def _align(titles: Iterator[TitleFeatures], settings: HeadSettings) -> tuple[dict[int, float], float]:
    """Recall by group, and the seconds from features on disk to heads on disk."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, title in enumerate(titles):
            files.append(Path(folder, f"{i}.npz"))
            save_features(files[-1], title)
        started = time.perf_counter()
        report = align_family(
            families()["tiny"],
            files,
            settings,
            Path(folder, "work"),
            Path(folder, "heads.safetensors"),
            torch.device("cpu"),
        )
        return report.after, time.perf_counter() - started


def _encoding_s(folder: Path, *, films: int = 4, segments: int = 6) -> float:
    """Seconds a segment of reading and encoding films as `resonance align` does."""
    folder.mkdir(parents=True, exist_ok=True)
    extractor = FeatureExtractor(families()["tiny"])
    paths = [folder / f"align{i}.mkv" for i in range(films)]
    for i, path in enumerate(paths):
        title = draw_title(np.random.Generator(np.random.PCG64([SEED, i])), held_out=True)
        write_film(title, path, segments=segments, seed=i)
    extractor.title(Entry(paths[0], paths[0].with_suffix(".srt")))
    started = time.perf_counter()
    count = sum(len(extractor.title(Entry(p, p.with_suffix(".srt"))).present) for p in paths)
    return (time.perf_counter() - started) / count
