"""What a reader of the true factors could retrieve: no encoder does better, so it is the yardstick."""

from __future__ import annotations

import numpy as np

from resonance.training.world.factors import MELODY_STEPS

#: Columns of a factor row [4 + 7] that picture, sound and text all show; the melody's columns follow.
SHOWN_BY_ALL = (0, 1, 2, 3)
MELODY = tuple(range(4, 4 + MELODY_STEPS))


def entropy_bits(values: np.ndarray) -> float:
    """Shannon entropy of the rows of `values` [N, K] or [N], from their counts."""
    _, counts = np.unique(np.asarray(values), axis=0, return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def factor_entropies(factors: np.ndarray) -> dict[str, float]:
    """Bits of each factor over rows int8 [N, 11]; the melody is counted step by step, which bounds it."""
    names = ("setting", "subject", "tension", "pace")
    bits = {name: entropy_bits(factors[:, i]) for i, name in enumerate(names)}
    bits["setting and subject together"] = entropy_bits(factors[:, :2])
    bits["melody (sum of its steps)"] = sum(entropy_bits(factors[:, i]) for i in MELODY)
    return bits


def expected_recall(rivals: np.ndarray, k: int) -> float:
    """Recall@k of an oracle that guesses among the target and its `rivals` [N], which look the same."""
    return float(np.minimum(1.0, k / (1.0 + np.asarray(rivals))).mean())


def seen_of_titles(factors: np.ndarray) -> np.ndarray:
    """All that the picture of a title shows, int8 [N, 2 + 2 * S], of its segments' factors [N, S, 11]:
    setting, subject, and tension and pace of each segment. It shows no melody."""
    return np.concatenate([factors[:, 0, :2], factors[:, :, 2:4].reshape(len(factors), -1)], axis=1)


def rivals(
    factors: np.ndarray,
    columns: tuple[int, ...],
    melodies_met: np.ndarray | np.bool_ | None = None,
    queries: int | None = None,
) -> np.ndarray:
    """How many other rows equal each of the first `queries` rows, or each row, in `columns`, int64 [Q].

    `melodies_met` bool, [Q, N] or what broadcasts to it: where the melody of the query in this row can be
    compared with that of the clip in this column, which tells them apart if they differ.
    """
    rows = factors[:, columns]
    same = (rows[:queries, None] == rows[None]).all(2)  # (Q, N)
    if melodies_met is not None:
        tunes = factors[:, MELODY]
        differ = (tunes[:queries, None] != tunes[None]).any(2)
        same &= ~(differ & melodies_met)
    return same.sum(1) - 1
