"""The audit of a real store: what is planted is told, with all that an alert states; wrong use is refused."""

from __future__ import annotations

import json
import re
import unicodedata
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from resonance.clients.audit.bias import audit_bias
from resonance.clients.audit.bias_metrics import write_metrics
from resonance.clients.audit.bias_queries import AskedQuery, ask, read_queries, result_counts
from resonance.clients.audit.bias_report import MEASURES, make_report
from resonance.clients.audit.bias_survey import BiasSettings
from resonance.clients.audit.clusters import OUTSIDE, find_clusters, sample_vectors
from resonance.clients.audit.groups import (
    UNKNOWN,
    DimensionBuilder,
    crossed,
    in_order,
    make_source,
    month_of,
    read_target,
)
from resonance.clients.audit.report import Limit, Report
from resonance.clients.audit.representation import Against, Correction
from resonance.clients.cli.audit_bias import bias
from resonance.clients.cli.audit_options import is_known
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.taste import Counted, Taste, save_taste
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.bias import Planted, measure
from resonance.loadtest.audit.bias_store import MONTHS, simulate, write_simulated
from resonance.space.scores import Weights, own_sigmas
from tests.clients.discovery.made import random_titles, write
from tests.space.strategies import make_descriptor

DESCRIPTOR = make_descriptor()
app = typer.Typer()
app.command()(bias)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """600 titles of three kinds; all of kind 0 and a tenth of the others are of country x."""
    made = simulate(600, 3, 0)
    chance = np.random.default_rng(0)
    for at, told in enumerate(made.attributes):
        told["country"] = "x" if made.kinds[at] == 0 or chance.random() < 0.1 else "y"
        told["age"] = "new" if told["date"] >= "2026-10" and chance.random() < 0.9 else "old"
    uri = str(tmp_path_factory.mktemp("stores") / "films")
    write_simulated(uri, made, SpaceRef.of(DESCRIPTOR))
    return uri


