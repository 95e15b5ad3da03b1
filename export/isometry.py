"""Projections that keep angles: what stands in the place of a projection nobody has trained yet."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn

#: Entries are rounded to this grid. Linear algebra libraries differ in the last bits of a float64;
#: on the grid they agree, so that every machine makes the same weights and the same fingerprint.
#: It moves inner products by less than 2e-6, no more than float32 does.
GRID = 2.0**-20


def isometry(rows: int, columns: int, seed: int, name: str) -> np.ndarray:
    """A random matrix float32 [rows, columns] with orthonormal columns, or rows where those are fewer.

    With rows >= columns it keeps all inner products; else it is an orthogonal projection onto a random
    subspace, scaled to keep the mean square length. `name` chooses the stream under `seed`.
    """
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    tall = generator.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # the factorisation is unique with a positive diagonal
    if rows < columns:
        q = q.T * np.sqrt(columns / rows)
    return np.asarray(np.rint(q / GRID) * GRID, dtype=np.float32)


def seed_projection(projection: nn.Linear, seed: int, name: str) -> None:
    """Fill the weight of `projection` (no bias) in place; see `isometry`."""
    rows, columns = projection.weight.shape
    with torch.no_grad():
        projection.weight.copy_(torch.from_numpy(isometry(rows, columns, seed, name)))
