"""A term of the loss for what an audit found: blocks that say less of which group a title is in.

`resonance audit bias --feed` names the groups that are unevenly spread over the space. The term is the
dependence between a block and the group, so it does not ask in which cluster the group stands: a new space
has clusters of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from resonance.clients.audit.bias_feed import BiasFeed
from resonance.clients.audit.groups import UNKNOWN
from resonance.clients.ingest.uris import local_path
from resonance.training.features import Entry

#: Inverse squared bandwidths, of the batch's median squared distance: a wide one sees that the means of
#: groups differ, a narrow one that a neighbourhood has too many of one.
BANDWIDTHS = (1.0, 4.0)
#: Titles of either kind below which nothing is said of a batch; the unbiased estimate needs four in all.
FEWEST_TITLES = 2
#: Segments that the dependence is reported of, at most.
MOST_COMPARED = 2048


class FairnessError(ValueError):
    """What an audit found cannot be used for these titles; the message says what came and what is needed."""


def dependence(blocks: Tensor, groups: Tensor, titles: Tensor) -> Tensor:
    """How much unit rows [B, D] say of their titles' groups: about 0 where nothing, at most 1; fp32.

    groups, titles: int64 [B]; all rows of a title are of one group.

    The Hilbert-Schmidt independence criterion (Gretton et al. 2005) in its unbiased form (Song et al. 2012,
    "Feature selection via dependence maximization", eq. 5), which chance makes negative as often as positive;
    over the geometric mean of both kernels with themselves (Cortes et al. 2012), so that it has no unit.
    Kernels: Gaussians of the median distance (Gretton et al. 2012) and of half of it; equality of groups.
    What is independent are titles, not their rows, which resemble each other: the kernel of two titles is
    the mean over pairs of their rows, the inner product of their mean embeddings (Smola et al. 2007, "A
    Hilbert space embedding for distributions"). Rows taken one by one would show a dependence by chance.
    Gradients flow through the numerator alone: a space that is merely more spread out gains nothing.
    """
    _, owner, sizes = torch.unique(titles, return_inverse=True, return_counts=True)
    of = groups.new_zeros(len(sizes)).scatter_(0, owner, groups)  # (T,)
    counts = torch.unique(of, return_counts=True)[1]
    if len(of) < 4 or int((counts >= FEWEST_TITLES).sum()) < 2:
        return blocks.new_zeros((), dtype=torch.float32)
    with torch.autocast(blocks.device.type, enabled=False):
        rows = blocks.float()
        squared = (2.0 - 2.0 * rows @ rows.T).clamp_min(0.0)  # (B, B)
        typical = squared.detach().median().clamp_min(1e-6)
        near = torch.stack([torch.exp(-rate * squared / typical) for rate in BANDWIDTHS]).sum(0)
        count = len(sizes)
        near = near.new_zeros(count, len(rows)).index_add(0, owner, near) / sizes[:, None]  # (T, B)
        near = near.new_zeros(count, count).index_add(1, owner, near) / sizes  # (T, T)
        same = (of[:, None] == of[None]).float()
        scale = torch.sqrt((hsic(near, near) * hsic(same, same)).clamp_min(1e-12)).detach()
        return hsic(near, same) / scale


def hsic(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimate of two kernels [B, B], B at least 4; diagonals do not count."""
    count = len(first)
    k, l = (kernel - torch.diag(torch.diag(kernel)) for kernel in (first, second))  # noqa: E741
    by_row, by_other = k.sum(1), l.sum(1)  # (B,)
    total = (k * l).sum() + by_row.sum() * by_other.sum() / ((count - 1) * (count - 2))
    return (total - 2.0 / (count - 2) * (by_row @ by_other)) / (count * (count - 3))


def fairness_loss(blocks: Tensor, present: Tensor, audited: Tensor, titles: Tensor) -> Tensor:
    """The dependence of blocks [B, 3, 596] on each audited grouping of their titles, summed over modalities
    and groupings; rows of which a group is not known, or a modality not present, do not count.

    present: bool [B, 3]. audited: int64 [B, G]. titles: int64 [B].
    """
    total = blocks.new_zeros((), dtype=torch.float32)
    for groups in audited.T:
        for m in range(blocks.shape[1]):
            rows = present[:, m] & (groups != UNKNOWN)
            total = total + dependence(blocks[rows, m], groups[rows], titles[rows])
    return total


def mean_dependence(blocks: Tensor, present: Tensor, audited: Tensor, titles: Tensor) -> float:
    """The same, a mean instead of a sum, among at most `MOST_COMPARED` rows drawn at random."""
    drawn = np.random.Generator(np.random.PCG64(0)).permutation(len(blocks))[:MOST_COMPARED]
    rows = torch.from_numpy(drawn)
    terms = max(blocks.shape[1] * audited.shape[1], 1)
    return float(fairness_loss(blocks[rows], present[rows], audited[rows], titles[rows])) / terms


def audited_groups(feed: BiasFeed, titles: Sequence[Entry]) -> list[tuple[int, ...]]:
    """A group in each of the feed's groupings, of each title; `UNKNOWN` for titles that were not audited.

    A title is known by its path, else by its `id` in the manifest.

    Raises:
        FairnessError: none of the titles was audited.
    """
    by_path = {}
    for at, uri in enumerate(feed.uris):
        path = local_path(uri)
        if path is not None:
            by_path[str(path.resolve())] = at
    by_id = {name: at for at, name in enumerate(feed.media_ids)}
    unknown = (UNKNOWN,) * len(feed.dimensions)
    found, matched = [], 0
    for title in titles:
        at = by_path.get(str(title.path.resolve()), by_id.get(title.media_id, UNKNOWN))
        matched += at != UNKNOWN
        found.append(unknown if at == UNKNOWN else tuple(feed.codes[at].tolist()))
    if not matched:
        raise FairnessError(
            f"none of {len(titles)} titles is among the {len(feed.media_ids)} that were audited in "
            f"{feed.store}; expected the same paths, or a manifest whose `id` is the store's media_id"
        )
    return found
