"""`make performance-page`: docs/performance.md and its pictures from the figures in docs/performance/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from resonance.loadtest.bench.plots import PLOTS, draw
from resonance.loadtest.bench.report import page
from resonance.loadtest.bench.results import ResultsError, load

PAGE, FOLDER = Path("docs/performance.md"), Path("docs/performance")


def machines_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Figures by machine: NAME.json of `make bench`, and what other benches wrote there, in NAME.*.json.

    Raises:
        ResultsError: there is none, or one is no file of figures.
    """
    paths = sorted(path for path in folder.glob("*.json") if "." not in path.stem)
    if not paths:
        raise ResultsError(f"{folder}: no *.json; expected at least one that `make bench` wrote")
    machines = {path.stem: load(path) for path in paths}
    for name, figures in machines.items():
        for path in sorted(folder.glob(f"{name}.*.json")):
            for part, (rows, when) in _beside(path).items():
                figures[part], figures["measured"][part] = rows, when
    return machines


def _beside(path: Path) -> dict[str, tuple[list[Any], dict[str, str]]]:
    """Parts of a file that another bench wrote, or `make bench` in a run of its own; rows, and when."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        told, measured = figures.pop("environment"), figures.pop("measured", {})
        started = told["started"][:10] if "started" in told else told["date"]
        when = {"date": started, "commit": told.get("commit", "not told")}
    except (ValueError, KeyError) as error:
        said = f"{path}: {type(error).__name__}: {error}"
        raise ResultsError(f"{said}; expected figures with environment.started or .date") from error
    return {part: (rows, measured.get(part, when)) for part, rows in figures.items()}


def page_of(folder: Path) -> str:
    """The page over all JSON files in `folder`, which lies beside it.

    Raises:
        ResultsError: there is none, or one is no file of figures.
    """
    machines = machines_of(folder)
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
    for name, figures in machines_of(folder).items():
        draw(figures, name, folder)


if __name__ == "__main__":
    typer.run(write)
