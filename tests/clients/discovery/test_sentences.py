"""Every word of a sentence stands for a fact whose number supports it, and goes when the number goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from resonance.clients.discovery.explanation import (
    BlockPart,
    HistoryFacts,
    Moment,
    PastPart,
    SuggestionFacts,
    Trait,
    Usual,
)
from resonance.clients.discovery.sentences import COMPARED, sentence_of

CASES = 4_000
NOUNS = {"visual": "pictures", "audio": "sound", "transcript": "words"}
MODALITY = {noun: modality for modality, noun in NOUNS.items()}
LABELS = {"tension": ("serene", "frantic"), "mood": ("gloomy", "sunny"), "pace": ("still", "rapid")}

# The whole of what a sentence may consist of, written apart from the code that writes them.
TITLE = "“{}”"
OF_BLOCK = (
    r"the (?:pictures|sound|words) inferred for both, which have none, are alike"
    r"|the (?:pictures|sound|words) inferred for it, which has none, resembles? (?:those|that) of “a film”"
    r"|its (?:pictures|sound|words) resembles? (?:those|that) inferred for “a film”, which has none"
    r"|its (?:pictures|sound|words) resembles? (?:those|that) of “a film”"
    r"(?: \(most of all its \d+:\d\d(?::\d\d)? and \d+:\d\d(?::\d\d)? there\))?"
)
BLOCKS = rf"(?P<blocks>(?:{OF_BLOCK})(?: and (?:{OF_BLOCK}))*)"
HEADS = {
    "suggested": rf"“b film” is suggested (?P<mainly>mainly )?because {BLOCKS}",
    "less": rf"“b film” is no more like “a film” than the average title, though {BLOCKS}",
    "partly": rf"not all of “b film” can be compared, but {BLOCKS}",
    "nothing": r"no part of “b film” resembles “a film” much more than the average title does"
    r"(?P<together>, nor does all of it together)?",
    "unknown": r"the library has too few other titles to tell what of “b film” is nearer to “a film” than "
    r"usual",
}
MORE = "|".join(re.escape(words) for ends in COMPARED.values() for words in ends)
ENDS = "|".join(label for ends in LABELS.values() for label in ends)
TRAITS = (
    rf"(?:; like “a film” it is (?P<ends>(?:{ENDS})(?: and (?:{ENDS}))*)?(?:, and |)"
    rf"(?P<more>(?:{MORE})(?: and (?:{MORE}))*(?= than most titles))?(?: than most titles)?)?"
)
PAST = (
    r"(?:; of this viewer's history “(?P<past>[^”]*)” speaks most for it"
    r"|; this viewer's history counts “(?P<against>[^”]*)” against, and it is less like that than usual)?"
)


def parsed(sentence: str) -> tuple[str, dict[str, str]]:
    """Which head a sentence has, and what it names."""
    for head, pattern in HEADS.items():
        found = re.fullmatch(pattern + TRAITS + PAST + r"\.", sentence)
        if found:
            return head, {name: text for name, text in found.groupdict().items() if text}
    pytest.fail(f"a sentence of no known form: {sentence}")


def random_usual(chance: np.random.Generator) -> Usual | None:
    if chance.random() < 0.1:
        return None
    return Usual(
        float(chance.normal(1, 0.5)), float(chance.choice([0.0, 0.2, 0.4])), int(chance.integers(10, 99))
    )


def random_moment(chance: np.random.Generator) -> Moment | None:
    if chance.random() < 0.2:
        return None
    a_s, b_s = (None if chance.random() < 0.1 else float(8 * chance.integers(0, 900)) for _ in range(2))
    return Moment(float(chance.normal()), 0, a_s, a_s and a_s + 8, 1, b_s, b_s and b_s + 8)


def random_place(chance: np.random.Generator, near: float | None) -> float | None:
    if chance.random() < 0.05:
        return None
    place = chance.random() if near is None else near + chance.normal(0, 0.1)
    return float(np.clip(place, 0, 1))


def random_trait(chance: np.random.Generator, name: str) -> Trait:
    a = random_place(chance, None)
    b = random_place(chance, a)
    low, high = LABELS.get(name, (None, None))
    return Trait(name, 0.5 if a is None else a, 0.5 if b is None else b, a, b, low, high)


def random_facts(seed: int) -> Iterator[SuggestionFacts]:
    """Facts with every number drawn: near the thresholds, far from them, missing."""
    chance = np.random.default_rng(seed)
    while True:
        blocks = tuple(
            BlockPart(
                modality=m,
                share=0.0 if weight == 0 else float(chance.normal(1.2, 0.6)),
                weight=weight,
                usual=Usual(0.0, 0.0, 20) if weight == 0 else random_usual(chance),
                a_inferred=bool(chance.random() < 0.2),
                b_inferred=bool(chance.random() < 0.2),
                moment=random_moment(chance),
            )
            for m in NOUNS
            for weight in [float(chance.choice([0.0, 1.0, 2.0], p=[0.1, 0.6, 0.3]))]
        )
        parts = tuple(
            PastPart(f"p{i}", float(chance.normal()), part, (part, 0.0, 0.0), random_usual(chance))
            for i in range(chance.integers(1, 4))
            for part in [float(chance.normal(1.2, 0.6))]
        )
        yield SuggestionFacts(
            a="a film",
            b="b film",
            score=sum(block.share for block in blocks),
            blocks=blocks,
            moment=random_moment(chance),
            axes=tuple(random_trait(chance, name) for name in LABELS),
            signals=tuple(random_trait(chance, name) for name in COMPARED),
            sampled=100,
            history=HistoryFacts(sum(p.part for p in parts), parts) if chance.random() < 0.7 else None,
        )


def excess(value: float, usual: Usual | None) -> float | None:
    return None if usual is None else value - usual.mean


def outstanding(value: float, usual: Usual | None) -> bool:
    return usual is not None and value - usual.mean >= usual.spread and value - usual.mean > 1e-12


def agreeing(trait: Trait, *, high: bool) -> bool:
    a, b = trait.a_place, trait.b_place
    if a is None or b is None or abs(a - b) > 0.1:
        return False
    return min(a, b) >= 2 / 3 if high else max(a, b) <= 1 - 2 / 3


def minutes(seconds: float) -> str:
    h, m, s = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    return f"{h}:{m:02d}:{s:02d}" if h else f"{m}:{s:02d}"


def check_blocks(text: str, facts: SuggestionFacts) -> list[str]:
    """Every block that is named stands out and is what it is said to be; gives their modalities."""
    named = []
    for clause in re.findall(OF_BLOCK, text):
        (noun,) = (n for n in MODALITY if re.search(rf"\b{n}\b", clause))
        (block,) = (b for b in facts.blocks if b.modality == MODALITY[noun])
        assert block.weight > 0
        assert outstanding(block.share, block.usual), (clause, block)
        assert block.a_inferred == ("for both" in clause or "inferred for “a film”" in clause)
        assert block.b_inferred == ("for both" in clause or "inferred for it" in clause)
        times = re.search(r"its (\S+) and (\S+) there", clause)
        if times:
            assert block.moment is not None
            assert block.moment.a_start_s is not None
            assert block.moment.b_start_s is not None
            assert times[1] == minutes(block.moment.b_start_s)
            assert times[2] == minutes(block.moment.a_start_s)
        named.append(block.modality)
    return named


def check(facts: SuggestionFacts) -> tuple[str, dict[str, str]]:
    """The sentence's form and names, each word of it held against the numbers."""
    sentence = sentence_of(facts)
    head, said = parsed(sentence)
    counted = [b for b in facts.blocks if b.weight > 0]
    excesses = [excess(b.share, b.usual) for b in counted]
    known = [e for e in excesses if e is not None]
    named = check_blocks(said.get("blocks", ""), facts)
    assert sorted(named) == sorted(b.modality for b in counted if outstanding(b.share, b.usual))
    if head in ("suggested", "less") or "together" in said:
        assert len(known) == len(counted)
        assert (sum(known) > 1e-9) == (head == "suggested")
    if "mainly" in said:
        first = next(b for b in counted if b.modality == named[0])
        assert (excess(first.share, first.usual) or 0) > sum(e for e in known if e > 0) / 2
    assert (head == "unknown") == (not known)
    assert (head == "partly") == (bool(named) and len(known) < len(counted))
    for label in said.get("ends", "").split(" and ") if "ends" in said else ():
        (trait,) = (t for t in facts.axes if label in (t.low, t.high))
        assert agreeing(trait, high=label == trait.high), (label, trait)
    for words in said.get("more", "").split(" and ") if "more" in said else ():
        (name,) = (n for n, ends in COMPARED.items() if words in ends)
        (trait,) = (t for t in facts.signals if t.name == name)
        assert agreeing(trait, high=words == COMPARED[name][1]), (words, trait)
    for group, sign in (("past", 1), ("against", -1)):
        if group in said:
            assert facts.history is not None
            (past,) = (p for p in facts.history.parts if p.media_id == said[group])
            assert outstanding(past.part, past.usual)
            assert np.sign(past.share) == sign
            mine = excess(past.part, past.usual) or 0
            assert all((excess(p.part, p.usual) or 0) <= mine for p in facts.history.parts)
    return head, said


