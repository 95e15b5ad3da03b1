"""What an alignment did, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from resonance.space.reference import FEWEST_BLOCKS
from resonance.training.contrast import recall_gap
from resonance.training.heldout import LEAST_JUDGED, MOST_HELD_OUT, HeldOut
from resonance.training.recalls import (
    LEAST_OF_GROUP,
    chance_recalls,
    compared_counts,
    means,
    pair_recalls,
    shared_pairs,
)
from resonance.training.segments import Segments


@dataclass(frozen=True, slots=True)
class RecallMoved:
    """Before and after: recall@1 of one modality by another within some titles, by group.

    Attributes:
        where: which titles, as a sentence ends.
        chance: what guessing would reach.
        compared: segments that each pair of modalities was compared among, by pair.
        gap: between groups, before and after, over the pairs `gap_pairs`; None where groups have
            none in common.
    """

    where: str
    chance: Mapping[int, float]
    before: Mapping[int, float]
    after: Mapping[int, float]
    compared: Mapping[str, int]
    gap: tuple[float, float] | None
    gap_pairs: tuple[str, ...]

    @classmethod
    def of(cls, where: str, segments: Segments, before: Tensor, after: Tensor) -> RecallMoved:
        """Of blocks [R, 3, 596] of `segments`."""
        recalls = [pair_recalls(blocks, segments) for blocks in (before, after)]
        pairs = shared_pairs(segments)
        shared = [means(by_pair[pair] for pair in pairs) for by_pair in recalls]
        return cls(
            where,
            chance_recalls(segments),
            means(recalls[0].values()),
            means(recalls[1].values()),
            compared_counts(segments),
            (recall_gap(shared[0]), recall_gap(shared[1])) if len(shared[0]) > 1 else None,
            pairs,
        )

    def lines(self, groups: Sequence[str]) -> list[str]:
        """What a person reads."""
        found = []
        for group, name in enumerate(groups):
            if group in self.after:
                label = f"group '{name}': " if name else ""
                found.append(
                    f"{label}recall@1 across modalities {self.before[group]:.3f} -> {self.after[group]:.3f} "
                    f"(chance {self.chance[group]:.3f}; {self.where})"
                )
        # few segments are easily told apart: what recall means depends on how many there were
        among = ", ".join(f"{pair} {count:,}" for pair, count in self.compared.items())
        found.append(
            f"recall is the mean over pairs of modalities, among the segments that have both: {among}"
        )
        if len(self.after) > 1 and self.gap is not None:
            found.append(
                f"gap between groups {self.gap[0]:.3f} -> {self.gap[1]:.3f} (by {', '.join(self.gap_pairs)})"
            )
        elif len(self.after) > 1:
            found.append(
                "the gap between groups cannot be told: no pair of modalities is there in "
                f"{LEAST_OF_GROUP} segments of each group"
            )
        return found


@dataclass(frozen=True, slots=True)
class AlignReport:
    """What an alignment did.

    Attributes:
        learned: recall of the titles that the projections were trained on.
        held_out: of those that they were not; None where there are too few titles to hold any out.
        stay: which projections were kept, as a sentence.
        fusion_lacks: why the fusion head was not trained; "" where it was.
        dependence: of blocks on the audited groups before and after; None where none were given.
    """

    titles: int
    segments: int
    groups: tuple[str, ...]
    learned: RecallMoved
    held_out: RecallMoved | None
    stay: str
    calibrated: bool
    fusion_lacks: str = ""
    dependence: tuple[float, float] | None = None

    def lines(self) -> list[str]:
        """What a person reads."""
        found = [f"{self.titles} titles, {self.segments} segments", *self.learned.lines(self.groups)]
        if self.held_out is not None:
            found += self.held_out.lines(self.groups)
        found.append(self.stay)
        if self.dependence is not None:
            found.append(
                "blocks depend on the audited groups: {:.4f} -> {:.4f} (0: not at all)".format(
                    *self.dependence
                )
            )
        if self.fusion_lacks:
            found.append(f"the fusion head was NOT trained, and stays as it was: {self.fusion_lacks}")
        if not self.calibrated:
            found.append(
                f"fewer than {FEWEST_BLOCKS} segments of a modality: no reference set; sigmas are 1, no axes"
            )
        return found


def kept_line(held: HeldOut | None, steps: int) -> str:
    """Which projections were kept and what speaks for them."""
    if held is None:
        return (
            f"NO title was held out, as {MOST_HELD_OUT:.0%} of the titles have fewer than {LEAST_JUDGED} "
            f"segments of two modalities: what {steps} steps did to other titles is not known, and of so few "
            "much is learned by heart. Give more titles, or take fewer --steps"
        )
    if held.kept == steps and held.looks[-1][1] < held.looks[0][1]:
        return (
            "titles held out are found WORSE than before: with a fairness term the last step is kept, as "
            "recall pays for it. Take fewer --steps, or a lower --fairness-weight"
        )
    if held.kept == 0:
        return "the projections STAY as they were: no step found titles held out better"
    before, kept = held.looks[0][1], dict(held.looks)[held.kept]
    why = "" if held.kept == steps else ": titles held out were found best there"
    return (
        f"the projections are those of step {held.kept} of {steps}{why} (recall@1 over the rows of all pairs "
        f"{before:.3f} -> {kept:.3f})"
    )
