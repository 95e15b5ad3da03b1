"""A report says the same as JSON, text and HTML; a broken limit is told; nothing in it becomes markup."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import typer
from matplotlib.figure import Figure
from rich.console import Console
from typer.testing import CliRunner

from resonance.clients.audit.report import Limit, Measure, Report, Section
from resonance.clients.cli.audit_options import finish, is_known, make_limits
from resonance.clients.cli.main import make_app
from resonance.training.tuning import ENVIRONMENT
from tests.small_disk import disk_of


def made(*limits: Limit) -> Report:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    section = Section(
        "Tags & <titles>",
        "A <b>sentence</b>.",
        (Measure("metadata score", 0.61, (0.58, 0.64), about="1: the tags say all"),),
        ("title", "distance"),
        (("<script>alert(1)</script>", 0.123456),),
        (figure,),
    )
    return Report("An audit", {"store": "films", "titles": 12}, (section,), limits)


def test_a_page_that_needs_nothing_else() -> None:
    page = made().to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "A &lt;b&gt;sentence&lt;/b&gt;." in page
    assert "0.58 – 0.64" in page
    assert not re.findall(r"https?://", page)
    assert "data:image/png;base64," in page


def test_a_page_of_before_stays_where_a_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "audit.html"
    path.write_text("an earlier page")
    with disk_of(512), pytest.raises(OSError, match="File too large"):
        made().write_html(path)
    assert path.read_text() == "an earlier page"
    assert [file.name for file in tmp_path.iterdir()] == ["audit.html"]


def test_names_in_any_script_are_drawn_without_a_warning() -> None:
    figure = Figure()
    figure.suptitle("犬の映画")
    report = Report("Audit", {}, (Section("Pictures", figures=(figure,)),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "data:image/png;base64," in report.to_html()


def test_json_has_every_figure() -> None:
    report = json.loads(made(Limit("metadata score", least=0.7)).to_json())
    assert report["store"] == "films"
    assert report["sections"][0]["measures"][0]["interval"] == [0.58, 0.64]
    assert report["sections"][0]["rows"] == [{"title": "<script>alert(1)</script>", "distance": 0.123456}]
    assert report["broken"] == [{"measure": "metadata score", "least": 0.7, "most": None}]


@pytest.mark.parametrize(
    ("limit", "broken"),
    [
        (Limit("metadata score", least=0.61), False),
        (Limit("metadata score", least=0.62), True),
        (Limit("metadata score", most=0.61), False),
        (Limit("metadata score", most=0.6), True),
        (Limit("no such measure", most=1.0), True),
    ],
)
def test_limits(limit: Limit, broken: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = made(limit)
    assert bool(report.broken()) == broken
    with pytest.raises(typer.Exit) as ended:
        finish(report, json_out=True, html=tmp_path / "report.html")
    assert ended.value.exit_code == int(broken)
    assert json.loads(capsys.readouterr().out)["title"] == "An audit"
    assert (tmp_path / "report.html").read_text() == report.to_html()


def test_a_value_that_is_no_number_breaks_its_limit() -> None:
    assert Limit("x", least=0.0).broken_by(float("nan"))
    assert Limit("x", most=0.0).broken_by(float("nan"))


def test_names_of_tags_are_no_markup_of_the_terminal() -> None:
    shown = Console(record=True, width=120)
    names = ("abandoned tag [mature]", "abandoned tag [/x]")
    Report("t", {}, (Section("s", "", tuple(Measure(name, 1.0, about=name) for name in names)),)).show(shown)
    text = shown.export_text()
    assert all(text.count(name) == 2 for name in names)


def test_a_file_that_cannot_be_written_takes_nothing_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        finish(made(), json_out=True, html=tmp_path / "nowhere" / "x.html")
    assert ended.value.exit_code == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["title"] == "An audit"
    assert "x.html: it cannot be written (No such file or directory)" in told.err


def test_limits_as_they_are_written() -> None:
    assert make_limits(["metadata score >= 0.5", "psi<=0.25"]) == (
        Limit("metadata score", least=0.5),
        Limit("psi", most=0.25),
    )
    assert make_limits(None) == ()


@pytest.mark.parametrize("text", ["x>0.5", ">=1", "x>=", "x>=much", "x"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected MEASURE>=NUMBER"):
        make_limits([text])


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("audit", "metadata", "STORE"), "tags_beyond_vectors"),
        (("audit", "resonance", "STORE", "LOG"), "abandoned FAMILY KIND"),
        (("audit", "coldstart", "STORE", "LOG"), "recall@K CONTESTANT"),
        (("audit", "bias", "STORE", "--group", "language"), "worst deviation DIMENSION=GROUP"),
        (("audit", "bias", "STORE", "--group", "language", "--before", "OLD"), "excess after/before"),
        (("carry", "OLD", "NEW"), "cosine_MODALITY"),
    ],
)
def test_a_limit_of_no_measure_is_wrong_use_before_anything_is_read(
    arguments: tuple[str, ...], known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():  # the process has them already: no restart within a test
        monkeypatch.setenv(name, value)
    done = CliRunner(env={"COLUMNS": "1000"}).invoke(make_app(), [*arguments, "--limit", "foo>=0.99"])
    assert done.exit_code == 2, done.output
    assert "there is no measure 'foo'; expected one of" in done.output
    assert known in done.output


def test_words_in_capitals_stand_for_any_text() -> None:
    known = ("alerts", "worst deviation DIMENSION=GROUP")
    assert is_known("worst deviation language=de (CH)", known)
    for name in ("alert", "alerts over time", "worst deviation language", "worst deviation =de"):
        assert not is_known(name, known), name


def test_the_table_for_people() -> None:
    console = Console(width=120, record=True)
    made(Limit("metadata score", least=0.7)).show(console)
    text = console.export_text()
    assert "0.61" in text
    assert "broken: metadata score: expected at least 0.7" in text
