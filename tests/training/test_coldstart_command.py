"""`resonance audit coldstart` on real stores and logs; the words of its verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from resonance.clients.audit.report import Limit, Report
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.audit.viewings import write_viewings
from resonance.clients.cli.audit_options import is_known
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.stored import title_rows
from resonance.training.coldstart.candidates import unnamed_titles
from resonance.training.coldstart.cli import coldstart
from resonance.training.coldstart.features import read_titles
from resonance.training.coldstart.logs import join_logs, only_titles
from resonance.training.coldstart.report import (
    MEASURES,
    _new,
    measure_name,
    measures_of,
    missing,
    notes,
    verdict,
)
from resonance.training.coldstart.result import (
    COLD,
    RECALL,
    ColdstartResult,
    Contestant,
    Difference,
    Estimate,
    SplitFacts,
)
from resonance.training.tuning import ENVIRONMENT
from tests.training.planted_viewings import plant

PLANTED = plant("vectors", users=500, titles=400, each=25)
SPACE = SpaceRef("planted", "planted", True)
GENRES = [f"genre {at}" for at in PLANTED.tags.argmax(axis=1)]
app = typer.Typer()
app.command()(coldstart)


@pytest.fixture(autouse=True)
def _tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command starts itself again, so that it does not."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def write(
    uri: Path, vectors: np.ndarray, present: np.ndarray | None = None, dates: Sequence[str | None] = ()
) -> str:
    """The planted titles; and more of them, alike, for each of `dates`, that no log names."""
    sink = open_sink(str(uri), SPACE)
    count = len(vectors)
    there = np.ones((count, 3), np.bool_) if present is None else present
    rows = title_rows(
        PLANTED.log.media_ids[:count], vectors, there, [[genre] for genre in GENRES[:count]], SPACE
    )
    sink.write(rows, batch="planted")
    if dates:
        n = len(dates)
        names = [f"unnamed {at}" for at in range(n)]
        rows = title_rows(names, vectors[:n], np.ones((n, 3), np.bool_), [[one] for one in GENRES[:n]], SPACE)
        told = pa.array([[] if day is None else [("date", day)] for day in dates], rows["attributes"].type)
        sink.write(
            rows.set_column(rows.schema.get_field_index("attributes"), "attributes", told), batch="more"
        )
    sink.close()
    return str(uri)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("stores") / "films", PLANTED.vectors)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("logs") / "log.parquet"
    write_viewings(PLANTED.log, path)
    return str(path)


def test_the_command(store: str, log: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    random = np.random.default_rng(0).standard_normal(PLANTED.vectors.shape).astype(np.float32)
    untrained = write(tmp_path / "untrained", random)
    done = CliRunner().invoke(
        app,
        [
            *(store, log, "--beside", f"untrained={untrained}", "--json", "--html", str(page)),
            *("--hold-out", "0.2", "--limit", "recall@10 fused>=0.2", "--limit", "fused over tags>=0"),
            *("--limit", "fused over untrained<=0"),
        ],
    )
    assert done.exit_code == 1, done.output
    report = json.loads(done.stdout)
    assert [one["measure"] for one in report["broken"]] == ["fused over untrained"]
    assert report["titles"] == len(PLANTED.vectors)
    assert report["titles_not_in_log"] == len(PLANTED.vectors) - len(np.unique(PLANTED.log.titles))
    figures = {m["name"]: m for section in report["sections"] for m in section["measures"]}
    assert [name for name in figures if not is_known(name, MEASURES)] == []
    contestants = {"fused", "visual", "audio", "text", "tags", "untrained", "popularity", "factorisation"}
    assert set(figures) <= measures_of(contestants, "fused", 10)
    for other in ("tags", "untrained", "popularity", "factorisation"):  # blocks: too few titles to tell
        assert figures[f"fused over {other}"]["interval"][0] > 0, other
    assert "miscalibration fused" in figures
    assert {"fused over visual", "fused over audio", "fused over text"} <= set(figures)
    assert report["sections"][0]["text"].startswith("fused finds new titles")
    html = page.read_text()
    assert html.count("<img") == 4
    assert not re.findall(r"https?://|<script", html)


def test_titles_that_the_log_never_names_are_new_ones(tmp_path: Path) -> None:
    """A new title that nobody watched is a candidate: else the test's own viewings choose what is ranked."""
    dates = [None] * 200 + ["2022-05-01"] * 100 + ["2031-01-01"] * 50
    uri = write(tmp_path / "more", PLANTED.vectors, dates=dates)
    some = PLANTED.log.take(PLANTED.log.users < 150)
    log = str(tmp_path / "log.parquet")
    write_viewings(some, Path(log))
    unwatched = len(PLANTED.vectors) - len(np.unique(some.titles))  # planted, undated, named nowhere
    new, found = {}, {}
    for most in ("10000", "0"):
        options = ["--viewers", "50", "--hold-out", "0", "--unnamed", most, "--json"]
        done = CliRunner().invoke(app, [uri, log, *options])
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        taken = min(int(most), unwatched + 300)
        assert report["titles_not_in_log"] == taken
        assert report["titles_not_in_log_left_out_as_later"] == 50
        assert report["titles_not_in_log_left_out_by_lot"] == unwatched + 300 - taken
        rows = {row["what"]: row["count"] for row in report["sections"][-1]["rows"]}
        assert rows["of them viewed by nobody"] == taken
        new[most] = rows["new titles"]
        figures = {m["name"]: m["value"] for section in report["sections"] for m in section["measures"]}
        found[most] = figures["recall@10 fused"]
        undated = report["titles_not_in_log_of_unknown_date"]
        assert (undated == 200 + unwatched) == (most == "10000")
        assert any(f"{undated} new titles are named nowhere" in note for note in report["notes"]) == (
            undated > 0
        )
        assert any("left out (--unnamed)" in note for note in report["notes"]) == (most != "10000")
    assert new["10000"] == new["0"] + unwatched + 300
    assert found["10000"] < found["0"] / 2


