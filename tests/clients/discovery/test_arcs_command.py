"""`resonance arcs` as a person calls it, and its picture."""

from __future__ import annotations

import json
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from resonance.clients.cli.arcs import arcs
from resonance.clients.discovery.arc_plot import MOST_PANELS, WANTED_COLOUR, plot_found
from resonance.clients.discovery.arc_search import ArcHit, ArcsFound
from resonance.clients.discovery.arc_shapes import POINTS, SHAPES, named_shape
from resonance.clients.discovery.types import TitleFacts
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_sink
from resonance.clients.plot import TITLE_COLOURS
from tests.clients.discovery.test_arc_search import SPACE, Made, points, same_shape_in_many_forms

APP = typer.Typer()
APP.command()(arcs)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four titles of each shape, a tag for the first of each, and one title that is too short."""
    uri = str(tmp_path_factory.mktemp("arcs") / "store")
    titles = [
        Made(made.media_id, {**made.arcs, "pace": made.arcs["tension"]}, tags=("first",) if at == 0 else ())
        for name in SHAPES
        for at, made in enumerate(same_shape_in_many_forms(name))
    ]
    titles.append(Made("blink", {"tension": [(4.0, 0.5)], "pace": [(4.0, 0.5)]}))
    with closing(open_sink(uri, SPACE)) as sink:
        sink.write(pa.concat_tables([title.row() for title in titles]), batch="1")
    return uri


def run(*arguments: object) -> tuple[int, str, str]:
    shown = CliRunner().invoke(APP, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    return shown.exit_code, shown.stdout, shown.stderr


def test_json_says_what_was_asked_and_found(store: str) -> None:
    code, told, _ = run(store, "--shape", "comeback", "--limit", 4, "--json")
    assert code == 0
    report = json.loads(told)
    assert (report["shape"], report["curve"], report["like"]) == ("comeback", None, None)
    assert report["left_out"] == {"short": 1}
    assert report["compared"] == 4 * len(SHAPES)
    np.testing.assert_allclose(report["wanted"]["tension"], named_shape("comeback"))
    assert [hit["media_id"].rpartition("-")[0] for hit in report["hits"]] == ["comeback"] * 4
    first = report["hits"][0]
    assert first["uri"] == f"/library/{first['media_id']}.mp4"
    assert first["distance"] == first["distances"]["tension"]
    assert len(first["arcs"]["tension"][0]) == 2


def test_the_table_draws_each_arc_and_says_what_was_left_out(store: str) -> None:
    code, told, _ = run(store, "--shape", "rise", "--limit", 3)
    assert code == 0
    lines = told.splitlines()
    assert len(lines) == 1 + 3 + 1
    assert all(line.split()[1].startswith("rise-") and "▁" in line and "█" in line for line in lines[1:4])
    assert all(line.index("▁") < line.index("█") for line in lines[1:4])
    assert lines[-1] == f"{4 * len(SHAPES)} titles compared; left out 1 too short"


def test_curves_likes_filters_and_several_arcs(store: str, tmp_path: Path) -> None:
    def found(*options: object) -> list[str]:
        code, told, wrong = run(store, "--json", *options)
        assert code == 0, wrong
        return [hit["media_id"] for hit in json.loads(told)["hits"]]

    assert {name.rpartition("-")[0] for name in found("--curve", "0,1,0", "--limit", 4)} == {"peak"}
    file = tmp_path / "curve.csv"
    file.write_text("time,value\n0,1\n40,0\n100,0\n")
    assert {name.rpartition("-")[0] for name in found("--curve", file, "--limit", 4)} == {"early-shock"}
    like = found("--like", "slow-burn-0", "--limit", 3)
    assert sorted(like) == ["slow-burn-1", "slow-burn-2", "slow-burn-3"]
    assert found("--shape", "fall", "--tag", "first")[0] == "fall-0"
    assert len(found("--shape", "fall", "--tag", "first", "--limit", 100)) == len(SHAPES)
    assert found("--shape", "rise", "--language", "de") == []
    both = found("--shape", "waves", "--arc", "tension", "--arc", "pace", "--limit", 4)
    assert {name.rpartition("-")[0] for name in both} == {"waves"}


@pytest.mark.parametrize(("arcs", "distances"), [(2, 3), (3, 1), (4, 1)])
def test_several_arcs_fit_in_80_columns(arcs: int, distances: int, tmp_path: Path) -> None:
    names = ("tension", "pace", "energy", "brightness")[:arcs]
    points = [(8.0 * at, at / 20) for at in range(20)]
    uri = str(tmp_path / "store")
    with closing(open_sink(uri, SPACE)) as sink:
        sink.write(Made("rising", dict.fromkeys(names, points)).row(), batch="1")
    named = [option for name in names for option in ("--arc", name)]
    shown = CliRunner().invoke(APP, [uri, "--shape", "rise", *named], env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.stderr
    heads, row, *_ = shown.stdout.splitlines()
    assert max(len(heads.rstrip()), len(row.rstrip())) <= 80
    assert heads.split().count("distance") == distances
    assert len(row.split()) == 2 + distances + arcs  # no column was cut away
    assert sum("▁" in cell and "█" in cell for cell in row.split()) == arcs


def test_nothing_found_is_no_fault(store: str, tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    code, told, _ = run(store, "--shape", "rise", "--tag", "nobody", "--plot", path)
    assert (code, told.splitlines()[0]) == (0, "nothing found")
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "expected one of --shape, --curve and --like"),
        (("--shape", "rise", "--curve", "0,1"), "expected one of --shape"),
        (("--shape", "climb"), "no shape is called 'climb'"),
        (("--curve", "gone.csv"), "gone.csv"),
        (("--like", "gone"), "no title 'gone'"),
        (("--like", "blink"), "1 known points"),
        (("--shape", "rise", "--arc", "joy"), "expected one of pace, tension"),
        (("--shape", "rise", "--plot", "arcs.xyz"), "no picture format"),
        (("--shape", "rise", "--since", "yesterday"), "expected a day"),
    ],
)
def test_wrong_use_is_told(store: str, options: tuple[str, ...], told: str) -> None:
    code, shown, wrong = run(store, *options)
    assert (code, shown) == (2, "")
    assert told in " ".join(wrong.replace("│", " ").split())


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, shown, wrong = run(tmp_path / "gone", "--shape", "rise")
    assert (code, shown) == (1, "")
    assert "gone" in wrong


def columns_of(path: Path, colour: str) -> int:
    """How many columns of pixels have a colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return int((pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).any(axis=0).sum())