def run(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code in (0, 1), done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_cluster_of_one_country_is_told(store: str) -> None:
    audit = audit_bias(
        store, BiasSettings(sources=[make_source("attribute:country"), make_source("language")])
    )
    assert audit.survey.clusters.count == 3
    strangest = max(audit.alerts, key=lambda one: one.deviation)
    assert strangest.cell.share == 1
    assert strangest.cell.size == 200
    assert strangest.interval[0] > strangest.cell.expected
    assert {one.cell.dimension for one in audit.alerts} == {"attribute:country"}
    # of two groups the rarer alone is tested
    assert {one.cell.group for one in audit.alerts} == {"x"}


def test_both_of_two_groups_have_their_worst_deviation(store: str) -> None:
    """The rarer alone is tested: what it has too much of, the other lacks. A limit may name either."""
    country, age = make_source("attribute:country"), make_source("attribute:age")
    audit = audit_bias(store, BiasSettings(sources=[country, age], time="date"))
    least = Limit("worst deviation attribute:country=y", least=-0.5)
    report = make_report(audit, [least])
    measures = report.measures()
    rare, common = (measures[f"worst deviation attribute:country={group}"] for group in "xy")
    assert rare.value > 0.3
    assert rare.interval is not None
    assert common.value == pytest.approx(-rare.value)
    assert common.interval == pytest.approx((-rare.interval[1], -rare.interval[0]))
    assert common.about == rare.about
    assert [limit.measure for limit in report.broken()] == [least.measure]
    assert {f"worst deviation attribute:age={group}" for group in ("new", "old")} <= set(measures)


def test_both_of_two_groups_are_in_the_metrics(store: str, tmp_path: Path) -> None:
    settings = BiasSettings(sources=[make_source("attribute:country")])
    write_metrics(audit_bias(store, settings, against=store), tmp_path / "bias.prom")
    worst = {
        (sample.labels["kind"], sample.labels["against"], sample.labels["group"]): sample.value
        for family in text_string_to_metric_families((tmp_path / "bias.prom").read_text())
        for sample in family.samples
        if sample.name == "resonance_audit_bias_worst_group_deviation"
    }
    assert {key[:2] for key in worst} == {("cluster", "library"), ("library", "other store")}
    assert worst["cluster", "library", "x"] > 0.3
    for kind, against in {key[:2] for key in worst}:
        assert worst[kind, against, "y"] == pytest.approx(-worst[kind, against, "x"])


def test_results_and_target(store: str, tmp_path: Path) -> None:
    settings = BiasSettings(
        sources=[make_source("attribute:country")],
        target={"y": 0.5, "z": 0.1},
        queries=[AskedQuery("like 0", like="0"), AskedQuery("like 1", like="1")],
        correction=Correction.HOLM,
    )
    audit = audit_bias(store, settings, descriptor=DESCRIPTOR)
    cells = {(one.cell.place, one.cell.group, one.cell.against): one for one in audit.findings}
    assert cells["like 0", "x", Against.LIBRARY].cell.share == 1  # its kind is all of x
    assert cells["like 0", "x", Against.LIBRARY].alert
    assert cells["like 1", "x", Against.LIBRARY].deviation < -0.2  # a tenth, where the library has four
    assert cells[store, "z", Against.TARGET].cell.count == 0  # wanted, and not there
    assert cells[store, "z", Against.TARGET].alert
    assert cells["like 0", "y", Against.TARGET].deviation == -0.5


def test_drift_is_told_in_its_months(store: str) -> None:
    audit = audit_bias(store, BiasSettings(sources=[make_source("attribute:age")], time="date"))
    months = {one.cell.place for one in audit.alerts if one.cell.kind == "month" and one.deviation > 0}
    assert months == {"2026-10", "2026-11", "2026-12"}
    assert not any(one.cell.dimension == "cluster" for one in audit.alerts)  # kinds come evenly


def test_a_month_is_one_where_its_day_is_not_told(tmp_path: Path) -> None:
    """`2026-11` names a month as `2026-11-15` does; `2026` names none."""
    made = simulate(600, 3, 0)
    for at, told in enumerate(made.attributes):
        told["date"] = "2026" if at % 10 == 0 else told["date"][:7]
        told["country"] = "x" if told["date"] == "2026-10" or at % 5 == 0 else "y"
    uri = str(tmp_path / "months")
    write_simulated(uri, made, SpaceRef.of(DESCRIPTOR))
    settings = BiasSettings(sources=[make_source("attribute:country")], clusters=3, time="date")
    audit = audit_bias(uri, settings)
    assert audit.survey.months is not None
    assert audit.survey.months.groups == MONTHS
    assert (audit.survey.months.codes == UNKNOWN).sum() == 60
    assert {one.cell.place for one in audit.alerts if one.cell.kind == "month"} >= {"2026-10"}


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("2026-11", "2026-11"),
        ("2026-11-30", "2026-11"),
        (" 2026-11-30T23:59:59-08:00", "2026-11"),
        ("20261130", "2026-11"),
        ("2026", None),
        ("2026-13", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_months_as_they_are_written(text: str | None, month: str | None) -> None:
    assert month_of(text) == month


def test_a_gate_over_time_without_a_day_does_not_hold(tmp_path: Path) -> None:
    """Clusters are tested, months are not: no alert over time was looked for, so there is not none."""
    made = simulate(600, 3, 0)
    for at, told in enumerate(made.attributes):
        told["country"] = "x" if made.kinds[at] == 0 else "y"
        del told["date"]
    uri = str(tmp_path / "undated")
    write_simulated(uri, made, SpaceRef.of(DESCRIPTOR))
    limit = Limit("alerts over time", most=0)

    def report(time: str | None) -> Report:
        settings = BiasSettings(sources=[make_source("attribute:country")], clusters=3, time=time)
        return make_report(audit_bias(uri, settings), [limit])

    undated = report("date")
    why = (
        "othing was tested over time: no month has 20 titles (--least-titles) that could differ from the "
        "whole library; 600 of 600 titles have no day in the attribute `date`"
    )
    assert undated.notes == (f"N{why}.",)
    assert undated.verdicts() == [f"alerts over time: expected at most 0; n{why}"]
    assert undated.measures()["alerts"].value > 0
    ordered = report("order")
    assert (ordered.notes, ordered.broken()) == ((), [])
    assert report(None).notes == ()


def test_two_stores(store: str, tmp_path: Path) -> None:
    made = simulate(600, 3, 1)
    for at, told in enumerate(made.attributes):
        told["country"] = "x" if at % 10 == 0 else "y"
    other = str(tmp_path / "other")
    write_simulated(other, made, SpaceRef.of(DESCRIPTOR))
    settings = BiasSettings(
        sources=[make_source("attribute:country")], queries=[AskedQuery("like 0", like="0")]
    )
    audit = audit_bias(store, settings, descriptor=DESCRIPTOR, against=other, against_descriptor=DESCRIPTOR)
    between = {one.cell.kind: one for one in audit.findings if one.cell.against == Against.OTHER}
    assert between["library"].alert
    assert between["library"].cell.expected == 0.1
    assert between["query"].alert
    assert between["query"].cell.share == 1
    assert not [one for one in audit.alerts if one.cell.place.startswith(other)]


def test_a_group_that_one_of_two_stores_lacks(tmp_path: Path) -> None:
    """It is compared whichever store is named first: 60 of 560 titles, against none or against too few."""

    def write(name: str, more: list[str]) -> str:
        made = simulate(500 + len(more), 3, 0)
        languages = ["en"] * 300 + ["de"] * 200 + more
        np.random.default_rng(1).shuffle(languages)
        for told, language in zip(made.attributes, languages, strict=True):
            told["spoken"] = language
        write_simulated(str(tmp_path / name), made, SpaceRef.of(DESCRIPTOR))
        return str(tmp_path / name)

    without, few, many = write("without", []), write("few", ["fr"] * 3), write("many", ["fr"] * 60)
    settings = BiasSettings(sources=[make_source("attribute:spoken")])
    for first, second, counts in (
        (without, many, (0, 60)),
        (many, without, (60, 0)),
        (few, many, (3, 60)),
        (many, few, (60, 3)),
    ):
        audit = audit_bias(first, settings, against=second)
        between = {one.cell.group: one for one in audit.findings if one.cell.against == Against.OTHER}
        assert (between["fr"].cell.count, between["fr"].cell.of_count) == counts
        assert between["fr"].alert
        if first == without:  # of two languages the rarer alone is tested in clusters
            own = [one.cell for one in audit.findings if one.cell.place.startswith("cluster")]
            assert {cell.group for cell in own} == {"de"}
    make_report(audit_bias(without, settings, against=many)).to_html()


def test_the_command(store: str, tmp_path: Path) -> None:
    page, gauges = tmp_path / "report.html", tmp_path / "bias.prom"
    gauges.symlink_to("collected.prom")
    report = run(
        *(store, "--group", "attribute:country", "--time", "order", "--limit", "alerts<=0"),
        *("--html", str(page), "--prometheus", str(gauges)),
    )
    assert report["broken"] == [{"measure": "alerts", "least": None, "most": 0.0}]
    alerts = report["sections"][0]  # type: ignore[index]
    names = [m["name"] for section in report["sections"] for m in section["measures"]]  # type: ignore[attr-defined]
    assert [name for name in names if not is_known(name, MEASURES)] == []
    assert alerts["rows"]
    assert {"group", "where", "share", "expected", "low", "high", "adjusted p"} <= set(alerts["rows"][0])
    assert page.read_text().count("data:image/png") >= 3
    assert not re.findall(r"https?://|<script", page.read_text())
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(gauges.read_text())
        for sample in family.samples
        if sample.labels.get("kind") in (None, "cluster")
    }
    assert told["resonance_audit_bias_titles"] == 600
    assert told["resonance_audit_bias_alerts"] == len(alerts["rows"])
    assert told["resonance_audit_bias_worst_group_deviation"] != 0
    assert gauges.is_symlink()  # not replaced by a file
    assert (tmp_path / "collected.prom").is_file()


def test_k_means_where_it_is_asked_for(store: str) -> None:
    report = run(store, "--group", "language", "--clusters", "3", "--limit", "alerts<=0")
    assert "k-means" in str(report["clusters"])
    measures = report["sections"][0]["measures"]  # type: ignore[index]
    assert next(m for m in measures if m["name"] == "worst alert")["value"] == 0
    assert report["broken"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group", "tags"], "is no file and no source"),
        (["--group", "attribute:"], "is no file and no source"),
        (["--group", "language", "--limit", "x"], "expected MEASURE"),
        (["--group", "language", "--group", "language"], "2 groupings are called 'language'"),
        (["--group", "language", "--prometheus", "b.txt"], "files that end in .prom"),
        (["--group", "tag:wra"], "no title has the tag 'wra'"),
        (["--group", "attribute:cuontry"], "'attribute:cuontry' is known of none of its 600 titles"),
        (["--group", "language", "--html", "nowhere/report.html"], "its folder is not there"),
        (["--group", "language", "--html", "."], "is a folder; expected a file"),
    ],
)
def test_wrong_use(store: str, arguments: list[str], words: str) -> None:
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [store, *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_a_gate_that_tested_nothing_does_not_hold(store: str) -> None:
    arguments = [store, "--group", "attribute:country", "--least-titles", "601", "--limit", "alerts<=0"]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert done.exit_code == 1, done.output
    assert "Nothing was tested, so no alert is told" in done.output
    assert (
        "broken: alerts: expected at most 0; nothing was tested: no group and no cluster has" in done.output
    )


def test_a_gate_without_a_cluster_says_how_to_make_some(tmp_path: Path) -> None:
    """A library may be too small to be clustered, or hold no two titles that are alike."""
    few = str(tmp_path / "few")
    write_simulated(few, simulate(20, 2, 0), SpaceRef.of(DESCRIPTOR))
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [few, "--group", "language", "--limit", "alerts<=0"])
    assert done.exit_code == 1, done.output
    assert (
        "broken: alerts: expected at most 0; nothing was tested: no cluster was found; "
        "--clusters N makes as many"
    ) in done.output


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, [str(tmp_path / "none"), "--group", "language"]).exit_code == 1


