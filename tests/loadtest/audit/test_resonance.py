"""The audit of finishing against a known truth, in short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resonance.clients.ingest.types import Store
from resonance.loadtest.audit.resonance import (
    FITTED,
    STATED,
    Catalogue,
    Covered,
    Kinds,
    Population,
    draw_catalogue,
    draw_shown,
    measure,
    population,
    truths,
    write_catalogue,
)
from resonance.training.world.viewers_shown import Showing
from tests.clients.discovery.made import DESCRIPTOR

SHOWING = Showing(sessions=6, considered=60)
VIEWERS, RUNS = 500, 2


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return draw_catalogue(150)


@pytest.fixture(scope="module")
def known(catalogue: Catalogue) -> Population:
    return population(catalogue, 4000, SHOWING)


@pytest.fixture(scope="module")
def measured(
    catalogue: Catalogue, known: Population, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[tuple[str, str], Covered], list[Kinds]]:
    store: Store = write_catalogue(str(tmp_path_factory.mktemp("s") / "store"), catalogue, DESCRIPTOR)
    covered, kinds = measure(
        store, catalogue, DESCRIPTOR, known, runs=RUNS, viewers=VIEWERS, showing=SHOWING, draws=60
    )
    store.close()
    return {(row.figure, row.chances): row for row in covered}, kinds


def test_the_truth_is_what_happens_where_all_is_seen(catalogue: Catalogue, known: Population) -> None:
    log = draw_shown(catalogue, 2000, replace(SHOWING, position_bias=0.0), seed=77).log
    assert log.recommended is not None
    true, clicked = truths(known, log), log.recommended.clicked
    assert log.completion[clicked].mean() == pytest.approx(true["completion of what was clicked"], abs=0.01)
    assert log.completion.mean() == pytest.approx(true["completion of what was seen"], abs=0.01)
    abandoned = float((log.completion[clicked] < 0.1).mean())
    assert abandoned == pytest.approx(true["share of clicks that was abandoned"], abs=0.01)


@pytest.mark.parametrize("chances", [STATED, FITTED])
def test_weights_undo_what_position_does(
    measured: tuple[dict[tuple[str, str], Covered], list[Kinds]], chances: str
) -> None:
    seen = measured[0]["completion of what was seen", chances]
    assert abs(seen.unweighted - seen.truth) > 0.1
    assert abs(seen.value - seen.truth) < 0.02


def test_what_is_clicked_and_abandoned_is_found(
    measured: tuple[dict[tuple[str, str], Covered], list[Kinds]],
) -> None:
    for kinds in measured[1]:
        assert kinds.planted == RUNS


def test_intervals_hold_in_most_figures(
    measured: tuple[dict[tuple[str, str], Covered], list[Kinds]],
) -> None:
    covered = np.array([row.covered for row in measured[0].values()])
    assert covered.mean() >= 0.7 * RUNS