def test_what_is_named_as_new_is_always_a_candidate(tmp_path: Path) -> None:
    uri = write(tmp_path / "more", PLANTED.vectors, dates=["2022-05-01", "2031-01-01", "2031-01-01", None])
    with closing(open_store(uri)) as opened:
        found = unnamed_titles(
            opened, PLANTED.log.media_ids, end_s=1.7e9, most=1, wanted=("unnamed 1", "elsewhere")
        )
        # the day of the end is before the end
        last = unnamed_titles(opened, PLANTED.log.media_ids, end_s=1651363200.0, most=9)
        before = unnamed_titles(opened, PLANTED.log.media_ids, end_s=1651363199.0, most=9)
    assert found.media_ids[0] == "unnamed 1"
    assert found.media_ids[1] in ("unnamed 0", "unnamed 3")
    assert (found.undated, found.later, found.beyond) == (int(found.media_ids[1] == "unnamed 3"), 1, 1)
    assert last.media_ids == ("unnamed 0", "unnamed 3")
    assert (before.media_ids, before.later) == (("unnamed 3",), 3)


def test_names_to_hold_out_that_are_no_titles(store: str, tmp_path: Path) -> None:
    some = PLANTED.log.take(PLANTED.log.users < 100)
    log = str(tmp_path / "log.parquet")
    write_viewings(some, Path(log))
    names = tmp_path / "new.txt"
    names.write_text("films/title 1.mp4\nfilms/title 2.mp4\n")
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [store, log, "--held-out", str(names)])
    assert done.exit_code == 2
    assert "none of the 2 media ids that are to be held out is among the 400 titles" in done.output
    early = set(some.titles[some.at_s < np.quantile(some.at_s, 0.8)])
    late = some.media_ids[next(at for at in some.titles if at not in early)]
    names.write_text(f"films/title 1.mp4\n{late}\nfilms/title 2.mp4\n")
    options = ["--viewers", "50", "--held-out", str(names), "--json"]
    done = CliRunner().invoke(app, [store, log, *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["held_out_not_found"] == 2


def test_tags_of_a_file_and_a_verdict_on_the_terminal(store: str, log: str, tmp_path: Path) -> None:
    tags = tmp_path / "tags.csv"
    names = PLANTED.log.media_ids
    tags.write_text("media_id,tags\n" + "".join(f"{name},only\n" for name in names))
    quick = ["--viewers", "50", "--hold-out", "0.2"]
    done = CliRunner().invoke(app, [store, log, "--tags", str(tags), *quick])
    assert done.exit_code == 0, done.output
    assert "fused" in done.stdout.splitlines()[0]
    assert "recall@10 tags" not in done.stdout  # a tag on all titles says nothing


def test_a_test_that_was_cut_already(store: str, tmp_path: Path) -> None:
    some = PLANTED.log.take(PLANTED.log.users < 150)
    cut = round(0.8 * len(some))
    rows = np.arange(len(some))
    paths = [tmp_path / "earlier.csv", tmp_path / "later.csv"]
    write_viewings(some.take(rows[:cut]), paths[0])
    write_viewings(some.take(rows[cut:]), paths[1])
    arguments = [store, str(paths[0]), "--test", str(paths[1])]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    # a leak: some of the test lie before what is learned from
    write_viewings(some.take(np.concatenate([rows[100:120], rows[cut:]])), paths[1])
    write_viewings(some.take(np.concatenate([rows[:100], rows[120:cut]])), paths[0])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "the test leaks: 20 test viewings before the last that is learned from" in done.output
    # and viewings that are in both
    write_viewings(some.take(rows[:cut]), paths[0])
    repeated = replace(some, at_s=np.where(rows < 3, some.at_s[-1] + rows, some.at_s))
    write_viewings(repeated.take(np.concatenate([rows[cut:], rows[:3]])), paths[1])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "3 test viewings of a title that the same viewer had watched before" in done.output
    assert CliRunner().invoke(app, [*arguments, "--drop-rewatched", "--json"]).exit_code == 0


def test_a_title_that_is_said_to_be_new_and_is_not(store: str, log: str, tmp_path: Path) -> None:
    new = tmp_path / "new.txt"
    first = PLANTED.log.media_ids[PLANTED.log.titles[0]]
    new.write_text(f"{first}\n")
    done = CliRunner().invoke(app, [store, log, "--held-out", str(new)])
    assert done.exit_code == 1
    assert "viewings of held-out titles among those that are learned from" in done.output
    assert first in done.output


def test_tags_made_of_the_test_are_refused(store: str, log: str, tmp_path: Path) -> None:
    start_s = np.quantile(PLANTED.log.at_s, 0.8)
    late = PLANTED.log.at_s >= start_s
    views = np.bincount(PLANTED.log.titles[late], minlength=400)
    tags = tmp_path / "tags.csv"
    trending = views >= np.sort(views)[-120]
    names = PLANTED.log.media_ids
    lines = [f"{name},{'trending' if hot else 'other'}\n" for name, hot in zip(names, trending, strict=True)]
    tags.write_text("media_id,tags\n" + "".join(lines))
    done = CliRunner().invoke(app, [store, log, "--tags", str(tags)])
    assert done.exit_code == 1
    assert "tags, trending" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--beside", "untrained"], 2, "expected NAME=STORE"),
        (["--beside", "tags=STORE"], 2, "a contestant is called tags already"),
        (["--beside", "few=FEW"], 2, "; expected the same titles in both stores"),
        (["--limit", "x"], 2, "expected MEASURE"),
        (["--limit", "recall@10 fusd>=0.1"], 2, "no measure 'recall@10 fusd'; near it are recall@10 fused"),
        (["--limit", "fused over untraned>=0"], 2, "no measure 'fused over untraned'"),
        (["--limit", "recall@20 fused>=0.1"], 2, "no measure 'recall@20 fused'; near it are recall@10 fused"),
        (["--tags", "none.csv"], 1, "none.csv"),
        (["--held-out", "none.txt"], 1, "expected media ids in UTF-8, one a line"),
    ],
)
def test_wrong_use(store: str, log: str, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    few = write(tmp_path / "few", PLANTED.vectors[:50]) if "few=FEW" in arguments else ""
    given = [text.replace("STORE", store).replace("FEW", few) for text in arguments]
    if given[1].startswith("none"):
        given[1] = str(tmp_path / given[1])
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [store, log, *given])
    assert done.exit_code == code, done.output
    assert words in done.output