def test_groups_as_they_are_read() -> None:
    builder = DimensionBuilder(make_source("tag:war"))
    builder.add(["a", "b", "c"], [["war"], [], None])
    assert builder.build(least_titles=1).codes.tolist() == [0, 1, 1]
    builder = DimensionBuilder(make_source("language"))
    builder.add(["a", "b", "c", "d"], ["fr", None, "de", "fr"])
    dimension = builder.build(least_titles=2, kept=["it"])
    assert dimension.groups == ("fr", "it")
    assert dimension.codes.tolist() == [0, UNKNOWN, 2, 0]
    assert dimension.rare == ("de",)
    assert dimension.counts().tolist() == [2, 0, 1]
    assert crossed(in_order(4, 2), dimension).tolist() == [[1, 0, 0], [1, 0, 1]]


def test_a_library_without_clusters_says_so() -> None:
    clusters = find_clusters(np.random.default_rng(0).standard_normal((15, 16)).astype(np.float32))
    assert clusters.count == 0
    assert clusters.places.groups == ()  # the whole library is no place of it
    assert clusters.places.codes.tolist() == [0] * 15  # of none
    assert find_clusters(np.eye(4, dtype=np.float32), wanted=9).method.endswith(
        "4 means (of 9 that were asked for)"
    )


