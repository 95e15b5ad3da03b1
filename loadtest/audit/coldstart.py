"""`python -m resonance.loadtest.audit.coldstart`: does the audit of cold start say what is true?

Titles are the 1,001 held-out ones of the evaluation of `tiny`, through its real encoders; viewers are
simulated (`resonance.training.world.viewers`). With taste for feel the fused vectors should win, with taste
for tags alone the tags should; and tags that are made poorer should be found poorer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.metadata import metadata_score
from resonance.clients.audit.sampling import LibrarySample
from resonance.clients.audit.tag_table import tag_table
from resonance.loadtest.audit.coldstart_cases import (
    CASES,
    Case,
    all_blocks,
    case_contestants,
    draw_log,
    genre_tags,
    poorer_tags,
)
from resonance.loadtest.audit.coldstart_vectors import EVALUATED, catalogue_titles, fuse, upload_gaps
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.training.coldstart.experiment import ColdstartSettings, run_coldstart
from resonance.training.coldstart.features import FUSED, TAGS, tag_features
from resonance.training.coldstart.result import AUC, COLD, NDCG, RECALL, ColdstartResult
from resonance.training.coldstart.splitting import SplitSettings
from resonance.training.coldstart.two_tower import TowerSettings
from resonance.training.world.factors import TitleFactors
from resonance.training.world.viewers import TASTE_FOR_FEEL
from resonance.training.world.viewers_choosing import Choosing

VIEWERS = 3000
#: Slower than the audit's own, whose towers are best after their first epoch here.
TOWER = TowerSettings(learning_rate=3e-4)
#: More new titles than the audit holds out by itself: they are what the intervals are widest for.
SPLIT = SplitSettings(held_out_share=0.25)


@dataclass(frozen=True, slots=True)
class Poorness:
    """Tags of one level: what they hold of the vectors, and what viewers' towers find by them."""

    tags: str
    metadata_score: float
    recall: Estimate


def run_case(
    case: Case,
    blocks: dict[str, NDArray[np.float32]],
    titles: Sequence[TitleFactors],
    *,
    viewers: int,
    settings: ColdstartSettings,
    progress: Progress | None = None,
) -> ColdstartResult:
    """The whole audit of one case, from a store to figures.

    Args:
        blocks: of every segment, [N, S, 3, 596], by ``trained`` and ``untrained``. titles: theirs, N.
    """
    present = np.ones((len(titles), len(MODALITIES)), np.bool_)
    if case.gaps:
        present = upload_gaps(len(titles), settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        contestants = case_contestants(Path(folder) / "store", blocks, present, genre_tags(titles))
    log = draw_log(titles, case.taste, viewers, Choosing(), seed=settings.seed)
    return run_coldstart(
        contestants, log, settings, reference=FUSED, tags=contestants[TAGS], progress=progress
    )


def run_poorer(
    blocks: NDArray[np.float32],
    titles: Sequence[TitleFactors],
    *,
    viewers: int,
    settings: ColdstartSettings,
    progress: Progress | None = None,
) -> list[Poorness]:
    """Five levels of three ways: tags that name factors, ever poorer, of viewers with taste for feel.

    Args:
        blocks: of every segment from trained encoders, [N, S, 3, 596]. titles: theirs, N.
    """
    whole = np.ones((len(titles), len(MODALITIES)), np.bool_)
    vectors = fuse(blocks, whole, "trained").vectors
    levels = poorer_tags(titles, seed=settings.seed)
    contestants = {
        name: _columns(tags) for name, tags in levels.items() if name == "drop 0" or name[-1] != "0"
    }
    log = draw_log(titles, TASTE_FOR_FEEL, viewers, Choosing(), seed=settings.seed)
    result = run_coldstart(contestants, log, settings, progress=progress)
    sample = LibrarySample(
        media_ids=log.media_ids,
        blocks=(vectors * np.float32(ROOT_BLOCKS)).reshape(-1, len(MODALITIES), BLOCK_WIDTH),
        present=whole,
        tags=levels["drop 0"],
        titles=len(titles),
        titles_with=whole.sum(axis=0),
    )
    found = []
    for name, tags in levels.items():
        given = replace(sample, tags=tags)
        score, _ = metadata_score(given, tag_table(given.tags, 2), seed=settings.seed)
        as_named = name if name in contestants else "drop 0"  # level 0 of each way is the same: right tags
        found.append(Poorness(name, score.share, result.contestant(as_named).found[COLD, RECALL]))
    return found


def _columns(tags: Sequence[tuple[str, ...]]) -> NDArray[np.float32]:
    table = tag_features(tags)
    assert table is not None
    return table.columns.astype(np.float32)


def told(case: str, result: ColdstartResult) -> dict[str, Any]:
    """The figures of new titles, ready for JSON: each contestant, and the reference less each other."""
    rows: dict[str, Any] = {}
    for one in result.contestants:
        rows[one.name] = {
            "recall": asdict(one.found[COLD, RECALL]),
            "ndcg": asdict(one.found[COLD, NDCG]),
            "auc": asdict(one.found[COLD, AUC]),
            "seconds": round(one.seconds, 1),
            "epochs": one.epochs,
        }
        if one.name != result.reference:
            for measure in (RECALL, NDCG):
                gap = result.difference(one.name, COLD, measure)
                rows[one.name][f"{result.reference} less it, {measure}"] = asdict(gap.estimate)
                rows[one.name][f"relative, {measure}"] = gap.relative and asdict(gap.relative)
    return {"case": case, "seed": result.seed, "k": result.k, "split": asdict(result.split), "found": rows}


def main(
    work: Annotated[Path, typer.Option(help="Where blocks and figures are kept.")] = Path(
        "build/audit/coldstart"
    ),
    pool: Annotated[Path, typer.Option(help="Where the held-out titles are, or are rendered.")] = Path(
        "build/train/cpu/evaluation"
    ),
    case: Annotated[
        list[str] | None, typer.Option(help="Of the cases, and `poorer tags`. [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of viewers, split and towers.")] = 0,
    viewers: Annotated[int, typer.Option(help="Of each log.")] = VIEWERS,
    trainings: Annotated[int, typer.Option(help="Of each tower.")] = 1,
) -> None:
    """Write what was found to the work folder and print it as JSON lines."""
    from resonance.training.tuning import restart_tuned

    restart_tuned()
    wanted = case or [one.name for one in CASES] + ["poorer tags"]
    blocks = all_blocks(work, pool, EVALUATED)
    titles = catalogue_titles(EVALUATED)
    settings = ColdstartSettings(seed=seed, trainings=trainings, tower=TOWER, split=SPLIT)
    with Progress(console=Console(stderr=True)) as progress:
        for one in CASES:
            if one.name in wanted:
                result = run_case(one, blocks, titles, viewers=viewers, settings=settings, progress=progress)
                _keep(work / f"{one.name}, seed {seed}.json", told(one.name, result))
        if "poorer tags" in wanted:
            rows = run_poorer(
                blocks["trained"], titles, viewers=viewers, settings=settings, progress=progress
            )
            _keep(work / f"poorer tags, seed {seed}.json", {"poorer": [asdict(row) for row in rows]})


def _keep(path: Path, figures: dict[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=1))
    typer.echo(json.dumps(figures))


if __name__ == "__main__":
    typer.run(main)
