"""What a reference set says of a space: how much scores spread, and where the middle of an axis lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from resonance.space.blocks import FloatArray, unit
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Axis
from resonance.space.errors import CalibrationError
from resonance.space.reference import Reference

#: Cosines of random directions in 596 dimensions spread by 1/sqrt(596) = 0.041. Blocks that spread less
#: than a quarter of that have collapsed; dividing by their spread would rank by noise.
SPREAD_FLOOR = 0.01
#: Kept of each calibrated number, so that space.json stays small.
DIGITS = 7


def sigmas(reference: Reference) -> dict[str, dict[str, float]]:
    """The spread of scores by query modality and block modality, for `Descriptor.sigmas`.

    sigma(a, b) is the standard deviation of the cosine between the block of modality a of one segment
    and the block of modality b of ANOTHER segment, over all ordered pairs of the reference set where both
    are present, and at least `SPREAD_FLOOR`. Modalities lie apart in a shared space, and the cosines of
    some spread ten times as much as those of others; divided by sigma, all shares of a score count in
    the same unit. The mean of the cosines is not subtracted: it is the same for every title.
    """
    rows = {modality: reference.zeroed(modality) for modality in MODALITIES}  # (R, 596)
    squares = {modality: r.T @ r for modality, r in rows.items()}  # (596, 596)
    counts = {modality: r.any(axis=1) for modality, r in rows.items()}  # (R,)
    found: dict[str, dict[str, float]] = {}
    for a in MODALITIES:
        found[a] = {}
        for b in MODALITIES:
            # Sums over all pairs, less those of a segment with itself; R x R cosines are never held:
            # sum_ij (a_i.b_j)^2 is the inner product of A'A and B'B.
            own = np.einsum("rd,rd->r", rows[a], rows[b])
            pairs = int(counts[a].sum()) * int(counts[b].sum()) - int((counts[a] & counts[b]).sum())
            mean = (rows[a].sum(axis=0) @ rows[b].sum(axis=0) - own.sum()) / pairs
            square = ((squares[a] * squares[b]).sum() - (own**2).sum()) / pairs
            found[a][b] = _rounded(max(np.sqrt(max(square - mean**2, 0.0)), SPREAD_FLOOR))
    return found


def end_of_axis(prompts: ArrayLike) -> FloatArray:
    """The end that several prompts describe: the unit mean [596] of their unit blocks [P, 596].

    Raises:
        CalibrationError: no prompt, another width, or prompts that cancel.
        BlockError: a block without direction.
    """
    blocks = np.asarray(prompts)
    if blocks.ndim != 2 or blocks.shape[0] == 0 or blocks.shape[1] != BLOCK_WIDTH:
        raise CalibrationError(f"prompts of shape {blocks.shape}; expected (P, {BLOCK_WIDTH}), P at least 1")
    mean = unit(blocks).mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:
        raise CalibrationError("the prompts of an end cancel; expected prompts that mean the same")
    return unit(mean)


def calibrate_axis(
    low: ArrayLike,
    high: ArrayLike,
    reference: Reference,
    *,
    low_prompts: Sequence[str],
    high_prompts: Sequence[str],
) -> Axis:
    """The axis from `low` to `high` (blocks [596], made unit), and its middle and spread.

    direction = unit(high) - unit(low). For each modality, `mean` and `spread` are the mean and standard
    deviation of (block . direction) over the present blocks of the reference set; `spread` is at least
    `SPREAD_FLOOR` times the direction's length.

    Raises:
        CalibrationError: the two ends are the same, so there is no direction.
        BlockError: an end without direction.
    """
    direction = unit(np.asarray(high)) - unit(np.asarray(low))
    length = float(np.linalg.norm(direction))
    if length < 1e-6:
        raise CalibrationError("both ends lie in the same place; expected prompts of different meaning")
    projections = {modality: reference.of(modality) @ direction for modality in MODALITIES}
    return Axis(
        low=tuple(low_prompts),
        high=tuple(high_prompts),
        direction=tuple(_rounded(x) for x in direction),
        mean={m: _rounded(p.mean()) for m, p in projections.items()},
        spread={m: _rounded(max(p.std(), SPREAD_FLOOR * length)) for m, p in projections.items()},
    )


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
