"""Titles taken apart, and titles unlike anything known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from resonance.export.families import fusion_head
from resonance.training.fusion import fuse_batch, inference_loss, order_loss, reduction_losses
from resonance.training.titles import TitleBlocks, shuffled
from resonance.training.unfamiliar import plain_title, steadiness_loss, unfamiliar_titles
from resonance.training.world.wild import MOMENTS, THINGS, generators, wild_frames, wild_sound


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def unit_blocks(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, 596, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(drawn, dim=-1)


@pytest.fixture
def titles() -> TitleBlocks:
    times_s = (torch.arange(6) * 8.0).expand(5, 6)
    return TitleBlocks(unit_blocks(5, 6, 3), torch.ones(5, 6, 3, dtype=torch.bool), times_s)


def test_halves_are_even_and_odd_segments_with_their_times(titles: TitleBlocks) -> None:
    even, odd = titles.during(slice(0, 5)).halves()
    assert even.times_s[0].tolist() == [0.0, 16.0]
    assert odd.times_s[0].tolist() == [8.0, 24.0]
    assert torch.equal(odd.blocks, titles.blocks[:, [1, 3]])


def test_another_order_moves_blocks_and_leaves_times(titles: TitleBlocks) -> None:
    orders = torch.from_numpy(shuffled(6, 5, generator()))
    moved = titles.reordered(orders)
    assert torch.equal(moved.times_s, titles.times_s)
    assert torch.equal(moved.blocks[2, 4], titles.blocks[2, orders[2, 4]])


def test_one_segment_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="1 segments cannot be shuffled"):
        shuffled(1, 3, generator())


@pytest.mark.parametrize("seed", range(8))
def test_unfamiliar_titles_show_something_in_every_segment(titles: TitleBlocks, seed: int) -> None:
    wild = unit_blocks(7, MOMENTS, 2, seed=1)
    strange = unfamiliar_titles(titles, wild, 10, generator(seed))
    assert strange.blocks.shape == (10, strange.length, 3, 596)
    assert strange.present.any(2).all()
    shown = strange.blocks.norm(dim=-1)[strange.present]
    torch.testing.assert_close(shown, torch.ones_like(shown))
    assert not strange.present[0::2, :, 2].any()  # nobody speaks of a wild thing
    assert (strange.times_s.diff(dim=1) >= 8.0).all()


@pytest.fixture
def library(titles: TitleBlocks) -> TitleBlocks:
    """Titles as they come: nobody speaks in them, two have no picture, one falls silent."""
    present = titles.present.clone()
    present[:, :, 2] = False
    present[:2, :, 0] = False
    present[4, 3:, 1] = False
    return TitleBlocks(titles.blocks * present.unsqueeze(-1), present, titles.times_s)


@pytest.mark.parametrize("seed", range(8))
def test_unfamiliar_titles_show_nothing_that_the_library_lacks(library: TitleBlocks, seed: int) -> None:
    strange = unfamiliar_titles(library, unit_blocks(7, MOMENTS, 2, seed=1), 10, generator(seed))
    assert strange.present.any(2).all()
    shown = strange.blocks.norm(dim=-1)[strange.present]
    torch.testing.assert_close(shown, torch.ones_like(shown))


@pytest.mark.parametrize("seed", range(8))
def test_titles_without_a_modality_train_a_head_that_knows_nothing_yet(
    library: TitleBlocks, seed: int
) -> None:
    fusion = fusion_head.seeded_fusion(0)
    strange = unfamiliar_titles(library, None, 10, generator(seed))
    losses = {
        "infer": inference_loss(fusion, library, generator(seed), 20.0),
        "order": order_loss(fusion, library, generator(seed), 20.0),
        "reduced": sum(reduction_losses(fusion, library, generator(seed), 20.0)),
        "steady": steadiness_loss(fusion, strange),
    }
    for name, loss in losses.items():
        found = torch.autograd.grad(loss, list(fusion.parameters()), retain_graph=True, allow_unused=True)
        assert all(bool(one.isfinite().all()) for one in found if one is not None), name
        assert any(one is not None and bool(one.any()) for one in found), name


def test_moved_titles_keep_their_angles_and_leave_their_place(titles: TitleBlocks) -> None:
    one = titles[slice(0, 1)]
    strange = unfamiliar_titles(one, None, 40, generator(3))
    angles = (strange.blocks[0, :, 0] @ strange.blocks[0, :, 1].T).numpy()
    ours = (one.blocks[0, :, 0] @ one.blocks[0, :, 1].T).numpy()
    assert all(np.abs(ours - value).min() < 1e-5 for value in angles.ravel())
    assert abs(float((strange.blocks[0, 0, 0] * one.blocks[0, 0, 0]).sum())) < 0.3


@torch.inference_mode()
def test_a_plain_title_is_what_an_untrained_head_pools_evenly(titles: TitleBlocks) -> None:
    head = fusion_head.seeded_fusion(0)
    torch.nn.init.zeros_(head.logit.weight)
    some = torch.tensor([True, False, True])
    given = titles.showing(some)
    title, segments, _ = fuse_batch(head, given)
    plain, complete = plain_title(given)
    torch.testing.assert_close(title, plain.flatten(1) / math.sqrt(3), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(segments, complete.flatten(2) / math.sqrt(3), atol=1e-5, rtol=1e-5)
    assert float(steadiness_loss(head, given)) == pytest.approx(0.0, abs=1e-5)
    torch.nn.init.normal_(head.infer.weight)
    assert float(steadiness_loss(head, given)) > 0.1


def test_two_moments_of_a_wild_thing_share_more_than_two_things_of_a_place() -> None:
    def seen(item: int) -> np.ndarray:
        frames = wild_frames(*generators(5, item), count=2, size_px=48).astype(float)
        return frames.mean((0, 1, 2)) / frames.mean()  # colour, whatever the light

    near, far = [], []
    for place in range(20):
        first = place * MOMENTS * THINGS
        near.append(np.abs(seen(first) - seen(first + 1)).sum())
        far.append(np.abs(seen(first) - seen(first + 2)).sum())
    assert np.mean(near) < 0.7 * np.mean(far)


def test_a_wild_sound_is_silent_after_its_length() -> None:
    lengths = []
    for item in range(12):
        pcm, length = wild_sound(*generators(5, item))
        assert not pcm[length:].any()
        assert 0.05 < np.abs(pcm[:length]).max() < 1.0
        lengths.append(length)
    assert min(lengths) < max(lengths) == 128_000
