"""`python -m resonance.loadtest.audit.resonance`: the audit on recommendations of which the truth is known.

Viewers of known taste are shown lists of a recommender that knows their taste in part, and see the upper
places more often (`resonance.training.world.viewers_shown`). The truth is what they would have clicked and
watched of such lists had they seen all of each: over very many other viewers of the same kind, as
expectations.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track
from scipy import stats

from resonance.clients.audit.finishing import FinishingAudit, audit_finishing
from resonance.clients.audit.finishing_curves import GROUPS, score_edges
from resonance.clients.audit.finishing_rows import FinishingSettings
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.discovery.taste import ABANDONED
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import Store
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.stored import title_rows
from resonance.space.blocks import ROOT_BLOCKS
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Descriptor
from resonance.training.world.factors import GENRES, TitleFactors, draw_title
from resonance.training.world.viewers import TASTE_FOR_FEEL, draw_viewers
from resonance.training.world.viewers_choosing import COMPLETION_SHARPNESS
from resonance.training.world.viewers_shown import Showing, Shown, show

DESCRIPTOR = Path("model_repository/space_descriptor/1/space.json")
TITLES, VIEWERS, POPULATION = 500, 400, 40_000
SHOWING = Showing(sessions=8)
#: How well the recommender knows taste: the correlation of its score with affinity.
KNOWS = 0.6
#: Titles with this tag promise what they do not keep: log odds of a click, and liked so much less.
LOUD, PROMISE, LET_DOWN = "loud", 1.5, 1.5
_LOUD_SHARE, _AT_ONCE = 0.1, 2000

STATED, FITTED = "stated", "fitted"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Titles, and which of them are `LOUD`, bool [N]."""

    titles: tuple[TitleFactors, ...]
    loud: NDArray[np.bool_]

    @property
    def media_ids(self) -> tuple[str, ...]:
        """By number."""
        return tuple(str(at) for at in range(len(self.titles)))

    @property
    def tags(self) -> list[list[str]]:
        """The genre of each title, and `LOUD`."""
        return [
            [GENRES[title.genre], *([LOUD] if loud else [])]
            for title, loud in zip(self.titles, self.loud, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Covered:
    """Of one figure, means over all runs, and how many intervals cover the truth.

    Attributes:
        chances: where the audit has the chances of being seen from.
        unweighted: what the figure is where all rows count alike.
    """

    figure: str
    chances: str
    truth: float
    value: float
    unweighted: float
    covered: int
    runs: int


@dataclass(frozen=True, slots=True)
class Kinds:
    """In how many runs the planted kind was found abandoned, and in how many any other kind was."""

    chances: str
    planted: int
    others: int
    runs: int


@dataclass(frozen=True, slots=True)
class Population:
    """Rows that were shown to very many viewers, all [R], as expectations had they been seen.

    Attributes:
        score: of the recommender. click: chance of a click. finished: share watched, clicked or not.
            abandoned: chance of a click that is abandoned.
        completion_rank: Spearman's correlation of score and completion of what is clicked where all is seen.
    """

    score: NDArray[np.float32]
    click: NDArray[np.float32]
    finished: NDArray[np.float32]
    abandoned: NDArray[np.float32]
    completion_rank: float


def draw_catalogue(titles: int = TITLES, *, seed: int = 0) -> Catalogue:
    """Held-out titles of the procedural world; one in ten is loud, whatever it is like."""
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    drawn = tuple(draw_title(rng, held_out=True) for _ in range(titles))
    return Catalogue(drawn, rng.random(titles) < _LOUD_SHARE)


def write_catalogue(uri: str, catalogue: Catalogue, descriptor: Descriptor) -> Store:
    """A store of the titles, with random vectors and their genre and `LOUD` as tags."""
    count = len(catalogue.titles)
    space = SpaceRef.of(descriptor)
    blocks = np.random.default_rng(1).standard_normal((count, len(MODALITIES), BLOCK_WIDTH), np.float32)
    vectors = blocks / np.linalg.norm(blocks, axis=-1, keepdims=True) / np.float32(ROOT_BLOCKS)
    present = np.ones((count, len(MODALITIES)), np.bool_)
    sink = open_sink(uri, space)
    rows = title_rows(catalogue.media_ids, vectors.reshape(count, -1), present, catalogue.tags, space)
    sink.write(rows, batch="catalogue")
    sink.close()
    return open_store(uri)


def draw_shown(catalogue: Catalogue, viewers: int, showing: Showing, *, seed: int) -> Shown:
    """What so many viewers did; the recommender's score knows their taste in part, and not that loud ones
    let down."""
    drawn = draw_viewers(catalogue.titles, viewers, TASTE_FOR_FEEL, seed=seed)
    rng = np.random.default_rng([seed, 3])
    unknown = rng.standard_normal(drawn.affinity.shape, np.float32)
    scores = np.float32(KNOWS) * drawn.affinity + np.float32(np.sqrt(1 - KNOWS**2)) * unknown
    loud = catalogue.loud.astype(np.float32)
    let_down = replace(drawn, affinity=drawn.affinity - np.float32(LET_DOWN) * loud)
    promise = np.float32(PROMISE + LET_DOWN) * loud
    return show(let_down, scores, catalogue.media_ids, showing, seed=seed, promise=promise)


def population(catalogue: Catalogue, viewers: int, showing: Showing) -> Population:
    """Of so many viewers that no run has, all of whose lists are seen."""
    parts: list[tuple[NDArray[np.float32], ...]] = []
    ranks: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for chunk in track(range(-(-viewers // _AT_ONCE)), "the truth", console=Console(stderr=True)):
        all_seen = replace(showing, position_bias=0.0)
        shown = draw_shown(catalogue, _AT_ONCE, all_seen, seed=1_000_000 + chunk)
        given = shown.log.recommended
        assert given is not None
        mean = shown.completion.astype(np.float64)
        left = stats.beta.cdf(ABANDONED, mean * COMPLETION_SHARPNESS, (1 - mean) * COMPLETION_SHARPNESS)
        parts.append(
            (given.score, shown.click, shown.finished_share, (shown.click * left).astype(np.float32))
        )
        ranks.append((given.score[given.clicked], shown.log.completion[given.clicked]))
    score, click, finished, abandoned = (np.concatenate(column) for column in zip(*parts, strict=True))
    clicked_score, completion = (np.concatenate(column) for column in zip(*ranks, strict=True))
    return Population(score, click, finished, abandoned, float(stats.spearmanr(clicked_score, completion)[0]))


def truths(known: Population, log: ViewingLog) -> dict[str, float]:
    """The figures of a log, whose score groups the population is put into."""
    assert log.recommended is not None
    edges = score_edges(log.recommended.score.astype(np.float64))
    groups = np.searchsorted(edges, known.score.astype(np.float64), side="right")

    def sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.bincount(groups, values, minlength=GROUPS).astype(np.float64)

    click, finished, rows = sums(known.click), sums(known.finished), sums(np.ones_like(known.click))
    of_clicked, of_seen = finished / click, finished / rows
    return {
        "completion of what was clicked": float(finished.sum() / click.sum()),
        "completion of what was clicked, best tenth of scores less worst": float(
            of_clicked[-1] - of_clicked[0]
        ),
        "completion of what was seen": float(finished.sum() / rows.sum()),
        "completion of what was seen, best tenth of scores less worst": float(of_seen[-1] - of_seen[0]),
        "share of clicks that was abandoned": float(known.abandoned.sum() / known.click.sum()),
        "rank correlation of score and completion": known.completion_rank,
    }


def figures(audit: FinishingAudit) -> Iterator[tuple[float, tuple[float, float], float]]:
    """Value, interval and unweighted value, in the order of `truths`."""
    assert audit.seen is not None
    for one in (
        audit.completion.all,
        audit.completion.rise,
        audit.seen.all,
        audit.seen.rise,
        audit.abandoned,
        audit.correlation,
    ):
        yield one.value, one.interval, one.unweighted


def without_chances(log: ViewingLog) -> ViewingLog:
    """The same log, which does not state how likely a position is seen."""
    assert log.recommended is not None
    unknown = np.full(len(log), np.nan, np.float32)
    return replace(log, recommended=replace(log.recommended, propensity=unknown))


def measure(
    store: Store,
    catalogue: Catalogue,
    descriptor: Descriptor,
    known: Population,
    *,
    runs: int,
    viewers: int = VIEWERS,
    showing: Showing = SHOWING,
    draws: int = 500,
) -> tuple[list[Covered], list[Kinds]]:
    """So many logs of other viewers, each audited with the chances stated, and with them to be fitted."""
    found: dict[tuple[str, str], list[tuple[float, float, float, bool]]] = {}
    kinds = {STATED: [0, 0], FITTED: [0, 0]}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("audits", total=2 * runs)
        for run in range(runs):
            log = draw_shown(catalogue, viewers, showing, seed=run).log
            truth = truths(known, log)
            for chances, given in ((STATED, log), (FITTED, without_chances(log))):
                audit = audit_finishing(store, given, descriptor, FinishingSettings(seed=run, draws=draws))
                for (name, true), (value, (low, high), plain) in zip(
                    truth.items(), figures(audit), strict=True
                ):
                    row = (true, value, plain, low <= true <= high)
                    found.setdefault((name, chances), []).append(row)
                abandoned = {kind.name for kind in audit.kinds if kind.is_abandoned}
                kinds[chances][0] += LOUD in abandoned
                kinds[chances][1] += bool(abandoned - {LOUD})
                progress.advance(task)
    covered = []
    for (name, chances), rows in found.items():
        true, value, plain, holds = np.array(rows).T
        means = (float(true.mean()), float(value.mean()), float(plain.mean()))
        covered.append(Covered(name, chances, *means, covered=int(holds.sum()), runs=runs))
    return covered, [Kinds(chances, both[0], both[1], runs) for chances, both in kinds.items()]


def main(
    runs: Annotated[int, typer.Option(help="Logs to audit.")] = 100,
    viewers: Annotated[int, typer.Option(help="Of each log.")] = VIEWERS,
    others: Annotated[int, typer.Option(help="Viewers that the truth is taken from.")] = POPULATION,
    space: Annotated[Path, typer.Option(help="space.json; only its shapes and sigmas count.")] = DESCRIPTOR,
) -> None:
    """Print what was measured as JSON lines."""
    descriptor = Descriptor.from_json(space.read_text())
    catalogue = draw_catalogue()
    known = population(catalogue, others, SHOWING)
    with tempfile.TemporaryDirectory() as folder:
        store = write_catalogue(str(Path(folder) / "store"), catalogue, descriptor)
        covered, kinds = measure(store, catalogue, descriptor, known, runs=runs, viewers=viewers)
        store.close()
    for row in [asdict(figure) for figure in covered] + [asdict(kind) for kind in kinds]:
        typer.echo(json.dumps(row))


if __name__ == "__main__":
    typer.run(main)
