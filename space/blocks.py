"""Vectors and their blocks: 1,788 numbers are three unit blocks of 596 side by side, divided by sqrt(3).

So a title vector has unit norm, and dot product and cosine rank alike in any store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH
from resonance.space.errors import BlockError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ROOT_BLOCKS = math.sqrt(len(MODALITIES))
#: How far a norm may be from 1: float32 sums of 1,788 squares, stored and read again.
NORM_TOLERANCE = 1e-3


def join(blocks: ArrayLike) -> FloatArray:
    """Unit blocks [..., 3, 596] as vectors [..., 1788].

    Raises:
        BlockError: another shape, a number that is not finite, or a block that is not unit.
    """
    array = _checked(blocks, (len(MODALITIES), BLOCK_WIDTH), "blocks")
    _check_unit(array, "block")
    return array.reshape(*array.shape[:-2], TITLE_WIDTH) / ROOT_BLOCKS


def split(vectors: ArrayLike) -> FloatArray:
    """Vectors [..., 1788] as their unit blocks [..., 3, 596]; the inverse of `join`.

    Raises:
        BlockError: another width, a number that is not finite, or a block that is not unit.
    """
    array = check_vectors(vectors)
    blocks = array.reshape(*array.shape[:-1], len(MODALITIES), BLOCK_WIDTH) * ROOT_BLOCKS
    _check_unit(blocks, "block")
    return blocks


def check_vectors(vectors: ArrayLike) -> FloatArray:
    """`vectors` [..., 1788] as float64.

    Raises:
        BlockError: another width, or a number that is not finite.
    """
    return _checked(vectors, (TITLE_WIDTH,), "vector")


def unit(x: ArrayLike) -> FloatArray:
    """`x` [..., d] divided by its norm along the last axis.

    Raises:
        BlockError: a row without direction (zero or not finite).
    """
    array = np.asarray(x, dtype=np.float64)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise BlockError("a row is zero or not finite and has no direction; expected numbers with one")
    return np.asarray(array / norms)


def presence(modalities: Iterable[str]) -> BoolArray:
    """Names of the modalities that are there as a mask [3] in block order.

    Raises:
        BlockError: an unknown name, or none at all.
    """
    names = set(modalities)
    unknown = names - set(MODALITIES)
    if unknown:
        raise BlockError(f"unknown modality {', '.join(sorted(unknown))}; known are {', '.join(MODALITIES)}")
    if not names:
        raise BlockError(f"no modality is present; expected at least one of {', '.join(MODALITIES)}")
    return np.array([m in names for m in MODALITIES])


def presence_names(present: ArrayLike) -> Mapping[str, bool]:
    """A mask [3] by modality name.

    Raises:
        BlockError: another shape.
    """
    mask = np.asarray(present, dtype=np.bool_)
    if mask.shape != (len(MODALITIES),):
        raise BlockError(f"presence has shape {mask.shape}; expected ({len(MODALITIES)},)")
    return {m: bool(there) for m, there in zip(MODALITIES, mask, strict=True)}


def _checked(values: ArrayLike, trailing: tuple[int, ...], what: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BlockError(f"{what}: not numbers ({error})") from error
    if array.shape[-len(trailing) :] != trailing:
        raise BlockError(f"{what} has shape {array.shape}; expected it to end in {trailing}")
    if not np.isfinite(array).all():
        raise BlockError(f"{what} holds NaN or infinity; expected finite numbers")
    return array


def _check_unit(blocks: FloatArray, what: str) -> None:
    norms = np.linalg.norm(blocks, axis=-1)
    worst = float(np.abs(norms - 1).max()) if norms.size else 0.0
    if worst > NORM_TOLERANCE:
        raise BlockError(f"a {what} has a norm {worst:.2g} away from 1; expected unit blocks")
