"""Why a title was found: each share of its score beside what is usual in the library, and a sentence.

A share alone says little, for modalities lie apart in the space: see `resonance.clients.discovery.sample`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resonance.clients.clock import clock
from resonance.clients.discovery.explanation import Usual
from resonance.clients.discovery.reasons import above, stands_out
from resonance.clients.discovery.sample import LibrarySample
from resonance.clients.discovery.search import TitleHit
from resonance.space.scores import Query, Share, Weights

#: A modality in words.
_NOUNS = {"visual": "pictures", "audio": "sound", "transcript": "words"}


@dataclass(frozen=True, slots=True)
class Reason:
    """A share, and the usual one of titles that have, or lack, the modality as this one does."""

    share: Share
    usual: Usual | None


class Usuals:
    """What the shares of one query are with the titles of a sample.

    As in `explain_suggestion`, the titles that are asked for and those of a history that counts are not among
    them, nor the one that is judged.
    """

    def __init__(self, query: Query, weights: Weights, sample: LibrarySample) -> None:
        self._shares = sample.shares(query, weights)  # (n, 3)
        self._present = sample.present  # (n, 3)
        self._names = np.array(sample.media_ids, object)

    def reasons(self, hit: TitleHit) -> tuple[Reason, ...]:
        """One a block."""
        others = self._names != hit.facts.media_id
        return tuple(
            Reason(share, Usual.of(self._shares[others & (self._present[:, m] != share.inferred), m]))
            for m, share in enumerate(hit.shares)
        )


def sentence_of_hit(reasons: tuple[Reason, ...], weights: Weights, hit: TitleHit) -> str:
    """What of a hit stands out, and where; of blocks that count."""
    counted = [r for r, weight in zip(reasons, weights.array(), strict=True) if weight > 0]
    known = [r for r in counted if r.usual is not None]
    if not known:
        return "The library has too few titles to say what is usual." + _moment(hit)
    standing = [r for r in known if stands_out(r.share.value, r.usual)]
    standing.sort(key=lambda r: -(above(r.share.value, r.usual) or 0.0))
    if not standing:
        return "Nothing of it stands out from most titles here." + _moment(hit)
    named = [("inferred " if r.share.inferred else "") + _NOUNS[r.share.modality] for r in standing]
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if named[:-1] else named)
    return f"Closer than most titles here in {listed}." + _moment(hit)


def _moment(hit: TitleHit) -> str:
    segment = hit.segment
    if segment is None or segment.start_s is None or segment.end_s is None:
        return ""
    if segment.start_s == 0 and segment.end_s >= (hit.facts.duration_s or 0):
        return ""  # of the whole title there is nothing to say, nor of a picture
    return f" Closest from {clock(segment.start_s)} to {clock(segment.end_s)}."
