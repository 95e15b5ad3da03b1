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
    _check_unit(array)
    return array.reshape(*array.shape[:-2], TITLE_WIDTH) / ROOT_BLOCKS


def split(vectors: ArrayLike) -> FloatArray:
    """Vectors [..., 1788] as their unit blocks [..., 3, 596]; the inverse of `join`.

    Raises:
        BlockError: another width, a number that is not finite, or a block that is not unit.
    """
    array = check_vectors(vectors)
    blocks = array.reshape(*array.shape[:-1], len(MODALITIES), BLOCK_WIDTH) * ROOT_BLOCKS
    _check_unit(blocks)
    return blocks


def check_vectors(vectors: ArrayLike) -> FloatArray:
    """`vectors` [..., 1788] as float64.

    Raises:
        BlockError: another width, or a number that is not finite.
    """
    return _checked(vectors, (TITLE_WIDTH,), "vectors")


def unit(x: ArrayLike) -> FloatArray:
    """`x` [..., d] divided by its norm along the last axis.

    Raises:
        BlockError: a row without direction (zero or not finite), or no floating-point numbers.
    """
    array = _floats(x, "rows")
    if array.ndim == 0 or not np.isfinite(array).all():
        raise BlockError(f"rows of shape {array.shape} hold NaN or infinity, or are none; expected numbers")
    if array.size == 0:
        return array
    largest = np.abs(array).max(axis=-1, keepdims=True)
    if (largest == 0).any():
        raise BlockError("a row is zero and has no direction; expected one number that is not 0")
    array = array / largest  # so that squares neither overflow nor vanish
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True))


def presence(modalities: Iterable[str] | Mapping[str, bool]) -> BoolArray:
    """Which modalities are there, as a mask [3] in block order.

    Args:
        modalities: their names, or True and False by name (what is not named is absent).

    Raises:
        BlockError: an unknown name, a value that is no bool, or none there at all.
    """
    if isinstance(modalities, Mapping):
        wrong = [f"{name}={there!r}" for name, there in modalities.items() if not isinstance(there, bool)]
        if wrong:
            raise BlockError(f"presence of {', '.join(wrong)}; expected True or False")
        named = set(modalities)
        names = {name for name, there in modalities.items() if there}
    else:
        named = names = set(modalities)
    unknown = named - set(MODALITIES)
    if unknown:
        raise BlockError(f"unknown modality {', '.join(sorted(unknown))}; known are {', '.join(MODALITIES)}")
    return check_presence([m in names for m in MODALITIES])


def check_presence(present: ArrayLike) -> BoolArray:
    """`present` as a mask bool [..., 3] in block order.

    Raises:
        BlockError: another shape, no bools, or a row where nothing is present.
    """
    mask = np.asarray(present)
    if mask.dtype != np.bool_ or mask.shape[-1:] != (len(MODALITIES),):
        raise BlockError(
            f"presence is {mask.dtype} of shape {mask.shape}; expected bool ending in ({len(MODALITIES)},)"
        )
    if not mask.any(axis=-1).all():
        raise BlockError(f"no modality is present; expected at least one of {', '.join(MODALITIES)}")
    return mask


def presence_names(present: ArrayLike) -> dict[str, bool]:
    """A mask [3] by modality name; the inverse of `presence`.

    Raises:
        BlockError: see `check_presence`.
    """
    mask = check_presence(present)
    if mask.ndim != 1:
        raise BlockError(f"presence has shape {mask.shape}; expected ({len(MODALITIES)},)")
    return {m: bool(there) for m, there in zip(MODALITIES, mask, strict=True)}


def _floats(values: ArrayLike, what: str) -> FloatArray:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise BlockError(f"{what}: not an array ({error})") from error
    if array.dtype.kind != "f":
        raise BlockError(f"{what} of {array.dtype}; expected floating-point numbers")
    return array.astype(np.float64)


def _checked(values: ArrayLike, trailing: tuple[int, ...], what: str) -> FloatArray:
    array = _floats(values, what)
    if array.shape[-len(trailing) :] != trailing:
        raise BlockError(f"{what} of shape {array.shape}; expected it to end in {trailing}")
    if not np.isfinite(array).all():
        raise BlockError(f"{what} with NaN or infinity; expected finite numbers")
    return array


def _check_unit(blocks: FloatArray) -> None:
    norms = np.linalg.norm(blocks, axis=-1)
    worst = float(np.abs(norms - 1).max()) if norms.size else 0.0
    if worst > NORM_TOLERANCE:
        raise BlockError(f"a block has a norm {worst:.2g} away from 1; expected unit blocks")