def without(facts: SuggestionFacts, group: str, name: str) -> SuggestionFacts:
    """The same facts but for one number, so that what was named is none any more."""
    if group == "blocks":
        blocks = tuple(
            replace(b, share=b.usual.mean) if b.modality == name and b.usual else b for b in facts.blocks
        )
        return replace(facts, blocks=blocks, score=sum(b.share for b in blocks))
    if group == "ends":
        return replace(
            facts, axes=tuple(replace(t, b_place=0.5) if name in (t.low, t.high) else t for t in facts.axes)
        )
    if group == "more":
        return replace(
            facts,
            signals=tuple(replace(t, a_place=0.5) if name in COMPARED[t.name] else t for t in facts.signals),
        )
    assert facts.history is not None
    parts = tuple(
        replace(p, part=p.usual.mean) if p.media_id == name and p.usual else p for p in facts.history.parts
    )
    return replace(facts, history=replace(facts.history, parts=parts))


def named_in(said: dict[str, str], facts: SuggestionFacts) -> list[tuple[str, str]]:
    named = [("blocks", m) for m in check_blocks(said.get("blocks", ""), facts)]
    named += [
        (group, word) for group in ("ends", "more") if group in said for word in said[group].split(" and ")
    ]
    return named + [(group, said[group]) for group in ("past", "against") if group in said]


