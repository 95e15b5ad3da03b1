"""What the comparison is held to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resonance.loadtest.bench.peers.rounds import PeerRow

TEXT, IMAGES = "sentences", "images"
TRITON, TRITON_INT8 = "triton", "triton int8"
INFINITY_TORCH, INFINITY_ONNX = "infinity torch", "infinity onnx"
SENTENCE_TRANSFORMERS = "sentence-transformers"
CLIP_LOOP, CLIP_LEAN_LOOP = "transformers", "transformers, no processor"

#: Below this cosine two contenders did not do the same work; for 8 bits it is the space's own floor.
COSINE_FLOOR = 0.999


@dataclass(frozen=True, slots=True)
class Bar:
    """`ours` must make at least `ratio` times the items a second of `contender`.

    Attributes:
        p99_ratio: and its p99 must be at most this many times the other's; None: not asked for.
    """

    items: str
    ours: str
    contender: str
    concurrency: int
    ratio: float
    p99_ratio: float | None = None

    def is_met(self, row: PeerRow) -> bool:
        """Whether `row`, which must be of this pair, is good enough."""
        return row.ratio >= self.ratio and (self.p99_ratio is None or row.p99_ratio <= self.p99_ratio)


BARS = (
    Bar(TEXT, TRITON, INFINITY_TORCH, 32, 1.5, 1.0),
    Bar(TEXT, TRITON, INFINITY_ONNX, 32, 1.05, 1.0),
    Bar(IMAGES, TRITON, CLIP_LOOP, 32, 1.1),
    Bar(IMAGES, TRITON, CLIP_LEAN_LOOP, 32, 1.1),
    Bar(IMAGES, TRITON_INT8, CLIP_LOOP, 32, 3.0),
    Bar(IMAGES, TRITON_INT8, CLIP_LEAN_LOOP, 32, 3.0),
)


def judged(rows: Iterable[PeerRow]) -> Iterator[tuple[Bar, PeerRow]]:
    """Each bar whose pair was measured, with its row."""
    found = {(row.items, row.ours, row.contender, row.concurrency): row for row in rows}
    for bar in BARS:
        row = found.get((bar.items, bar.ours, bar.contender, bar.concurrency))
        if row is not None:
            yield bar, row


def strangers(rows: Iterable[PeerRow]) -> list[PeerRow]:
    """Rows of contenders whose vectors are not ours: what was compared is not the same work."""
    return [row for row in rows if row.worst_cosine < COSINE_FLOOR]