def test_a_log_of_other_titles(store: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,title,time,completion\na,nowhere,1,\n")
    done = CliRunner().invoke(app, [store, str(path)])
    assert done.exit_code == 1
    assert "none of the 1 titles of the log, such as nowhere" in done.output


def test_titles_are_read_in_the_order_of_the_log(store: str) -> None:
    wanted = ("title 7", "elsewhere", "title 3", "title 199")
    titles = read_titles(open_store(store), wanted)
    assert titles.media_ids == ("title 7", "title 3", "title 199")
    np.testing.assert_allclose(titles.vectors, PLANTED.vectors[[7, 3, 199]], atol=1e-6)
    assert titles.tags == tuple((GENRES[at],) for at in (7, 3, 199))
    kept, rows = only_titles(PLANTED.log, titles.media_ids)
    assert {PLANTED.log.media_ids[t] for t in PLANTED.log.titles[rows]} == set(kept.media_ids)
    assert [kept.media_ids[t] for t in kept.titles] == [
        PLANTED.log.media_ids[t] for t in PLANTED.log.titles[rows]
    ]


def test_two_logs_as_one() -> None:
    rows = np.arange(len(PLANTED.log))
    one, other = PLANTED.log.take(rows % 3 > 0), PLANTED.log.take(rows % 3 == 0)
    turned = replace(
        other, users=len(other.user_ids) - 1 - other.users, user_ids=tuple(reversed(other.user_ids))
    )
    joined, second = join_logs(one, turned)

    def told(log: ViewingLog) -> list[tuple[str, str, float]]:
        return sorted(
            (log.user_ids[u], log.media_ids[t], float(s))
            for u, t, s in zip(log.users, log.titles, log.at_s, strict=True)
        )

    assert told(joined) == told(PLANTED.log)
    assert told(joined.take(second)) == told(other)
    assert (np.diff(joined.at_s) >= 0).all()


def result_of(differences: dict[str, tuple[float, float, float]]) -> ColdstartResult:
    """The reference at 0.3, and others by difference and its interval."""

    def contestant(name: str, value: float) -> Contestant:
        found = {(COLD, RECALL): Estimate(value, (value - 0.01, value + 0.01))}
        nothing = Estimate(0.0, (0.0, 0.0))
        return Contestant(name, "two towers", 4, 1, 0.0, found, 0.0, nothing, nothing, None, None)

    return ColdstartResult(
        reference="fused",
        k=10,
        seed=0,
        trainings=1,
        contestants=(
            contestant("fused", 0.3),
            *(contestant(name, 0.3 - value) for name, (value, _, _) in differences.items()),
        ),
        differences=tuple(
            Difference(name, COLD, RECALL, Estimate(value, (low, high)), None)
            for name, (value, low, high) in differences.items()
        ),
        split=SplitFacts(0.0, 1, 1, 1, 0, 1, 1, 1, 1, 0, {}, 0.0, 0.0),
    )


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ({"tags": (-0.1, -0.2, -0.05)}, "Against the vectors: tags alone find new titles better than fused"),
        ({"text": (-0.1, -0.2, -0.05)}, "text alone finds new titles better than fused does, by 0.100"),
        (
            {"text": (-0.1, -0.2, -0.05), "tags": (-0.2, -0.3, -0.1)},
            "fused: recall@10 0.300 (0.290 to 0.310)). So does text.",
        ),
        (
            {"tags": (0.1, 0.05, 0.2), "popularity": (0.2, 0.1, 0.3)},
            "better than every other: recall@10 0.300 (0.290 to 0.310), the next is tags with 0.200",
        ),
        (
            {"tags": (0.1, -0.05, 0.2), "popularity": (0.2, 0.1, 0.3)},
            "no better or worse than tags as far as can be told; better than popularity.",
        ),
        (
            {"tags": (0.1, -0.05, 0.2), "popularity": (0.0, -0.1, 0.1)},
            "Nothing was found in fused: its recall@10 0.300 (0.290 to 0.310) cannot be told from popularity",
        ),
        ({}, "No new title was viewed in the test"),
    ],
)
def test_the_verdict_says_what_the_intervals_bear_out(
    differences: dict[str, tuple[float, float, float]], words: str
) -> None:
    assert words in verdict(result_of(differences))


