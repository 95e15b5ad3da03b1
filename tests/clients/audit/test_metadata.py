import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from resonance.clients.audit.explained import out_of_fold, random_folds
from resonance.clients.audit.metadata import MetadataAudit, audit_metadata, metadata_score
from resonance.clients.audit.metadata_report import MEASURES, missing, notes, verdict
from resonance.clients.audit.sampling import LibrarySample, read_sample
from resonance.clients.audit.tag_learning import _auc, learn_tags, vector_structure
from resonance.clients.audit.tag_pairs import mean_cosine, spreads, tag_pairs
from resonance.clients.audit.tag_table import centred_blocks, tag_table
from resonance.clients.cli.audit_metadata import metadata
from resonance.clients.cli.audit_options import is_known
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.loadtest.audit.metadata import measure_coverage
from resonance.loadtest.audit.stored import write_store
from resonance.loadtest.audit.tagged import FactorModel, Poorer, draw_sample

MODEL = FactorModel(np.random.default_rng(0))
RIGHT = draw_sample(MODEL, 1500, Poorer(), np.random.default_rng(1), unit=True)


@pytest.fixture(scope="module")
def right() -> MetadataAudit:
    return audit_metadata(RIGHT)


def made_of_noise(sample: LibrarySample) -> LibrarySample:
    blocks = np.random.default_rng(5).standard_normal(sample.blocks.shape).astype(np.float32)
    return replace(sample, blocks=blocks / np.linalg.norm(blocks, axis=-1, keepdims=True))


def score_of(sample: LibrarySample) -> tuple[float, tuple[float, float]]:
    score, _ = metadata_score(sample, tag_table(sample.tags), seed=0)
    return score.share, score.interval


def test_out_of_fold_is_what_scikit_learn_predicts() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 7))
    y = x @ rng.standard_normal((7, 3)) + rng.standard_normal((200, 3)) + 4
    folds = random_folds(200, rng)
    found = out_of_fold(x, y, folds)
    centred, predicted = found.centred, found.predicted
    for fold in range(10):
        mine = folds == fold
        fit = Ridge(alpha=0.01).fit(x[~mine], y[~mine])
        mean = y[~mine].mean(axis=0)
        np.testing.assert_allclose(predicted[mine], fit.predict(x[mine]) - mean, atol=1e-9)
        np.testing.assert_allclose(centred[mine], y[mine] - mean)
    assert found.explained().r2 == pytest.approx(1 - ((centred - predicted) ** 2).sum() / (centred**2).sum())


def test_the_interval_covers_the_truth_and_the_score_falls() -> None:
    rows, fell = measure_coverage(runs=4)
    assert fell == 4
    # of 56 intervals of 95%, at least 47 cover with probability 0.997
    assert sum(row.covered for row in rows) >= 47
    right, noise = rows[0], rows[-1]
    assert (right.tags, noise.tags) == ("drop 0", "noise")
    assert right.truth > 0.4
    assert noise.covered >= 3


def test_useless_tags_do_not_raise_the_score() -> None:
    rng = np.random.default_rng(3)
    useless = [tuple(f"useless {i}" for i in np.flatnonzero(rng.random(300) < 0.1)) for _ in RIGHT.tags]
    more = replace(RIGHT, tags=tuple(own + new for own, new in zip(RIGHT.tags, useless, strict=True)))
    score, (low, high) = score_of(RIGHT)
    with_useless, _ = score_of(more)
    assert low - 0.01 < with_useless < high + 0.01
    alone, (low, _) = score_of(replace(RIGHT, tags=tuple(useless)))
    assert low <= 0
    assert alone < score / 20


def test_noise_on_either_side_is_told(right: MetadataAudit) -> None:
    noise = audit_metadata(made_of_noise(RIGHT))
    assert noise.score.interval[0] <= 0
    assert "Doubt the vectors" in verdict(noise)
    rng = np.random.default_rng(4)
    thrown = tuple(tuple(f"tag {i}" for i in np.flatnonzero(rng.random(20) < 0.2)) for _ in RIGHT.tags)
    random_tags = audit_metadata(replace(RIGHT, tags=thrown))
    assert random_tags.score.interval[0] <= 0
    assert "Doubt the tags" in verdict(random_tags)
    assert abs(random_tags.learned.auc - 0.5) < 0.05
    assert random_tags.learned.explained.interval[0] <= 0
    assert "Tags explain" in verdict(right)


