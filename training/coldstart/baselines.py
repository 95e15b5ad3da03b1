"""What needs no features: popularity, and matrix factorisation. Neither knows anything of a new title."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.training.coldstart.splitting import Rows

#: Of Hu, Koren and Volinsky 2008: confidence is 1 + alpha * completion.
_ALPHA, _REGULARISATION, _FACTORS, _ITERATIONS = 10.0, 1.0, 32, 15
_THREADS = 2


def popularity_scores(log: ViewingLog, rows: Rows, liked: NDArray[np.bool_]) -> NDArray[np.float32]:
    """log(1 + viewings that counted) of each title, float32 [N]: to a constant, a log-probability.

    All new titles score 0, below every title that was viewed, and among themselves come by chance.
    """
    counts = np.bincount(log.titles[rows[liked[rows]]], minlength=len(log.media_ids))
    return np.log1p(counts).astype(np.float32)


class Factorisation:
    """Alternating least squares for implicit feedback (Hu, Koren and Volinsky 2008), by `implicit`.

    A title without a viewing has the factors 0 and so the score 0: among new titles it comes by chance.
    """

    def __init__(self, log: ViewingLog, rows: Rows, *, seed: int) -> None:
        completion = np.nan_to_num(log.completion[rows], nan=1.0)
        shape = (len(log.user_ids), len(log.media_ids))
        viewed = sparse.csr_matrix((completion, (log.users[rows], log.titles[rows])), shape)  # sums rewatches
        viewed.eliminate_zeros()  # nothing watched is no preference
        viewed.data = 1 + _ALPHA * viewed.data
        with threadpool_limits(1, "blas"):  # implicit runs threads of its own
            model = AlternatingLeastSquares(
                factors=_FACTORS,
                alpha=1.0,  # `implicit` takes alpha times the value for the whole confidence
                regularization=_REGULARISATION,
                iterations=_ITERATIONS,
                num_threads=_THREADS,
                random_state=seed,
            )
            model.fit(viewed.astype(np.float32), show_progress=False)
        known = np.asarray(viewed.sum(axis=0)).ravel() > 0
        self._viewers: NDArray[np.float32] = model.user_factors
        self._titles: NDArray[np.float32] = np.where(known[:, None], model.item_factors, np.float32(0))

    def scores(self, users: NDArray[np.int64], titles: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of viewers [B] and titles [T], float32 [B, T]; no probabilities."""
        return self._viewers[users] @ self._titles[titles].T
