"""What a viewer had watched by a moment: the newest titles, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.discovery.taste import HALF_LIFE_DAYS
from resonance.training.coldstart.splitting import Rows

_DAY_S = 86_400.0
#: What a viewing counts at least, of one that was watched to the end: a choice. It was chosen after all.
_LEAST_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class History:
    """Of B moments, the newest L viewings before each, the newest first.

    Attributes:
        titles: int64 [B, L], 0 where there is none. weights: float32 [B, L], 0 there.
    """

    titles: NDArray[np.int64]
    weights: NDArray[np.float32]


class Histories:
    """Finds histories among some rows of a log, strictly before a moment.

    A viewing counts completion * 2^(-age / half-life), as in `resonance.clients.discovery.taste`.
    """

    def __init__(self, log: ViewingLog, rows: Rows, *, length: int) -> None:
        self.log, self.length = log, length
        self._rows = rows[np.lexsort((log.at_s[rows], log.users[rows]))]
        users = log.users[self._rows]
        self._starts = np.searchsorted(users, np.arange(len(log.user_ids)))
        self._times, self._ends = log.at_s[self._rows], np.append(self._starts[1:], len(self._rows))
        completion = np.nan_to_num(log.completion[self._rows], nan=1.0)
        self._liked = np.maximum(completion, _LEAST_WEIGHT)

    def before(self, users: NDArray[np.int64], at_s: NDArray[np.float64]) -> History:
        """Of viewers [B] at moments [B]."""
        ends = self._bisect(users, at_s)
        places = ends[:, None] - 1 - np.arange(self.length)  # (B, L)
        there = places >= self._starts[users][:, None]
        places = np.where(there, places, 0)
        age_days = (at_s[:, None] - self._times[places]) / _DAY_S
        weights = np.where(there, self._liked[places] * np.exp2(-age_days / HALF_LIFE_DAYS), 0)
        titles = np.where(there, self.log.titles[self._rows[places]], 0)
        return History(titles, weights.astype(np.float32))

    def _bisect(self, users: NDArray[np.int64], at_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """For each the place of its viewer's first row that is not before its moment, int64 [B]."""
        low, high = self._starts[users].copy(), self._ends[users].copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            earlier = open_ & (self._times[np.minimum(middle, len(self._times) - 1)] < at_s)
            low = np.where(earlier, middle + 1, low)
            high = np.where(open_ & ~earlier, middle, high)
        return low