def test_inferred_blocks_do_not_count() -> None:
    blocks = RIGHT.blocks.copy()
    absent = ~RIGHT.present
    blocks[absent] = np.roll(blocks[absent], 1, axis=-1)
    assert score_of(replace(RIGHT, blocks=blocks)) == score_of(RIGHT)
    none = replace(RIGHT, present=RIGHT.present & [True, True, False])
    audit = audit_metadata(none)
    assert not audit.blocks[2].total.any()
    assert audit.score.share > 0.4


def test_a_modality_of_few_titles_is_left_out_and_told(right: MetadataAudit) -> None:
    """Tags that say everything of every block: never fitted is not nothing in common."""
    rng = np.random.default_rng(9)
    kinds = np.arange(180) % 4
    blocks = rng.standard_normal((4, 1, 596))[kinds] + 0.3 * rng.standard_normal((180, 3, 596))
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    tags = tuple((f"kind {kind}",) for kind in kinds)

    def library(pictures: int) -> LibrarySample:
        seen = np.arange(180) < pictures
        present = np.stack([seen, ~seen, np.zeros_like(seen)], axis=1)
        names = tuple(map(str, range(180)))
        return LibrarySample(names, blocks.astype(np.float32), present, tags, 180, present.sum(axis=0))

    with pytest.raises(UsageError, match="180 titles: visual on 90, audio on 90, transcript on 0; expected"):
        audit_metadata(library(90))
    audit = audit_metadata(library(110))
    assert audit.score.share > 0.8
    assert notes(audit) == (
        "audio: 70 titles have it, which is no part of the score; expected at least 100.",
    )
    assert sorted(missing(audit)) == ["explained_audio", "explained_transcript", "r2_audio", "r2_transcript"]
    assert notes(right) == ()


def test_the_score_is_of_tags_that_count_and_what_is_left_out_is_told(right: MetadataAudit) -> None:
    """Of 300 titles, most subjects and settings are on fewer than 20."""
    some = draw_sample(MODEL, 300, Poorer(), np.random.default_rng(1))
    truth = MODEL.truth(Poorer())
    few, all_of_them = tag_table(some.tags), tag_table(some.tags, 2)
    assert metadata_score(some, few, seed=0)[0].interval[1] < truth
    low, high = metadata_score(some, all_of_them, seed=0)[0].interval
    assert low < truth < high
    rare = [tag for tag, count in Counter(tag for own in some.tags for tag in own).items() if count < 20]
    carried = sum(tag in rare for own in some.tags for tag in own)
    assert few.rare_share == carried / 1500
    assert notes(replace(right, table=few)) == (
        f"Of 64 tags {len(rare)} are on too few titles to count (--least): {carried / 1500:.0%} of all tags "
        "that titles carry. What they say is no part of the score.",
    )
    many = tag_table([(f"tag {at % 500}", f"tag {at * 7 % 500}") for at in range(20_000)])
    assert (many.rare, many.beyond) == (0, 100)
    (told,) = notes(replace(right, table=many))
    assert told.startswith("Of 500 tags 100 are beyond the 400 most common: 2")
    assert notes(replace(right, table=all_of_them)) == ()


def test_auc_is_that_of_scikit_learn_and_its_influence_gives_its_spread() -> None:
    rng = np.random.default_rng(6)
    aucs, halves = [], []
    for _ in range(200):
        carried = np.arange(400) < 80
        values = np.round(rng.standard_normal(400) + carried * 0.7, 1)  # with ties
        auc, influence = _auc(values, carried)
        assert auc == pytest.approx(roc_auc_score(carried, values))
        aucs.append(auc)
        halves.append(np.sqrt((influence**2).sum()))
    assert np.mean(halves) == pytest.approx(np.std(aucs), rel=0.2)


