"""`python -m resonance.loadtest.audit.carry`: what a move between real spaces of `tiny` leaves of neighbours.

Titles held out from all training, in spaces of other seeds, other lengths of training, and of none; each pair
fitted in every variant, and once with the titles paired wrongly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from resonance.clients.carrying.fitting import VARIANTS, Move, fit_move
from resonance.clients.carrying.matching import Matched
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.carry_spaces import spaces

#: From which space to which.
PAIRS = (("seed1", "seed2"), ("seed2", "committed"), ("committed", "seed2"), ("untrained", "committed"))


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of spaces in one variant."""

    old: str
    new: str
    pairing: str
    titles: int
    move: Move


def matched_vectors(old: np.ndarray, new: np.ndarray) -> Matched:
    """Title vectors [n, 1788] of the same titles, as two stores would give them, in a random order."""
    order = np.random.default_rng(596).permutation(len(old))
    return Matched(
        tuple(str(at) for at in order),
        old[order],
        new[order],
        np.ones((len(old), 3), np.bool_),
        SpaceRef("tiny", "0" * 64, True),
        SpaceRef("tiny", "1" * 64, True),
        len(old),
        0,
    )


def measured(
    vectors: dict[str, np.ndarray],
    old: str,
    new: str,
    *,
    variant: str | None = None,
    titles: int | None = None,
) -> list[Row]:
    """A pair of spaces with its titles paired rightly, and wrongly."""
    before, after = vectors[old][:titles], vectors[new][:titles]
    wrong = np.random.default_rng(1).permutation(len(after))
    return [
        Row(old, new, pairing, len(before), fit_move(matched_vectors(before, chosen), variant=variant))
        for pairing, chosen in (("right", after), ("wrong", after[wrong]))
    ]


def main(
    work: Annotated[Path, typer.Option(help="Where encoders and vectors are kept.")] = Path(
        "build/audit/carry"
    ),
    pool: Annotated[Path, typer.Option(help="Where the held-out titles are, or are rendered.")] = Path(
        "build/train/cpu/evaluation"
    ),
    out: Annotated[Path, typer.Option(help="Figures as JSON.")] = Path("build/audit/carry.json"),
    pair: Annotated[list[str] | None, typer.Option(metavar="OLD:NEW", help="[default: all four]")] = None,
) -> None:
    """Train the encoders that are missing, fit, measure."""
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    pairs = [tuple(text.split(":")) for text in pair] if pair else list(PAIRS)
    vectors = spaces(work, pool, tuple(dict.fromkeys(name for names in pairs for name in names)))
    rows = []
    for old, new in pairs:
        for variant in VARIANTS:
            rows += measured(vectors, old, new, variant=variant)
        for titles in (150, 300, 600):
            rows += measured(vectors, old, new, titles=titles)[:1]
    table = Table(
        "old", "new", "pairing", "titles", "variant", "before", "after", "kept", "spaces", "own", "cos"
    )
    for row in rows:
        loss = row.move.loss
        table.add_row(
            *(row.old, row.new, row.pairing, str(row.titles), row.move.variant),
            f"{loss.unaligned.value:.3f}",
            f"{loss.true.value:.3f} ({loss.true.interval[0]:.3f}, {loss.true.interval[1]:.3f})",
            f"{loss.kept.value:.3f}",
            f"{loss.agreement.value:.3f}",
            f"{loss.own_first.value:.2f} / {loss.own_rank.value:.0f}",
            " ".join(f"{figure.value:.2f}" for figure in loss.cosine.values()),
        )
    Console(width=170).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps(
            [
                {
                    **{name: getattr(row, name) for name in ("old", "new", "pairing", "titles")},
                    "variant": row.move.variant,
                    **asdict(row.move.loss),
                }
                for row in rows
            ],
            indent=1,
        )
    )


if __name__ == "__main__":
    typer.run(main)
