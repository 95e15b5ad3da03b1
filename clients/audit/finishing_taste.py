"""What each block brings to the score of a title by the taste of its viewer, of earlier viewings alone.

The taste is that of `resonance.clients.discovery.taste`: the titles that the viewer watched before the
moment, each counting engagement * 2^(-age / half-life). For a row of viewer u and title t at moment s, block
m brings

    share_m = sum_i a_i q_im . t_m / sum_i |a_i|,   over the viewings i of u with at_i < s

with q_im the unit block of title i over sigma, as `resonance.space.query_from_vector` has it. The sum over m
is the score of the taste. Rows of one moment, such as one list of recommendations, do not see each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.logged_titles import Titles
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.discovery.taste import HALF_LIFE_DAYS, engagement_of
from resonance.space.blocks import ROOT_BLOCKS, BoolArray, FloatArray
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, Descriptor

_DAY_S = 86_400.0


def taste_shares(log: ViewingLog, titles: Titles, wanted: BoolArray, descriptor: Descriptor) -> FloatArray:
    """Shares by block, float64 [V, 3]; NaN in rows that are not `wanted`, bool [V], whose title the store
    does not have, or whose viewer had watched nothing before that counts.
    """
    shares = np.full((len(log), len(MODALITIES)), np.nan)
    amounts = _amounts(log, titles)
    wanted = wanted & titles.known[log.titles]
    sigmas = np.array([descriptor.sigmas[name][name] for name in MODALITIES])
    blocks = titles.vectors.reshape(-1, len(MODALITIES), BLOCK_WIDTH)  # (N, 3, 596)
    order = np.lexsort((log.at_s, log.users))  # stable: rows of one moment keep their order
    order = order[wanted[order] | (amounts[order] != 0)]
    users, at_s = log.users[order], log.at_s[order]
    # a moment is a run of rows of one viewer at one time
    begins = np.flatnonzero(np.append(True, (np.diff(users) != 0) | (np.diff(at_s) != 0)))
    for begin, end in zip(begins, np.append(begins[1:], len(order)), strict=True):
        rows = order[begin:end]
        if begin == 0 or users[begin] != users[begin - 1]:
            taste, total, last_s = np.zeros((len(MODALITIES), BLOCK_WIDTH)), 0.0, at_s[begin]
        fading = np.exp2(-(at_s[begin] - last_s) / _DAY_S / HALF_LIFE_DAYS)
        taste, total, last_s = taste * fading, total * fading, at_s[begin]
        asked = rows[wanted[rows]]
        if total > 0 and len(asked):
            # a stored block has length 1 / sqrt(3); unit blocks over sigma are the query's
            query = taste * (ROOT_BLOCKS / sigmas[:, None] / total)
            shares[asked] = np.einsum("mw,rmw->rm", query, blocks[log.titles[asked]])
        counted = rows[amounts[rows] != 0]
        if len(counted):
            taste = taste + np.tensordot(amounts[counted], blocks[log.titles[counted]], axes=1)
            total += float(np.abs(amounts[counted]).sum())
    return shares


def _amounts(log: ViewingLog, titles: Titles) -> NDArray[np.float64]:
    """What each row says of liking its title, float64 [V]; 0 where it was not watched or is not known."""
    counts = ~np.isnan(log.completion) & titles.known[log.titles]
    if log.recommended is not None:
        counts &= log.recommended.clicked
    amounts = np.zeros(len(log))
    amounts[counts] = [engagement_of(float(seen)) for seen in log.completion[counts]]
    return amounts
