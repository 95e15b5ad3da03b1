"""The reasons of a suggestion as one plain sentence.

"Because" is said of blocks alone, which the score is the sum of. What axes and signals have in common stands
behind "like": it is true of both titles, and not counted by the score.
"""

from __future__ import annotations

from resonance.clients.clock import clock
from resonance.clients.discovery.explanation import BlockPart, Moment, SuggestionFacts
from resonance.clients.discovery.reasons import NamedTrait, Reasons, reasons_of

#: A block's modality in words, and whether it is many.
_WORDS = {"visual": ("pictures", True), "audio": ("sound", False), "transcript": ("words", True)}
#: Of a measured signal, what a title is more than most: at its low and at its high end.
COMPARED = {
    "cut_rate_per_min": ("more slowly cut", "more quickly cut"),
    "motion": ("stiller", "fuller of motion"),
    "brightness": ("darker", "brighter"),
    "colourfulness": ("paler in colour", "more colourful"),
    "loudness_dbfs": ("quieter", "louder"),
    "spectral_centroid_hz": ("duller in timbre", "brighter in timbre"),
    "onset_rate_hz": ("sparser in rhythm", "denser in rhythm"),
    "words_per_second": ("more sparing of speech", "more talkative"),
}
#: Axes and signals named at most, each: a sentence is read.
MOST_NAMED = 2


def sentence_of(facts: SuggestionFacts) -> str:
    """One sentence that says of the facts what is a reason, and nothing else."""
    reasons = reasons_of(facts)
    parts = [_blocks(facts, reasons), _traits(facts, reasons), _past(reasons)]
    return "; ".join(part for part in parts if part) + "."


def _blocks(facts: SuggestionFacts, reasons: Reasons) -> str:
    a, b = f"“{facts.a}”", f"“{facts.b}”"
    if not reasons.known:
        return f"the library has too few other titles to tell what of {b} is nearer to {a} than usual"
    if not reasons.blocks:
        nor = ", nor does all of it together" if reasons.above_usual is False else ""
        return f"no part of {b} resembles {a} much more than the average title does{nor}"
    resembling = " and ".join(_resembles(block, a) for block in reasons.blocks)
    if reasons.above_usual is None:
        return f"not all of {b} can be compared, but {resembling}"
    if not reasons.above_usual:
        return f"{b} is no more like {a} than the average title, though {resembling}"
    return f"{b} is suggested {'mainly ' if reasons.mainly else ''}because {resembling}"


def _resembles(block: BlockPart, a: str) -> str:
    noun, many = _WORDS[block.modality]
    verb, those = ("resemble", "those") if many else ("resembles", "that")
    if block.b_inferred and block.a_inferred:
        return f"the {noun} inferred for both, which have none, are alike"
    if block.b_inferred:
        return f"the {noun} inferred for it, which has none, {verb} {those} of {a}"
    if block.a_inferred:
        return f"its {noun} {verb} {those} inferred for {a}, which has none"
    return f"its {noun} {verb} {those} of {a}{_times(block.moment)}"


def _times(moment: Moment | None) -> str:
    if moment is None or moment.a_start_s is None or moment.b_start_s is None:
        return ""
    return f" (most of all its {clock(moment.b_start_s)} and {clock(moment.a_start_s)} there)"


def _traits(facts: SuggestionFacts, reasons: Reasons) -> str:
    said = []
    labels = [label for named in reasons.axes[:MOST_NAMED] if (label := _end_of(named))]
    if labels:
        said.append(" and ".join(labels))
    more = [
        COMPARED[named.trait.name][named.high] for named in reasons.signals if named.trait.name in COMPARED
    ]
    if more:
        said.append(f"{' and '.join(more[:MOST_NAMED])} than most titles")
    return f"like “{facts.a}” it is {', and '.join(said)}" if said else ""


def _end_of(named: NamedTrait) -> str | None:
    return named.trait.high if named.high else named.trait.low


def _past(reasons: Reasons) -> str:
    past = reasons.past
    if past is None:
        return ""
    if past.share > 0:
        return f"of this viewer's history “{past.media_id}” speaks most for it"
    return f"this viewer's history counts “{past.media_id}” against, and it is less like that than usual"
