"""Whether what is recommended is watched to its end: all figures of the audit.

Not whether a recommendation was fitting, but what came of it: completion and watch time against the score, by
block, by axis, and by kind. Rows count with the inverse of the chance that they were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from resonance.clients.audit.finishing_blocks import (
    AxisFound,
    BlockFound,
    clicked_pairs,
    find_axes,
    find_blocks,
)
from resonance.clients.audit.finishing_curves import (
    Curve,
    Estimate,
    Pairs,
    curve,
    rank_correlations,
    score_groups,
)
from resonance.clients.audit.finishing_kinds import KindFound, judge_kinds, make_kinds
from resonance.clients.audit.finishing_rows import (
    BY_LOG,
    Chosen,
    FinishingRows,
    FinishingSettings,
    choose_rows,
    draw_viewers,
    recommended_rows,
)
from resonance.clients.audit.finishing_taste import taste_shares
from resonance.clients.audit.finishing_weights import SeenWeights, effective_size
from resonance.clients.audit.logged_titles import Titles, read_titles
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import Store
from resonance.space.blocks import BoolArray, FloatArray
from resonance.space.descriptor import Descriptor

#: Below that, intervals mean nothing.
LEAST_CLICKS, LEAST_VIEWERS = 100, 20


@dataclass(frozen=True, slots=True)
class FinishingAudit:
    """Attributes:
    log_rows: recommended ones in the log. rows, clicked, viewers, titles: what is looked at.
    watched: clicked rows of which it is known how far they were watched; the others count as clicks alone.
    left_out: rows of the viewers drawn that are not, by reason.
    scored_by: whose score it is.
    weights: of the rows. effective: how many of equal weight say as much as the weighted `watched`.
    completion: of what was clicked, by score. seen: of what was seen, clicked or not; None where every row
        was clicked. watch_s: seconds watched of what was clicked; None where the log has none.
    correlation, watch_correlation: ranks of score and completion, score and watch time, of what was clicked.
    taste_correlation: ranks of the log's score and that of the taste; None where they are the same.
    blocks: in block order; empty where few viewers had watched anything before. axes: by name.
    abandoned: share of what was clicked. kinds: the most abandoned first. kinds_left: with too few clicks.
    """

    log_rows: int
    rows: int
    clicked: int
    watched: int
    viewers: int
    titles: int
    left_out: dict[str, int]
    scored_by: str
    weights: SeenWeights
    effective: float
    completion: Curve
    seen: Curve | None
    watch_s: Curve | None
    correlation: Estimate
    watch_correlation: Estimate | None
    taste_correlation: float | None
    blocks: tuple[BlockFound, ...]
    axes: tuple[AxisFound, ...]
    abandoned: Estimate
    kinds: tuple[KindFound, ...]
    kinds_left: int
    settings: FinishingSettings


def audit_finishing(
    store: Store,
    log: ViewingLog,
    descriptor: Descriptor,
    settings: FinishingSettings,
    *,
    more_tags: Mapping[str, tuple[str, ...]] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> FinishingAudit:
    """All of it; the same log and seed give the same figures. Blocks.

    Args:
        descriptor: of the store's space. more_tags: by media id, beside those of the store.
        tell: is told what is being done.

    Raises:
        UsageError: fewer than 100 clicks or 20 viewers are left, all of one score, or the log has no title of
            the store.
        StoreError: it cannot be read.
    """
    log_rows = int(recommended_rows(log).sum())
    log = draw_viewers(log, settings)
    tell("reading titles")
    titles = read_titles(store, log.media_ids, settings.sources, more_tags or {})
    if not titles.known.any():
        raise UsageError(
            f"{store.uri} has none of the log's {len(log.media_ids)} titles, such as '{log.media_ids[0]}'; "
            "expected titles called as the store calls them"
        )
    tell("scoring by earlier viewings")
    shares = taste_shares(log, titles, recommended_rows(log), descriptor)
    chosen = choose_rows(log, titles, shares, settings)
    _check_enough(chosen)
    return _figures(chosen, titles, log_rows, settings, tell)


def _check_enough(chosen: Chosen) -> None:
    rows = chosen.rows
    viewers, clicks = len(np.unique(rows.users[rows.watched])), int(rows.watched.sum())
    told_of = [f"{count} rows left out: {why}" for why, count in chosen.left_out.items() if count]
    if unknown := int(rows.clicked.sum()) - clicks:
        told_of.append(f"{unknown} more clicks of which it is not known how far they were watched")
    reasons = "; ".join(told_of)
    told = f" ({reasons})" if reasons else ""
    if clicks < LEAST_CLICKS or viewers < LEAST_VIEWERS:
        raise UsageError(
            f"{clicks} clicks of {viewers} viewers; expected at least {LEAST_CLICKS} of {LEAST_VIEWERS}{told}"
        )
    scores = rows.score[rows.watched]
    if scores.min() == scores.max():
        raise UsageError(
            f"all {clicks} clicks have the score {scores[0]:g}; expected scores that differ{told}"
        )


def _figures(
    chosen: Chosen,
    titles: Titles,
    log_rows: int,
    settings: FinishingSettings,
    tell: Callable[[str], None],
) -> FinishingAudit:
    rows = chosen.rows
    clicked, watched = rows.clicked, rows.watched
    groups = score_groups(rows.score)

    def by_score(outcome: FloatArray, counted: BoolArray, *, clicked: BoolArray | None = None) -> Curve:
        return curve(
            rows.score,
            groups,
            rows.users,
            outcome,
            rows.weights,
            counted,
            clicked=clicked,
            draws=settings.draws,
            seed=settings.seed,
            refit=rows.fit,
        )

    tell("curves")
    # a log holds float32: 0.7 is a little less there than here
    abandoned = watched & (rows.completion < np.float32(settings.abandoned))
    timed = clicked & np.isfinite(rows.watch_s)
    watched_s = np.where(timed, rows.watch_s, 0.0)
    kinds = list(make_kinds(titles, rows.titles, rows.shares))
    found = judge_kinds(
        kinds,
        users=rows.users,
        titles=rows.titles,
        clicked=clicked,
        abandoned=abandoned,
        weights=rows.weights,
        watched=watched,
    )
    in_time = Pairs(rows.users[timed], rows.titles[timed], watched_s[timed], rows.weights[timed])
    watch = _against_score(in_time, rows.score[timed], settings) if timed.any() else None
    return FinishingAudit(
        log_rows=log_rows,
        rows=len(clicked),
        clicked=int(clicked.sum()),
        watched=int(watched.sum()),
        viewers=len(np.unique(rows.users)),
        titles=len(np.unique(rows.titles)),
        left_out=chosen.left_out,
        scored_by=chosen.scored_by,
        weights=chosen.weights,
        effective=effective_size(rows.weights[watched]),
        completion=by_score(rows.completion, watched),
        seen=None if clicked.all() else by_score(rows.completion, watched, clicked=clicked),
        watch_s=by_score(watched_s, timed) if timed.any() else None,
        correlation=_against_score(clicked_pairs(rows), rows.score[watched], settings),
        watch_correlation=watch,
        taste_correlation=_agreement(rows) if chosen.scored_by == BY_LOG else None,
        blocks=find_blocks(rows, settings, tell),
        axes=find_axes(rows, titles, settings, tell),
        abandoned=by_score(abandoned.astype(np.float64), watched).all,
        kinds=tuple(found),
        kinds_left=len(kinds) - len(found),
        settings=settings,
    )


def _against_score(pairs: Pairs, score: FloatArray, settings: FinishingSettings) -> Estimate:
    return rank_correlations(pairs, [score], draws=settings.draws, seed=settings.seed)[0]


def _agreement(rows: FinishingRows) -> float | None:
    """Spearman's correlation of the log's score with that of the taste, all rows alike; None of too few."""
    whole = np.isfinite(rows.shares).all(axis=1)
    if whole.sum() < LEAST_CLICKS:
        return None
    pairs = Pairs(rows.users[whole], rows.titles[whole], rows.score[whole], np.ones(int(whole.sum())))
    found = rank_correlations(pairs, [rows.shares[whole].sum(axis=1)], draws=1, seed=0)[0].value
    return found if np.isfinite(found) else None
