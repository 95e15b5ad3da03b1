"""The embedding space: descriptor, blocks, weights, similarity, explanation, taste, arcs, axes; numpy."""

from resonance.space.arcs import Arc, resample, resample_every, resample_to, smooth
from resonance.space.axes import AxisMeter
from resonance.space.blocks import check_presence, check_vectors, join, presence, presence_names, split, unit
from resonance.space.calibration import calibrate_axis, end_of_axis, sigmas
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH, Axis, Descriptor
from resonance.space.errors import (
    ArcError,
    BlockError,
    CalibrationError,
    DescriptorError,
    SpaceError,
    SpaceMismatchError,
    WeightError,
)
from resonance.space.pairs import Pair, best_pair
from resonance.space.reference import Reference
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
from resonance.space.taste import Blend

__all__ = [
    "BLOCK_WIDTH",
    "MODALITIES",
    "TITLE_WIDTH",
    "Arc",
    "ArcError",
    "Axis",
    "AxisMeter",
    "Blend",
    "BlockError",
    "CalibrationError",
    "Descriptor",
    "DescriptorError",
    "Explanation",
    "Pair",
    "Query",
    "Reference",
    "Share",
    "SpaceError",
    "SpaceMismatchError",
    "WeightError",
    "Weights",
    "best_pair",
    "calibrate_axis",
    "check_presence",
    "check_vectors",
    "end_of_axis",
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
    "sigmas",
    "smooth",
    "split",
    "unit",
]
