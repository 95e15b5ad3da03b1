"""Titles that the projections are not trained on: they tell what is learned from what is learned by heart."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resonance.space.descriptor import MODALITIES
from resonance.training.features import TitleFeatures
from resonance.training.recalls import mean_recall
from resonance.training.segments import Segments, project

#: So many segments of two modalities have to be held out for their recall to tell anything, of at most this
#: share of the titles: more would be missed in training.
LEAST_JUDGED, MOST_HELD_OUT = 24, 0.25
#: Steps between two looks at the titles held out, and segments looked at, at most: looking should cost little
#: beside a step.
LOOK_EVERY, MOST_JUDGED = 10, 1024


def held_out_titles(titles: Sequence[TitleFeatures], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of N titles are held out, bool [N]: the fewest, at least `share` of all and of each group alike,
    that have `LEAST_JUDGED` segments of two modalities. None where `MOST_HELD_OUT` of the titles are too few.

    A film in several rows, of which the encoders say the same, counts once and is held out from all of them
    or none: learned from one, it would be found by heart in the other. Its group is that of its first row.
    """
    chosen = np.zeros(len(titles), np.bool_)
    if share <= 0:
        return chosen
    films = _films(titles)
    firsts = [titles[rows[0]] for rows in films]
    rng = np.random.Generator(np.random.PCG64(seed))
    places = np.zeros(len(films))  # of each film in its group, 0 to 1
    of_group: dict[str, list[int]] = {}
    for at, title in enumerate(firsts):
        of_group.setdefault(title.group, []).append(at)
    for members in of_group.values():
        places[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.argsort(places, kind="stable")
    judged = np.cumsum([int((firsts[at].present.sum(axis=1) >= 2).sum()) for at in order])
    count = max(math.ceil(share * len(films)), int(np.searchsorted(judged, LEAST_JUDGED)) + 1)
    if count <= MOST_HELD_OUT * len(films):
        for at in order[:count]:
            chosen[films[at]] = True
    return chosen


def _films(titles: Sequence[TitleFeatures]) -> list[list[int]]:
    """The places of each film's titles: those of equal features and presence, wherever their files are."""
    found: dict[bytes, list[int]] = {}
    for at, title in enumerate(titles):
        digest = hashlib.sha256(title.present.tobytes())
        for modality in MODALITIES:
            digest.update(title.features[modality].tobytes())
        found.setdefault(digest.digest(), []).append(at)
    return list(found.values())


def held_out_rows(titles: Sequence[TitleFeatures], share: float, seed: int) -> Tensor:
    """The segments of `held_out_titles`, bool [R]."""
    lengths = [len(title.present) for title in titles]
    return torch.from_numpy(np.repeat(held_out_titles(titles, share, seed), lengths))


class HeldOut:
    """Looks at the recall of held-out segments while projections are trained (`loop.Watch`).

    Args:
        balance: see `mean_recall`.
        keep_best: at the end the projections are those of the best look, the earliest of equal ones; else of
            the last step.

    Attributes:
        looks: step and recall, ascending; those of step 0 are of the projections as they came.
        kept: the step whose projections stay.
    """

    def __init__(
        self,
        projections: nn.ModuleList,
        segments: Segments,
        *,
        balance: float,
        keep_best: bool,
        device: torch.device,
    ) -> None:
        usable = torch.nonzero(segments.present.sum(1) >= 2)[:, 0].numpy()
        drawn = np.random.Generator(np.random.PCG64(1)).permutation(usable)[:MOST_JUDGED]
        self._segments = segments.take(torch.from_numpy(drawn)).to(device)
        self._projections, self._balance, self._keep_best = projections, balance, keep_best
        self._best: dict[str, Tensor] = {}
        self.looks: list[tuple[int, float]] = []
        self.kept = 0

    def look(self, step: int, steps: int) -> None:
        """Before `step` of `steps`, and once all are done."""
        due = step % LOOK_EVERY == 0 or step == steps
        if not due or (self.looks and self.looks[-1][0] >= step):  # a finished run is looked at again
            return
        with torch.inference_mode():
            blocks = project(self._projections, self._segments.features)
            recall = mean_recall(blocks, self._segments, balance=self._balance)
        if not self._keep_best:
            self.kept = step
        elif not self.looks or recall > max(value for _, value in self.looks):
            self.kept = step
            self._best = {name: value.clone() for name, value in self._projections.state_dict().items()}
        self.looks.append((step, recall))

    def finish(self) -> None:
        """The projections become those of the step that is kept."""
        if self._keep_best:
            self._projections.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {"best": self._best, "looks": self.looks, "kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._best, self.kept = state["best"], state["kept"]
        self.looks = [(step, recall) for step, recall in state["looks"]]
