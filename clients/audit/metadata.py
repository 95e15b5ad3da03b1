"""How much of what the vectors know do the tags carry, and the reverse: all figures of the audit.

The metadata score is the share of the variance of the titles' present blocks that tags explain
(`resonance.clients.audit.explained`), all modalities together. It is a property of the library, not of the
sample: useless tags do not raise it in the mean, and to drop, merge or randomise tags lowers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resonance.clients.audit.explained import (
    LEAST_TITLES,
    Explained,
    explained_where,
    out_of_fold,
    random_folds,
)
from resonance.clients.audit.sampling import LibrarySample
from resonance.clients.audit.tag_gains import Gain, group_gains, split_gains
from resonance.clients.audit.tag_learning import Learned, learn_tags, tag_structure, vector_structure
from resonance.clients.audit.tag_pairs import Pairs, Spread, Suspect, mean_cosine, spreads, tag_pairs
from resonance.clients.audit.tag_table import (
    LEAST_CARRIERS,
    TagTable,
    centred_blocks,
    components,
    tag_table,
)
from resonance.clients.errors import UsageError
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import MODALITIES


@dataclass(frozen=True, slots=True)
class MetadataAudit:
    """Attributes:
    table: the tags that counted.
    blocks: what tags explain of each modality's present blocks, in block order; of no title where fewer
        than 100 have it.
    left_out: of those, how many titles have each: it is no part of the score.
    score: the same of all together: the metadata score, with its interval.
    as_many_numbers: the most that any as many numbers a title as there are tags could explain.
    learned: from vectors to tags. tag_structure, vector_structure: whether either side is mere noise.
    mean_cosine: of all pairs of titles. spreads: of each tag, widest first. suspects: farthest first.
    pairs: where tags and cosines disagree.
    group_gains, split_gains: what would raise the score, most first.
    """

    table: TagTable
    blocks: tuple[Explained, ...]
    left_out: Mapping[str, int]
    score: Explained
    as_many_numbers: float
    learned: Learned
    tag_structure: Explained
    vector_structure: Explained
    mean_cosine: float
    spreads: tuple[Spread, ...]
    suspects: tuple[Suspect, ...]
    pairs: Pairs
    group_gains: tuple[Gain, ...]
    split_gains: tuple[Gain, ...]


def metadata_score(
    sample: LibrarySample, table: TagTable, seed: int
) -> tuple[Explained, tuple[Explained, ...]]:
    """The score, and the same of each modality's blocks."""
    folds = random_folds(len(sample.media_ids), np.random.default_rng(seed))
    columns = table.columns
    blocks = tuple(
        explained_where(columns, sample.blocks[:, at], sample.present[:, at], folds)
        for at in range(len(MODALITIES))
    )
    return blocks[0] + blocks[1] + blocks[2], blocks


def audit_metadata(sample: LibrarySample, *, seed: int = 0, least: int = LEAST_CARRIERS) -> MetadataAudit:
    """All of it; the same sample and seed give the same figures.

    Args:
        least: a tag counts where so many titles of the sample carry it, and as many do not.

    Raises:
        UsageError: fewer than 100 titles, no modality that 100 of them have, or no tag that counts.
    """
    titles = len(sample.media_ids)
    if titles < LEAST_TITLES:
        raise UsageError(f"{titles} titles; expected at least {LEAST_TITLES}")
    having = dict(zip(MODALITIES, sample.present.sum(axis=0).tolist(), strict=True))
    left_out = {name: count for name, count in having.items() if count < LEAST_TITLES}
    if len(left_out) == len(having):
        named = ", ".join(f"{name} on {count}" for name, count in having.items())
        raise UsageError(f"{titles} titles: {named}; expected one of these on at least {LEAST_TITLES}")
    table = tag_table(sample.tags, least)
    score, blocks = metadata_score(sample, table, seed)
    rng = np.random.default_rng([seed, 1])
    folds = random_folds(titles, rng)
    centred = centred_blocks(sample.blocks, sample.present)
    main = components(centred)
    vectors = sample.blocks.reshape(titles, -1) / np.float32(ROOT_BLOCKS)  # (n, 1788)
    found, suspects = spreads(vectors, table)
    told = out_of_fold(table.columns, main.scores, folds)
    suspected = np.zeros(titles, np.bool_)
    suspected[[suspect.title for suspect in suspects]] = True
    groups = {"titles without a tag": ~np.array([bool(own) for own in sample.tags])}
    groups["titles without a tag that counts"] = ~table.carried.any(axis=1)
    groups["titles far from a tag's others"] = suspected
    groups |= {f"titles of {tag}": table.carried[:, at] for at, tag in enumerate(table.names)}
    return MetadataAudit(
        table=table,
        blocks=blocks,
        left_out=left_out,
        score=score,
        as_many_numbers=float(main.variances[: len(table.names)].sum() / max(main.variances.sum(), 1e-30)),
        learned=learn_tags(main.scores, sample.tags, table, folds, seed),
        tag_structure=tag_structure(table, folds),
        vector_structure=vector_structure(centred, rng),
        mean_cosine=mean_cosine(vectors),
        spreads=tuple(sorted(found, key=lambda spread: spread.cosine)),
        suspects=tuple(suspects),
        pairs=tag_pairs(vectors, sample.tags, rng),
        group_gains=tuple(group_gains(score, groups)),
        split_gains=tuple(split_gains(told.centred - told.predicted, table, score, rng)),
    )
