"""`make performance-page`: docs/performance.md and its pictures from the figures in docs/performance/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from resonance.loadtest.bench.plots import PLOTS, draw
from resonance.loadtest.bench.report import page
from resonance.loadtest.bench.results import ResultsError, load

PAGE, FOLDER = Path("docs/performance.md"), Path("docs/performance")


def page_of(folder: Path) -> str:
    """The page over all JSON files in `folder`, which lies beside it.

    Raises:
        ResultsError: there is none, or one is no file of figures.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ResultsError(f"{folder}: no *.json; expected at least one that `make bench` wrote")
    machines = {path.stem: load(path) for path in paths}
    pictures = {
        part: [Path(folder.name, f"{name}-{part}.svg") for name, f in machines.items() if f.get(part)]
        for part in PLOTS
    }
    return page(machines, pictures)


def write(
    folder: Annotated[Path, typer.Option(help="JSON files, one a machine; pictures go there.")] = FOLDER,
    out: Annotated[Path, typer.Option(help="The page; stands beside the folder.")] = PAGE,
) -> None:
    """Write the page and draw its pictures."""
    try:
        out.write_text(page_of(folder), encoding="utf-8")
    except ResultsError as error:
        Console(stderr=True).print(str(error), markup=False)
        raise typer.Exit(1) from None
    for path in sorted(folder.glob("*.json")):
        draw(load(path), path.stem, folder)


if __name__ == "__main__":
    typer.run(write)
