"""The embedding space: descriptor, blocks, weights, similarity, explanation, arcs. numpy only."""

from resonance.space.arcs import Arc, resample, resample_every, resample_to, smooth
from resonance.space.blocks import check_presence, check_vectors, join, presence, presence_names, split, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH, Descriptor
from resonance.space.errors import (
    ArcError,
    BlockError,
    DescriptorError,
    SpaceError,
    SpaceMismatchError,
    WeightError,
)
from resonance.space.scores import (
    Explanation,
    Query,
    Share,
    Weights,
    explain,
    query_from_blocks,
    query_from_vector,
    rank,
    require_same_space,
    score,
)

__all__ = [
    "BLOCK_WIDTH",
    "MODALITIES",
    "TITLE_WIDTH",
    "Arc",
    "ArcError",
    "BlockError",
    "Descriptor",
    "DescriptorError",
    "Explanation",
    "Query",
    "Share",
    "SpaceError",
    "SpaceMismatchError",
    "WeightError",
    "Weights",
    "check_presence",
    "check_vectors",
    "explain",
    "join",
    "presence",
    "presence_names",
    "query_from_blocks",
    "query_from_vector",
    "rank",
    "require_same_space",
    "resample",
    "resample_every",
    "resample_to",
    "score",
    "smooth",
    "split",
    "unit",
]
