"""The report of a move."""

from __future__ import annotations

from collections.abc import Sequence

from resonance.clients.audit.report import Limit, Measure, Report, Section
from resonance.clients.carrying.fitting import Move
from resonance.clients.carrying.matching import Matched
from resonance.clients.carrying.measuring import NEIGHBOURS, SEED, Figure
from resonance.clients.carrying.thresholds import Threshold
from resonance.space.carrying import FEWEST_TITLES
from resonance.space.descriptor import MODALITIES

#: The measure that a move is refused by.
TRUE = "carried_overlap_at_10"
#: What limits may be about; words in capitals stand for any text.
MEASURES = (
    *(TRUE, "unaligned_overlap_at_10", "agreement_of_spaces_at_10", "kept_overlap_at_10"),
    *("chance_overlap_at_10", "own_title_first", "own_title_median_rank", "cosine_MODALITY"),
    "threshold_OLD",
)


def report_move(
    old: str,
    new: str,
    matched: Matched,
    move: Move,
    thresholds: Sequence[Threshold],
    limits: tuple[Limit, ...],
) -> Report:
    """All that a move says of itself; `old` and `new` are the stores."""
    facts = {
        "old_store": old,
        "new_store": new,
        "old_space": matched.old_space.fingerprint,
        "new_space": matched.new_space.fingerprint,
        "trained": matched.old_space.trained and matched.new_space.trained,
        "titles_in_both": matched.in_both,
        "titles_of_other_media": matched.changed,
        "titles_looked_at": len(matched.media_ids),
        "fitted_on": move.fitted,
        "held_out": move.loss.titles,
        "variant": move.variant,
        "seed": SEED,
    }
    loss = move.loss
    neighbours = Section(
        "Neighbours",
        f"Lists of {NEIGHBOURS} among {loss.library:,} titles, for {loss.titles:,} that were not fitted on.",
        (
            _measure(TRUE, loss.true, "of the true new list, by the carried vector"),
            _measure("unaligned_overlap_at_10", loss.unaligned, "the same by the old vector as it is"),
            _measure("agreement_of_spaces_at_10", loss.agreement, "of the true new list, the old one"),
            _measure("kept_overlap_at_10", loss.kept, "of the old list, by the carried vector"),
            Measure("chance_overlap_at_10", loss.chance, about="two random lists"),
            _measure("own_title_first", loss.own_first, "carried vectors that find their own title first"),
            _measure("own_title_median_rank", loss.own_rank, "from 1"),
            *(
                _measure(f"cosine_{name}", figure, "carried and true block")
                for name, figure in loss.cosine.items()
            ),
        ),
    )
    variants = Section(
        "Variants",
        "Overlap with the true new list over other held-out titles, which the variant was chosen by.",
        columns=("variant", "overlap_at_10"),
        rows=tuple(move.chosen_by.items()),
    )
    sections = [neighbours, variants]
    if thresholds:
        sections.append(
            Section(
                "Thresholds",
                "Scores of the query “like this title”; as large a share of pairs reaches each in its space.",
                tuple(
                    Measure(f"threshold_{t.old:g}", t.new, t.interval, about=f"{t.share:.2%} of pairs")
                    for t in thresholds
                ),
                ("old", "new", "share_of_pairs", "same_pairs", "pairs"),
                tuple((t.old, t.new, t.share, t.same, t.pairs) for t in thresholds),
            )
        )
    return Report("Moving to a new space", facts, tuple(sections), limits, _untried(matched, move))


def _untried(matched: Matched, move: Move) -> tuple[str, ...]:
    """A sentence where a rotation a block could not be fitted."""
    counts = dict(zip(MODALITIES, matched.present[: move.fitted].sum(axis=0).tolist(), strict=True))
    few = [f"{count} have {name}" for name, count in counts.items() if count < FEWEST_TITLES]
    if not few or len(move.chosen_by) == 1:  # one that was asked for
        return ()
    return (
        f"A rotation a block was not tried: of the {move.fitted} titles fitted on, {', '.join(few)}; "
        f"expected at least {FEWEST_TITLES}.",
    )


def _measure(name: str, figure: Figure, about: str) -> Measure:
    return Measure(name, figure.value, figure.interval, about=about)
