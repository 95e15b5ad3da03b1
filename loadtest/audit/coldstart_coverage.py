"""`python -m resonance.loadtest.audit.coldstart_coverage`: do the intervals of the audit hold the truth?

The quantity is recall@k of new titles for rankings that are known and never trained, and the difference of
two of them. A ranking that is learned would be another one in each run, so that there would be no one truth
to cover. Each run has a catalogue, viewers, choices and a split of its own; the truth is the mean over many
other such runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from resonance.clients.audit.estimates import Estimate
from resonance.training.coldstart.evaluation import evaluate, make_evaluation
from resonance.training.coldstart.measures import Scorer
from resonance.training.coldstart.result import COLD, RECALL
from resonance.training.coldstart.splitting import SplitSettings, check_split, make_split
from resonance.training.coldstart.summary import Entry, summarise
from resonance.training.world.factors import draw_title
from resonance.training.world.viewers import TASTE_FOR_FEEL, Viewers, draw_viewers
from resonance.training.world.viewers_choosing import Choosing, choose, draw_releases

TITLES, VIEWERS, K = 400, 300, 10
#: Rankings in pairs, and what of a taste each knows; those by lot order titles alike for all viewers.
PAIRS = (("drama", "subject matter"), ("lot", "other lot"))
KNOWS = {"drama": ("arc", "tension", "pace"), "subject matter": ("setting", "subject")}


@dataclass(frozen=True, slots=True)
class Covered:
    """Means of one figure over the runs, beside the truth, and how many intervals hold it."""

    figure: str
    truth: float
    value: float
    width: float
    covered: int
    runs: int


def run(seed: int, *, titles: int = TITLES, viewers: int = VIEWERS) -> dict[str, Estimate]:
    """Figures of one log with their intervals."""
    rng = np.random.Generator(np.random.PCG64([seed, 7]))
    catalogue = [draw_title(rng, held_out=True) for _ in range(titles)]
    drawn = draw_viewers(catalogue, viewers, TASTE_FOR_FEEL, seed=seed)
    settings, names = Choosing(), tuple(str(at) for at in range(titles))
    log = choose(drawn, draw_releases(titles, settings, seed=seed), names, settings, seed=seed)
    cut = SplitSettings()
    split = make_split(log, cut, seed)
    check_split(log, split)
    evaluation = make_evaluation(log, split, liked=cut.liked, k=K, viewers=viewers, seed=seed, tags=None)
    found: dict[str, Estimate] = {}
    for pair in PAIRS:
        entries = [
            Entry(
                name,
                "known",
                0,
                0,
                0.0,
                evaluate(_ranking(name, drawn, rng), evaluation, probabilities=False),
            )
            for name in pair
        ]
        result = summarise(entries, evaluation, reference=pair[0], trainings=1, seed=seed)
        found |= {f"recall by {name}": result.contestant(name).found[COLD, RECALL] for name in pair}
        found[f"recall by {pair[0]} less that by {pair[1]}"] = result.difference(pair[1]).estimate
    return found


def _ranking(name: str, viewers: Viewers, rng: np.random.Generator) -> Scorer:
    if name in KNOWS:
        shares = viewers.taste.shares
        scores = sum(np.float32(np.sqrt(shares[part])) * viewers.parts[part] for part in KNOWS[name])
    else:
        scores = np.broadcast_to(rng.standard_normal(viewers.affinity.shape[1]), viewers.affinity.shape)
    whole = np.asarray(scores, np.float32)

    def score(users: NDArray[np.int64], titles: NDArray[np.int64]) -> NDArray[np.float32]:
        return whole[np.ix_(users, titles)]

    return score


def measure(runs: int, others: int, *, titles: int = TITLES, viewers: int = VIEWERS) -> list[Covered]:
    """So many runs against the mean over so many others, the truth."""
    console = Console(stderr=True)
    far = [
        run(1_000_000 + at, titles=titles, viewers=viewers)
        for at in track(range(others), "the truth", console=console)
    ]
    near = [run(at, titles=titles, viewers=viewers) for at in track(range(runs), "runs", console=console)]
    rows = []
    for name in near[0]:
        truth = float(np.mean([found[name].value for found in far]))
        mine = [found[name] for found in near]
        widths = [one.interval[1] - one.interval[0] for one in mine]
        covered = sum(one.interval[0] <= truth <= one.interval[1] for one in mine)
        value = float(np.mean([one.value for one in mine]))
        rows.append(Covered(name, truth, value, float(np.mean(widths)), covered, runs))
    return rows


def main(
    runs: Annotated[int, typer.Option(help="Logs whose intervals are looked at.")] = 100,
    others: Annotated[int, typer.Option(help="Logs that the truth is taken from.")] = 400,
) -> None:
    """Print what was measured as JSON lines."""
    for row in measure(runs, others):
        typer.echo(json.dumps(asdict(row)))


if __name__ == "__main__":
    typer.run(main)
