"""The measurements of the audit of cold start, in short: it finds what counts, and against the vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resonance.loadtest.audit.coldstart import run_case, run_poorer
from resonance.loadtest.audit.coldstart_cases import (
    CASES,
    Case,
    catalogue_tags,
    write_titles,
)
from resonance.loadtest.audit.coldstart_coverage import run
from resonance.loadtest.audit.coldstart_leads import plot_leads
from resonance.loadtest.audit.coldstart_repeats import MEASURES, compared, over_runs
from resonance.loadtest.audit.coldstart_vectors import (
    TitleVectors,
    catalogue_titles,
    fuse,
    fuse_text_alone,
    upload_gaps,
)
from resonance.loadtest.audit.tagged import Poorer
from resonance.space import unit
from resonance.training.coldstart.experiment import ColdstartSettings
from resonance.training.coldstart.plots import AGAINST, OTHER, REFERENCE
from resonance.training.coldstart.result import COLD, RECALL
from resonance.training.coldstart.two_tower import TowerSettings
from resonance.training.world.factors import TitleFactors
from resonance.training.world.viewers import describe
from tests.lengths import short_and_whole

TITLES, SEGMENTS = 240, 2
SETTINGS = ColdstartSettings(tower=TowerSettings(epochs=4, learning_rate=3e-4))


@pytest.fixture(scope="module")
def titles() -> list[TitleFactors]:
    return catalogue_titles(TITLES)


@pytest.fixture(scope="module")
def blocks(titles: list[TitleFactors]) -> dict[str, NDArray[np.float32]]:
    """Blocks that are linear in what a title is like, and blocks that are noise."""
    rng = np.random.default_rng(0)
    described = {name: x / x.std() for name, x in describe(titles).items() if name != "genre"}
    feel = np.concatenate(list(described.values()), axis=1)  # (N, 68)
    known = feel @ rng.standard_normal((feel.shape[1], 3 * 596)) / 8
    noise = rng.standard_normal((TITLES, SEGMENTS, 3, 596))

    def segments(whole: NDArray[np.float64]) -> NDArray[np.float32]:
        return unit(whole.reshape(TITLES, 1, 3, 596) + 0.3 * noise).astype(np.float32)

    return {"trained": segments(known), "untrained": segments(np.zeros_like(known))}


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.expected)
def test_the_audit_favours_what_taste_follows(
    blocks: Mapping[str, NDArray[np.float32]], titles: list[TitleFactors], case: Case
) -> None:
    result = run_case(case, dict(blocks), titles, viewers=400, settings=SETTINGS)
    found = {one.name: one.found[COLD, RECALL].value for one in result.contestants}
    if case.expected == "fused":
        assert found["fused"] > 1.3 * found["tags"]
        assert found["fused"] > 1.3 * found["untrained"]
    else:
        assert found["tags"] > 1.3 * max(found["fused"], found["text"], found["untrained"])


@pytest.mark.parametrize("viewers", short_and_whole(100, 400))
def test_poorer_tags_are_found_poorer(
    blocks: Mapping[str, NDArray[np.float32]], titles: list[TitleFactors], viewers: int
) -> None:
    found = run_poorer(blocks["trained"], titles, viewers=viewers, settings=SETTINGS)
    rows = {row.tags: row for row in found}
    for way in ("drop", "merge", "randomise"):
        scores = [rows[f"{way} {at}"].metadata_score for at in range(5)]
        assert scores == sorted(scores, reverse=True)
        assert rows[f"{way} 0"].recall.value > rows[f"{way} 4"].recall.value


def test_a_run_of_coverage_holds_what_rankings_know() -> None:
    found = run(3, titles=200, viewers=200)
    assert found["recall by drama"].interval[0] > found["recall by lot"].value
    low, high = found["recall by lot less that by other lot"].interval
    assert low < 0 < high
    assert run(3, titles=200, viewers=200) == found


def test_runs_are_compared_pairwise() -> None:
    # what comes and goes with a run is in both, and not in what one is ahead by
    moods = np.random.default_rng(0).normal(0, 0.1, 12)
    runs = []
    for at, mood in enumerate(moods):
        wobble = 0.001 * (-1) ** at
        runs.append(
            {
                (name, measure): 0.5 + mood + lead
                for name, lead in (("fused", 0.05), ("other", wobble), ("same", 0.05 + 10 * wobble))
                for measure in MEASURES
            }
        )
    rows = {row.name: row for row in compared(runs, "fused") if row.measure == RECALL}
    low, high = rows["other"].lead.interval
    assert 0.048 < low < 0.05 < high < 0.052
    assert (rows["other"].ahead, rows["same"].ahead) == (12, 6)
    low, high = rows["same"].lead.interval
    assert low < 0 < high
    low, high = rows["fused"].value.interval
    assert low < 0.55 + moods.mean() < high
    assert high - low > 0.08
    assert rows["fused"].lead is None


def test_leads_are_drawn_by_what_is_sure() -> None:
    def row(name: str, lead: tuple[float, float, float] | None) -> dict[str, Any]:
        told = lead and {"value": lead[0], "interval": lead[1:]}
        return {"name": name, "measure": RECALL, "lead": told}

    rows = [row("fused", None), row("a", (2, 1, 3)), row("b", (-2, -3, -1)), row("c", (0, -1, 1))]
    (axes,) = plot_leads({"some case": rows}).axes
    drawn = [line.get_color() for line in axes.lines if len(line.get_xdata()) == 2][:-1]  # the last is at 0
    assert drawn == [REFERENCE, AGAINST, OTHER]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["over a", "over b", "over c"]


def test_an_interval_over_runs_is_students() -> None:
    found = over_runs(np.array([1.0, 2.0, 3.0]))
    assert found.value == 2
    np.testing.assert_allclose(found.interval, (2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rtol=1e-4)


def test_text_alone_knows_nothing_of_picture_and_sound(
    blocks: Mapping[str, NDArray[np.float32]],
) -> None:
    some = blocks["trained"][:12]
    present = upload_gaps(12, seed=1)
    other = np.array(some)
    other[:, :, :2] = other[::-1, :, :2]  # other pictures and sounds, the same words
    here = fuse_text_alone(some, present, "trained")
    np.testing.assert_array_equal(here, fuse_text_alone(other, present, "trained"))
    assert (here[~present[:, 2]] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(here[present[:, 2]], axis=1), 3**-0.5, rtol=1e-5)


def test_uploads_lack_every_subset_alike() -> None:
    present = upload_gaps(7000, seed=0)
    kinds, counts = np.unique(present, axis=0, return_counts=True)
    assert len(kinds) == 7
    assert kinds.any(axis=1).all()
    assert counts.min() > 850


def test_a_store_gives_back_vectors_presence_and_tags(
    blocks: Mapping[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    present = upload_gaps(20, seed=2)
    made: TitleVectors = fuse(blocks["trained"][:20], present, "trained")
    titles = catalogue_titles(20)
    tags = catalogue_tags(titles, Poorer(), np.random.default_rng(0))
    stored = write_titles(str(tmp_path / "store"), made, tags)
    np.testing.assert_array_equal(stored.vectors, made.vectors)
    np.testing.assert_array_equal(stored.present, present)
    assert stored.tags == tags
    assert f"setting {titles[3].setting}" in tags[3]
