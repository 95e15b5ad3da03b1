"""The facts of a suggestion: shares that are the score, what is usual, the moments, the axes and signals."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from resonance.clients.discovery.explanation import explain_suggestion, history_facts
from resonance.clients.discovery.history import Viewing
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reasons import past_reason, reasons_of
from resonance.clients.discovery.sample import LEAST_COMPARED, place_among, sample_library, title_signals
from resonance.clients.discovery.sentences import sentence_of
from resonance.clients.discovery.taste import make_taste
from resonance.clients.discovery.types import StoredTitle
from resonance.clients.errors import UsageError
from resonance.clients.media.types import StreamSignal
from resonance.space import MODALITIES, Weights, query_from_vector, score
from resonance.space.taste import Blend
from tests.clients.discovery.explained import (
    ALL,
    DESCRIPTOR,
    random_blocks,
    sample_of,
    stored,
    towards,
    write,
)

PICTURES_ONLY, SOUND_ONLY = (True, False, False), (False, True, False)


def titles(count: int, *, seed: int = 1, present: tuple[bool, bool, bool] = ALL) -> list[StoredTitle]:
    chance = np.random.default_rng(seed)
    return [
        stored(
            f"other {seed}.{at}",
            random_blocks(chance),
            present,
            axes={"tension": float(chance.random()), "mood": 0.5},
            signals={"brightness": float(chance.random()), "words_per_second": None},
        )
        for at in range(count)
    ]


OTHERS = titles(40)
SAMPLE = sample_of(OTHERS)
HAND = random_blocks(np.random.default_rng(2))
A = stored("a", HAND, axes={"tension": 0.9}, signals={"brightness": 0.02, "loudness_dbfs": -30.0})


def suggested(**towards_a: float) -> StoredTitle:
    """B: a title like others, but for blocks that were moved towards those of A."""
    blocks = random_blocks(np.random.default_rng(3))
    for name, by in towards_a.items():
        blocks = towards(blocks, HAND, MODALITIES.index(name), by)
    return stored("b", blocks, axes={"tension": 0.85}, signals={"brightness": 0.01, "loudness_dbfs": -31.0})


@pytest.mark.parametrize("weights", [Weights(), Weights(2, 0, 0.5), Weights(0, 0, 7)])
@pytest.mark.parametrize("of_b", [ALL, PICTURES_ONLY, SOUND_ONLY])
def test_shares_and_what_is_usual_are_the_formulas(of_b: tuple[bool, bool, bool], weights: Weights) -> None:
    b = stored("b", random_blocks(np.random.default_rng(3)), of_b)
    mixed = [*OTHERS, *titles(15, seed=4, present=PICTURES_ONLY), *titles(15, seed=5, present=SOUND_ONLY)]
    facts = explain_suggestion(A, b, weights, DESCRIPTOR, sample_of([A, b, *mixed]))
    query = query_from_vector(A.vector, DESCRIPTOR)
    assert facts.score == sum(block.share for block in facts.blocks)
    assert facts.score == pytest.approx(float(score(query, weights, b.vector)), abs=1e-9)
    assert facts.sampled == 70
    for m, block in enumerate(facts.blocks):
        alike = [t for t in mixed if t.facts.present[m] == of_b[m]]
        scale = weights.array()[m] / DESCRIPTOR.sigmas[block.modality][block.modality] * 3**0.5
        rows = [t.vector.reshape(3, 596)[m].astype(float) for t in (A, b, *alike)]
        shares = np.array([scale * rows[0] @ row for row in rows[1:]])
        assert block.share == pytest.approx(shares[0], rel=1e-6, abs=1e-9)
        assert (block.a_inferred, block.b_inferred) == (False, not of_b[m])
        assert block.usual is not None
        assert block.usual.titles == len(alike)
        assert block.usual.mean == pytest.approx(shares[1:].mean(), rel=1e-6, abs=1e-9)
        assert block.usual.spread == pytest.approx(shares[1:].std(ddof=1), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_block_that_is_alike_is_the_main_reason(modality: str) -> None:
    nouns = {"visual": "pictures", "audio": "sound", "transcript": "words"}
    facts = explain_suggestion(A, suggested(**{modality: 0.8}), Weights(), DESCRIPTOR, SAMPLE)
    reasons = reasons_of(facts)
    assert reasons.mainly
    assert reasons.blocks[0].modality == modality
    assert f"mainly because its {nouns[modality]}" in sentence_of(facts)
    turned = {
        m: 0.0 if m == modality else 1.0 for m in MODALITIES
    }  # the viewer's slider takes the reason away
    facts = explain_suggestion(
        A, suggested(**{modality: 0.8}), Weights.from_mapping(turned), DESCRIPTOR, SAMPLE
    )
    assert nouns[modality] not in sentence_of(facts)


def test_the_largest_share_alone_is_no_reason() -> None:
    """Sound with a gap of its own has the largest share with every title."""
    chance = np.random.default_rng(6)

    def gapped(media_id: str, blocks: np.ndarray) -> StoredTitle:
        blocks = blocks.copy()
        blocks[1] = blocks[1] + 6 * np.eye(596)[0]
        return stored(media_id, blocks / np.linalg.norm(blocks, axis=1, keepdims=True))

    sample = sample_of([gapped(f"o{i}", random_blocks(chance)) for i in range(40)])
    b = gapped("b", towards(random_blocks(chance), HAND, 0, 0.5))
    facts = explain_suggestion(gapped("a", HAND), b, Weights(), DESCRIPTOR, sample)
    shares = {block.modality: block.share for block in facts.blocks}
    assert max(shares, key=lambda m: shares[m]) == "audio"
    named = [block.modality for block in reasons_of(facts).blocks]
    assert named[0] == "visual"
    assert "audio" not in named


def test_having_pictures_where_others_have_none_is_no_reason() -> None:
    """Inferred pictures lie elsewhere in the space than real ones, so B is compared with real ones alone."""
    sample = sample_of([*titles(20), *titles(200, seed=7, present=SOUND_ONLY)])
    named = 0
    for seed in range(100, 140):
        b = stored(f"b{seed}", random_blocks(np.random.default_rng(seed)))
        reasons = reasons_of(explain_suggestion(A, b, Weights(), DESCRIPTOR, sample))
        named += "visual" in [block.modality for block in reasons.blocks]
    assert named < 16  # a sixth of 40 by chance; against all 220 titles it would be all of them
    alike = sample.present[:, 0]
    query = query_from_vector(A.vector, DESCRIPTOR).blocks[0]
    usual = sample.vectors.reshape(-1, 3, 596)[:, 0] @ query
    assert usual[alike].mean() > usual[~alike].mean() + 3 * usual[~alike].std()


def test_an_inferred_block_is_never_called_pictures_of_the_title() -> None:
    b = stored("b", towards(random_blocks(np.random.default_rng(3)), HAND, 1, 0.9), SOUND_ONLY)
    sample = sample_of(titles(40, seed=8, present=SOUND_ONLY))
    hand = stored("a", towards(HAND, HAND[[1, 1, 1]], 0, 0.8))  # its pictures lie where its sound does
    facts = explain_suggestion(hand, b, Weights(), DESCRIPTOR, sample)
    assert "visual" in [block.modality for block in reasons_of(facts).blocks]
    assert "its pictures" not in sentence_of(facts)
    assert "the pictures inferred for it, which has none," in sentence_of(facts)
    assert facts.blocks[0].moment is None


def test_too_few_titles_tell_nothing() -> None:
    few = sample_of(OTHERS[: LEAST_COMPARED - 1])
    facts = explain_suggestion(A, suggested(visual=1.0), Weights(), DESCRIPTOR, few)
    assert all(block.usual is None for block in facts.blocks)
    assert sentence_of(facts).startswith("the library has too few other titles")
    assert "because" not in sentence_of(facts)


def test_moments_are_the_best_of_all_pairs() -> None:
    a, b = (
        stored("a", HAND, segments=7),
        replace(suggested(), segments=stored("b", HAND, segments=5).segments),
    )
    weights = Weights(1, 2, 0.5)
    facts = explain_suggestion(a, b, weights, DESCRIPTOR, SAMPLE)
    scores = {
        (x.index, y.index): float(score(query_from_vector(x.vector, DESCRIPTOR), weights, y.vector))
        for x in a.segments
        for y in b.segments
    }
    moment = facts.moment
    assert moment is not None
    best = max(scores, key=lambda pair: scores[pair])
    assert (moment.a_index, moment.b_index) == best
    assert moment.score == scores[best]
    assert (moment.a_start_s, moment.b_end_s) == (8.0 * best[0], 8.0 * best[1] + 8)
    for m, block in enumerate(facts.blocks):
        rows = [np.stack([s.vector.reshape(3, 596)[m].astype(float) for s in t.segments]) for t in (a, b)]
        units = rows[0] / np.linalg.norm(rows[0], axis=1, keepdims=True)
        at = np.unravel_index(int((units @ rows[1].T).argmax()), (7, 5))
        assert block.moment is not None
        assert (block.moment.a_index, block.moment.b_index) == at


def test_moments_are_of_segments_that_have_the_modality() -> None:
    b = suggested()
    silent = [replace(s, present=(True, s.index == 1, True)) for s in b.segments]
    facts = explain_suggestion(A, replace(b, segments=tuple(silent)), Weights(), DESCRIPTOR, SAMPLE)
    assert facts.blocks[1].moment is not None
    assert facts.blocks[1].moment.b_index == 1
    text = stored("b", HAND, clock=False)
    facts = explain_suggestion(A, text, Weights(), DESCRIPTOR, SAMPLE)
    assert facts.moment is not None
    assert facts.moment.b_start_s is None
    assert "there)" not in sentence_of(facts)
    facts = explain_suggestion(A, replace(text, segments=()), Weights(), DESCRIPTOR, SAMPLE)
    assert facts.moment is None


def test_axes_and_signals_of_both_titles_with_their_places() -> None:
    facts = explain_suggestion(A, suggested(), Weights(), DESCRIPTOR, SAMPLE)
    (axis,) = facts.axes
    assert (axis.name, axis.a_place, axis.b_place, axis.high) == ("tension", 0.9, 0.85, "frantic")
    brightness, loudness = facts.signals
    assert (brightness.name, brightness.a, brightness.b) == (
        "brightness",
        pytest.approx(0.02),
        pytest.approx(0.01),
    )
    sampled = np.array([t.segments[0].signals["brightness"] for t in OTHERS], float)
    assert brightness.a_place == pytest.approx((sampled < 0.02).mean())
    assert loudness.a_place is None  # no other title has it
    assert "it is frantic, and darker than most titles" in sentence_of(facts)


def test_an_axis_of_other_labels_is_not_compared() -> None:
    b = suggested(visual=0.8)
    (of_b,) = b.facts.axes.values()
    edited = replace(b, facts=replace(b.facts, axes={"tension": replace(of_b, high="scary")}))
    for title, other in ((A, edited), (edited, A)):
        facts = explain_suggestion(title, other, Weights(), DESCRIPTOR, SAMPLE)
        assert facts.axes == ()
        assert "frantic" not in sentence_of(facts)


def test_signals_of_a_title_are_means_by_salience() -> None:
    title = stored("t", HAND, segments=2)
    first, second = title.segments
    parts = (
        replace(
            first,
            salience=0.75,
            signals={"motion": StreamSignal(0.2, "packet sizes", 0.5), "x": None, "y": 1.0},
        ),
        replace(second, salience=0.25, signals={"motion": 0.6, "x": float("nan"), "y": None}),
    )
    assert title_signals(replace(title, segments=parts)) == {"motion": pytest.approx(0.3), "y": 1.0}


def test_equal_ones_bring_a_place_nearer_to_the_middle() -> None:
    values = np.array([0.0] * 5 + [1.0] * 10 + [2.0] * 5 + [np.nan] * 3)
    assert [place_among(values, value) for value in (-1.0, 0.0, 1.0, 2.0, 3.0)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert place_among(values, 0.5) == 0.25
    assert place_among(values[: LEAST_COMPARED - 1], 1.0) is None


def test_what_most_titles_have_too_is_not_named() -> None:
    def told(still_share: float) -> str:
        rates = np.where(np.linspace(0, 1, len(SAMPLE.media_ids)) < still_share, 0.0, 3.0)
        sample = replace(SAMPLE, signals={"cut_rate_per_min": rates})
        titles = []
        for title in (A, suggested()):
            still = tuple(replace(s, signals={"cut_rate_per_min": 0.0}) for s in title.segments)
            titles.append(replace(title, segments=still))
        return sentence_of(explain_suggestion(*titles, Weights(), DESCRIPTOR, sample))

    assert "more slowly cut than most titles" in told(still_share=0.2)
    assert "cut than most titles" not in told(still_share=0.64)


def test_a_title_beside_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="two titles"):
        explain_suggestion(A, A, Weights(), DESCRIPTOR, SAMPLE)


@pytest.mark.parametrize("kind", ["parquet", "qdrant"])
def test_a_sample_is_the_same_each_time_and_leaves_out_whom_it_should(kind: str, tmp_path: Path) -> None:
    uri = f"{tmp_path}/s" if kind == "parquet" else f"qdrant+local:{tmp_path}/s?name=films"
    write(uri, [A, *OTHERS])
    with closing(open_library(uri)) as library:
        samples = [sample_library(library, 20) for _ in range(2)]
        everything = sample_library(library, 100)
    assert samples[0].media_ids == samples[1].media_ids
    assert len(set(samples[0].media_ids)) == 20
    by_name = {t.facts.media_id: t for t in (A, *OTHERS)}
    for name, vector, present, signal in zip(
        samples[0].media_ids,
        samples[0].vectors,
        samples[0].present,
        samples[0].signals["brightness"],
        strict=True,
    ):
        np.testing.assert_array_equal(vector, by_name[name].vector)
        assert tuple(present) == by_name[name].facts.present
        assert signal == pytest.approx(title_signals(by_name[name])["brightness"])
    assert sorted(everything.media_ids) == sorted(by_name)
    left = everything.without({"a", OTHERS[0].facts.media_id})
    assert len(left.media_ids) == len(left.vectors) == len(left.signals["brightness"]) == 39
    assert not {"a", OTHERS[0].facts.media_id} & set(left.media_ids)


def test_a_history_is_the_sum_of_its_titles_and_the_one_that_resembles_is_named(tmp_path: Path) -> None:
    past = [stored(f"past {i}", random_blocks(np.random.default_rng(50 + i))) for i in range(4)]
    b = stored("b", towards(random_blocks(np.random.default_rng(3)), _blocks(past[2]), 0, 0.8))
    write(tmp_path / "lib", [A, b, *past, *OTHERS])
    now = datetime(2026, 11, 28, tzinfo=UTC)
    history = [Viewing(t.facts.media_id, 1.0, now) for t in past] + [Viewing("b", 0.2, now)]
    with closing(open_library(str(tmp_path / "lib"))) as library:
        taste = make_taste(library, DESCRIPTOR, history)
        sample = sample_library(library)
    weights = Weights(2, 1, 1)
    facts = explain_suggestion(A, b, weights, DESCRIPTOR, sample, taste)
    assert facts.history is not None
    assert facts.sampled == 40  # neither A nor B nor the history
    total = float(score(taste[0].query, weights, b.vector))
    assert facts.history.score == sum(part.part for part in facts.history.parts)
    assert facts.history.score == pytest.approx(total, abs=1e-9)
    for part in facts.history.parts:
        assert part.part == sum(part.blocks)
        assert part.usual is not None
        assert part.usual.titles == 40
    named = past_reason(facts.history)
    assert named is not None
    assert named.media_id == "past 2"
    assert "of this viewer's history “past 2” speaks most for it" in sentence_of(facts)
    with closing(open_library(str(tmp_path / "lib"))) as library:
        turned = make_taste(library, DESCRIPTOR, history, less_like=["past 2"])
    against = {p.media_id: p for p in history_facts([b], weights, sample, *turned)[0].parts}["past 2"]
    assert against.usual is not None
    assert against.part < against.usual.mean


def _blocks(title: StoredTitle) -> np.ndarray:
    return title.vector.reshape(3, 596).astype(float) * 3**0.5


def test_a_history_is_weighed_as_often_for_many_titles_as_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = [stored(f"past {i}", random_blocks(np.random.default_rng(50 + i))) for i in range(4)]
    write(tmp_path / "lib", [*past, *OTHERS])
    history = [Viewing(t.facts.media_id, 1.0, datetime(2026, 11, 28, tzinfo=UTC)) for t in past]
    with closing(open_library(str(tmp_path / "lib"))) as library:
        taste = make_taste(library, DESCRIPTOR, history)
    mixed = [*OTHERS, *titles(15, seed=4, present=PICTURES_ONLY), *titles(5, seed=5, present=SOUND_ONLY)]
    sample, asked = sample_of(mixed), [A, OTHERS[0], mixed[-8], mixed[-1]]
    weighed, contributions = [], Blend.contributions

    def counted(blend: Blend, weights: Weights, titles: np.ndarray) -> np.ndarray:
        weighed.append(len(titles))
        return contributions(blend, weights, titles)

    monkeypatch.setattr(Blend, "contributions", counted)
    together = history_facts(asked, Weights(2, 1, 1), sample, *taste)
    assert weighed == [len(asked), len(mixed)]
    for title, facts in zip(asked, together, strict=True):
        (alone,) = history_facts([title], Weights(2, 1, 1), sample, *taste)
        assert facts.score == pytest.approx(alone.score, abs=1e-12)
        for of_many, of_one in zip(facts.parts, alone.parts, strict=True):
            assert of_many.part == pytest.approx(of_one.part, abs=1e-12)
            assert (of_many.media_id, of_many.usual) == (of_one.media_id, of_one.usual)
    assert [facts.parts[0].usual and facts.parts[0].usual.titles for facts in together] == [40, 39, 14, None]
    assert history_facts([], Weights(), sample, *taste) == []
