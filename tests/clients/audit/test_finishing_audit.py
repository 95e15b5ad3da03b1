"""The audit of a real store and log: what is planted is told; what is wrong is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from resonance.clients.arrow_types import PRESENT, VECTOR
from resonance.clients.audit.finishing import audit_finishing
from resonance.clients.audit.finishing_report import MEASURES, finishing_sections, verdict
from resonance.clients.audit.finishing_rows import BY_LOG, BY_TASTE, FinishingSettings
from resonance.clients.audit.finishing_taste import taste_shares
from resonance.clients.audit.finishing_weights import FITTED, NONE
from resonance.clients.audit.logged_titles import Titles, read_titles
from resonance.clients.audit.viewing_log import Recommended, ViewingLog
from resonance.clients.audit.viewings import write_viewings
from resonance.clients.cli.audit_options import is_known
from resonance.clients.cli.audit_resonance import resonance
from resonance.clients.discovery.history import Viewing
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.taste import make_taste
from resonance.clients.errors import UsageError
from resonance.clients.ingest.rows import title_schema
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import Store
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.space.scores import Weights, explain
from tests.space.strategies import make_descriptor

SIGMAS = {q: {b: 0.5 if q == b == "audio" else 1.0 for b in MODALITIES} for q in MODALITIES}
DESCRIPTOR = make_descriptor(sigmas=SIGMAS)
TITLES, VIEWERS, PLACES = 240, 150, 8
LOOKS = 4
SETTINGS = FinishingSettings(abandoned=0.15, draws=100)
app = typer.Typer()
app.command()(resonance)


def tension() -> NDArray[np.float64]:
    return np.random.default_rng(1).random(TITLES)


def write_titles(uri: str) -> None:
    """Pictures are of one of four looks, by turns; sound and words say nothing. A tenth has the tag loud."""
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((LOOKS, BLOCK_WIDTH))
    blocks = rng.standard_normal((TITLES, len(MODALITIES), BLOCK_WIDTH))
    blocks[:, 0] = looks[np.arange(TITLES) % LOOKS] + 0.7 * blocks[:, 0]
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True) * np.sqrt(len(MODALITIES))
    space = SpaceRef.of(DESCRIPTOR)
    schema = title_schema(space)
    names = [f"title {at}" for at in range(TITLES)]
    axes = [[("tension", {"value": value, "low": "calm", "high": "tense"})] for value in tension()]
    columns = {
        "media_id": names,
        "uri": names,
        "content_hash": ["1"] * TITLES,
        "language": [("de", "en")[at // 7 % 2] for at in range(TITLES)],
        "tags": [["loud"] if at % 10 == 3 else ["other"] for at in range(TITLES)],
        "attributes": [[]] * TITLES,
        "axes": axes,
        "present": [dict.fromkeys(MODALITIES, True) | {"transcript": at % 3 > 0} for at in range(TITLES)],
    }
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(blocks.reshape(-1), pa.float32()), type=VECTOR
    )
    assert arrays["present"].type == PRESENT
    rows = {field.name: arrays.get(field.name, pa.nulls(TITLES, field.type)) for field in schema}
    sink = open_sink(uri, space)
    sink.write(pa.table(rows, schema=schema), batch="titles")
    sink.close()


def draw_log(seed: int, *, scored: bool = True) -> ViewingLog:
    """Viewers of one look each: three titles of their own accord, then four lists that know nothing.

    What has the look is watched farther, and what is tense; what is loud is clicked more and left at once.
    """
    rng = np.random.default_rng(seed)
    look = rng.integers(0, LOOKS, VIEWERS)
    first = np.stack([rng.choice(np.arange(TITLES // LOOKS), 3, replace=False) for _ in range(VIEWERS)])
    lists = rng.integers(0, TITLES, (VIEWERS, 4, PLACES))
    users = np.concatenate([np.repeat(np.arange(VIEWERS), 3), np.repeat(np.arange(VIEWERS), 4 * PLACES)])
    titles = np.concatenate([(first * LOOKS + look[:, None]).reshape(-1), lists.reshape(-1)])
    shown = np.arange(len(users)) >= VIEWERS * 3
    position = np.concatenate(
        [np.zeros(VIEWERS * 3, np.int64), np.tile(np.arange(1, PLACES + 1), VIEWERS * 4)]
    )
    loud, fits = titles % 10 == 3, look[users] == titles % LOOKS
    clicked = ~shown | (rng.random(len(users)) < np.where(loud, 0.9, 0.5) / np.maximum(position, 1))
    mean = 0.15 + 0.35 * fits + 0.45 * tension()[titles]
    mean = np.where(shown, np.where(loud, 0.1, mean), 0.98)
    watched = np.where(clicked, rng.beta(8 * mean, 8 * (1 - mean)), 0)
    at_s = np.concatenate(
        [np.tile([0.0, 1, 2], VIEWERS), np.tile(np.repeat(86_400.0 * np.arange(1, 5), PLACES), VIEWERS)]
    )
    order = np.argsort(at_s, kind="stable")
    score = np.where(shown & scored, 0.5 * fits + rng.random(len(users)), np.nan)
    log = ViewingLog(
        users=users,
        titles=titles,
        at_s=at_s,
        completion=watched.astype(np.float32),
        user_ids=tuple(f"viewer {at}" for at in range(VIEWERS)),
        media_ids=tuple(f"title {at}" for at in range(TITLES)),
        recommended=Recommended(
            score=score.astype(np.float32),
            position=position,
            propensity=np.where(shown, 1 / np.maximum(position, 1), np.nan).astype(np.float32),
            clicked=clicked,
            watch_s=(watched * 100).astype(np.float32),
        ),
    )
    return log.take(order)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("stores") / "films")
    write_titles(path)
    return path


@pytest.fixture
def store(uri: str) -> Iterator[Store]:
    with closing(open_store(uri)) as opened:
        yield opened


@pytest.fixture
def titles(store: Store) -> Titles:
    return read_titles(store, draw_log(0).media_ids, (), {})


def test_shares_are_those_of_the_taste_before_that_moment(uri: str, titles: Titles) -> None:
    log = draw_log(0)
    shares = taste_shares(log, titles, np.ones(len(log), bool), DESCRIPTOR)
    assert log.recommended is not None
    assert np.isnan(shares[log.at_s == 0]).all()
    last = np.flatnonzero((log.users == 5) & (log.at_s == log.at_s.max()))
    earlier = np.flatnonzero((log.users == 5) & (log.at_s < log.at_s.max()) & log.recommended.clicked)
    history = [
        Viewing(
            log.media_ids[log.titles[row]],
            float(log.completion[row]),
            datetime.fromtimestamp(float(log.at_s[row]), UTC),
        )
        for row in earlier
    ]
    with closing(open_library(uri)) as library:
        taste, _ = make_taste(library, DESCRIPTOR, history)
    for row in last:
        title = log.titles[row]
        expected = explain(taste.query, Weights(), titles.vectors[title], titles.present[title]).shares
        np.testing.assert_allclose(shares[row], [share.value for share in expected], rtol=1e-5)


def test_later_viewings_change_no_share(titles: Titles) -> None:
    log = draw_log(0)
    before = taste_shares(log, titles, np.ones(len(log), bool), DESCRIPTOR)
    moment = 2 * 86_400.0
    rng = np.random.default_rng(3)
    later = log.at_s >= moment
    completion = np.where(later, rng.random(len(log)), log.completion).astype(np.float32)
    shuffled = np.where(log.at_s > moment, rng.permutation(log.titles), log.titles)
    other = replace(log, completion=completion, titles=shuffled)
    after = taste_shares(other, titles, np.ones(len(log), bool), DESCRIPTOR)
    np.testing.assert_array_equal(before[log.at_s <= moment], after[log.at_s <= moment])
    assert not np.array_equal(before[log.at_s > moment], after[log.at_s > moment])


def test_what_is_planted_is_found(store: Store) -> None:
    audit = audit_finishing(store, draw_log(1), DESCRIPTOR, SETTINGS)
    assert audit.scored_by == BY_LOG
    # what was watched unasked is no recommendation
    assert audit.log_rows == audit.rows == VIEWERS * 4 * PLACES
    assert audit.correlation.interval[0] > 0
    assert "watched farther" in verdict(audit)
    assert audit.watch_s is not None
    assert audit.watch_s.all.value == pytest.approx(100 * audit.completion.all.value, rel=1e-5)
    blocks = {block.name: block for block in audit.blocks}
    assert sum(block.spread_share for block in audit.blocks) == pytest.approx(1)
    assert blocks["visual"].spread_share > 0.6
    correlations = {name: block.correlation for name, block in blocks.items()}
    assert correlations["visual"] is not None
    assert correlations["visual"].interval[0] > 0.1
    for name in ("audio", "transcript"):
        found = correlations[name]
        assert found is not None
        assert found.interval[0] < 0.1
        assert found.value < correlations["visual"].value / 2
    (axis,) = audit.axes
    assert axis.name == "tension"
    assert axis.correlation.interval[0] > 0
    assert (audit.kinds[0].family, audit.kinds[0].name) == ("tag", "loud")
    assert audit.kinds[0].is_abandoned
    assert audit.kinds[0].click_rate == pytest.approx(0.9, abs=0.15)
    assert audit.kinds[0].rest_click_rate == pytest.approx(0.5, abs=0.1)
    assert "other" in {kind.name for kind in audit.kinds if kind.is_finished}


def test_completion_may_be_missing(store: Store) -> None:
    """What is clicked stays clicked, so that nothing looks less wanted for saying less."""
    log = draw_log(1)
    assert log.recommended is not None
    shown = log.recommended.position > 0
    gone = shown & log.recommended.clicked & (np.random.default_rng(2).random(len(log)) < 0.3)
    told = replace(log, completion=np.where(gone, np.nan, log.completion).astype(np.float32))
    whole, audit = (audit_finishing(store, one, DESCRIPTOR, SETTINGS) for one in (log, told))
    assert (audit.rows, audit.clicked) == (whole.rows, whole.clicked)
    assert audit.watched == whole.clicked - gone.sum()
    assert sum(audit.left_out.values()) == 0
    assert audit.seen is not None
    assert whole.seen is not None
    assert audit.seen.all.value == pytest.approx(whole.seen.all.value, rel=0.05)
    rates = [{kind.name: kind.click_rate for kind in one.kinds} for one in (whole, audit)]
    assert rates[1]["loud"] == rates[0]["loud"]
    texts = {section.heading: section for section in finishing_sections(audit)}
    measures = {one.name: one.value for one in texts["What rows count"].measures}
    assert measures["clicks_of_unknown_completion"] == gone.sum()
    assert (
        f"Of {gone.sum():,} clicks it is not known how far they were watched" in texts["What rows count"].text
    )


def test_without_scores_the_taste_is_the_score(store: Store) -> None:
    log = draw_log(2, scored=False)
    assert log.recommended is not None
    unknown = np.full(len(log), np.nan, np.float32)
    log = replace(log, recommended=replace(log.recommended, propensity=unknown))
    audit = audit_finishing(store, log, DESCRIPTOR, SETTINGS)
    assert audit.scored_by == BY_TASTE
    assert audit.weights.method == FITTED
    assert audit.weights.by_position is not None
    np.testing.assert_allclose(audit.weights.by_position[1][:3], [1, 1 / 2, 1 / 3], rtol=0.2)
    assert audit.correlation.interval[0] > 0
    assert audit.taste_correlation is None


def test_a_log_of_viewings_alone(store: Store) -> None:
    log = draw_log(3)
    assert log.recommended is not None
    viewings = replace(log.take(log.recommended.clicked), recommended=None)
    audit = audit_finishing(store, viewings, DESCRIPTOR, SETTINGS)
    assert audit.weights.method == NONE
    assert audit.seen is None
    assert audit.watch_s is None
    assert audit.effective == pytest.approx(audit.clicked)
    # the first viewings have nothing before them
    assert sum(audit.left_out.values()) >= VIEWERS


def test_the_same_seed_gives_the_same_and_few_rows_are_some_viewers(store: Store) -> None:
    log = draw_log(4)
    settings = replace(SETTINGS, most_rows=1500)
    one, two = (audit_finishing(store, log, DESCRIPTOR, settings) for _ in range(2))
    assert one.correlation == two.correlation
    assert one.kinds == two.kinds
    assert 1500 <= one.rows < 1500 + 4 * PLACES
    assert one.viewers == -(-1500 // (4 * PLACES))


def test_too_little_is_refused(store: Store) -> None:
    log = draw_log(5)
    with pytest.raises(UsageError, match="expected at least 100 of 20"):
        audit_finishing(store, log.take(log.users < 10), DESCRIPTOR, SETTINGS)
    strangers = replace(log, media_ids=tuple(f"film {at}" for at in range(TITLES)))
    with pytest.raises(UsageError, match="none of the log's 240 titles, such as 'film 0'"):
        audit_finishing(store, strangers, DESCRIPTOR, SETTINGS)
    assert log.recommended is not None
    same = replace(log.recommended, score=np.zeros(len(log), np.float32))
    with pytest.raises(UsageError, match="have the score 0; expected scores that differ"):
        audit_finishing(store, replace(log, recommended=same), DESCRIPTOR, SETTINGS)
    for wrong in ({"abandoned": 0.0}, {"abandoned": 1.0}, {"clip": 0.0}, {"clip": 1.5}):
        with pytest.raises(UsageError, match="expected"):
            FinishingSettings(**wrong)


@pytest.fixture
def arguments(uri: str, tmp_path: Path) -> list[str]:
    write_viewings(draw_log(1), tmp_path / "log.parquet")
    (tmp_path / "space.json").write_text(DESCRIPTOR.to_json())
    return [uri, str(tmp_path / "log.parquet"), "--space", str(tmp_path / "space.json"), "--draws", "100"]


def test_the_command(arguments: list[str], tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    groups = ["--group", "language", "--abandoned", "0.15"]
    done = CliRunner().invoke(app, [*arguments, *groups, "--json", "--html", str(html)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    measures = {m["name"]: m for section in report["sections"] for m in section["measures"]}
    assert [name for name in measures if not is_known(name, MEASURES)] == []
    assert measures["score_correlation"]["interval"][0] > 0
    assert measures["effective_clicks"]["value"] < measures["clicks"]["value"]
    assert measures["abandoned tag loud"]["interval"][0] > 0
    assert report["scored by"] == BY_LOG
    kinds = {row["kind"] for section in report["sections"] for row in section["rows"] if "kind" in row}
    assert {"de", "en", "loud", "tension high", "visual"} <= kinds
    page = html.read_text()
    assert page.count("data:image/png") == 4
    assert "tag loud is abandoned" in page


def test_limits_and_wrong_use(arguments: list[str], tmp_path: Path) -> None:
    run = CliRunner().invoke
    broken = run(app, [*arguments, "--limit", "score_correlation>=0.99"])
    assert broken.exit_code == 1
    assert "broken: score_correlation" in broken.stdout
    assert run(app, [*arguments, "--limit", "score_correlation>=0"]).exit_code == 0
    for wrong in (["--abandoned", "2"], ["--clip", "0"], ["--group", "nothing"], ["--limit", "high"]):
        assert run(app, [*arguments, *wrong]).exit_code == 2, wrong
    log = tmp_path / "wrong.csv"
    log.write_text("user,title,time,completion\nann,title 1,1,2\n")
    bad = run(app, [arguments[0], str(log), *arguments[2:]])
    assert bad.exit_code == 1
    assert "wrong.csv row 1, completion: '2'; expected 0 to 1" in bad.stderr


def test_ratings_and_genres(arguments: list[str], tmp_path: Path) -> None:
    """A folder in MovieLens style: genres are kinds too, and the report says what completion is."""
    log = draw_log(1)
    assert log.recommended is not None
    lines = [
        f"{log.users[row]},{log.media_ids[log.titles[row]]},{max(round(log.completion[row] * 10), 1) / 2},"
        f"{int(log.at_s[row])}"
        for row in np.flatnonzero(log.recommended.clicked)
    ]
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]))
    movies = [f"{name},x,{'Crime|Drama' if at % 2 else 'Drama'}" for at, name in enumerate(log.media_ids)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]))
    done = CliRunner().invoke(
        app, [arguments[0], str(folder), *arguments[2:], "--json", "--abandoned", "0.2"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert "not a share watched" in report["completion"]
    kinds = {row["kind"] for section in report["sections"] for row in section["rows"] if "kind" in row}
    assert {"Crime", "loud"} <= kinds


def test_what_was_watched_to_the_very_share_was_not_abandoned(arguments: list[str], tmp_path: Path) -> None:
    """3.5 of 5 is 0.7, which float32 holds as a little less: no less than 0.7 all the same."""
    log = draw_log(1)
    assert log.recommended is not None
    lines = [
        f"{log.users[row]},{log.media_ids[log.titles[row]]},{5 if log.completion[row] > 0.5 else 3.5},"
        f"{int(log.at_s[row])}"
        for row in np.flatnonzero(log.recommended.clicked)
    ]
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]))
    shares = []
    for abandoned in ("0.7", "0.71"):
        done = CliRunner().invoke(
            app, [arguments[0], str(folder), *arguments[2:], "--json", "--abandoned", abandoned]
        )
        assert done.exit_code == 0, done.output
        found = {
            one["name"]: one["value"]
            for section in json.loads(done.stdout)["sections"]
            for one in section["measures"]
        }
        shares.append(found["abandoned"])
    assert shares[0] == 0
    assert shares[1] > 0.3


def test_a_limit_on_a_kind_that_is_not_surely_abandoned(arguments: list[str]) -> None:
    """It is held against what was found of it, and not broken because nothing alarming was."""
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    rows = {
        f"abandoned {row['family']} {row['kind']}": row
        for section in report["sections"]
        for row in section["rows"]
        if "family" in row
    }
    name, row = next((name, row) for name, row in rows.items() if row["verdict"] != "abandoned")
    assert name not in {one["name"] for section in report["sections"] for one in section["measures"]}
    held = CliRunner().invoke(app, [*arguments, "--json", "--limit", f"{name}<={row['difference'] + 0.01}"])
    assert held.exit_code == 0, held.output
    (told,) = (
        one
        for section in json.loads(held.stdout)["sections"]
        for one in section["measures"]
        if one["name"] == name
    )
    assert told["value"] == row["difference"]
    assert told["interval"] == [row["low"], row["high"]]
    assert (
        CliRunner().invoke(app, [*arguments, "--limit", f"{name}<={row['difference'] - 0.01}"]).exit_code == 1
    )
    assert CliRunner().invoke(app, [*arguments, "--limit", "abandoned tag of no title<=1"]).exit_code == 1
