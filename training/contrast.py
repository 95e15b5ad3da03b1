"""Losses that pull together what belongs together: symmetric InfoNCE and its variants."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: The furthest that the logit of a negative lies below the best of its row: a probability of e^-60 moves no
#: sum in float32. Of a well separated batch it would otherwise be a subnormal number, and so would the
#: gradients: processors multiply those many times as slowly.
REACH = 60.0
#: Cosines this near each other are equal: sums of equal rows may differ by their order in fp32.
TIED = 1e-6


def info_nce(
    a: Tensor,
    b: Tensor,
    scale: Tensor | float,
    *,
    hardness: float = 0.0,
    weights: Tensor | None = None,
    extra_negatives: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) of unit rows a, b [B, D].

    Row i of `a` belongs to row i of `b`; every other row of the batch is its negative.

    Args:
        scale: inverse temperature.
        hardness: beta of Robinson et al. 2021, "Contrastive learning with hard negative samples": each
            negative counts exp(beta * similarity) times, at the same total. 0 counts all alike.
        weights: of the rows, [B]; the loss is their weighted mean.
        extra_negatives: unit rows [B, D]; row i is one more negative of row i of `a` alone.
    """
    similarity = a.float() @ b.float().T  # (B, B)
    forward, backward = _logits(similarity, scale, hardness), _logits(similarity.T, scale, hardness)
    if extra_negatives is not None:
        own = scale * (a.float() * extra_negatives.float()).sum(1, keepdim=True)  # (B, 1)
        forward = torch.cat([forward, own], dim=1)  # (B, B + 1)
    forward, backward = _within_reach(forward), _within_reach(backward)
    target = torch.arange(a.shape[0], device=a.device)
    losses = functional.cross_entropy(forward, target, reduction="none")
    losses = (losses + functional.cross_entropy(backward, target, reduction="none")) / 2  # (B,)
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum()


def _logits(similarity: Tensor, scale: Tensor | float, hardness: float) -> Tensor:
    """[B, B] logits; negatives gain log of their importance, whose mean over a row is 1."""
    logits = scale * similarity
    if hardness == 0.0 or similarity.shape[0] < 3:
        return logits
    off = ~torch.eye(similarity.shape[0], dtype=torch.bool, device=similarity.device)
    tilt = (hardness * similarity.detach()).masked_fill(~off, float("-inf"))
    log_mean = torch.logsumexp(tilt, dim=1, keepdim=True) - torch.log(off.sum(1, keepdim=True).float())
    return logits + torch.where(off, tilt - log_mean, torch.zeros_like(tilt))


def _within_reach(logits: Tensor) -> Tensor:
    """[B, C] logits, C at least B; negatives, which are all but those of the diagonal, within `REACH`."""
    off = ~torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    least = logits.detach().amax(1, keepdim=True) - REACH  # (B, 1)
    return torch.where(off & (logits < least), least, logits)


def group_weights(groups: Tensor, power: float = 1.0) -> Tensor:
    """Weights of rows by the inverse frequency of their group int64 [B], fp32 [B] with mean 1.

    Args:
        power: of the inverse frequency. At 1 each group that occurs in the batch counts the same in a
            weighted mean, however few its rows are; at 0 each row does.
    """
    _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    weights = counts.float()[inverse] ** -power  # (B,)
    return weights * (groups.numel() / weights.sum())


def recall_by_group(a: Tensor, b: Tensor, groups: Tensor) -> dict[int, float]:
    """Recall@1 of rows of `a` [B, D] among rows of `b` [B, D], by group int64 [B]."""
    hits = recall_hits(a, b)
    return {int(g): float(hits[groups == g].mean()) for g in torch.unique(groups)}


def recall_hits(a: Tensor, b: Tensor) -> Tensor:
    """1 where the nearest of unit rows of `b` [B, D] to a row of `a` [B, D] is its own, else 0; fp32 [B].

    Of n nearest that are equal, such as copies of one film, its own counts 1/n: what is expected of ties that
    are broken by lot (McSherry and Najork, "Computing information retrieval performance measures efficiently
    in the presence of tied scores", ECIR 2008).
    """
    similarity = a.float() @ b.float().T  # (B, B)
    nearest = similarity >= similarity.amax(1, keepdim=True) - TIED
    return nearest.diagonal().float() / nearest.sum(1)


def recall_gap(recalls: dict[int, float]) -> float:
    """Best minus worst group: 0 is even treatment."""
    return max(recalls.values()) - min(recalls.values())
