"""`python -m resonance.loadtest.audit.fairness`: what the fairness term does to a planted bias, and its cost.

Titles are drawn in which a part of the features says the group, projections are aligned on them plainly, the
space is written as a store and audited, and what the audit found is fed to the alignment again, with several
weights of the term. The audit of both spaces tells what became of the over-representation; recall is that of
titles that were held out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from resonance.clients.audit.bias import audit_bias
from resonance.clients.audit.bias_change import BiasChange, audit_change
from resonance.clients.audit.bias_change_report import make_change_report
from resonance.clients.audit.bias_feed import read_feed
from resonance.clients.audit.bias_feeding import write_feed
from resonance.clients.audit.bias_survey import BiasSettings
from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.groups import make_source
from resonance.clients.audit.two_way import half_width_of_mean
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.fairness_features import (
    GROUP,
    KINDS,
    SEGMENTS,
    DrawnTitles,
    Planted,
    draw_titles,
    write_aligned,
)
from resonance.loadtest.bench.alignment import encoders
from resonance.training.fairness import mean_dependence
from resonance.training.features import TitleFeatures, projection_of
from resonance.training.heads import HeadSettings, train_projections
from resonance.training.loop import LoopSettings
from resonance.training.recalls import group_recalls
from resonance.training.segments import Segments, project

TITLES, HELD_OUT = 2000, 400
WEIGHTS = (2.0, 4.0, 8.0, 16.0)
LOOP = LoopSettings(steps=100, learning_rate=1e-3, warmup_steps=20)
BATCH = 512
#: Added to the seed of training where a space is aligned plainly once more: what another training alone does.
AGAIN = 1000
AUDIT = BiasSettings(sources=[make_source("language")], clusters=KINDS)


@dataclass(frozen=True, slots=True)
class Run:
    """One alignment.

    Attributes:
        again: the control: aligned without the term, as the plain space was, from another seed of training.
        found: the plain space's audit told of an over-representation; without it there is nothing to feed.
        before, after: its excess in its cluster and in that which shares most titles with it, 0 to 1.
        near_before, near_after: among the neighbours of the cluster's titles.
        recall, group, others: recall@1 across modalities of titles held out.
        dependence: of blocks of held-out titles on the group.
    """

    seed: int
    weight: float
    found: bool
    before: float
    after: float
    near_before: float
    near_after: float
    alerts: int
    recall: float
    group: float
    others: float
    dependence: float
    align_s: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over seeds with 95% intervals by Student's t; the cost is plain less weighted, by seed."""

    weight: float
    again: bool
    seeds: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    ratio: tuple[float, float, float]
    near_ratio: tuple[float, float, float]
    recall: tuple[float, float, float]
    cost: tuple[float, float, float]
    gap: tuple[float, float, float]


