"""`python -m resonance.loadtest.audit.metadata`: the metadata score on libraries whose truth is known.

With `--runs N`: of N libraries, how often the interval covers the truth, and whether the score falls as tags
are made poorer; with `--sizes`: by size, how far rare tags, which do not count, lower it. With `--titles N`:
time and memory of a whole audit of a store of N titles.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from resonance.clients.audit.metadata import metadata_score
from resonance.clients.audit.tag_table import LEAST_CARRIERS, tag_table
from resonance.loadtest.audit.stored import write_store
from resonance.loadtest.audit.tagged import WAYS, FactorModel, Poorer, draw_sample, draw_tags, draw_untagged

#: Titles of each library of `--runs`.
RUN_TITLES = 2000
#: So few carriers that tags count at every level, as the truth has it.
_LEAST = 2
#: Titles of libraries of `--sizes`.
SIZES = (300, 600, 1000, 2000)
#: All tags; those of the least number of titles that the command takes; of its default.
LEASTS = (_LEAST, 10, LEAST_CARRIERS)


@dataclass(frozen=True, slots=True)
class Covered:
    """Of one kind of tags: means of truth and score over all runs, and how many intervals cover it."""

    tags: str
    truth: float
    score: float
    covered: int
    runs: int


@dataclass(frozen=True, slots=True)
class Sized:
    """Right tags of libraries of one size, tags of at least `least` titles counted: of all that titles carry
    the share that is left out; means of truth and score; how many intervals cover the truth."""

    titles: int
    least: int
    left_out: float
    truth: float
    score: float
    covered: int
    runs: int


def measure_sizes(runs: int) -> list[Sized]:
    """By size and by `LEASTS`."""
    found = []
    for titles in SIZES:
        for least in LEASTS:
            left_out, truths, shares, covered = [], [], [], 0
            for run in range(runs):
                model = FactorModel(np.random.default_rng([run, 0]))
                sample = draw_sample(model, titles, Poorer(), np.random.default_rng([run, 1]))
                table = tag_table(sample.tags, least)
                score, _ = metadata_score(sample, table, seed=run)
                low, high = score.interval
                left_out.append(table.rare_share)
                truths.append(model.truth(Poorer()))
                shares.append(score.share)
                covered += low <= truths[-1] <= high
            left, truth, share = (float(np.mean(values)) for values in (left_out, truths, shares))
            found.append(Sized(titles, least, left, truth, share, covered, runs))
    return found


def measure_coverage(runs: int, titles: int = RUN_TITLES) -> tuple[list[Covered], int]:
    """Right tags, poorer ones, tags that say nothing; and in how many runs all three ways fell all along."""
    kinds = {
        f"{way} {at}": poorer
        for way, levels in WAYS.items()
        for at, poorer in enumerate(levels)
        if at or way == "drop"  # the first level of each is the same: right tags
    }
    kinds["noise"] = Poorer(randomise=1.0)
    scores: dict[str, list[float]] = {name: [] for name in kinds}
    truths: dict[str, list[float]] = {name: [] for name in kinds}
    covered = dict.fromkeys(kinds, 0)
    fell = 0
    for run in range(runs):
        model = FactorModel(np.random.default_rng([run, 0]))
        untagged, factors = draw_untagged(model, titles, np.random.default_rng([run, 1]))
        for name, poorer in kinds.items():
            tags = draw_tags(factors, poorer, np.random.default_rng([run, 2]))
            sample = replace(untagged, tags=tags)
            score, _ = metadata_score(sample, tag_table(sample.tags, _LEAST), seed=run)
            low, high = score.interval
            truth = model.truth(poorer)
            scores[name].append(score.share)
            truths[name].append(truth)
            covered[name] += low <= truth <= high
        fell += all(
            _falls([scores["drop 0" if not at else f"{way} {at}"][-1] for at in range(5)]) for way in WAYS
        )
    rows = [
        Covered(name, float(np.mean(truths[name])), float(np.mean(scores[name])), covered[name], runs)
        for name in kinds
    ]
    return rows, fell


def _falls(scores: list[float]) -> bool:
    return all(one > other for one, other in pairwise(scores))


def measure_size(titles: int, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of `resonance audit metadata` of a store of so many titles, written first."""
    store, html = folder / "store", folder / "report.html"
    started = time.perf_counter()
    write_store(str(store), titles)
    written = time.perf_counter()
    program = "from resonance.clients.cli.audit_metadata import metadata; import typer; typer.run(metadata)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(store), "--json", "--html", str(html)],
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(done.stdout)
    return {
        "titles": titles,
        "sampled": report["sampled"],
        "write_s": round(written - started, 1),
        "audit_s": round(time.perf_counter() - written, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "score": report["sections"][0]["measures"][0]["value"],
    }


def main(
    runs: Annotated[int, typer.Option(help="Libraries to measure coverage on; 0: none.")] = 0,
    sizes: Annotated[bool, typer.Option("--sizes", help="By size of the libraries instead.")] = False,
    titles: Annotated[
        int, typer.Option(help="Titles of a store to measure time and memory on; 0: none.")
    ] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where the store is written; 6.6 GB a million.")] = None,
) -> None:
    """Print what was measured as JSON lines."""
    if runs and sizes:
        for size in measure_sizes(runs):
            typer.echo(json.dumps(asdict(size)))
    elif runs:
        rows, fell = measure_coverage(runs)
        for row in rows:
            typer.echo(json.dumps(asdict(row)))
        typer.echo(json.dumps({"fell_in_runs": fell, "runs": runs, "titles": RUN_TITLES}))
    if titles:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as made:
            typer.echo(json.dumps(measure_size(titles, Path(made))))


if __name__ == "__main__":
    typer.run(main)
