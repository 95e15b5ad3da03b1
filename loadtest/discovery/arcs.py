"""`python -m resonance.loadtest.discovery.arcs`: whether a shape finds the titles that have it, and how fast.

Titles of the procedural world, whose arcs are known, in a real Parquet store: once by their true levels, once
as `tiny` sees, hears and reads them. Then what the warping window and the floor of the level were chosen by.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from resonance.clients.discovery.arc_search import WARPING, curve_of, distances_to, find_arcs
from resonance.clients.discovery.arc_shapes import HARDLY_MOVES, POINTS, named_shape, shape_of
from resonance.clients.discovery.libraries import open_library
from resonance.export.families import tiny
from resonance.loadtest.discovery.arc_store import write_store
from resonance.loadtest.discovery.arc_titles import (
    AXES,
    FLAT,
    LABELS,
    Rendered,
    WorldTitles,
    flat_titles,
    level_titles,
)
from resonance.space.blocks import presence
from resonance.space.descriptor import MODALITIES, Axis, Descriptor
from resonance.training.tiny import load_modules
from resonance.training.world.factors import LEVELS
from resonance.training.world.pool import PoolSettings, load_or_render

#: Held-out titles, of another seed than those that `tiny` is evaluated on.
POOL = PoolSettings(titles=360, segments_per_title=12, seed=41, held_out=True)
BAR, FIRST = 0.9, 10
#: Which arcs are asked for, together or alone.
ASKED: tuple[tuple[str, ...], ...] = (*((name,) for name in AXES), tuple(AXES))
WARPINGS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 1.0)
FLOORS = (0.0, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2)
MOST_BENT, FLATS = 2.0, 60
PARTS = (90, 180)
console = Console()


@dataclass(frozen=True, slots=True)
class Found:
    """Precision at 10 of a shape: the share of the nearest ten titles that have its arc."""

    titles: str
    shape: str
    arcs: str
    precision: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """Of all shapes, by one setting: mean and lowest precision at 10, mean average precision, and the share
    of titles of the wanted shape that come after the first one that does not move, where there are such."""

    titles: str
    arcs: str
    setting: float
    precision: float
    lowest: float
    average_precision: float
    after_flat: float


@dataclass(frozen=True, slots=True)
class AxisQuality:
    """How an axis follows its level: correlation over segments, mean value by level, and the standard
    deviation of a title's arc, the median of titles that move and of titles that do not."""

    present: str
    axis: str
    correlation: float
    by_level: list[float]
    moving: float
    flat: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds to search `titles`, the median of five: comparing alone, and all of it, from a Parquet
    store whose titles have three arcs of 64 points."""

    titles: int
    compare_ms: float
    whole_ms: float


def precisions(uri: str, name: str, titles: WorldTitles) -> list[Found]:
    """By the search itself, over the store at `uri`, whose titles are named by their number."""
    rows = []
    with closing(open_library(uri)) as library:
        for asked in ASKED:
            for shape in LABELS:
                wanted = dict.fromkeys(asked, named_shape(shape))
                hits = find_arcs(library, wanted, limit=FIRST).hits
                right = [LABELS[titles.labels[int(hit.facts.media_id)]] == shape for hit in hits]
                rows.append(Found(name, shape, "+".join(asked), float(np.mean(right))))
    return rows


@dataclass(frozen=True, slots=True)
class Curves:
    """Labels [n] of titles, and their curves [n, POINTS] by axis."""

    labels: np.ndarray
    curves: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, titles: WorldTitles, axes: Mapping[str, Axis]) -> Curves:
        """As a search brings them to equal steps."""
        arcs = titles.arcs(axes)
        return cls(titles.labels, {a: np.stack([curve_of(each, a) for each in arcs]) for a in AXES})


def sweep(
    name: str, titles: Curves, *, warping: float = WARPING, floor: float = HARDLY_MOVES, setting: float
) -> list[Sweep]:
    """The same without a store, with another window or floor."""
    shapes = {axis: shape_of(curves, hardly_moves=floor) for axis, curves in titles.curves.items()}
    rows = []
    for asked in ASKED:
        precision, average, after = [], [], []
        for index, label in enumerate(LABELS):
            apart = [distances_to(named_shape(label), shapes[axis], warping=warping) for axis in asked]
            found = titles.labels[np.argsort(np.mean(apart, axis=0), kind="stable")]  # (n,)
            right = found == index
            precision.append(right[:FIRST].mean())
            average.append((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())
            after.append(right[np.cumsum(found == FLAT) > 0].sum() / right.sum())
        rows.append(
            Sweep(
                name,
                "+".join(asked),
                setting,
                float(np.mean(precision)),
                float(np.min(precision)),
                float(np.mean(average)),
                float(np.mean(after)),
            )
        )
    return rows


def warping_sweep(rendered: Rendered, axes: Mapping[str, Axis]) -> list[Sweep]:
    """By the warping window: the titles as they are, and with their turning points moved."""
    bent = level_titles(rendered.settings, most_bent=MOST_BENT, seed=1)
    made = {
        "true": level_titles(rendered.settings).as_told(),
        "true, moved": bent.as_told(),
        "tiny": rendered.titles(),
        "tiny, moved": rendered.composed(bent, seed=2),
    }
    kinds = {name: Curves.of(titles, axes) for name, titles in made.items()}
    return [
        row
        for warping in WARPINGS
        for name, titles in kinds.items()
        for row in sweep(name, titles, warping=warping, setting=warping)
    ]


def floor_sweep(rendered: Rendered, axes: Mapping[str, Axis]) -> list[Sweep]:
    """By the floor of the level, among flat titles whose segments are really seen and heard."""
    flats = flat_titles(FLATS, rendered.settings.segments_per_title)
    titles = Curves.of(rendered.titles() + rendered.composed(flats, seed=3), axes)
    return [row for floor in FLOORS for row in sweep("tiny and flats", titles, floor=floor, setting=floor)]


def fewer(rendered: Rendered, axes: Mapping[str, Axis]) -> list[Sweep]:
    """In parts of the titles, one after another, so that few are right; `setting` is their number."""
    whole = Curves.of(rendered.titles(), axes)
    rows = []
    for size in PARTS:
        for start in range(0, len(whole.labels) - size + 1, size):
            span = slice(start, start + size)
            part = Curves(whole.labels[span], {axis: curves[span] for axis, curves in whole.curves.items()})
            rows += sweep(f"{start} to {start + size}", part, setting=size)
    return rows


def axis_quality(present: str, rendered: Rendered, axes: Mapping[str, Axis]) -> list[AxisQuality]:
    """Of each axis."""
    flats = rendered.composed(flat_titles(FLATS, rendered.settings.segments_per_title), seed=3)
    moving, flat = (Curves.of(titles, axes).curves for titles in (rendered.titles(), flats))
    rows = []
    for column, name in enumerate(AXES):
        values, levels = rendered.values[name], rendered.levels[:, column]
        by_level = [round(float(values[levels == level].mean()), 2) for level in range(LEVELS)]
        spreads = [float(np.median(curves[name].std(axis=1))) for curves in (moving, flat)]
        rows.append(AxisQuality(present, name, float(np.corrcoef(values, levels)[0, 1]), by_level, *spreads))
    return rows


def speed(folder: Path, titles: int) -> Speed:
    """Of random walks."""
    rng = np.random.Generator(np.random.PCG64(4))
    walks = np.clip(0.5 + np.cumsum(rng.normal(0, 0.03, (titles, 3, POINTS)), axis=2), 0, 1)
    times_s = np.arange(POINTS) * 8.0
    names = ("tension", "pace", "energy")
    arcs = [
        {n: list(zip(times_s.tolist(), w.tolist(), strict=True)) for n, w in zip(names, walk, strict=True)}
        for walk in walks
    ]
    uri = str(folder / "walks")
    write_store(uri, arcs)
    shape, curves = named_shape("comeback"), shape_of(walks[:, 0], hardly_moves=HARDLY_MOVES)
    with closing(open_library(uri)) as library:
        return Speed(
            titles,
            _median_ms(lambda: distances_to(shape, curves)),
            _median_ms(lambda: find_arcs(library, {"tension": shape})),
        )


def _median_ms(call: Any, rounds: int = 5) -> float:
    call()
    spent_s = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        call()
        spent_s.append(time.perf_counter() - started_s)
    return 1e3 * float(np.median(spent_s))


def main(
    work: Annotated[Path, typer.Option(help="Where the rendered titles are kept.")] = Path("build/discovery"),
    space: Annotated[Path, typer.Option(help="The served space.")] = Path(
        "model_repository/space_descriptor/1/space.json"
    ),
    timed: Annotated[int, typer.Option(help="Titles that the speed is measured with.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Report as JSON.")] = Path("build/discovery/arcs.json"),
) -> None:
    """Exit code 1: a shape has a precision at 10 below 0.9."""
    descriptor = Descriptor.load(space)
    axes = {name: descriptor.axes[name] for name in AXES}
    pool = load_or_render(work / "arcs-pool", POOL, workers=2)
    rendered = Rendered.of(pool, load_modules(tiny.WEIGHTS), axes)
    told = level_titles(POOL).as_told()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="arcs-", dir=out.parent) as folder:
        found = []
        for name, titles, vectors in (
            ("true levels", told, None),
            ("tiny", rendered.titles(), rendered.vectors),
        ):
            uri = f"{folder}/{name.split()[0]}"
            write_store(uri, titles.arcs(axes), vectors)
            found += precisions(uri, name, titles)
        took = speed(Path(folder), timed)
    seen = {"everything": rendered} | {
        f"{modality} alone": rendered.showing(axes, presence([modality])) for modality in MODALITIES
    }
    report: dict[str, Sequence[Any]] = {
        "found": found,
        "speed": [took],
        "axes": [row for name, part in seen.items() for row in axis_quality(name, part, axes)],
        "present": [
            row
            for name, part in seen.items()
            for row in sweep(name, Curves.of(part.titles(), axes), setting=WARPING)
        ],
        "fewer": fewer(rendered, axes),
        "warping": warping_sweep(rendered, axes),
        "floor": floor_sweep(rendered, axes),
    }
    out.write_text(json.dumps({k: [asdict(row) for row in v] for k, v in report.items()}, indent=1) + "\n")
    for title, rows in report.items():
        _show(title, rows)
    raise typer.Exit(1 if min(row.precision for row in found) < BAR else 0)


def _show(title: str, rows: Sequence[Any]) -> None:
    table = Table(*asdict(rows[0]), title=title)
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
