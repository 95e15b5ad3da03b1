"""`python -m resonance.loadtest.audit.coldstart_leads OUT.png FILES...`: a picture of `coldstart_repeats`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from resonance.clients.audit.estimates import Estimate
from resonance.training.coldstart.plots import draw_leads
from resonance.training.coldstart.result import RECALL


def plot_leads(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A panel a case: the reference less each other, with its interval over the runs.

    Args:
        cases: by name, the rows of `resonance.loadtest.audit.coldstart_repeats.Repeated` as dictionaries.
    """
    figure = Figure(figsize=(3.4 * len(cases) + 1, 3.6), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, (case, rows) in zip(panels, cases.items(), strict=True):
        shown = [row for row in rows if row["measure"] == RECALL and row["lead"] is not None]
        draw_leads(axes, {row["name"]: Estimate(**row["lead"]) for row in shown})
        axes.set_title(case, fontsize=10)
        axes.locator_params(axis="x", nbins=4)
    figure.suptitle(
        f"fused over others: {RECALL} of new titles, over runs; left of 0 the other is better", fontsize=11
    )
    return figure


def main(
    out: Annotated[Path, typer.Argument(help="The picture.")],
    files: Annotated[list[Path], typer.Argument(help="`CASE, N runs.json` each.")],
) -> None:
    """Draw them side by side."""
    cases = {path.stem.rpartition(", ")[0]: json.loads(path.read_text()) for path in files}
    plot_leads(cases).savefig(out, dpi=110)


if __name__ == "__main__":
    typer.run(main)
