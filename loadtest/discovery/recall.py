"""`python -m resonance.loadtest.discovery.recall`: search by example among ten thousand titles, in Qdrant.

All clips are of held-out titles of the procedural world. Of the titles a thousand are, and the others are
drawn to lie as those do (`resonance.loadtest.discovery.crowd`).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import SpaceRef
from resonance.loadtest.discovery.crowd import Crowd
from resonance.loadtest.discovery.engine import Engine
from resonance.loadtest.discovery.simulated import simulated_rows
from resonance.loadtest.discovery.world_queries import BAR_AT_1, BAR_AT_10, Searches, load_world
from resonance.space.blocks import join
from resonance.space.descriptor import Descriptor
from resonance.training.recipes import RECIPES

SPACE = Path("model_repository/space_descriptor/1/space.json")
WORLD = Path("build/train/cpu/evaluation")
OUT = Path("build/discovery/recall.json")
#: Titles written to a sink at once.
BATCH = 500
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """How often the right one is first, and among ten: exact, through Qdrant embedded, through its index.

    bars: what the space must reach at 1 and at 10, where an oracle is known.
    """

    library: str
    kind: str
    exact: tuple[float, float]
    embedded: tuple[float, float]
    indexed: tuple[float, float]
    bars: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Of searches for ten titles with their best segments, milliseconds."""

    titles: int
    segments: int
    p50_ms: float
    p95_ms: float


def main(
    titles: Annotated[int, typer.Option(help="Titles in the library.")] = 10_000,
    segments: Annotated[int, typer.Option(help="Segments a title, for the times.")] = 4,
    searches: Annotated[int, typer.Option(help="Queries of a kind through Qdrant.")] = 300,
    recipe: Annotated[str, typer.Option(help="Whose held-out titles: cpu or smoke.")] = "cpu",
    world: Annotated[Path, typer.Option(help="Where the rendered titles are or go.")] = WORLD,
    out: Path = OUT,
) -> None:
    """Exit code 1 where a bar of the space is missed, or Qdrant finds over 1% less than exact search."""
    console = Console(stderr=True)
    if recipe not in RECIPES:
        raise typer.BadParameter(f"no recipe is called '{recipe}'; known are {', '.join(RECIPES)}")
    held_out = RECIPES[recipe].evaluation.titles
    if titles <= held_out:
        raise typer.BadParameter(
            f"--titles {titles}: expected more than the {held_out} that are searched for"
        )
    descriptor = Descriptor.load(SPACE)
    with console.status("embedding held-out titles"):
        known = load_world(world, descriptor, recipe, titles)
    real = len(known.titles)
    crowd = Crowd(known.titles.reshape(real, 3, -1), seed=1)
    others = np.concatenate(list(crowd.vectors(titles - real)))
    libraries = {
        "titles": (np.concatenate([known.titles, others]), known.title_searches),
        "clips": (join(known.clips).astype(np.float32), known.clip_searches),
    }
    rows: list[Row] = []
    times: list[Latency] = []
    for name, (vectors, kinds) in libraries.items():
        found, latency = _through_qdrant(
            name, vectors, kinds, descriptor, searches, segments if name == "titles" else 1, console
        )
        rows += found
        times.append(latency)
    _show(rows, times, titles)
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {"titles": titles, "real": real, "searches": searches}
    out.write_text(
        json.dumps(
            {**report, "rows": [asdict(r) for r in rows], "times": [asdict(t) for t in times]}, indent=1
        )
    )
    missed = [row for row in rows if not _holds(row)]
    for row in missed:
        console.print(f"missed: {row}", style="red")
    raise typer.Exit(1 if missed else 0)


def _through_qdrant(
    name: str,
    vectors: Floats,
    kinds: Sequence[Searches],
    descriptor: Descriptor,
    searches: int,
    segments: int,
    console: Console,
) -> tuple[list[Row], Latency]:
    space = SpaceRef.of(descriptor)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"qdrant+local:{folder}/store?name=titles"
        with closing(open_sink(uri, space)) as sink:
            for start in track(range(0, len(vectors), BATCH), f"storing {name}", console=console):
                part = simulated_rows(vectors[start : start + BATCH], start, segments, space)
                sink.write(pa.concat_tables(part), batch=str(start))
        engine = Engine.create(Path(folder) / "engine", vectors.shape[1])
        engine.add(vectors)
        engine.index()
        took_s: list[float] = []
        rows = []
        with closing(open_library(uri)) as library:
            searcher = Searcher(library, descriptor)
            searcher.find_titles(kinds[0].queries[0], kinds[0].weights)  # the first one reads the store
            for searched in kinds:
                ranks: dict[str, list[int]] = {"exact": [], "embedded": [], "indexed": []}
                for own in track(range(min(searches, len(searched.queries))), searched.kind, console=console):
                    query, weights = searched.queries[own], searched.weights
                    asked = query.weighted(weights)
                    exact = vectors @ asked  # (N,), in float64
                    ranks["exact"].append(int((exact > exact[own]).sum()))
                    began = time.perf_counter()
                    hits = searcher.find_titles(query, weights, limit=10)
                    took_s.append(time.perf_counter() - began)
                    ranks["embedded"].append(_place([int(h.facts.media_id) for h in hits], own))
                    ranks["indexed"].append(_place(engine.nearest(asked, 10), own))
                rows.append(_row(name, searched, ranks))
        p50_ms, p95_ms = (1e3 * float(np.quantile(took_s, q)) for q in (0.5, 0.95))
        return rows, Latency(len(vectors), segments * len(vectors), p50_ms, p95_ms)


def _place(found: Sequence[int], own: int) -> int:
    return found.index(own) if own in found else len(found)


def _row(library: str, searched: Searches, ranks: dict[str, list[int]]) -> Row:
    def recalls(places: list[int]) -> tuple[float, float]:
        return float(np.mean(np.array(places) < 1)), float(np.mean(np.array(places) < 10))

    oracle = searched.oracle
    bars = (BAR_AT_1 * oracle[1], BAR_AT_10 * oracle[10]) if oracle else None
    return Row(
        library,
        searched.kind,
        recalls(ranks["exact"]),
        recalls(ranks["embedded"]),
        recalls(ranks["indexed"]),
        bars,
    )


def _holds(row: Row) -> bool:
    close = all(
        found >= exact - 0.01
        for through in (row.embedded, row.indexed)
        for found, exact in zip(through, row.exact, strict=True)
    )
    reached = row.bars is None or all(f >= bar for f, bar in zip(row.embedded, row.bars, strict=True))
    return close and reached


def _show(rows: Sequence[Row], times: Sequence[Latency], titles: int) -> None:
    table = Table(
        "library", "query", "exact @1 @10", "embedded", "indexed", "bars", title=f"{titles:,} titles"
    )
    for row in rows:
        shown = [f"{a:.3f} {b:.3f}" for a, b in (row.exact, row.embedded, row.indexed)]
        bars = "–" if row.bars is None else f"{row.bars[0]:.3f} {row.bars[1]:.3f}"
        table.add_row(row.library, row.kind, *shown, bars)
    console = Console()
    console.print(table)
    for latency in times:
        console.print(
            f"{latency.titles:,} titles, {latency.segments:,} segments, embedded Qdrant: "
            f"p50 {latency.p50_ms:.1f} ms, p95 {latency.p95_ms:.1f} ms"
        )


if __name__ == "__main__":
    typer.run(main)