def thrown_on(titles: int, tags: int, share: float, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Tags by lot."""
    return [tuple(f"t{i}" for i in np.flatnonzero(rng.random(tags) < share)) for _ in range(titles)]


def test_tags_by_lot_are_told_as_seldom_as_the_interval_says() -> None:
    told = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tags = thrown_on(200, 40, 0.2, rng)
        scores = rng.standard_normal((200, 32))
        learned = learn_tags(scores, tags, tag_table(tags), random_folds(200, rng), seed)
        told += [one.interval[0] > 0.5 for one in learned.tags]
    # 2.5% of 400 expected; with predictions taken as given 27 were told
    assert sum(told) <= 16


def test_noise_of_which_some_titles_have_no_words_has_no_structure() -> None:
    rng = np.random.default_rng(1)
    blocks = np.zeros((300, 3, 596), np.float32)
    blocks[..., :100] = rng.standard_normal((300, 3, 100))  # fewer directions are found sooner
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    present = np.ones((300, 3), np.bool_)
    present[:, 2] = rng.random(300) < 0.2
    found = vector_structure(centred_blocks(blocks, present), rng)
    low, high = found.interval
    assert low <= 0 <= high
    assert high - low < 0.02


def test_the_interval_of_shared_neighbours_is_of_pairs_that_share_a_title() -> None:
    """Against the definition: the sum over all two pairs that have a title in common."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((40, 6)).astype(np.float32)
    vectors[:, 0] += 2 * (np.arange(40) < 8)  # some are near to many
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tags = [(f"t{at}",) for at in rng.integers(3, size=40)]
    found = tag_pairs(vectors, tags, rng)
    cosines = vectors @ vectors.T - 2 * np.eye(40)
    pairs = [(i, int(j)) for i in range(40) for j in np.argsort(-cosines[i])[:10]]
    above = np.array([tags[i] == tags[j] for i, j in pairs]) - found.neighbours_share
    touching = np.array([[bool({*one} & {*other}) for other in pairs] for one in pairs])
    half = 1.96 * np.sqrt(above @ touching @ above) / len(pairs)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(half, rel=1e-4)


def test_tags_by_lot_are_seldom_wider_than_the_library() -> None:
    """Small tags of unequal clusters, whose mean cosines are skewed."""
    centres = np.random.default_rng(1).standard_normal((10, 64))
    wider = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors = centres[np.minimum(rng.geometric(0.4, 600) - 1, 9)] + 0.5 * rng.standard_normal((600, 64))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        found, _ = spreads(vectors, tag_table(thrown_on(600, 30, 0.05, rng)))
        mean = mean_cosine(vectors)
        assert all(one.interval[1] < one.at_most for one in found)
        wider += any(one.at_most < mean for one in found)
    assert wider <= 3  # with an interval of 95% for each tag 6


def test_spread_is_the_mean_over_pairs() -> None:
    vectors = RIGHT.blocks[:300].reshape(300, -1) / np.float32(np.sqrt(3))
    table = tag_table(RIGHT.tags[:300])
    cosines = vectors @ vectors.T
    pairs = ~np.eye(300, dtype=bool)
    assert mean_cosine(vectors) == pytest.approx(cosines[pairs].mean(), abs=1e-5)
    found, _ = spreads(vectors, table)
    for at, spread in enumerate(found):
        mine = np.flatnonzero(table.carried[:, at])
        own = cosines[np.ix_(mine, mine)][~np.eye(len(mine), dtype=bool)]
        assert spread.cosine == pytest.approx(own.mean(), abs=1e-5)


def test_planted_pairs_and_wrong_tags_are_found() -> None:
    blocks, tags = RIGHT.blocks.copy(), list(RIGHT.tags)
    blocks[7] = blocks[3]  # the same film
    tags[3], tags[7] = ("only here",), ("only there",)
    blocks[11] = -blocks[12]
    tags[11] = tags[12] = ("twin a", "twin b")
    odd = next(i for i, own in enumerate(tags) if "subject 4" in own and i > 20)
    blocks[odd] = -blocks[odd]
    vectors = blocks.reshape(len(blocks), -1) / np.float32(np.sqrt(3))
    pairs = tag_pairs(vectors, tags, np.random.default_rng(0))
    assert {pairs.near[0].one, pairs.near[0].other} == {3, 7}
    assert pairs.near[0].cosine == pytest.approx(1, abs=1e-4)
    assert {pairs.far[0].one, pairs.far[0].other} == {11, 12}
    assert pairs.neighbours_share > pairs.any_share
    _, suspects = spreads(vectors, tag_table(tags))
    assert suspects[0].title == odd


def test_what_would_raise_the_score_most() -> None:
    """A third of the titles lost its tags; and one tag stands for two subjects."""
    lost = np.random.default_rng(8).random(len(RIGHT.tags)) < 0.33
    tags = [() if gone else own for own, gone in zip(RIGHT.tags, lost, strict=True)]
    audit = audit_metadata(replace(RIGHT, tags=tuple(tags)))
    assert audit.group_gains[0].what == "titles without a tag"
    assert audit.group_gains[0].titles == lost.sum()
    both = {"setting 1": "setting 0"}
    merged = tuple(tuple(both.get(tag, tag) for tag in own) for own in RIGHT.tags)
    assert audit_metadata(replace(RIGHT, tags=merged)).split_gains[0].what == "setting 0"


def test_a_library_is_sampled_at_random(tmp_path: Path) -> None:
    write_store(str(tmp_path), 600)
    store = open_store(str(tmp_path))
    whole, part = read_sample(store, 1000, seed=0), read_sample(store, 200, seed=0)
    assert len(whole.media_ids) == whole.titles == part.titles == 600
    assert len(set(part.media_ids)) == 200
    assert part.titles_with.tolist() == whole.titles_with.tolist() == whole.present.sum(axis=0).tolist()
    places = [whole.media_ids.index(name) for name in part.media_ids]
    np.testing.assert_array_equal(part.blocks, whole.blocks[places])
    assert part.tags == tuple(whole.tags[place] for place in places)
    assert max(places) > 500
    assert min(places) < 100


def test_command(tmp_path: Path) -> None:
    store, html = str(tmp_path / "store"), tmp_path / "report.html"
    write_store(store, 2000)
    app = typer.Typer()
    app.command()(metadata)
    run = CliRunner()
    done = run.invoke(app, [store, "--json", "--html", str(html), "--limit", "metadata_score>=0.3"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["sampled"] == 2000
    figures = {m["name"]: m for section in report["sections"] for m in section["measures"]}
    assert [name for name in figures if not is_known(name, MEASURES)] == []
    low, high = figures["metadata_score"]["interval"]
    assert low - 0.01 < MODEL.truth(Poorer()) < high + 0.01  # unit blocks: nearly linear
    assert html.read_text().count("<img") == 3

    tags = tmp_path / "tags.csv"
    tags.write_text("media_id,tags\n" + "".join(f"{i},{'even' if i % 2 else 'odd'}\n" for i in range(2003)))
    done = run.invoke(app, [store, str(tags), "--limit", "metadata_score>=0.3"])
    assert done.exit_code == 1
    assert "broken: metadata_score" in done.stdout
    assert "of no title of the store, such as '2000'" in done.stdout
    tags.write_text("media_id,tags\nelsewhere,sea\n")
    assert run.invoke(app, [store, str(tags)]).exit_code == 2
    assert run.invoke(app, [store, str(tmp_path / "none.csv")]).exit_code == 1
    assert run.invoke(app, [str(tmp_path / "none")]).exit_code == 1


def test_too_little_to_say_anything() -> None:
    with pytest.raises(UsageError, match="0 tags on 1500 titles"):
        audit_metadata(replace(RIGHT, tags=((),) * 1500))
    few = LibrarySample(
        RIGHT.media_ids[:50],
        RIGHT.blocks[:50],
        RIGHT.present[:50],
        RIGHT.tags[:50],
        50,
        RIGHT.present[:50].sum(axis=0),
    )
    with pytest.raises(UsageError, match="50 titles"):
        audit_metadata(few)