def test_the_picture_has_the_wanted_shape_and_each_arc(store: str, tmp_path: Path) -> None:
    path = tmp_path / "arcs.png"
    code, _, wrong = run(store, "--shape", "peak", "--arc", "tension", "--limit", 3, "--plot", path)
    assert code == 0, wrong
    # three panels beside one another fill most of the width, the legend a tenth of it
    width = Image.open(path).size[0]
    assert columns_of(path, WANTED_COLOUR) > 0.6 * width
    assert columns_of(path, TITLE_COLOURS[0]) > 0.6 * width
    assert columns_of(path, TITLE_COLOURS[1]) == 0
    code, _, wrong = run(store, "--shape", "peak", "--arc", "tension", "--arc", "pace", "--plot", path)
    assert code == 0, wrong
    assert columns_of(path, TITLE_COLOURS[1]) > 0.6 * Image.open(path).size[0]


def hit(media_id: str, name: str = "tension", length: int = 20) -> ArcHit:
    return ArcHit(
        TitleFacts(media_id=media_id, uri="", present=(True, True, True)),
        0.1,
        {name: 0.1},
        {name: points(SHAPES["rise"], segments=length)},
    )


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_any_titles_are_drawn_without_a_warning(ending: str, tmp_path: Path) -> None:
    hits = [
        hit("costs $5 or $\\frac"),
        hit("犬の映画 " * 30),
        hit("folder/name.mp4", length=3),
        *(hit(str(at)) for at in range(MOST_PANELS)),
    ]
    path = tmp_path / f"arcs.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape in (named_shape("rise"), np.zeros(POINTS)):
            plot_found(ArcsFound(hits, 40, {}), {"tension": shape}, "tension: $like$ \\frac", path)
            assert path.stat().st_size > 1000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        plot_found(ArcsFound([], 0, {}), {"tension": named_shape("rise")}, "", tmp_path / "gone" / "arcs.png")
