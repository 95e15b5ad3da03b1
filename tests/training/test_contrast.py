"""The losses: what they are by hand, and what re-balancing does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resonance.training.contrast import group_weights, info_nce, recall_by_group, recall_gap


def rows(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 16, generator=generator), dim=1)


def test_info_nce_is_the_mean_cross_entropy_of_both_directions() -> None:
    a, b = rows(5, 0), rows(5, 1)
    cosine = (a @ b.T).numpy().astype(np.float64) * 10
    expected = 0.0
    for logits in (cosine, cosine.T):
        for i in range(5):
            expected -= (logits[i, i] - np.log(np.exp(logits[i]).sum())) / 10
    assert float(info_nce(a, b, 10.0)) == pytest.approx(expected, rel=1e-5)


def test_matching_tensorhave_less_loss_than_chance() -> None:
    a = rows(32, 0)
    assert float(info_nce(a, a, 20.0)) < 0.1 < np.log(32)


def test_hardness_keeps_the_total_of_negatives_and_weighs_the_near_ones_more() -> None:
    a, b = rows(16, 0), rows(16, 1)
    plain, same = info_nce(a, b, 10.0), info_nce(a, b, 10.0, hardness=1e-6)
    assert float(plain) == pytest.approx(float(same), abs=1e-4)
    assert float(info_nce(a, b, 10.0, hardness=5.0)) > float(plain)


def test_a_negative_of_its_own_is_counted() -> None:
    a, b = rows(8, 0), rows(8, 0)
    assert float(info_nce(a, b, 10.0, extra_negatives=b)) > float(info_nce(a, b, 10.0))


def test_gradients_are_those_of_the_formula_and_none_is_subnormal() -> None:
    """Of rows so far apart that the softmax underflows, but for one pair that is as wrong as can be."""
    b = torch.eye(8)  # similarities are what `a` holds
    for wrong in (False, True):
        a = torch.eye(8)
        if wrong:
            a[7, 7] = -1.0
        doubles = a.double().requires_grad_()
        target = torch.arange(8)
        loss = functional.cross_entropy(90 * doubles, target) + functional.cross_entropy(
            90 * doubles.T, target
        )
        (loss / 2).backward()
        info_nce(a.requires_grad_(), b, 90.0).backward()
        assert a.grad is not None
        assert doubles.grad is not None
        torch.testing.assert_close(a.grad, doubles.grad.float())
        sizes = a.grad.abs()
        assert sizes[sizes > 0].tolist() == sizes[sizes >= torch.finfo(torch.float32).tiny].tolist()
    assert a.grad[7, 7] == pytest.approx(-90 / 8)


@pytest.mark.parametrize(("scale", "hardness"), [(46.0, 0.0), (90.0, 0.0), (46.0, 30.0)])
@pytest.mark.parametrize("extra", [-1.0, 0.0, 1.0])
def test_no_gradient_is_subnormal_with_further_negatives_and_hard_ones(
    scale: float, hardness: float, extra: float
) -> None:
    a, b = torch.eye(8), torch.eye(8)
    a[0, 1] = b[2, 3] = -0.9
    negatives = extra * torch.eye(8)
    for tensor in (a, b, negatives):
        tensor.requires_grad_()
    info_nce(a, b, scale, hardness=hardness, extra_negatives=negatives).backward()
    for tensor in (a, b, negatives):
        assert tensor.grad is not None
        sizes = tensor.grad.abs()
        assert sizes[sizes > 0].tolist() == sizes[sizes >= torch.finfo(torch.float32).tiny].tolist()


def test_group_weights_make_groups_count_alike() -> None:
    groups = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    weights = group_weights(groups)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[groups == 0].sum()) == pytest.approx(float(weights[groups == 1].sum()))


def test_weighted_loss_is_the_weighted_mean_of_the_rows() -> None:
    a, b = rows(6, 0), rows(6, 1)
    only_first = torch.tensor([1.0, 0, 0, 0, 0, 0])
    cosine = 10 * a @ b.T
    first = -(functional.log_softmax(cosine, 1)[0, 0] + functional.log_softmax(cosine.T, 1)[0, 0]) / 2
    assert float(info_nce(a, b, 10.0, weights=only_first)) == pytest.approx(float(first), rel=1e-5)


def test_recall_by_group_and_its_gap() -> None:
    a = rows(10, 0)
    b = a.clone()
    b[5:] = a[5:].flip(0)  # the second group's rows are crossed, but for the middle one
    found = recall_by_group(a, b, torch.tensor([0] * 5 + [1] * 5))
    assert found == {0: 1.0, 1: pytest.approx(0.2)}
    assert recall_gap(found) == pytest.approx(0.8)


def test_copies_share_a_hit_and_a_collapsed_space_finds_by_chance() -> None:
    """The same films in two groups are found alike in both."""
    films = rows(20, 0)
    twice = torch.cat([films, films])
    groups = torch.tensor([0] * 20 + [1] * 20)
    assert recall_by_group(twice, twice, groups) == {0: pytest.approx(0.5), 1: pytest.approx(0.5)}
    same = rows(1, 0).expand(40, -1)
    assert recall_by_group(same, same, groups) == {0: pytest.approx(1 / 40), 1: pytest.approx(1 / 40)}


def balanced_gap(balance: float) -> float:
    """Gap of recall between a large and a small group whose features need different projections."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    groups = (torch.rand(600, generator=generator) < 0.08).long()
    latent = torch.randn(600, 24, generator=generator)
    turn = torch.linalg.qr(torch.randn(24, 24, generator=generator))[0]
    x = latent + 0.1 * torch.randn(600, 24, generator=generator)
    y = torch.where(groups.bool().unsqueeze(1), latent @ turn, latent)
    p, q = torch.nn.Linear(24, 8, bias=False), torch.nn.Linear(24, 8, bias=False)
    optimizer = torch.optim.Adam([*p.parameters(), *q.parameters()], lr=0.01)

    def blocks() -> tuple[Tensor, Tensor]:
        return functional.normalize(p(x), dim=1), functional.normalize(q(y), dim=1)

    for _ in range(150):
        loss = info_nce(*blocks(), 10.0, weights=group_weights(groups, balance))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return recall_gap(recall_by_group(*blocks(), groups))


def test_balancing_nartensorthe_gap_between_groups() -> None:
    plain, half, whole = (balanced_gap(balance) for balance in (0.0, 0.5, 1.0))
    assert whole < plain - 0.1
    assert half < plain
