"""Titles such as the encoders never saw, for which the fusion head has learned no correction.

A head that has only met its own world corrects every title as if it knew it: on real footage it then found
copies less often than the plain mean of the blocks did. So it is told to leave unfamiliar titles as the
plain mean has them, whatever their length.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resonance.export.graphs.fusion import FusionGraph
from resonance.training.titles import SUBSETS, TitleBlocks, narrowed

#: Segments of the longest unfamiliar title, and how far a segment may lie from the next in units of the
#: given titles' own.
LONGEST, WIDEST = 48, 8.0
#: Share of a title's segments that lack one more modality than the title does.
GAPS = 0.15


def unfamiliar_titles(
    titles: TitleBlocks, wild: Tensor | None, count: int, rng: np.random.Generator
) -> TitleBlocks:
    """`count` titles of one length; half of them of wild things where there are any, half moved titles.

    Args:
        wild: visual and audio blocks of things of no title, [things, moments, 2, 596].
    """
    length = round(math.exp(rng.uniform(0.0, math.log(LONGEST))))
    blocks, present = [], []
    for i in range(count):
        if wild is not None and i % 2 == 0:
            blocks.append(_wild_title(wild, length, rng))
            present.append(_present(length, modalities=2, rng=rng))
        else:
            moved, has = _moved_title(titles, length, rng)
            blocks.append(moved)
            present.append(narrowed(has, _present(length, modalities=3, rng=rng)))
    step_s = float(titles.times_s[0, -1]) / max(titles.length - 1, 1)
    step_s *= math.exp(rng.uniform(0.0, math.log(WIDEST)))
    times_s = (torch.arange(length) * step_s).expand(count, length)
    return TitleBlocks(torch.stack(blocks), torch.stack(present), times_s.float())


def _moved_title(titles: TitleBlocks, length: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blocks of a title with dimensions exchanged and signs flipped, all of them alike, [length, 3, 596], and
    which of them the title has, bool [length, 3].

    They keep their angles to each other and lie where nothing was learned.
    """
    width = titles.blocks.shape[-1]
    segments = np.sort(rng.integers(titles.length, size=length))
    order = torch.from_numpy(rng.permutation(width))
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], width).astype(np.float32))
    title = int(rng.integers(len(titles)))
    blocks, has = titles.blocks[title, segments], titles.present[title, segments]
    return blocks[..., order] * signs, has


def _wild_title(wild: Tensor, length: int, rng: np.random.Generator) -> Tensor:
    """One to four shots of wild things that nobody speaks in, [length, 3, 596]."""
    things = rng.integers(wild.shape[0], size=int(rng.integers(1, 5)))
    shots = np.sort(rng.integers(len(things), size=length))
    moments = rng.integers(wild.shape[1], size=length)
    seen = wild[torch.from_numpy(things[shots]), torch.from_numpy(moments)]  # (length, 2, 596)
    return torch.cat([seen, torch.zeros_like(seen[:, :1])], dim=1)


def _present(length: int, *, modalities: int, rng: np.random.Generator) -> Tensor:
    """What is there of a title that has the first `modalities` or some of them, bool [length, 3]."""
    possible = [s for s in (*SUBSETS, (1, 1, 1)) if not any(s[modalities:])]
    title = np.array(possible[int(rng.integers(len(possible)))], bool)
    seen = torch.from_numpy(rng.random((length, 3)) > GAPS)
    return narrowed(torch.from_numpy(title).expand(length, 3), seen)


def plain_title(titles: TitleBlocks) -> tuple[Tensor, Tensor]:
    """TITLE [N, 3, 596] and SEGMENTS [N, S, 3, 596] with unit blocks and nothing learned: absent blocks are
    the normalised mean of the present ones, a title's block the normalised mean of its segments'."""
    here = titles.present.unsqueeze(-1)  # (N, S, 3, 1)
    mean = functional.normalize((titles.blocks * here).sum(2, keepdim=True), dim=-1)  # (N, S, 1, 596)
    complete = torch.where(here, titles.blocks, mean)
    some = titles.present.any(1, keepdim=True)  # (N, 1, 3)
    pooled = (complete * (titles.present | ~some).unsqueeze(-1)).sum(1)  # (N, 3, 596)
    return functional.normalize(pooled, dim=-1), complete


def steadiness_loss(fusion: FusionGraph, titles: TitleBlocks) -> Tensor:
    """Mean of 1 - cosine between what the head makes of `titles` and what plain means do."""
    title, segments, _ = torch.vmap(fusion)(titles.blocks, titles.present, titles.times_s)
    plain, complete = (x.flatten(-2) / math.sqrt(3.0) for x in plain_title(titles))
    return (1.0 - (title * plain).sum(-1)).mean() + (1.0 - (segments * complete).sum(-1)).mean()
