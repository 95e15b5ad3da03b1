"""What the cold-start experiment finds (`resonance.training.coldstart` runs it): figures by contestant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resonance.clients.audit.estimates import Estimate

#: Groups of test viewings, as they are reported. New: of titles that were held out whole, ranked among those
#: alone. Known: of titles with viewings before the cut, ranked among those. All: ranked among all.
COLD, COLD_HEAD, COLD_TAIL = "new", "new head", "new tail"
WARM, WARM_HEAD, WARM_TAIL = "known", "known head", "known tail"
EVERY = "all"
SLICES = (COLD, COLD_HEAD, COLD_TAIL, WARM, WARM_HEAD, WARM_TAIL, EVERY)
#: Measures of what was found, each by slice.
RECALL, NDCG, AUC = "recall", "ndcg", "auc"
FOUND = (RECALL, NDCG, AUC)


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Viewings expected against those that came, of pairs of viewer and new title in groups about as large.

    Only viewings that should be found are counted: a title that was begun and left did not come.

    Attributes:
        expected, observed: viewings a pair, float64 [groups], by rising expectation.
        error: the sum over groups of |viewings expected - observed|, as a share of those observed.
    """

    expected: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """What one way of recommending reached.

    Attributes:
        kind: ``two towers``, ``popularity`` or ``factorisation``. width: numbers a title, 0 where none.
        epochs: until the validation slice was told best; 0 where nothing is trained in epochs.
        found: by (slice, measure); a slice without a viewing is not in it.
        coverage: titles that stand in at least one list, as a share of all titles.
        exposure_new, exposure_tail: places of the lists among all titles that go to new titles, and to the
            long tail of known ones.
        miscalibration: Steck's divergence of the list from the viewer's own history; None without tags.
        reliability: None where the scores are no probabilities.
    """

    name: str
    kind: str
    width: int
    epochs: int
    seconds: float
    found: Mapping[tuple[str, str], Estimate]
    coverage: float
    exposure_new: Estimate
    exposure_tail: Estimate
    miscalibration: Estimate | None
    reliability: Reliability | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The reference less another contestant, of the same viewers and titles.

    Attributes:
        estimate: its interval holds for all others of the same slice and measure together.
        relative: the same as a share of the other's figure; None where that is 0.
    """

    other: str
    slice: str
    measure: str
    estimate: Estimate
    relative: Estimate | None


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What was held against what.

    Attributes:
        cut_s: seconds of the Unix epoch; what is learned from lies before it, what is found after.
        training, validation, test: viewings. rewatched: left out of the test, as the viewer knew the title.
        known_titles, new_titles: new ones were held out whole; `first_seen_later` of them had their first
            viewing after the cut, `never_seen` have none, the others were drawn.
        viewers: those that the test counts. without_history: test viewings of viewers without any.
        chance: recall by slice of lists in random order.
        viewed_new: test viewings of new titles, as a share of all.
        viewed_tail: of the long tail of known ones.
    """

    cut_s: float
    training: int
    validation: int
    test: int
    rewatched: int
    known_titles: int
    new_titles: int
    first_seen_later: int
    viewers: int
    without_history: int
    chance: Mapping[str, float]
    viewed_new: float
    viewed_tail: float
    never_seen: int = 0


@dataclass(frozen=True, slots=True)
class ColdstartResult:
    """The whole experiment.

    Attributes:
        k: length of the lists. reference: the contestant that others are compared with.
        seed, trainings: of the experiment, of each tower.
    """

    reference: str
    k: int
    seed: int
    trainings: int
    contestants: tuple[Contestant, ...]
    differences: tuple[Difference, ...]
    split: SplitFacts

    def contestant(self, name: str) -> Contestant:
        """By name. Raises KeyError: there is none."""
        return {one.name: one for one in self.contestants}[name]

    def difference(self, other: str, slice_: str = COLD, measure: str = RECALL) -> Difference:
        """The reference less `other`. Raises KeyError: there is none."""
        return {(d.other, d.slice, d.measure): d for d in self.differences}[other, slice_, measure]
