"""What an audit hands to training, and the same titles in two spaces: before and after."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from resonance.clients.audit.bias import audit_bias
from resonance.clients.audit.bias_change import _near_excesses, audit_change
from resonance.clients.audit.bias_change_report import MEASURES, make_change_report
from resonance.clients.audit.bias_feed import read_feed
from resonance.clients.audit.bias_feeding import write_feed
from resonance.clients.audit.bias_recall import _hits
from resonance.clients.audit.bias_survey import BiasSettings
from resonance.clients.audit.estimates import Estimate
from resonance.clients.audit.groups import UNKNOWN, make_source
from resonance.clients.audit.nearest import nearest_rows
from resonance.clients.audit.report import Limit
from resonance.clients.cli.audit_bias import bias
from resonance.clients.cli.audit_options import is_known
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.stores import open_store
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.bias_store import simulate, write_simulated
from resonance.loadtest.audit.fairness_features import write_aligned

SETTINGS = BiasSettings(sources=[make_source("language")], clusters=3)
TITLES, KINDS = 300, 3
app = typer.Typer()
app.command()(bias)


def write(
    path: Path,
    intruders: int,
    *,
    noise: float = 0.2,
    segments: bool = True,
    apart: float = 3.0,
    seen: NDArray[np.int64] | None = None,
) -> str:
    """300 titles of three kinds, 20 of each kind of group g; `intruders` of g from other kinds lie in kind 0.

    Blocks of a segment are alike in all modalities, but for `noise`. Kinds lie `apart`; 0: all together.
    seen: where each title lies, in place of its kind.
    """
    chance = np.random.default_rng(0)
    kinds = np.arange(TITLES) % KINDS
    group = np.arange(TITLES) // KINDS % 5 == 0
    if seen is None:
        seen = kinds.copy()
        seen[np.flatnonzero(group & (kinds > 0))[:intruders]] = 0
    means = apart * np.eye(KINDS, 596)
    causes = means[seen] + chance.normal(0, 0.05, (TITLES, 596))  # (N, 596)
    moments = causes[:, None, None] + chance.normal(0, 0.05, (TITLES, 2, 1, 596))
    blocks = moments + noise * chance.normal(0, 0.05, (TITLES, 2, 3, 596))  # (N, S, 3, 596)
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    names = ["g" if of else "other" for of in group]
    space = SpaceRef(path.name, path.name, True)
    write_aligned(str(path), torch.from_numpy(blocks).float(), names, space, segments=segments)
    return str(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Before: 25 intruders; after: none, and blocks of a segment are less alike."""
    folder = tmp_path_factory.mktemp("stores")
    return write(folder / "old", 25), write(folder / "new", 0, noise=5.0)


