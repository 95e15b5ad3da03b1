"""Segments into a title, through the server's fusion head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.results import Vector
from resonance.clients.transport import Tensors, Transport

MODEL = "title_fusion"


@dataclass(frozen=True, slots=True, eq=False)
class FusionRows:
    """Fusion's input. blocks float32 [N, 3, 596], unit where present; present bool [N, 3]; times_s float32
    [N], ascending. What stands in an absent block is not read."""

    blocks: Vector
    present: NDArray[np.bool_]
    times_s: Vector

    def __len__(self) -> int:
        return len(self.times_s)

    def joined(self, firsts: NDArray[np.intp]) -> FusionRows:
        """Neighbours as one row each, [len(firsts)]: from each of `firsts` up to the next one.

        A block is the unit mean of those that are present in it, as a longer window would have it.
        """
        given = self.blocks * self.present[:, :, None].astype(np.float32)
        sums = np.add.reduceat(given, firsts)  # (M, 3, 596)
        norms = np.linalg.norm(sums, axis=-1, keepdims=True)
        return FusionRows(
            blocks=sums / np.where(norms > 0, norms, 1),
            present=np.logical_or.reduceat(self.present, firsts),
            times_s=self.times_s[firsts],
        )


@dataclass(frozen=True, slots=True, eq=False)
class FusedTitle:
    """title float32 [1788]; salience float32 [N], sums to 1."""

    title: Vector
    salience: Vector


async def fuse_title(
    transport: Transport, rows: FusionRows, *, max_segments: int, timeout_s: float
) -> FusedTitle:
    """Fuse any number of segments.

    Where they are more than `max_segments`, neighbours are joined first, evenly over the title, and share
    their row's salience. So the head sees all of the title in its order. Fused in pieces of `max_segments`,
    and these as if each were a segment, one window in the last piece would count as much as the thousand
    windows before it.
    """
    count = min(len(rows), max_segments)
    firsts = np.arange(count) * len(rows) // count
    given = rows if count == len(rows) else rows.joined(firsts)
    answer = await transport.infer(MODEL, _inputs(given), ("TITLE", "SALIENCE"), timeout_s=timeout_s)
    lengths = np.diff(firsts, append=len(rows))
    return FusedTitle(
        title=np.array(answer["TITLE"]),  # a message is read-only
        salience=np.repeat(answer["SALIENCE"] / lengths.astype(np.float32), lengths),
    )


async def complete_segment(
    transport: Transport, blocks: Vector, present: tuple[bool, bool, bool], *, timeout_s: float
) -> Vector:
    """The vector float32 [1788] of blocks float32 [3, 596], those that are absent inferred."""
    row = FusionRows(blocks[None], np.array([present]), np.zeros(1, np.float32))
    answer = await transport.infer(MODEL, _inputs(row), ("SEGMENTS",), timeout_s=timeout_s)
    return np.array(answer["SEGMENTS"][0])


def _inputs(rows: FusionRows) -> Tensors:
    return {"BLOCKS": rows.blocks, "PRESENT": rows.present, "TIMES": rows.times_s}
