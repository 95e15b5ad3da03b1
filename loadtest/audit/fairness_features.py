"""Drawn features of titles in which a part says the group, and stores of what heads make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing
from resonance.loadtest.audit.stored import title_rows
from resonance.loadtest.bench.alignment import encoders
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH
from resonance.training.features import TitleFeatures, projection_of

KINDS, MARKED_KIND, SEGMENTS = 10, 3, 4
GROUP, OTHERS = "g", "others"
PRESENT = (True, True, True)
BATCH = 500


@dataclass(frozen=True, slots=True)
class Planted:
    """How titles are drawn. Each is of one of ten kinds and, with `base`, of the group.

    A title's causes are its kind's mean, of length `kind_length`, a part of its own and a part of each
    segment; every modality sees a linear view of them with noise.

    Attributes:
        causes: how many numbers. own, moment, noise: standard deviations of the parts.
        mark: strength, half-normal, with which the features of the group's titles say what those of kind 3
            say as well, and something that they alone say, equally strong. So in a space that was merely
            aligned some of them come to lie in the cluster of kind 3, though they are not of it: the bias.
        real: so much more of the group there truly is in kind 3.
    """

    base: float = 0.2
    causes: int = 48
    kind_length: float = 3.0
    own: float = 0.4
    moment: float = 0.7
    noise: float = 1.0
    mark: float = 0.42
    real: float = 0.0


@dataclass(frozen=True, slots=True)
class DrawnTitles:
    """Titles, their kinds int64 [N] and whether they are of the group, bool [N]."""

    titles: list[TitleFeatures]
    kinds: np.ndarray
    group: np.ndarray


def draw_titles(count: int, planted: Planted, seed: int, *, held_out: bool = False) -> DrawnTitles:
    """As many of each kind, and exactly the stated share of the group in each. `held_out`: other titles of
    the same kinds and views."""
    views = np.random.default_rng([seed, 1])
    means = views.normal(size=(KINDS, planted.causes))
    means *= planted.kind_length / np.linalg.norm(means, axis=1, keepdims=True)
    width = {m: projection_of(graph).in_features for m, graph in encoders().items()}
    view = {m: views.normal(size=(planted.causes, width[m])) / planted.causes**0.5 for m in MODALITIES}
    alone = {m: views.normal(size=width[m]) / planted.causes**0.5 for m in MODALITIES}

    chance = np.random.default_rng([seed, 2 + held_out])
    kinds = np.arange(count) % KINDS
    group = np.zeros(count, np.bool_)
    for kind in range(KINDS):
        of_kind = np.flatnonzero(kinds == kind)
        share = planted.base + planted.real * (kind == MARKED_KIND)
        group[chance.choice(of_kind, round(share * len(of_kind)), replace=False)] = True
    mark = np.where(group, planted.mark * np.abs(chance.normal(size=count)), 0.0)
    causes = means[kinds] + planted.own * chance.normal(size=(count, planted.causes))  # (N, C)
    causes += mark[:, None] * means[MARKED_KIND]
    moments = causes[:, None] + planted.moment * chance.normal(size=(count, SEGMENTS, planted.causes))
    features = {}
    for m in MODALITIES:
        said = moments @ view[m] + (planted.kind_length * mark)[:, None, None] * alone[m]  # (N, S, hidden)
        features[m] = (said + planted.noise * chance.normal(size=said.shape)).astype(np.float32)
    times_s = np.arange(SEGMENTS, dtype=np.float32) * 8.0
    titles = [
        TitleFeatures(
            {m: features[m][at] for m in MODALITIES},
            np.ones((SEGMENTS, len(MODALITIES)), bool),
            times_s,
            GROUP if group[at] else OTHERS,
        )
        for at in range(count)
    ]
    return DrawnTitles(titles, kinds, group)


def write_aligned(
    uri: str, blocks: Tensor, groups: Sequence[str], space: SpaceRef, *, segments: bool = False
) -> None:
    """A store of titles named by number, of unit blocks [N, S, 3, 596]; their language is the group.

    A title is the plain mean of its segments: what the fusion head adds is bounded, and is not measured.
    """
    titles = torch.nn.functional.normalize(blocks.mean(1), dim=-1)  # (N, 3, 596)
    vectors = (titles / ROOT_BLOCKS).reshape(len(titles), TITLE_WIDTH).numpy().astype(np.float32)
    sink = open_sink(uri, space)
    try:
        for first in range(0, len(vectors), BATCH):
            numbers = range(first, min(first + BATCH, len(vectors)))
            if segments:
                parts = blocks[numbers.start : numbers.stop] / ROOT_BLOCKS
                parts = parts.reshape(*parts.shape[:2], TITLE_WIDTH)  # (n, S, 1788)
                made = [
                    _row(at, vectors[at], own.numpy(), groups[at], space)
                    for at, own in zip(numbers, parts, strict=True)
                ]
                rows = pa.concat_tables(made).combine_chunks()
            else:
                rows = _rows(vectors[numbers.start : numbers.stop], numbers, groups, space)
            sink.write(rows, batch=f"{first:06d}")
    finally:
        sink.close()


def _rows(vectors: np.ndarray, numbers: range, groups: Sequence[str], space: SpaceRef) -> pa.Table:
    names = [str(at) for at in numbers]
    present = np.ones((len(names), len(MODALITIES)), np.bool_)
    rows = title_rows(names, vectors, present, [()] * len(names), space)
    column = rows.schema.get_field_index("language")
    return rows.set_column(column, rows.schema.field(column), pa.array([groups[at] for at in numbers]))


def _row(at: int, vector: np.ndarray, parts: np.ndarray, group: str, space: SpaceRef) -> pa.Table:
    segments = tuple(
        Segment(index, 8.0 * index, 8.0 * (index + 1), PRESENT, part, {}, SampledBy.KEYFRAMES, ())
        for index, part in enumerate(parts)
    )
    timing = Timing(0.0, 0.0, 0.0, 0.0, 0.0)
    found = MediaEmbedding(
        *(str(at), space, 8.0 * SEGMENTS, MODALITIES, vector, PRESENT, segments, {}, timing)
    )
    return title_row(CatalogueItem(media_id=str(at), uri=f"drawn:/{at}", language=group), "1", found)
