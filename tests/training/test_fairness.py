"""The fairness term: it is the statistic that it says, it vanishes by chance, and training lowers it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resonance.clients.audit.bias_feed import BiasFeed
from resonance.clients.audit.groups import UNKNOWN
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.fairness_features import Planted, draw_titles, encoders
from resonance.training.fairness import (
    FairnessError,
    audited_groups,
    dependence,
    fairness_loss,
    hsic,
    mean_dependence,
)
from resonance.training.features import Entry, TitleFeatures, projection_of
from resonance.training.heads import HeadSettings, train_projections
from resonance.training.loop import LoopSettings
from resonance.training.segments import Segments, project

LOOP = LoopSettings(steps=30, learning_rate=1e-3, warmup_steps=5)


def unit_rows(count: int, seed: int, width: int = 16) -> Tensor:
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def test_hsic_is_the_mean_over_all_quadruples() -> None:
    """The definition of the unbiased estimate, a sum over four distinct rows (Song et al. 2012, eq. 4)."""
    chance = np.random.default_rng(0)
    k, l = (a + a.T for a in chance.random((2, 6, 6)))  # noqa: E741
    terms = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(6), 4)]
    found = hsic(torch.from_numpy(k), torch.from_numpy(l))
    assert float(found) == pytest.approx(np.mean(terms), abs=1e-12)


def test_chance_makes_it_negative_as_often_as_positive() -> None:
    chance = np.random.default_rng(0)
    values = [
        float(
            dependence(unit_rows(64, seed), torch.from_numpy(chance.integers(2, size=64)), torch.arange(64))
        )
        for seed in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5
    assert 0.3 < np.mean(np.array(values) > 0) < 0.7


def test_segments_of_a_title_that_resemble_each_other_show_no_dependence() -> None:
    """50 titles of 6 segments, groups by lot: taken one by one, their segments would say 0.1 of the group."""
    chance = np.random.default_rng(0)
    owner = torch.arange(50).repeat_interleave(6)
    values, row_by_row = [], []
    for seed in range(40):
        rows = unit_rows(50, seed)[owner] + 0.5 * unit_rows(300, 1000 + seed)
        rows = torch.nn.functional.normalize(rows, dim=1)
        groups = torch.from_numpy(chance.integers(2, size=50))[owner]
        values.append(float(dependence(rows, groups, owner)))
        row_by_row.append(float(dependence(rows, groups, torch.arange(300))))
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5
    assert 0.3 < np.mean(np.array(values) > 0) < 0.7
    assert min(row_by_row) > 0.03  # what it guards against


def test_a_title_counts_once_however_many_segments_it_has() -> None:
    groups, rows = torch.arange(24) % 2, unit_rows(24, 0)
    owner = torch.arange(24).repeat_interleave(torch.arange(24) % 3 + 1)
    told = float(dependence(rows[owner], groups[owner], owner))
    assert told == pytest.approx(float(dependence(rows, groups, torch.arange(24))), rel=0.05)


def test_a_group_that_is_elsewhere_is_told() -> None:
    groups = torch.arange(64) % 2
    rows = unit_rows(64, 0)
    apart = torch.nn.functional.normalize(rows + 3.0 * (groups[:, None] * 2 - 1) * torch.eye(16)[0], dim=1)
    assert float(dependence(apart, groups, torch.arange(64))) > 0.7
    # so is one that has the same mean as the others and stands closer together
    ends = torch.where(torch.arange(64) % 4 < 2, 1.0, -1.0)[:, None] * torch.eye(16)[1]
    closer = torch.where(groups[:, None] == 1, ends, rows)
    assert float(dependence(closer, groups, torch.arange(64))) > 0.1


def test_its_gradient_brings_groups_together() -> None:
    groups, titles = torch.arange(64) % 2, torch.arange(64)
    rows = (unit_rows(64, 0) + 0.5 * (groups[:, None] * 2 - 1) * torch.eye(16)[0]).requires_grad_()
    before = dependence(torch.nn.functional.normalize(rows, dim=1), groups, titles)
    (slope,) = torch.autograd.grad(before, rows)
    after = dependence(torch.nn.functional.normalize(rows - 20.0 * slope, dim=1), groups, titles)
    assert float(after.detach()) < 0.9 * float(before.detach())


@pytest.mark.parametrize("groups", [[0] * 8, [0] * 7 + [1], [0, 1, 0]])
def test_too_few_of_a_group_say_nothing(groups: list[int]) -> None:
    rows = unit_rows(len(groups), 0).requires_grad_()
    assert float(dependence(rows, torch.tensor(groups), torch.arange(len(groups)))) == 0.0
    # many segments of them do not help
    owner = torch.arange(len(groups)).repeat(5)
    assert float(dependence(rows[owner], torch.tensor(groups)[owner], owner)) == 0.0


def test_unknown_groups_and_absent_modalities_do_not_count() -> None:
    blocks = unit_rows(3 * 40, 0).reshape(40, 3, 16)
    present = torch.ones(40, 3, dtype=torch.bool)
    present[30:, 1] = False
    groups = torch.tensor([*(at % 2 for at in range(35)), *[UNKNOWN] * 5])[:, None]
    titles = torch.arange(40)
    expected = sum(
        dependence(blocks[:rows, m], groups[:rows, 0], titles[:rows])
        for m, rows in ((0, 35), (1, 30), (2, 35))
    )
    assert torch.equal(fairness_loss(blocks, present, groups, titles), torch.as_tensor(expected))
    assert float(fairness_loss(blocks, present, groups[:, :0], titles)) == 0.0


def aligned(titles: list[TitleFeatures], folder: Path, **changes: float) -> nn.ModuleList:
    projections = nn.ModuleList(projection_of(graph) for graph in encoders().values())
    settings = replace(HeadSettings(), loop=LOOP, batch=256, **changes)  # type: ignore[arg-type]
    train_projections(projections, Segments.of(titles), settings, folder, torch.device("cpu"))
    return projections


def test_training_lowers_it_and_nothing_else_changes_where_nothing_was_audited(tmp_path: Path) -> None:
    drawn = draw_titles(200, Planted(mark=1.0), 0)
    audited = [
        replace(title, audited=(int(of),)) for title, of in zip(drawn.titles, drawn.group, strict=True)
    ]
    segments = Segments.of(audited)
    assert segments.audited.shape == (800, 1)

    plain = aligned(audited, tmp_path / "plain")
    fair = aligned(audited, tmp_path / "fair", fairness=16.0)
    unfed = aligned(drawn.titles, tmp_path / "unfed", fairness=16.0)
    both = aligned(audited, tmp_path / "both", fairness=16.0, balance=0.5)
    with torch.inference_mode():
        before, after, balanced = (
            mean_dependence(
                project(one, segments.features), segments.present, segments.audited, segments.titles
            )
            for one in (plain, fair, both)
        )
    assert after < 0.7 * before
    assert balanced < 0.7 * before
    for one, other in zip(plain.parameters(), unfed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_titles_are_found_by_path_and_by_id(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    feed = BiasFeed(
        *("films", SpaceRef("s", "f", True), (), ("language",), (("de",),)),
        *(("a", "b", "c"), (f"file://{path}", "s3://films/b.mkv", "s3://films/c.mkv")),
        np.array([[0], [1], [UNKNOWN]], np.int32),
    )
    titles = [Entry(path), Entry(tmp_path / "x.mkv", media_id="b"), Entry(tmp_path / "y.mkv", media_id="z")]
    assert audited_groups(feed, titles) == [(0,), (1,), (UNKNOWN,)]
    with pytest.raises(FairnessError, match="none of 1 titles is among the 3 that were audited in films"):
        audited_groups(feed, titles[2:])