def measure(
    seeds: Sequence[int],
    weights: Sequence[float] = WEIGHTS,
    planted: Planted | None = None,
    *,
    loop: LoopSettings = LOOP,
    html: Path | None = None,
) -> list[Run]:
    """Every weight of every seed, 0 first, then the control.

    Args:
        html: where the report of the first seed's last weight goes.
    """
    runs = []
    for seed in track(seeds, "drawn libraries", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory() as folder:
            page = html if seed == seeds[0] else None
            runs += _of_seed(seed, weights, planted or Planted(), loop, Path(folder), page)
    return runs


def _of_seed(
    seed: int, weights: Sequence[float], planted: Planted, loop: LoopSettings, folder: Path, html: Path | None
) -> list[Run]:
    drawn = draw_titles(TITLES, planted, seed)
    held_out = draw_titles(HELD_OUT, planted, seed, held_out=True)
    plain, align_s = _align(drawn.titles, loop, 0.0, seed, folder / "plain")
    before = _store(folder / "plain-store", plain, drawn, "plain", segments=html is not None)
    audit = audit_bias(before, AUDIT)
    write_feed(audit, folder / "feed.parquet")
    feed = read_feed(folder / "feed.parquet")
    found = any(one.deviation > 0 for one in audit.alerts)
    runs = [_run(seed, 0.0, audit_change(before, before, AUDIT), plain, held_out, align_s)]
    if not found:
        return runs
    other, align_s = _align(drawn.titles, loop, 0.0, seed + AGAIN, folder / "again")
    after = _store(folder / "again-store", other, drawn, "again", segments=False)
    again = _run(seed, 0.0, audit_change(after, before, AUDIT), other, held_out, align_s)
    runs.append(replace(again, again=True))
    # titles are named by their number, and read as they were written or not
    codes = dict(zip(feed.media_ids, feed.codes.tolist(), strict=True))
    titles = [replace(title, audited=tuple(codes[str(at)])) for at, title in enumerate(drawn.titles)]
    for weight in weights:
        fair, align_s = _align(titles, loop, weight, seed, folder / f"fair-{weight:g}")
        name = f"weight {weight:g}"
        after = _store(folder / f"store-{weight:g}", fair, drawn, name, segments=html is not None)
        change = audit_change(after, before, AUDIT)
        runs.append(_run(seed, weight, change, fair, held_out, align_s))
        if html is not None and weight == weights[-1]:
            make_change_report(change).write_html(html)
    return runs


def _align(
    titles: list[TitleFeatures], loop: LoopSettings, weight: float, seed: int, folder: Path
) -> tuple[nn.ModuleList, float]:
    projections = nn.ModuleList(projection_of(graph) for graph in encoders().values())
    settings = replace(HeadSettings(), loop=replace(loop, seed=seed), batch=BATCH, fairness=weight)
    started = time.perf_counter()
    with torch.random.fork_rng():
        train_projections(projections, Segments.of(titles), settings, folder, torch.device("cpu"))
    return projections, time.perf_counter() - started


def _store(folder: Path, projections: nn.ModuleList, drawn: DrawnTitles, name: str, *, segments: bool) -> str:
    of = Segments.of(drawn.titles)
    with torch.inference_mode():
        blocks = project(projections, of.features)
    blocks = blocks.reshape(len(drawn.titles), SEGMENTS, *blocks.shape[1:])  # (N, S, 3, 596)
    space = SpaceRef(name, name, True)
    write_aligned(str(folder), blocks, [t.group for t in drawn.titles], space, segments=segments)
    return str(folder)


def _run(
    seed: int,
    weight: float,
    change: BiasChange,
    projections: nn.ModuleList,
    held_out: DrawnTitles,
    align_s: float,
) -> Run:
    """Of several over-representations of the group the largest."""
    segments = Segments.of(held_out.titles)
    of_group = torch.from_numpy(np.repeat(held_out.group.astype(np.int64), SEGMENTS))
    with torch.inference_mode():
        blocks = project(projections, segments.features)
        by_group = group_recalls(blocks, replace(segments, groups=of_group))
        recall = group_recalls(blocks, replace(segments, groups=torch.zeros_like(of_group)))[0]
        dependence = mean_dependence(blocks, segments.present, of_group[:, None], segments.titles)
    of_group_alone = [one for one in change.moved if one.finding.cell.group == GROUP]
    worst = max(of_group_alone, key=lambda one: one.before.value, default=None)
    return Run(
        seed=seed,
        weight=weight,
        found=worst is not None,
        before=0.0 if worst is None else worst.before.value,
        after=0.0 if worst is None else _value(worst.after),
        near_before=0.0 if worst is None else _value(worst.near_before),
        near_after=0.0 if worst is None else _value(worst.near_after),
        alerts=len(change.new.alerts),
        recall=recall,
        group=by_group[1],
        others=by_group[0],
        dependence=dependence,
        align_s=align_s,
    )


def _value(figure: Estimate | None) -> float:
    """Of one that is there: k-means always has clusters, and here the group of every title is known."""
    assert figure is not None
    return figure.value


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """By weight; seeds in which nothing was found before are left out, and counted by their absence."""
    plain = {run.seed: run for run in runs if run.weight == 0 and run.found and not run.again}
    found = []
    for weight, again in sorted({(run.weight, run.again) for run in runs}):
        mine = [run for run in runs if (run.weight, run.again) == (weight, again) and run.seed in plain]
        if mine:
            found.append(
                Summary(
                    weight,
                    again,
                    len(mine),
                    _mean([run.before for run in mine]),
                    _mean([run.after for run in mine]),
                    _mean([run.after / run.before for run in mine]),
                    _mean([run.near_after / run.near_before for run in mine]),
                    _mean([run.recall for run in mine]),
                    _mean([plain[run.seed].recall - run.recall for run in mine]),
                    _mean([run.group - run.others for run in mine]),
                )
            )
    return found


def _mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, low, high."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    reach = half_width_of_mean(np.asarray(values))
    return mean, mean - reach, mean + reach


def plot(summaries: Sequence[Summary]) -> Figure:
    """What is left of the excess against recall, a point a weight, and the control."""
    control = [one for one in summaries if one.again]
    summaries = [one for one in summaries if not one.again]
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    x, y = (np.array([getattr(one, name) for one in summaries]) for name in ("recall", "after"))  # (W, 3)
    reach = [np.abs(of[:, 1:] - of[:, :1]).T for of in (x, 100 * y)]
    axes.errorbar(x[:, 0], 100 * y[:, 0], reach[1], reach[0], "o-", color="#1f4e79", capsize=2, linewidth=1)
    for one in control:
        axes.plot(one.recall[0], 100 * one.after[0], "s", color="#777777", fillstyle="none")
    for one in [*summaries, *control]:
        place = (one.recall[0], 100 * one.after[0])
        name = "0, trained again" if one.again else f"{one.weight:g}"
        axes.annotate(name, place, (6, 6), textcoords="offset points", fontsize=9)
    axes.axhline(50 * summaries[0].after[0], color="#b3261e", linewidth=1, linestyle="--", label="half")
    axes.set_xlabel("recall@1 across modalities, titles held out")
    axes.set_ylabel("excess of the group, points of a hundred")
    axes.set_ylim(bottom=min(0.0, 100 * float(np.nanmin(y))))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Weights of the fairness term; bars: 95% over seeds", loc="left", fontsize=11)
    return figure


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Libraries that are drawn.")] = 5,
    first_seed: int = 0,
    weight: Annotated[list[float] | None, typer.Option(help="Of the term; may be given again.")] = None,
    real: Annotated[
        bool,
        typer.Option("--real", help="The group truly is that much of the kind, and features say nothing."),
    ] = False,
    picture: Annotated[Path | None, typer.Option("--plot", metavar="FILE.png")] = None,
    html: Annotated[Path | None, typer.Option(help="The report of before and after of one library.")] = None,
    json_out: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Excess and recall by weight of the fairness term."""
    planted = Planted(mark=0.0, real=0.11) if real else Planted()
    with redirect_stdout(sys.stderr):  # where training shows its progress
        runs = measure(range(first_seed, first_seed + seeds), tuple(weight or WEIGHTS), planted, html=html)
    summaries = summarise(runs)
    if picture is not None and summaries:
        plot(summaries).savefig(picture, dpi=130)
    if json_out:
        typer.echo(
            json.dumps({"runs": [asdict(run) for run in runs], "by_weight": [asdict(s) for s in summaries]})
        )
        return
    columns = ("excess before", "excess after", "after/before", "of neighbours", "recall@1", "cost", "gap")
    table = Table(
        "weight", *columns, title=f"{len({r.seed for r in runs if r.found})} of {seeds} seeds: found"
    )
    for one in summaries:
        figures = (one.before, one.after, one.ratio, one.near_ratio, one.recall, one.cost, one.gap)
        table.add_row(
            f"{one.weight:g}{' again' * one.again}",
            *("{:.3f} ({:.3f}, {:.3f})".format(*figure) for figure in figures),
        )
    Console(width=170).print(table)


if __name__ == "__main__":
    typer.run(main)