def test_the_largest_cluster_is_the_first() -> None:
    """Three heaps of 30, 50 and 40, and one title far from all of them."""
    chance = np.random.default_rng(0)
    sizes, middles = (30, 50, 40), np.eye(4)[:3] * 10
    heaps = [m + chance.normal(0, 0.1, (n, 4)) for n, m in zip(sizes, middles, strict=True)]
    points = np.concatenate([*heaps, [[-100, -100, -100, -100]]]).astype(np.float32)
    found = find_clusters(points).places
    assert found.groups == ("cluster 1", "cluster 2", "cluster 3", OUTSIDE)
    assert found.counts().tolist() == [50, 40, 30, 1, 0]
    assert found.codes[[0, 30, 80, 120]].tolist() == [2, 0, 1, 3]


def test_a_sample_is_of_titles_that_are_there(store: str) -> None:
    with closing(open_store(store)) as opened:
        every = np.concatenate([vectors_of(batch["vector"]) for batch in opened.titles(["vector"])])
        few = sample_vectors(opened, 1, most=50)
    assert few.shape == (50, 1788)
    assert len(np.unique(few, axis=0)) == 50
    assert all((every == row).all(axis=1).any() for row in few)


@pytest.mark.parametrize("copies", [2, 4, 64])
def test_copies_of_one_title_are_a_library(copies: int, tmp_path: Path) -> None:
    """Nothing varies, so nothing is lost by fewer directions."""
    (title,) = random_titles(1)
    uri = str(tmp_path / "copies")
    write(uri, [replace(title, media_id=str(at), language="en") for at in range(copies)])
    report = run(uri, "--group", "language")
    assert report["variance_kept_by_pca"] == 1
    assert report["titles"] == copies


def test_a_taste_leaves_out_what_it_is_made_of(store: str, tmp_path: Path) -> None:
    with closing(open_library(store)) as library:
        searcher = Searcher(library, DESCRIPTOR)
        counted = (Counted("0", 0.5), Counted("3", 0.5))
        taste = Taste(SpaceRef.of(DESCRIPTOR), searcher.like("0"), own_sigmas(DESCRIPTOR), 150.0, counted)
        save_taste(taste, tmp_path / "me.json")
        found = ask(AskedQuery("me", taste=tmp_path / "me.json"), searcher, Weights(), 20)
    names = [facts.media_id for facts in found]
    assert len(names) == 20
    assert not {"0", "3"} & set(names)
    assert all(int(name) % 3 == 0 for name in names)  # its kind
    assert result_counts(found, make_source("attribute:country"), ["x", "y"]) == ([20, 0], 20)


