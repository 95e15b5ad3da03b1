"""Pictures of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from resonance.loadtest.ingest.costs import Look


def plot_memory(looks: Sequence[Look], first: int, path: Path) -> None:
    """Resident memory against titles done, with the point that the bar counts from."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot([look.titles for look in looks], [look.rss_mib for look in looks], linewidth=1.2)
    axes.axvline(first, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="titles done", ylabel="resident memory, MiB", ylim=(0, None))
    axes.set_title("Memory of a job as its catalogue grows", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)
