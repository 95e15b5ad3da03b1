"""A rotation between two spaces is found, and what is none is refused."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.space import BlockError, Query, join, query_from_vector, split, unit
from resonance.space.carrying import Carrying, fit_carrying
from resonance.space.errors import CarryingError
from tests.space.strategies import make_descriptor, random_blocks

TITLES = 260  # three blocks each are more rows than a block has numbers
ALL = np.ones((TITLES, 3), np.bool_)


def turning(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((596, 596)))[0]


def gaps(seed: int) -> np.ndarray:
    return 0.8 * unit(np.random.default_rng(seed).standard_normal((3, 596)))


def test_one_rotation_is_found_and_carries_titles_it_was_not_fitted_on() -> None:
    old, rotation = random_blocks(1, TITLES), turning(2)
    carrying = fit_carrying(old, old @ rotation, ALL)
    fresh = random_blocks(3, 5)
    np.testing.assert_allclose(carrying.vectors(join(fresh)), join(fresh @ rotation), atol=1e-9)
    assert carrying.rotations.shape == (1, 596, 596)


def test_a_rotation_a_block_is_found() -> None:
    old, rotations = random_blocks(1, 700), np.stack([turning(at) for at in range(3)])
    new = np.einsum("nmi,mij->nmj", old, rotations)
    carrying = fit_carrying(old, new, np.ones((700, 3), np.bool_), shared=False)
    np.testing.assert_allclose(carrying.rotations, rotations, atol=1e-9)
    one = fit_carrying(old, new, np.ones((700, 3), np.bool_))
    assert (one.blocks(old) * new).sum(-1).mean() < 0.9  # which one rotation cannot


def test_the_gap_between_modalities_is_removed_and_restored() -> None:
    rotation, chance = turning(4), random_blocks(5, 700)
    old = unit(chance + gaps(6))
    new = unit(chance @ rotation + gaps(7)[:1])  # one gap for all, which is not the old three turned
    mask = np.ones((700, 3), np.bool_)
    centred, plain = (fit_carrying(old[:600], new[:600], mask[:600], centred=c) for c in (True, False))
    cosines = [(c.blocks(old[600:]) * new[600:]).sum(-1).mean() for c in (centred, plain)]
    assert cosines[0] > cosines[1] + 0.05
    assert cosines[0] > 0.95


def test_blocks_that_one_side_lacks_are_not_looked_at() -> None:
    old, rotation = random_blocks(1, TITLES), turning(2)
    new, mask = old @ rotation, ALL.copy()
    mask[:40, 1] = False
    spoilt = new.copy()
    spoilt[:40, 1] = random_blocks(9, 40)[:, 1]
    np.testing.assert_array_equal(
        fit_carrying(old, spoilt, mask, centred=True).rotations,
        fit_carrying(old, new, mask, centred=True).rotations,
    )


def test_a_taste_carried_is_the_taste_of_the_carried_titles() -> None:
    old_space, new_space = make_descriptor(), make_descriptor()
    old, rotation = random_blocks(1, TITLES), turning(2)
    carrying = fit_carrying(old, old @ rotation, ALL)
    shares = np.array([0.6, 0.3, -0.1])
    vectors = join(old[:3])
    before = np.tensordot(shares, [query_from_vector(v, old_space).blocks for v in vectors], axes=1)
    after = np.tensordot(
        shares, [query_from_vector(v, new_space).blocks for v in carrying.vectors(vectors)], axes=1
    )
    sigmas = [[d.sigmas[m][m] for m in ("visual", "audio", "transcript")] for d in (old_space, new_space)]
    carried = carrying.blend(Query(before), float(shares.sum()), *sigmas)
    np.testing.assert_allclose(carried.blocks, after, atol=1e-9)


def test_a_taste_is_carried_with_its_means() -> None:
    """Of a centred map, up to the norm that each carried title is given."""
    chance, rotation = random_blocks(5, 700), turning(4)
    old, new = unit(chance + gaps(6)), unit(chance @ rotation + gaps(7))
    carrying = fit_carrying(old, new, np.ones((700, 3), np.bool_), centred=True)
    taste = old[:4].mean(axis=0)
    carried = carrying.blend(Query(taste), 1.0, np.ones(3), np.ones(3)).blocks
    true = new[:4].mean(axis=0)
    assert (unit(carried) * unit(true)).sum(-1).min() > 0.95
    without = carrying.blend(Query(taste), 0.0, np.ones(3), np.ones(3)).blocks
    assert (unit(without) * unit(true)).sum(-1).max() < 0.9


def test_titles_that_lack_a_modality_in_every_case_still_share_one_rotation() -> None:
    old, rotation = random_blocks(1, 700), turning(2)
    mask = np.ones((700, 3), np.bool_)
    mask[:, 2] = False
    carrying = fit_carrying(old, old @ rotation, mask, centred=True)
    assert not carrying.old_means[2].any()
    np.testing.assert_allclose((carrying.blocks(old)[:, 2] * (old @ rotation)[:, 2]).sum(-1), 1, atol=0.01)
    with pytest.raises(CarryingError, match=r"0 with transcript.*expected 30 of each"):
        fit_carrying(old, old @ rotation, mask, shared=False)


def test_too_few_titles_and_wrong_shapes_are_refused() -> None:
    blocks = random_blocks(1, 29)
    with pytest.raises(CarryingError, match=r"29 with visual.*expected 30 of one"):
        fit_carrying(blocks, blocks, ALL[:29])
    with pytest.raises(CarryingError, match=r"\(29, 3, 596\) and \(28, 3, 596\)"):
        fit_carrying(blocks, blocks[:28], ALL[:29])
    with pytest.raises(BlockError, match="no modality"):
        fit_carrying(blocks, blocks, ~ALL[:29])


def test_what_is_no_rotation_is_refused() -> None:
    means = np.zeros((3, 596))
    with pytest.raises(CarryingError, match="away from orthogonal"):
        Carrying(2 * np.eye(596)[None], means, means)
    with pytest.raises(CarryingError, match="nan away from orthogonal"):
        Carrying(np.full((1, 596, 596), np.nan), means, means)
    with pytest.raises(CarryingError, match=r"shape \(2, 596, 596\)"):
        Carrying(np.stack([np.eye(596)] * 2), means, means)
    with pytest.raises(CarryingError, match="all finite"):
        Carrying(np.eye(596)[None], means, np.full((3, 596), np.inf))
    assert split(Carrying(np.eye(596)[None], means, means).vectors(join(random_blocks(1, 2)))).shape[0] == 2


def test_where_lapack_does_not_converge_the_rows_are_tried_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, rotation = random_blocks(1, TITLES), turning(2)
    svd, calls = np.linalg.svd, []

    def fails_at_first(matrix: np.ndarray) -> tuple[np.ndarray, ...]:
        calls.append(matrix)
        if len(calls) == 1:
            raise np.linalg.LinAlgError("SVD did not converge")
        return tuple(svd(matrix))

    monkeypatch.setattr(np.linalg, "svd", fails_at_first)
    carrying = fit_carrying(old, old @ rotation, ALL)
    np.testing.assert_allclose(carrying.rotations[0], rotation, atol=1e-9)
    assert not np.array_equal(calls[0], calls[1])


def test_a_decomposition_that_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(matrix: np.ndarray) -> None:
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", fails)
    old = random_blocks(1, TITLES)
    with pytest.raises(CarryingError, match="a few titles more, or fewer"):
        fit_carrying(old, old, ALL)
