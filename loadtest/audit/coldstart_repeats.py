"""`python -m resonance.loadtest.audit.coldstart_repeats`: the experiment of cold start many times over.

One log has few popular new titles, and whom they favour is chance: its intervals say so and are wide. Here
each run has titles of its own, drawn from a larger catalogue, with popularity, viewers, choices, split and
towers of its own seed; the intervals are over the runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.two_way import half_width_of_mean
from resonance.loadtest.audit.coldstart import SPLIT, TOWER, VIEWERS, run_case
from resonance.loadtest.audit.coldstart_cases import CASES, Case, all_blocks
from resonance.loadtest.audit.coldstart_vectors import catalogue_titles
from resonance.space.blocks import FloatArray
from resonance.training.coldstart.experiment import ColdstartSettings
from resonance.training.coldstart.features import FUSED
from resonance.training.coldstart.result import AUC, COLD, NDCG, RECALL, ColdstartResult

#: Of the catalogue, and of a run; two runs share a third of theirs.
TITLES, RUN_TITLES = 3003, 1001
#: Of the first run; 0 is the one that settings were chosen with.
FIRST_SEED = 1
MEASURES = (RECALL, NDCG, AUC)
#: Values by contestant and measure.
Values = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Repeated:
    """One contestant by one measure.

    Attributes:
        value: its mean over the runs, with an interval of 95%.
        lead: the reference less it; the interval holds for all others of the measure together (Bonferroni).
            None of the reference. relative: of the means, as a share of the other's.
        ahead: runs in which the reference was ahead of it.
    """

    name: str
    measure: str
    runs: int
    value: Estimate
    lead: Estimate | None
    relative: float | None
    ahead: int


def over_runs(values: FloatArray, *, tests: int = 1) -> Estimate:
    """The mean of values [runs], with Student's interval for `tests` means together."""
    mean, half = float(values.mean()), half_width_of_mean(values, tests=tests)
    return Estimate(mean, (mean - half, mean + half))


def compared(runs: Sequence[Values], reference: str) -> list[Repeated]:
    """Every contestant by every measure, and what the reference is ahead of the others by."""
    names = list(dict.fromkeys(name for name, _ in runs[0]))
    rows = []
    for measure in MEASURES:
        own = np.array([run[reference, measure] for run in runs])
        for name in names:
            its = np.array([run[name, measure] for run in runs])
            other = name != reference
            rows.append(
                Repeated(
                    name,
                    measure,
                    len(runs),
                    over_runs(its),
                    over_runs(own - its, tests=len(names) - 1) if other else None,
                    float(own.mean() / its.mean() - 1) if other else None,
                    int((own > its).sum()) if other else 0,
                )
            )
    return rows


def values_of(result: ColdstartResult) -> Values:
    """Of new titles."""
    return {(one.name, m): one.found[COLD, m].value for one in result.contestants for m in MEASURES}


def run_once(case: Case, work: Path, pool: Path, seed: int, titles: int, viewers: int) -> Values:
    """One run: titles drawn from the catalogue, and all the rest anew."""
    torch.set_num_threads(1)
    catalogue = catalogue_titles(titles)
    drawn = np.sort(np.random.default_rng([seed, 11]).choice(titles, min(RUN_TITLES, titles), replace=False))
    blocks = {name: of_all[drawn] for name, of_all in all_blocks(work, pool, titles).items()}
    settings = ColdstartSettings(seed=seed, tower=TOWER, split=SPLIT)
    result = run_case(case, blocks, [catalogue[at] for at in drawn], viewers=viewers, settings=settings)
    return values_of(result)


def main(
    work: Annotated[Path, typer.Option(help="Where blocks and figures are kept.")] = Path(
        "build/audit/coldstart"
    ),
    pool: Annotated[
        Path, typer.Option(help="Where the titles are, or are rendered: 10 GB, of no use once encoded.")
    ] = Path("build/train/cpu/catalogue"),
    case: Annotated[list[str] | None, typer.Option(help="Of the cases. [default: all]")] = None,
    runs: Annotated[int, typer.Option(min=2, help="Of each case.")] = 10,
    viewers: Annotated[int, typer.Option(help="Of each log.")] = VIEWERS,
) -> None:
    """Write what was found to the work folder and print it as JSON lines."""
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    all_blocks(work, pool, TITLES)  # once, before runs beside each other would each encode them
    # not forked: threads of the libraries that are loaded would be missing there, and waited for
    workers = ProcessPoolExecutor(torch.get_num_threads(), get_context("spawn"))
    with Progress(console=Console(stderr=True)) as progress, workers:
        for one in CASES:
            if case and one.name not in case:
                continue
            task = progress.add_task(one.name, total=runs)
            seeds = range(FIRST_SEED, FIRST_SEED + runs)
            jobs = [workers.submit(run_once, one, work, pool, at, TITLES, viewers) for at in seeds]
            for _ in as_completed(jobs):
                progress.update(task, advance=1)
            rows = [asdict(row) for row in compared([job.result() for job in jobs], FUSED)]
            (work / f"{one.name}, {runs} runs.json").write_text(json.dumps(rows, indent=1))
            for row in rows:
                typer.echo(json.dumps({"case": one.name, **row}))


if __name__ == "__main__":
    typer.run(main)