def test_every_word_is_supported_and_goes_with_its_number() -> None:
    seen: Counter[str] = Counter()
    dropped = 0
    for facts in islice(random_facts(3), CASES):
        head, said = check(facts)
        seen.update([head, *said])
        for group, name in named_in(said, facts):
            changed = without(facts, group, name)
            _, left = check(changed)
            assert (group, name) not in named_in(left, changed), sentence_of(changed)
            dropped += 1
    print(f"\n{CASES:,} sentences, {dropped:,} reasons dropped; forms: {dict(seen)}")
    assert min(seen[form] for form in (*HEADS, "mainly", "together", "ends", "more", "past", "against")) > 20


def plain(**changes: object) -> SuggestionFacts:
    """Facts of which nothing is worth saying."""
    blocks = tuple(BlockPart(m, 1.0, 1.0, Usual(1.0, 0.2, 50), False, False, None) for m in NOUNS)
    facts = SuggestionFacts("a film", "b film", 3.0, blocks, None, (), (), 100)
    return replace(facts, **changes)  # type: ignore[arg-type]


def test_the_sentence_of_the_guide() -> None:
    moment = Moment(2.0, 5, 12.0, 20.0, 1, 41.0, 49.0)
    visual = BlockPart("visual", 1.5, 1.0, Usual(1.0, 0.2, 50), False, False, moment)
    facts = plain(
        blocks=(visual, *plain().blocks[1:]),
        axes=(
            Trait("pace", 0.1, 0.15, 0.1, 0.15, "slow", "rapid"),
            Trait("tension", 0.8, 0.78, 0.8, 0.78, "calm", "tense"),
        ),
    )
    assert sentence_of(facts) == (
        "“b film” is suggested mainly because its pictures resemble those of “a film” "
        "(most of all its 0:41 and 0:12 there); like “a film” it is slow and tense."
    )


def test_where_nothing_agrees_it_says_only_that() -> None:
    assert sentence_of(plain()) == (
        "no part of “b film” resembles “a film” much more than the average title does, "
        "nor does all of it together."
    )


def test_a_large_share_that_every_title_has_is_no_reason() -> None:
    """The raw share of sound is ten times that of pictures, as the modality gap makes it."""
    blocks = (
        BlockPart("visual", 0.5, 1.0, Usual(0.1, 0.1, 50), False, False, None),
        BlockPart("audio", 5.0, 1.0, Usual(5.0, 0.3, 50), False, False, None),
        BlockPart("transcript", 1.0, 1.0, Usual(1.0, 0.1, 50), False, False, None),
    )
    sentence = sentence_of(plain(blocks=blocks))
    assert "mainly because its pictures" in sentence
    assert "sound" not in sentence


def test_two_that_stand_out_alike_are_both_named_and_neither_is_the_main_one() -> None:
    blocks = tuple(
        BlockPart(m, share, 1.0, Usual(1.0, 0.2, 50), False, False, None)
        for m, share in (("visual", 1.5), ("audio", 1.5), ("transcript", 0.8))
    )
    assert "is suggested because its pictures" in sentence_of(plain(blocks=blocks))
    assert "and its sound resembles that of" in sentence_of(plain(blocks=blocks))


@pytest.mark.parametrize(
    ("a", "b", "named"),
    [(0.9, 0.85, True), (0.9, 0.75, False), (0.6, 0.62, False), (0.5, 0.5, False), (0.9, 0.1, False)],
)
def test_a_trait_is_named_only_where_both_are_close_and_away_from_the_middle(
    a: float, b: float, named: bool
) -> None:
    axis = Trait("tension", a, b, a, b, "calm", "tense")
    assert ("tense" in sentence_of(plain(axes=(axis,)))) == named
    assert "calm" not in sentence_of(plain(axes=(axis,)))
