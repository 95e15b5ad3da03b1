"""The cold-start experiment finds what was planted, for the vectors and against them; and refuses leaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resonance.clients.audit.report import Limit, Report
from resonance.clients.audit.viewing_log import Recommended, ViewingLog
from resonance.clients.errors import UsageError
from resonance.training.coldstart.baselines import Factorisation
from resonance.training.coldstart.experiment import run_coldstart
from resonance.training.coldstart.features import tag_features
from resonance.training.coldstart.histories import Histories, History
from resonance.training.coldstart.report import coldstart_sections, verdict
from resonance.training.coldstart.result import AUC, COLD, NDCG, RECALL, WARM, ColdstartResult
from resonance.training.coldstart.splitting import (
    LeakageError,
    Split,
    SplitSettings,
    check_features,
    check_split,
    make_split,
    watched_rows,
)
from resonance.training.coldstart.two_tower import train_towers
from tests.training.planted_viewings import DAY_S, FAST, Planted, plant

BY_VECTORS = plant("vectors")


@pytest.fixture(scope="module")
def by_vectors() -> ColdstartResult:
    return run_coldstart(BY_VECTORS.contestants, BY_VECTORS.log, FAST, tags=BY_VECTORS.tags)


def two(planted: Planted) -> dict[str, np.ndarray]:
    return {"fused": planted.vectors, "tags": planted.tags}


def test_where_taste_follows_the_vectors_they_win(by_vectors: ColdstartResult) -> None:
    for other in ("visual", "audio", "text", "tags", "popularity", "factorisation"):
        difference = by_vectors.difference(other)
        assert difference.estimate.interval[0] > 0, other
    assert verdict(by_vectors).startswith("fused finds new titles better than every other")
    fused, chance = by_vectors.contestant("fused"), by_vectors.split.chance[COLD]
    assert fused.found[COLD, RECALL].interval[0] > 1.5 * chance
    assert fused.found[COLD, AUC].value > 0.7


def test_whoever_has_no_features_is_at_chance_with_new_titles(by_vectors: ColdstartResult) -> None:
    for name in ("popularity", "factorisation"):
        one = by_vectors.contestant(name)
        assert one.found[COLD, RECALL].value == pytest.approx(by_vectors.split.chance[COLD], abs=0.03)
        assert one.found[COLD, AUC].value == pytest.approx(0.5, abs=0.03)
        assert one.exposure_new.value < by_vectors.split.viewed_new / 4
    # and is not with known ones
    known = by_vectors.contestant("factorisation").found[WARM, RECALL]
    assert known.interval[0] > by_vectors.split.chance[WARM]


def test_where_taste_follows_tags_the_verdict_goes_against_the_vectors() -> None:
    planted = plant("tags")
    result = run_coldstart(two(planted), planted.log, FAST, tags=planted.tags)
    assert result.difference("tags").estimate.interval[1] < 0
    assert verdict(result).startswith(
        "Against the vectors: tags alone find new titles better than fused does"
    )
    tags, popularity = (result.contestant(name).miscalibration for name in ("tags", "popularity"))
    assert tags is not None
    assert popularity is not None
    assert tags.interval[1] < popularity.interval[0]  # lists by taste in genres are like the history


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_there_is_nothing_to_learn_no_difference_is_told(seed: int) -> None:
    planted = plant("nothing", seed=seed)
    result = run_coldstart(two(planted), planted.log, replace(FAST, seed=seed))
    for difference in result.differences:
        if difference.slice == COLD:
            low, high = difference.estimate.interval
            assert low <= 0 <= high, difference
    assert verdict(result).startswith("Nothing was found in fused")


def test_the_same_seed_gives_the_same_figures(by_vectors: ColdstartResult) -> None:
    again = run_coldstart(BY_VECTORS.contestants, BY_VECTORS.log, FAST, tags=BY_VECTORS.tags)
    found = [
        [
            (one.name, one.epochs, dict(one.found), one.coverage, one.exposure_new)
            for one in result.contestants
        ]
        for result in (by_vectors, again)
    ]
    assert found[0] == found[1]


def test_the_report(by_vectors: ColdstartResult) -> None:
    limits = (Limit("recall@10 fused", least=0.1), Limit("fused over tags", least=0.0), Limit("none", most=1))
    report = Report("Audit of cold start", {}, coldstart_sections(by_vectors), limits)
    assert [limit.measure for limit in report.broken()] == ["none"]
    measures = report.measures()
    fused, tags = measures["recall@10 fused"], measures["recall@10 tags"]
    assert measures["fused over tags"].value == pytest.approx(fused.value - tags.value)
    assert measures["fused over tags, relative"].value == pytest.approx(100 * (fused.value / tags.value - 1))
    assert len(measures) == sum(len(section.measures) for section in report.sections)  # no name twice
    assert report.to_json()
    assert report.to_html().count("<img") == 4


def test_trainings_are_averaged() -> None:
    once, thrice = (
        run_coldstart(two(BY_VECTORS), BY_VECTORS.log, replace(FAST, trainings=n, seed=9)) for n in (1, 3)
    )
    assert once.contestant("fused").found != thrice.contestant("fused").found
    assert once.contestant("popularity").found == thrice.contestant("popularity").found


# What is learned from


def test_nothing_of_the_test_reaches_the_towers() -> None:
    """Other features of new titles, and other test viewings, leave the trained tower as it is."""
    log = BY_VECTORS.log
    split = make_split(log, SplitSettings(), seed=0)
    changed = BY_VECTORS.vectors.copy()
    changed[split.cold] = np.random.default_rng(5).standard_normal((split.cold.sum(), changed.shape[1]))
    titles, users = log.titles.copy(), log.users.copy()
    titles[split.test], users[split.test] = titles[split.test][::-1], users[split.test][::-1]
    other_log = replace(log, titles=titles, users=users)
    known = np.flatnonzero(~split.cold)
    viewers = np.arange(50)
    found = []
    for features, its_log in ((BY_VECTORS.vectors, log), (changed, other_log)):
        trained = train_towers(features, its_log, split, FAST.tower, liked=0.5, seed=0)
        history = Histories(its_log, split.known, length=20).before(viewers, np.full(50, split.cut_s))
        found.append(trained.scores(history, known))
    np.testing.assert_array_equal(found[0], found[1])


def test_before_anything_is_learned_lists_are_what_lies_near() -> None:
    """Features of three numbers, which their components leave as they are but for a rotation."""
    log, split = BY_VECTORS.log, make_split(BY_VECTORS.log, SplitSettings(), seed=0)
    features = np.random.default_rng(6).standard_normal((len(log.media_ids), 3)).astype(np.float32)
    trained = train_towers(features, log, split, replace(FAST.tower, epochs=0), liked=0.5, seed=0)
    assert trained.epochs == 0
    watched = np.array([[7], [11]])
    titles = np.arange(len(features))
    scores = trained.scores(History(watched, np.ones((2, 1), np.float32)), titles)
    known = np.bincount(log.titles[split.train], minlength=len(features)) > 0
    away = features - features[known].mean(axis=0)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, 10 * away[watched[:, 0]] @ away.T, atol=1e-3)


def test_a_title_is_embedded_once_however_many_viewers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    log, split = BY_VECTORS.log, make_split(BY_VECTORS.log, SplitSettings(), seed=0)
    trained = train_towers(BY_VECTORS.vectors, log, split, replace(FAST.tower, epochs=1), liked=0.5, seed=0)
    viewers = np.arange(50)
    history = Histories(log, split.known, length=20).before(viewers, np.full(50, split.cut_s))
    titles = np.arange(len(log.media_ids))
    monkeypatch.setattr(trained.tower, "content", None)
    whole = trained.scores(history, titles)
    for viewer in viewers[::10]:
        mine = History(history.titles[viewer : viewer + 1], history.weights[viewer : viewer + 1])
        np.testing.assert_allclose(
            trained.scores(mine, titles[5:]), whole[viewer : viewer + 1, 5:], atol=1e-4
        )


def test_histories_are_what_lies_before() -> None:
    rng = np.random.default_rng(0)
    log = ViewingLog(
        users=rng.integers(5, size=200),
        titles=rng.integers(30, size=200),
        at_s=np.sort(rng.integers(40, size=200)) * DAY_S,  # with moments in common
        completion=np.where(rng.random(200) < 0.2, np.nan, rng.random(200)).astype(np.float32),
        user_ids=tuple("abcdef"),  # f has none
        media_ids=tuple(map(str, range(30))),
    )
    rows = np.flatnonzero(rng.random(200) < 0.8)
    users, at_s = rng.integers(6, size=100), rng.integers(45, size=100) * DAY_S
    found = Histories(log, rows, length=7).before(users, at_s)
    for user, moment, titles, weights in zip(users, at_s, found.titles, found.weights, strict=True):
        earlier = [row for row in rows if log.users[row] == user and log.at_s[row] < moment][::-1][:7]
        assert titles[weights > 0].tolist() == [log.titles[row] for row in earlier]
        for row, weight in zip(earlier, weights[: len(earlier)], strict=True):
            liked = 1.0 if np.isnan(log.completion[row]) else max(log.completion[row], 0.1)
            age_days = (moment - log.at_s[row]) / DAY_S
            assert weight == pytest.approx(liked * 2 ** (-age_days / 150), rel=1e-5)


def test_factorisation_gives_new_titles_nothing() -> None:
    split = make_split(BY_VECTORS.log, SplitSettings(), seed=0)
    model = Factorisation(BY_VECTORS.log, split.known, seed=0)
    scores = model.scores(np.arange(20), np.arange(len(BY_VECTORS.log.media_ids)))
    assert not scores[:, split.cold].any()
    assert scores[:, ~split.cold].any(axis=1).all()


def test_confidence_is_as_it_is_written() -> None:
    """1 + alpha * completion, of a rewatched title their sum; what was not watched at all is no preference.
    The factors of titles solve the equations of that (Hu, Koren and Volinsky 2008, eq. 5)."""
    rng = np.random.default_rng(0)
    users, titles, alpha = 60, 40, 10.0
    pairs = rng.permutation(users * titles)[:500]
    pairs = np.concatenate([pairs, pairs[:20]])  # twenty are watched again
    completion = rng.uniform(0.02, 0.3, 520).astype(np.float32)
    completion[100:120] = 0.0
    names = (tuple(map(str, range(users))), tuple(map(str, range(titles))))
    log = ViewingLog(pairs // titles, pairs % titles, np.arange(520.0), completion, *names)
    model = Factorisation(log, np.arange(520), seed=0)
    watched = np.bincount(pairs, completion, users * titles).reshape(users, titles)
    viewers, found = model._viewers.astype(np.float64), model._titles

    def worst(confidence: np.ndarray) -> float:
        """Difference of a factor from the solution of these confidences."""
        solved = [
            np.linalg.solve(viewers.T @ (c[:, None] * viewers) + np.eye(32), viewers.T @ (c * (w > 0)))
            for c, w in zip(confidence.T, watched.T, strict=True)
        ]
        return float(np.abs(np.array(solved) - found[:, :32]).max())

    told = worst(1 + alpha * watched)
    assert told < 0.02
    assert told < 0.1 * worst(np.where(watched > 0, alpha * watched, 1.0))


# The split and what it refuses


def test_a_split_holds_titles_out_whole() -> None:
    log = BY_VECTORS.log
    split = make_split(log, SplitSettings(), seed=0)
    check_split(log, split)
    assert len(split.test) == pytest.approx(0.2 * len(log), abs=2)
    assert not split.cold[log.titles[split.known]].any()
    assert not split.practice[log.titles[split.train]].any()
    assert split.practice[log.titles[split.validation]].any()
    assert log.at_s[split.known].max() < split.cut_s <= log.at_s[split.test].min()
    first_seen = np.bincount(log.titles[split.seen], minlength=len(log.media_ids)) == 0
    assert split.cold[first_seen].all()
    assert (split.cold & ~first_seen).sum() == round(0.1 * (~first_seen).sum())


def test_what_was_shown_and_not_clicked_is_no_viewing() -> None:
    log = BY_VECTORS.log
    clicked = np.arange(len(log)) % 3 == 0
    unknown = np.full(len(log), np.nan, np.float32)
    shown = Recommended(unknown, np.ones(len(log), np.int64), unknown, clicked, unknown)
    log = replace(log, recommended=shown)
    assert watched_rows(log).tolist() == np.flatnonzero(clicked).tolist()
    split = make_split(log, SplitSettings(), seed=0)
    assert clicked[np.concatenate([split.known, split.test, split.seen])].all()


def moved(split: Split, **changes: object) -> Split:
    return replace(split, **changes)  # type: ignore[arg-type]


def test_leaks_are_refused_each_by_its_name() -> None:
    log = BY_VECTORS.log
    split = make_split(log, SplitSettings(), seed=0)
    early = split.train[100:103]
    late = moved(
        split,
        known=np.setdiff1d(split.known, early),
        train=np.setdiff1d(split.train, early),
        test=np.concatenate([early, split.test]),
    )
    with pytest.raises(LeakageError, match="3 test viewings before the last that is learned from") as refused:
        check_split(log, late)
    assert refused.value.count == 3
    named = f"{log.user_ids[log.users[early[0]]]} {log.media_ids[log.titles[early[0]]]}"
    assert refused.value.examples[0].startswith(named)

    held_out = split.seen[split.cold[log.titles[split.seen]]][:1]
    with pytest.raises(LeakageError, match="1 viewings of held-out titles among those that are learned from"):
        check_split(log, moved(split, train=np.sort(np.concatenate([split.train, held_out]))))
    with pytest.raises(LeakageError, match="held-out titles"):
        run_coldstart(
            two(BY_VECTORS),
            log,
            FAST,
            split=make_split(log, SplitSettings(), 0, held_out=[log.media_ids[log.titles[split.train[0]]]]),
        )

    seen = split.seen[0]
    again = log.titles.copy()
    users = log.users.copy()
    again[-1], users[-1] = log.titles[seen], log.users[seen]
    rewatched = replace(log, titles=again, users=users)
    with pytest.raises(LeakageError, match="1 test viewings of a title that the same viewer had watched"):
        run_coldstart(two(BY_VECTORS), rewatched, FAST)
    dropped = make_split(rewatched, SplitSettings(drop_rewatched=True), seed=0)
    check_split(rewatched, dropped)
    assert (dropped.rewatched, len(dropped.test)) == (1, len(split.test) - 1)


def test_a_tag_or_a_number_that_is_the_popularity_of_the_test_is_refused() -> None:
    log = BY_VECTORS.log
    split = make_split(log, SplitSettings(), seed=0)
    views = np.bincount(log.titles[split.test], minlength=len(log.media_ids)).astype(np.float32)
    new = views[split.cold]
    popular = views >= np.sort(new)[-8]  # "trending"
    leaking = np.column_stack([BY_VECTORS.tags, popular]).astype(np.float32)
    columns = {"tags": (*(f"genre {i}" for i in range(6)), "trending")}
    with pytest.raises(LeakageError, match="tags, trending"):
        check_features({"tags": leaking}, log, split, columns)
    counted = np.column_stack([BY_VECTORS.vectors, np.sqrt(views)])
    with pytest.raises(LeakageError, match="fused, column 1788"):
        check_features({"fused": counted}, log, split)
    with pytest.raises(LeakageError, match="1 columns of features"):
        run_coldstart({"tags": leaking}, log, FAST)
    # popularity before the cut is known then; and noise upon it hides a leak, as the documentation says
    before = np.bincount(log.titles[split.known], minlength=len(log.media_ids))
    hidden = views + 20 * np.random.default_rng(0).standard_normal(len(views))
    check_features({"fair": np.column_stack([before, hidden]).astype(np.float32)}, log, split)
    check_features(BY_VECTORS.contestants, log, split)


def test_wrong_use_is_told() -> None:
    log, vectors = BY_VECTORS.log, BY_VECTORS.vectors
    with pytest.raises(
        UsageError, match=r"contestant fused: features of shape \(299, 1788\); expected \(300"
    ):
        run_coldstart({"fused": vectors[1:]}, log, FAST)
    with pytest.raises(UsageError, match="1 titles have features that are not finite, first title 3"):
        run_coldstart({"fused": np.where(np.arange(300)[:, None] == 3, np.nan, vectors)}, log, FAST)
    with pytest.raises(UsageError, match="called popularity"):
        run_coldstart({"popularity": vectors}, log, FAST)
    with pytest.raises(UsageError, match="reference text among fused"):
        run_coldstart({"fused": vectors}, log, FAST, reference="text")
    with pytest.raises(UsageError, match="expected a log of weeks"):
        run_coldstart({"fused": vectors}, log.take(np.arange(1)), FAST)


def test_tags_of_one_title_say_nothing() -> None:
    table = tag_features([("sea", "alone"), ("sea",), ("war",), ("war",), ()])
    assert table is not None
    assert table.names == ("sea", "war")
    assert tag_features([("a",), ("b",), ()]) is None


def test_measures_are_those_of_every_slice(by_vectors: ColdstartResult) -> None:
    one = by_vectors.contestant("fused")
    assert {measure for _, measure in one.found} == {RECALL, NDCG, AUC}
    for estimate in one.found.values():
        low, high = estimate.interval
        assert 0 <= low <= estimate.value <= high <= 1
