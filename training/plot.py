"""Curves of the losses of a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from resonance.training.heldout import HeldOut

#: Columns of the log that are no loss, and how such columns begin.
NOT_LOSSES = ("step", "elapsed_s")
SCALES = "scale_"
#: Steps of the running mean that is drawn over the noisy values.
SMOOTH_STEPS = 15


def plot_losses(log: Path, target: Path, title: str, held: HeldOut | None = None) -> None:
    """Draw every loss of the CSV `log` against the step into the PNG `target`, and the recall of titles held
    out on an axis of its own, with the step that was kept."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    # a term may be missing in a step, where nothing in the batch called for it
    values = np.array([[float(v) for v in row] for row in rows if len(row) == len(header)])
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for i, name in enumerate(header):
        if name in NOT_LOSSES or name.startswith(SCALES):
            continue
        window = min(SMOOTH_STEPS, len(values))
        smooth = np.convolve(values[:, i], np.ones(window) / window, mode="valid")
        steps = values[window - 1 :, 0]
        (line,) = axes.plot(
            steps, smooth, label=name.replace("_", " ↔ "), linewidth=2 if name == "loss" else 1.2
        )
        axes.plot(values[:, 0], values[:, i], color=line.get_color(), alpha=0.15, linewidth=0.6)
    axes.set(xlabel="step", ylabel="loss (nats)", title=title, ylim=(0, None))
    axes.grid(alpha=0.3)
    if held is not None:
        recalls = axes.twinx()
        recalls.plot(*zip(*held.looks, strict=True), color="black", label="recall@1 of titles held out")
        recalls.axvline(held.kept, color="black", linestyle=":", label=f"kept: step {held.kept}")
        recalls.set(ylabel="recall@1", ylim=(0, 1))
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    figure.savefig(target, dpi=120)
    pyplot.close(figure)