def test_what_the_audit_found_is_fed(stores: tuple[str, str], tmp_path: Path) -> None:
    audit = audit_bias(stores[0], SETTINGS)
    write_feed(audit, tmp_path / "feed.parquet")
    feed = read_feed(tmp_path / "feed.parquet")
    assert feed.dimensions == ("language",)
    assert feed.groups == (("g",),)
    assert feed.space == audit.survey.space
    assert feed.media_ids == tuple(map(str, range(TITLES)))
    assert feed.codes[:, 0].tolist() == [int(at // KINDS % 5 != 0) for at in range(TITLES)]
    worst = max(feed.found, key=lambda row: row["share"] - row["expected"])
    assert worst["group"] == "g"
    assert worst["share"] == pytest.approx(45 / 125)
    assert worst["low"] < worst["share"] < worst["high"]


def test_groups_that_are_not_known_stay_so_and_fair_groupings_are_not_fed(
    stores: tuple[str, str], tmp_path: Path
) -> None:
    listed = tmp_path / "maker.csv"
    marked = ["x" if at // KINDS % 5 == 0 else "y" for at in range(TITLES)]
    listed.write_text("media_id,group\n" + "".join(f"{at},{marked[at]}\n" for at in range(1, TITLES)))
    fair = tmp_path / "fair.csv"
    fair.write_text("media_id,group\n" + "".join(f"{at},{'pq'[at // KINDS % 2]}\n" for at in range(TITLES)))
    settings = BiasSettings(sources=[make_source(str(fair)), make_source(str(listed))], clusters=3)
    write_feed(audit_bias(stores[0], settings), tmp_path / "feed.parquet")
    feed = read_feed(tmp_path / "feed.parquet")
    assert feed.dimensions == ("maker",)
    assert feed.codes[0, 0] == UNKNOWN
    assert feed.codes[3:6, 0].tolist() == [1, 1, 1]


def test_a_file_that_is_no_feed_and_a_store_that_changed(stores: tuple[str, str], tmp_path: Path) -> None:
    pq.write_table(pa.table({"media_id": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")
    for name in ("other.parquet", "text.parquet", "none.parquet"):
        with pytest.raises(UsageError, match="expected a file that `resonance audit bias --feed` wrote"):
            read_feed(tmp_path / name)
    moving = write(tmp_path / "moving", 25, segments=False)
    audit = audit_bias(moving, SETTINGS)
    next(Path(moving).glob("*.parquet")).unlink()
    with pytest.raises((StoreError, UsageError)):
        write_feed(audit, tmp_path / "feed.parquet")
    assert not list(tmp_path.glob("feed*"))


def test_before_and_after(stores: tuple[str, str]) -> None:
    change = audit_change(stores[1], stores[0], SETTINGS)
    (moved,) = change.moved
    assert change.titles == TITLES
    assert moved.before.value == pytest.approx(45 / 125 - 0.2)
    assert moved.after.value == pytest.approx(0.0, abs=1e-9)
    assert moved.overlap == pytest.approx(100 / 125)
    assert moved.before.interval[0] > 0.05
    assert moved.after.interval[0] < 0 < moved.after.interval[1]
    assert moved.ratio is not None
    assert moved.ratio.value == pytest.approx(0.0, abs=1e-9)
    assert moved.ratio.interval[1] < 0.5
    # the old cluster's titles lie among their own kind again
    assert moved.near_before.value > 0.1
    assert abs(moved.near_after.value) < 0.07
    assert moved.near_ratio is not None
    assert moved.near_ratio.value == pytest.approx(moved.near_after.value / moved.near_before.value)
    assert moved.near_ratio.interval[1] < 0.6
    recall = change.recall
    assert recall is not None
    assert recall.segments == 2 * TITLES
    assert recall.before.value > recall.after.value + 0.1
    assert recall.change.interval[1] < 0
    assert recall.gap_before is not None
    assert recall.group_before is not None
    assert recall.others_before is not None
    assert recall.gap_before.value == pytest.approx(recall.group_before.value - recall.others_before.value)
    # each row names the cluster that it is of, which the two spaces number as they like
    other = replace(change, moved=(replace(moved, place="cluster 9"),))
    ((axes,),) = (figure.axes for figure in make_change_report(other).sections[0].figures)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    cell = moved.finding.cell
    named = f"{cell.dimension}={cell.group}"
    assert rows == [f"before, {cell.place}: {named}", f"after, cluster 9: {named}"]


def test_a_store_beside_itself_has_not_changed(stores: tuple[str, str]) -> None:
    change = audit_change(stores[0], stores[0], SETTINGS)
    (moved,) = change.moved
    assert moved.ratio is not None
    assert moved.ratio.value == moved.ratio.interval[0] == moved.ratio.interval[1] == 1.0
    assert moved.near_ratio is not None
    assert moved.near_ratio.interval == (1.0, 1.0)
    assert moved.overlap == 1.0
    assert change.shared.value == 1.0
    assert change.recall is not None
    assert change.recall.change.interval == (0.0, 0.0)


def test_the_same_titles_in_another_order(stores: tuple[str, str], tmp_path: Path) -> None:
    """Rows of the two stores are matched by name; what is in one of them alone does not count."""
    uri = str(tmp_path / "turned")
    with closing(open_store(stores[0])) as store:
        space = store.space
        rows = pa.Table.from_batches(list(store.titles()))
    from resonance.clients.ingest.rows import title_schema
    from resonance.clients.ingest.stores import open_sink

    turned = rows.take(list(range(TITLES - 1, 9, -1))).cast(title_schema(space))
    sink = open_sink(uri, space)
    sink.write(turned, batch="0")
    sink.close()
    change = audit_change(uri, stores[0], SETTINGS)
    assert change.titles == TITLES - 10
    (moved,) = change.moved
    assert moved.overlap == 1.0
    assert moved.ratio is not None
    assert moved.ratio.value == 1.0
    assert change.shared.value > 0.9


def test_the_command_with_limits(stores: tuple[str, str], tmp_path: Path) -> None:
    page = tmp_path / "change.html"
    arguments = [stores[1], "--group", "language", "--clusters", "3", "--before", stores[0], "--json"]
    good = ["--limit", "excess after/before<=0.5", "--limit", "excess of neighbours after/before<=0.5"]
    good += ["--limit", "recall@1 change>=-0.95"]
    done = CliRunner().invoke(app, [*arguments, *good, "--html", str(page)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    measures = {m["name"]: m for section in report["sections"] for m in section["measures"]}
    assert [name for name in measures if not is_known(name, MEASURES)] == []
    assert measures["excess before"]["value"] == pytest.approx(0.16)
    assert measures["excess after/before"]["interval"][1] < 0.5
    assert measures["alerts before"]["value"] > measures["alerts after"]["value"] == 0
    assert {"neighbours shared", "group gap before", "group gap after"} <= set(measures)
    assert page.read_text().count("data:image/png") == 2
    assert not re.findall(r"https?://|<script", page.read_text())
    done = CliRunner().invoke(app, [*arguments, "--limit", "recall@1 change>=0"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["broken"][0]["measure"] == "recall@1 change"


def test_wrong_use(stores: tuple[str, str], tmp_path: Path) -> None:
    invoke = CliRunner(env={"COLUMNS": "300"}).invoke
    beside = ["--before", stores[0], "--time", "order"]
    done = invoke(app, [stores[1], "--group", "language", *beside])
    assert done.exit_code == 2
    assert "expected one of them" in done.output
    strangers = simulate(60, 3, 0)
    write_simulated(str(tmp_path / "few"), strangers, SpaceRef("few", "few", True))
    done = invoke(app, [str(tmp_path / "few"), "--group", "language", "--before", str(tmp_path / "none")])
    assert done.exit_code == 1


def test_nothing_over_represented_before(stores: tuple[str, str]) -> None:
    change = audit_change(stores[0], stores[1], SETTINGS)
    assert change.moved == ()
    assert change.recall is not None
    assert change.recall.gap_before is None


def test_a_new_space_without_a_cluster(stores: tuple[str, str], tmp_path: Path) -> None:
    """What was over-represented has no place there; its neighbours are told, and no limit passes unseen."""
    flat = write(tmp_path / "flat", 0, apart=0.0)
    change = audit_change(flat, stores[0], replace(SETTINGS, clusters=None))
    assert change.new.survey.clusters.count == 0
    (moved,) = change.moved
    assert (moved.place, moved.overlap, moved.after, moved.ratio) == (None, 0.0, None, None)
    assert moved.before.value == pytest.approx(45 / 125 - 0.2)
    assert moved.near_after is not None
    assert abs(moved.near_after.value) < 0.05
    names = ("excess after", "excess after/before", "clusters overlap", "alerts after")
    report = make_change_report(change, [Limit(name, most=9.0) for name in names])
    assert not {*names} & report.measures().keys()
    assert {"excess before", "excess of neighbours after", "alerts before"} <= report.measures().keys()
    assert len(report.broken()) == 4
    assert all("the new space has no cluster" in verdict for verdict in report.verdicts()[:3])
    assert "nothing was tested: no cluster was found" in report.verdicts()[3]
    (note,) = report.notes
    assert note.startswith(
        "In clusters of the space of after nothing was tested, so no alert is told: no cluster"
    )
    assert json.loads(report.to_json())["sections"][0]["rows"][0]["where after"] == "none"


def test_nothing_tested_in_either_space_keeps_no_limit(stores: tuple[str, str], tmp_path: Path) -> None:
    flat = write(tmp_path / "flat", 0, apart=0.0)
    arguments = [flat, "--group", "language", "--before", flat]
    for when in ("before", "after"):
        done = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*arguments, "--limit", f"alerts {when}<=0"])
        assert done.exit_code == 1
        assert f"broken: alerts {when}: expected at most 0; nothing was tested" in done.stdout


def test_groups_that_are_known_in_part(tmp_path: Path) -> None:
    """Titles of unknown group say neither where a cluster went nor what is near: they count nowhere."""
    at = np.arange(TITLES)
    kinds = at % KINDS
    known = (kinds > 0) | (at < 90)  # of the first kind 30 of 100
    of_group = np.where(kinds == 0, True, at % 10 == 0)
    listed = tmp_path / "maker.csv"
    rows = "".join(f"{one},{'g' if of_group[one] else 'other'}\n" for one in at[known])
    listed.write_text(f"media_id,group\n{rows}")
    old = write(tmp_path / "old", 0, seen=kinds)
    # what is known of the first kind goes to the others, the 70 others stay together
    new = write(tmp_path / "new", 0, seen=np.where((kinds == 0) & known, 1 + at // KINDS % 2, kinds))
    settings = BiasSettings(sources=[make_source(str(listed))], clusters=3)
    change = audit_change(new, old, settings)
    (moved,) = change.moved
    assert moved.overlap == pytest.approx(15 / (115 + 15))
    assert moved.after is not None
    share = (known & of_group).sum() / known.sum()
    assert moved.after.value == pytest.approx(25 / 115 - share)
    assert moved.ratio is not None
    assert moved.ratio.value == pytest.approx(moved.after.value / moved.before.value)
    json.loads(make_change_report(change).to_json())


def test_neighbours_of_no_known_group_are_no_figure(stores: tuple[str, str]) -> None:
    group = np.array([1.0, 0.0, np.nan, np.nan, 0.0, 0.0])
    known, unknown = np.array([[0, 1]]), np.array([[2, 3]])
    asked, chance = np.array([5]), np.random.default_rng(0)
    assert _near_excesses(group, asked, (known, unknown), chance) == (None, None, None)
    before, after, _ = _near_excesses(group, asked, (known, known), chance)
    assert before is not None
    assert before == after
    assert before.value == 0.25


def test_neighbours_are_drawn_like_those_whose_they_are() -> None:
    """100 titles that all have the same 20 neighbours: what chance does to those does not average out."""
    group = np.zeros(400)
    group[:12] = 1.0  # of the 20 neighbours
    group[20:88] = 1.0
    near = np.tile(np.arange(20), (100, 1))
    asked, chance = np.arange(300, 400), np.random.default_rng(0)
    told, again, ratio = _near_excesses(group, asked, (near, near), chance)
    assert told is not None
    assert told.value == pytest.approx(0.6 - 0.2)
    # a share of 20, less that of all, which they are part of
    reach = 1.96 * np.sqrt(0.6 * 0.4 / 20)
    assert told.interval == pytest.approx((0.4 - reach, 0.4 + reach), abs=0.05)
    assert again == told
    assert ratio == Estimate(1.0, (1.0, 1.0))
    # titles without a neighbour in either space are left out
    other = np.where(np.arange(100)[:, None] < 50, near, -1)
    half, _, _ = _near_excesses(group, asked, (other, near), chance)
    assert half is not None
    assert half.value == pytest.approx(0.4)


def test_neighbours_are_those_of_all_vectors(stores: tuple[str, str]) -> None:
    rows = np.array([50, 299, 3])
    with closing(open_store(stores[0])) as store:
        found = nearest_rows(store, rows, 5)
        vectors = np.concatenate([vectors_of(batch["vector"]) for batch in store.titles(["vector"])])
        scores = vectors[rows] @ vectors.T
        scores[np.arange(3), rows] = -2
        with pytest.raises(UsageError, match="300 titles; expected more than 300"):
            nearest_rows(store, rows, 300)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :5])


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_are_found_alike(copies: int) -> None:
    """Of copies of one film each is found as often as the others, whichever comes first."""
    chance = np.random.default_rng(0)
    blocks = chance.standard_normal((50, 1, 596)) + 0.1 * chance.standard_normal((50, 3, 596))
    blocks = (blocks / np.linalg.norm(blocks, axis=-1, keepdims=True)).astype(np.float32)
    there = np.ones(3, np.bool_)
    hits = _hits([(one, there) for one in np.concatenate([blocks] * copies)])
    np.testing.assert_allclose(hits, 1 / copies)
    np.testing.assert_array_equal(_hits([(one, there) for one in blocks]), 1.0)


def test_what_the_commoner_of_two_groups_has_too_much_of_is_told(tmp_path: Path) -> None:
    """The rarer alone is tested, and it lacks in one cluster without standing out in another."""
    kinds = np.arange(TITLES) % KINDS
    group = np.arange(TITLES) // KINDS % 5 == 0
    seen = kinds.copy()
    seen[np.flatnonzero(group & (kinds == 0))[:14]] = 1 + np.arange(14) % 2
    before, after = write(tmp_path / "old", 0, seen=seen), write(tmp_path / "new", 0)
    change = audit_change(after, before, SETTINGS)
    (alert,) = change.old.alerts
    assert (alert.cell.group, alert.deviation < 0) == ("g", True)
    (moved,) = change.moved
    assert moved.finding.cell.group == "other"
    assert moved.finding.cell.place == alert.cell.place
    assert moved.before.value == pytest.approx(-alert.deviation)
    assert moved.before.interval[0] > 0
    assert moved.after is not None
    assert moved.after.value == pytest.approx(0, abs=1e-9)
    measures = make_change_report(change).measures()
    assert measures["excess before"].about == f"language=other in {alert.cell.place}"
