"""Segments into a title, through the server's fusion head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.results import Vector
from resonance.clients.transport import Transport

MODEL = "title_fusion"
OUTPUTS = ("TITLE", "SEGMENTS", "SALIENCE")
BLOCKS = 3


@dataclass(frozen=True, slots=True, eq=False)
class FusionRows:
    """Fusion's input. blocks float32 [N, 3, 596]; present bool [N, 3]; times_s float32 [N], ascending."""

    blocks: Vector
    present: NDArray[np.bool_]
    times_s: Vector

    def __len__(self) -> int:
        return len(self.times_s)

    def __getitem__(self, rows: slice) -> FusionRows:
        return FusionRows(self.blocks[rows], self.present[rows], self.times_s[rows])


@dataclass(frozen=True, slots=True, eq=False)
class FusedTitle:
    """title float32 [1788]; segments float32 [N, 1788]; salience float32 [N], sums to 1."""

    title: Vector
    segments: Vector
    salience: Vector


async def fuse_title(
    transport: Transport, rows: FusionRows, *, max_segments: int, timeout_s: float
) -> FusedTitle:
    """Fuse any number of segments: chunks of `max_segments` first, then the chunks as if segments.

    A segment's salience in a long title is its share of its chunk times the chunk's share of the title.
    """
    if len(rows) <= max_segments:
        return await _fuse_once(transport, rows, timeout_s)
    chunks = [rows[start : start + max_segments] for start in range(0, len(rows), max_segments)]
    fused = [await _fuse_once(transport, chunk, timeout_s) for chunk in chunks]
    titles = np.stack([f.title for f in fused])  # (C, 1788)
    whole = await fuse_title(
        transport,
        FusionRows(
            blocks=titles.reshape(len(chunks), BLOCKS, -1) * np.float32(np.sqrt(BLOCKS)),  # (C, 3, 596)
            present=np.stack([chunk.present.any(axis=0) for chunk in chunks]),  # (C, 3)
            times_s=np.array([chunk.times_s[0] for chunk in chunks], np.float32),
        ),
        max_segments=max_segments,
        timeout_s=timeout_s,
    )
    return FusedTitle(
        title=whole.title,
        segments=np.concatenate([f.segments for f in fused]),
        salience=np.concatenate([f.salience * share for f, share in zip(fused, whole.salience, strict=True)]),
    )


async def _fuse_once(transport: Transport, rows: FusionRows, timeout_s: float) -> FusedTitle:
    answer = await transport.infer(
        MODEL,
        {"BLOCKS": rows.blocks, "PRESENT": rows.present, "TIMES": rows.times_s},
        OUTPUTS,
        timeout_s=timeout_s,
    )
    title, segments, salience = (np.array(answer[name]) for name in OUTPUTS)  # a message is read-only
    return FusedTitle(title, segments, salience)