def test_a_title_is_none_of_its_own_results_however_its_accents_are_written(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é")
    apart = unicodedata.normalize("NFD", composed)
    uri = str(tmp_path / "accents")
    write(uri, [replace(title, media_id=f"{apart}{title.media_id}") for title in random_titles(4)])
    with closing(open_library(uri)) as library:
        searcher = Searcher(library, DESCRIPTOR)
        for written in (composed, apart):
            found = ask(AskedQuery("like 0", like=f"{written}t0"), searcher, Weights(), 20)
            assert {facts.media_id for facts in found} == {f"{apart}t{at}" for at in (1, 2, 3)}


def test_files_of_groups_and_targets(tmp_path: Path) -> None:
    path = tmp_path / "studio.csv"
    path.write_text("media_id,group,more\na,x,1\nb,y,2\n")
    source = make_source(str(path))
    assert source.name == "studio"
    assert [source.group_of(name, None) for name in "abc"] == ["x", "y", None]
    for text, words in (
        ("media_id\na\n", "no column group"),
        ("media_id,group\na,x\na,y\n", "line 3: 'a' a second time"),
        ("media_id,group\na,\n", "line 2: an empty field"),
        (
            "media_id,group\n\na.mp4,de\nMe, Myself.mp4,en\n",
            "line 4: more fields than columns; expected fields that hold a comma in quotes",
        ),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=words):
            make_source(str(path))
    for text, words in (
        ("group,share\nde,1.2\n", "share '1.2' of de"),
        ("group,share\nde,much\n", "share 'much' of de"),
        ("group,share\nde,0.7\nen,0.6\n", "sum to 1.3"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_target(path)


def test_files_of_queries(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_text("a b\n\nc\n")
    expected = [AskedQuery("like a b", like="a b"), AskedQuery("like c", like="c")]
    assert [asdict(query) for query in read_queries(path)] == [asdict(query) for query in expected]
    path = tmp_path / "queries.jsonl"
    path.write_text(
        json.dumps({"like": "a"})
        + "\n"
        + json.dumps({"name": "me", "taste": "me.json"})
        + "\n"
        + json.dumps({"vector": [0.5] * 1788})
    )
    like, taste, vector = read_queries(path)
    assert (like.name, taste.name, vector.name) == ("like a", "me", "line 3")
    assert taste.taste == tmp_path / "me.json"
    assert vector.vector is not None
    for text in (
        '{"like": "a", "taste": "b"}',
        "{}",
        '{"vector": [1]}',
        "[",
        '{"like": "a"}\n{"like": "a"}',
        "",
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match="expected a media id a line"):
            read_queries(path)
    array = tmp_path / "queries.npy"
    np.save(array, np.ones((2, 1788)))
    assert [query.name for query in read_queries(array)] == ["row 0", "row 1"]
    array.write_bytes(b"")
    with pytest.raises(UsageError, match=r"EOFError.*expected a media id a line"):
        read_queries(array)
    with array.open("wb") as several:
        np.savez(several, np.ones((2, 1788)))
    with pytest.raises(UsageError, match="expected a media id a line"):
        read_queries(array)


def test_many_queries_are_read_as_soon_as_few(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    names = [f"{number:07}.mp4" for number in range(20_000)]
    path.write_text("\n".join(names))
    started_s = process_time()
    assert len(read_queries(path)) == 20_000
    assert process_time() - started_s < 3  # each looked for among all others it were five times that
    path.write_text("\n".join([*names, names[7], names[3]]))
    with pytest.raises(UsageError, match=r": like 0000003\.mp4, like 0000007\.mp4 twice; expected"):
        read_queries(path)


def test_no_alert_without_bias_and_one_where_it_is_planted() -> None:
    """The short form of the measurement, by fixed seeds; docs/audit-bias.md has the long one."""
    sure = Planted(0.1, True, 2)
    outcomes = {(one.name, one.correction): one for one in measure(3, DESCRIPTOR, scenarios=(sure,))}
    for correction in Correction:
        assert outcomes["nothing planted: no alert", str(correction)].found == 3
        assert outcomes[sure.name, str(correction)].found == 3
