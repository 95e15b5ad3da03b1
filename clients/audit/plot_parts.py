"""What the pictures of audits have alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes


def plain(axes: Axes, grid: Literal["x", "y", "both"] | None = None) -> None:
    """No frame above and at the right; a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid is not None:
        axes.grid(axis=grid, alpha=0.3)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A name a row, the first on top: row i of n stands at n - i."""
    # a dollar would begin a formula
    axes.set_yticks(range(len(names), 0, -1), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(0.4, len(names) + 0.6)