def test_recall_of_lists_that_hold_every_new_title_is_not_told() -> None:
    """It is 1 whoever made them: neither found, nor as good as tags, nor a gate that holds."""
    few = result_of({"tags": (0.0, -0.4, 0.4), "popularity": (0.0, -0.4, 0.4)})
    few = replace(few, split=replace(few.split, new_titles=10, known_titles=90, chance={COLD: 1.0}))
    assert verdict(few).startswith("Nothing can be said of cold start by recall@10")
    why = (
        "of new titles (10) no viewer has more to choose from than a list of 10 holds, so that recall@10 is "
        "1 whoever made it; expected more of them, or a smaller --k"
    )
    assert notes(few) == (f"O{why[1:]}.",)
    limits = tuple(Limit(name, least=0.0) for name in ("recall@10 fused", "fused over tags"))
    report = Report("", {}, (_new(few),), limits, missing=missing(few))
    assert report.verdicts() == [f"{limit.measure}: expected at least 0; {why}" for limit in limits]
    many = replace(few, split=replace(few.split, chance={COLD: 0.99}))
    assert (notes(many), missing(many)) == ((), {})
    assert {"recall@10 fused", "fused over tags"} <= set(Report("", {}, (_new(many),)).measures())


def test_names_of_measures() -> None:
    result = result_of({})
    assert measure_name(result, RECALL, "fused") == "recall@10 fused"
    assert measure_name(result, "auc", "tags", "known tail") == "auc known tail tags"
