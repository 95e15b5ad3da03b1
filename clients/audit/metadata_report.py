"""The audit of metadata as a report: sections, verdicts in sentences, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resonance.clients.audit.explained import LEAST_TITLES, Explained
from resonance.clients.audit.metadata import MetadataAudit
from resonance.clients.audit.metadata_plots import plot_intervals
from resonance.clients.audit.report import Measure, Section
from resonance.clients.audit.sampling import LibrarySample
from resonance.clients.audit.tag_gains import Gain
from resonance.clients.audit.tag_pairs import EXAMPLES, NEIGHBOURS, Pair
from resonance.clients.audit.tag_table import MOST_TAGS
from resonance.space.descriptor import MODALITIES

_ABSENT = {
    "visual": "no picture",
    "audio": "no sound above silence",
    "transcript": "no transcript",
}
_MOST_IN_A_PICTURE = 25
#: Of what titles carry, a share of tags that do not count from which on the report says so.
_RARE_SHARE = 0.01

#: What limits may be about; words in capitals stand for any text.
MEASURES = (
    *(
        "metadata_score",
        "explained_MODALITY",
        "r2_MODALITY",
        "as_many_numbers",
        "macro_auc",
        "tags_explained",
    ),
    *("tags_beyond_vectors", "tags_not_told", "cluster_information", "set_information", "tag_structure"),
    *("vector_structure", "mean_cosine", "tag_cosine", "neighbours_share_tag", "any_share_tag"),
    *("same_tags_cosine", "suspect_share", "untagged", "tags_counted", "tags_left_out", "without_MODALITY"),
)


def metadata_sections(audit: MetadataAudit, sample: LibrarySample) -> tuple[Section, ...]:
    """The whole report, the score first."""
    return (
        _score(audit),
        _reverse(audit),
        _gains(audit),
        _spread(audit),
        _pairs(audit, sample),
        _suspects(audit, sample),
        _coverage(audit, sample),
    )


def notes(audit: MetadataAudit) -> tuple[str, ...]:
    """What the score says nothing of, though some titles have it."""
    found = [f"{name}: {why}." for name, why in _untold(audit).items() if audit.left_out[name]]
    table = audit.table
    if table.rare_share >= _RARE_SHARE:
        parts = [
            *([f"{table.rare} are on too few titles to count (--least)"] if table.rare else []),
            *([f"{table.beyond} are beyond the {MOST_TAGS} most common"] if table.beyond else []),
        ]
        tags = len(table.names) + table.left_out
        found.append(
            f"Of {tags} tags {' and '.join(parts)}: {table.rare_share:.0%} of all tags that titles carry. "
            "What they say is no part of the score."
        )
    return tuple(found)


def missing(audit: MetadataAudit) -> dict[str, str]:
    """By measure that is not there, why."""
    return {
        f"{measure}_{name}": why for name, why in _untold(audit).items() for measure in ("explained", "r2")
    }


def _untold(audit: MetadataAudit) -> Mapping[str, str]:
    """By modality that was not fitted, why."""
    return {
        name: f"{count} titles have it, which is no part of the score; expected at least {LEAST_TITLES}"
        for name, count in audit.left_out.items()
    }


def verdict(audit: MetadataAudit) -> str:
    """Which side is to be doubted, in a sentence."""
    low, _ = audit.score.interval
    if low > 0:
        return (
            f"Tags explain {audit.score.share:.1%} of what differs between the vectors' present blocks; "
            f"vectors tell a tag with a mean AUC of {audit.learned.auc:.2f} (0.5: not at all)."
        )
    vectors, tags = audit.vector_structure.interval[0] > 0, audit.tag_structure.interval[0] > 0
    nothing = "Tags and vectors have nothing in common that could be found."
    if not vectors and tags:
        return (
            f"{nothing} The tags depend on each other, so they are not mere noise; the vectors have no "
            "direction in which they differ more than noise would. Doubt the vectors."
        )
    if vectors and not tags:
        return f"{nothing} The vectors have structure, the tags look thrown on at random. Doubt the tags."
    if vectors:
        return f"{nothing} Both have structure of their own: they are about different things."
    return f"{nothing} Neither has structure of its own: both look like noise."


def _measure(name: str, found: Explained, about: str) -> Measure:
    """An explained share as it is reported: within 0..1."""
    low, high = found.interval
    return Measure(name, _within(found.share), (_within(low), _within(high)), about=about)


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _score(audit: MetadataAudit) -> Section:
    named = [("all", audit.score), *zip(MODALITIES, audit.blocks, strict=True)]
    figure = plot_intervals(
        "Share of block variance that tags explain",
        [(name, _within(part.share), part.interval) for name, part in named if part.total.any()],
        line=0.0,
        line_label="nothing",
    )
    return Section(
        "Metadata score",
        f"{verdict(audit)} The score is the share of the variance of present blocks that tags explain, "
        "out of fold. No library reaches 1: what makes a title itself is in no tag.",
        measures=(
            _measure("metadata_score", audit.score, "0 to 1; share of block variance that tags explain"),
            *(
                _measure(f"explained_{name}", part, f"the same of the {name} blocks")
                for name, part in zip(MODALITIES, audit.blocks, strict=True)
                if part.total.any()
            ),
            *(
                Measure(f"r2_{name}", part.r2, about="R² out of fold: less the noise of this fit")
                for name, part in named
                if part.total.any()
            ),
            Measure(
                "as_many_numbers",
                audit.as_many_numbers,
                about=f"most that any {len(audit.table.names)} numbers a title could explain",
            ),
        ),
        figures=(figure,),
    )


def _reverse(audit: MetadataAudit) -> Section:
    learned = audit.learned
    unheard = [one.tag for one in learned.tags if one.interval[0] <= 0.5]
    low, high = learned.explained.interval
    text = (
        f"{len(unheard)} of {len(learned.tags)} tags cannot be told from the vectors: either the vectors "
        "miss what they mean, or they are thrown on at random; the figures alone do not say which. The fit "
        "is linear, on 64 principal components: what vectors hold in another way is not found."
    )
    shown = learned.tags
    if len(shown) > _MOST_IN_A_PICTURE:  # the best and the worst
        shown = (*shown[: _MOST_IN_A_PICTURE - 12], *shown[-12:])
    return Section(
        "What the vectors know of the tags",
        text,
        measures=(
            Measure("macro_auc", learned.auc, learned.auc_interval, about="vectors to tags; 0.5: chance"),
            _measure("tags_explained", learned.explained, "share of the tags' variance that vectors explain"),
            Measure(
                "tags_beyond_vectors",
                _within(1 - learned.explained.share),
                (_within(1 - high), _within(1 - low)),
                about="share of the tags' variance that vectors do not explain",
            ),
            Measure("tags_not_told", len(unheard) / len(learned.tags), about="share of tags at chance"),
            Measure(
                "cluster_information",
                sum(one.information for one in learned.tags) / len(learned.tags),
                about=f"share of a tag's that {learned.clusters} clusters have, adjusted for chance",
            ),
            *(
                [
                    Measure(
                        "set_information", learned.information, about="of sets of tags and clusters, adjusted"
                    )
                ]
                if learned.information is not None
                else []
            ),
            _measure("tag_structure", audit.tag_structure, "share of a tag that other tags explain"),
            _measure("vector_structure", audit.vector_structure, "16 directions, less what noise would have"),
        ),
        columns=("tag", "titles", "auc", "auc_low", "auc_high", "information"),
        rows=tuple((one.tag, one.titles, one.auc, *one.interval, one.information) for one in learned.tags),
        figures=(
            plot_intervals(
                "AUC of telling a tag from the vectors",
                [(one.tag, one.auc, one.interval) for one in shown],
                line=0.5,
                line_label="chance",
            ),
        ),
    )


def _gains(audit: MetadataAudit) -> Section:
    groups, splits = audit.group_gains, audit.split_gains
    rows = [("tag again", gain) for gain in groups if gain.gain > 0][:EXAMPLES]
    rows += [("split", gain) for gain in splits[:EXAMPLES]]
    best = max(rows, key=lambda row: row[1].gain, default=None)
    text = (
        "Nothing was found that would raise it."
        if best is None
        else f"Most would come of this: {_todo(*best)}."
    )
    return Section(
        "What would raise the score",
        f"{text} To tag titles again: the score without them, less the score. To split a tag: what two "
        "tags in its place would add, at most, since the split is read from the vectors.",
        columns=("what", "which", "titles", "gain"),
        rows=tuple((what, gain.what, gain.titles, gain.gain) for what, gain in rows),
    )


def _todo(what: str, gain: Gain) -> str:
    """In words."""
    named = f"split the tag {gain.what}" if what == "split" else f"tag again the {gain.what}"
    return f"{named} ({gain.titles} titles, +{gain.gain:.4f})"


def _spread(audit: MetadataAudit) -> Section:
    widest = audit.spreads[:_MOST_IN_A_PICTURE]
    below = sum(spread.at_most < audit.mean_cosine for spread in audit.spreads)
    return Section(
        "Spread inside each tag",
        f"{below} of {len(audit.spreads)} tags are wider than the library: their titles lie farther from "
        "each other than any two do. Cosines of whole vectors, inferred blocks included.",
        measures=(
            Measure("mean_cosine", audit.mean_cosine, about="of any two titles"),
            Measure(
                "tag_cosine",
                sum(spread.cosine for spread in audit.spreads) / len(audit.spreads),
                about="of two titles of a tag, mean over tags",
            ),
        ),
        columns=("tag", "titles", "cosine", "low", "high"),
        rows=tuple((one.tag, one.titles, one.cosine, *one.interval) for one in audit.spreads),
        figures=(
            plot_intervals(
                "Mean cosine inside a tag, widest first",
                [(one.tag, one.cosine, one.interval) for one in widest],
                line=audit.mean_cosine,
                line_label="any two titles",
            ),
        ),
    )


def _pairs(audit: MetadataAudit, sample: LibrarySample) -> Section:
    pairs = audit.pairs
    measures = [
        Measure(
            "neighbours_share_tag",
            pairs.neighbours_share,
            pairs.interval,
            about=f"of a title's {NEIGHBOURS} nearest, those with a tag in common",
        ),
        Measure("any_share_tag", pairs.any_share, about="of any two titles"),
    ]
    if pairs.same_tags_cosine is not None:
        measures.append(
            Measure("same_tags_cosine", pairs.same_tags_cosine, about="of two titles with all tags the same")
        )

    def rows(found: Sequence[Pair], kind: str) -> list[tuple[Any, ...]]:
        return [
            (
                kind,
                sample.media_ids[pair.one],
                sample.media_ids[pair.other],
                pair.cosine,
                "; ".join(sample.tags[pair.one]),
                "; ".join(sample.tags[pair.other]),
            )
            for pair in found
        ]

    return Section(
        "Pairs to look at",
        f"All pairs of {pairs.titles} titles that carry a tag. Far: all tags the same, and farthest apart. "
        "Near: no tag in common, and nearest.",
        measures=tuple(measures),
        columns=("kind", "one", "other", "cosine", "tags_of_one", "tags_of_other"),
        rows=(*rows(pairs.near, "near"), *rows(pairs.far, "far")),
    )


def _suspects(audit: MetadataAudit, sample: LibrarySample) -> Section:
    titles = {suspect.title for suspect in audit.suspects}
    return Section(
        "Tags to doubt",
        "Titles whose mean cosine to their tag's others lies 3.5 robust standard deviations or more below "
        f"the middle of the tag; the first {EXAMPLES * 5}.",
        measures=(
            Measure(
                "suspect_share", len(titles) / len(sample.media_ids), about="titles far from a tag of theirs"
            ),
        ),
        columns=("title", "tag", "cosine", "z"),
        rows=tuple(
            (sample.media_ids[one.title], one.tag, one.cosine, one.z)
            for one in audit.suspects[: EXAMPLES * 5]
        ),
    )


def _coverage(audit: MetadataAudit, sample: LibrarySample) -> Section:
    untagged = sum(not own for own in sample.tags) / len(sample.tags)
    return Section(
        "Coverage",
        "Over all titles of the store, but tags: over the sample. A block whose modality is not there is "
        "inferred. Whether a title has no sound track or a silent one is not stored.",
        measures=(
            Measure("untagged", untagged, about="titles without any tag"),
            Measure("tags_counted", float(len(audit.table.names)), about="tags that enough titles share"),
            Measure(
                "tags_left_out",
                float(audit.table.left_out),
                about="too rare, too common, or too many",
            ),
            *(
                Measure(
                    f"without_{name}", 1 - float(count) / sample.titles, about=f"{_ABSENT[name]}; inferred"
                )
                for name, count in zip(MODALITIES, sample.titles_with, strict=True)
            ),
        ),
    )
