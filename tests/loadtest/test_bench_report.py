"""The bench's table and docs/performance.md: as the figures say, and not edited by hand."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from resonance.loadtest.bench.baseline import FOREIGN_LOSS, Baseline
from resonance.loadtest.bench.decoding import DecodeGain
from resonance.loadtest.bench.end_to_end import FilmResult
from resonance.loadtest.bench.ffmpeg_decoding import FfmpegRow
from resonance.loadtest.bench.matrix import MatrixRow
from resonance.loadtest.bench.page import machines_of, page_of
from resonance.loadtest.bench.peers.rounds import PeerRow
from resonance.loadtest.bench.plots import draw
from resonance.loadtest.bench.report import page, ratios_table
from resonance.loadtest.bench.results import Results, ResultsError, environment, load, machine
from resonance.loadtest.bench.scaling import ConcurrencyRow, LengthRow
from resonance.loadtest.bench.sections import SECTIONS, lines
from resonance.loadtest.bench.serving_path import PathRow
from resonance.loadtest.bench.stages import StagesRow

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = {
    "path": PathRow,
    "ffmpeg": FfmpegRow,
    "decode": DecodeGain,
    "matrix": MatrixRow,
    "stages": StagesRow,
    "lengths": LengthRow,
    "concurrency": ConcurrencyRow,
    "films": FilmResult,
    "peers": PeerRow,
}
ABOUT = {"machine": "a machine", "fingerprint": "f", "date": "2026-01-01", "commit": "abc"}


@dataclass(frozen=True, slots=True)
class Gain:
    """Columns of `decode`."""

    film: str = "a film"
    gain: float = 5.0
    lowest_gain: float = 4.0
    decode_gain: float = 6.0
    bar: float = 6.0


def test_every_column_that_is_shown_exists() -> None:
    for section in SECTIONS:
        ratios = [ratio.column for ratio in section.ratios]
        bars = [ratio.bar for ratio in section.ratios if isinstance(ratio.bar, str)]
        shown = {*section.labels, *ratios, *bars, *(column for column, _ in section.also)}
        assert shown <= {one.name for one in fields(ROWS[section.part])}, section.part


def test_the_page_is_what_the_figures_say() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert text == page_of(DOCS / "performance"), "run `make performance-page`"
    for linked in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (DOCS / linked).stat().st_size > 1000


def test_pictures_are_drawn_from_the_committed_figures(tmp_path: Path) -> None:
    name, figures = next(iter(machines_of(DOCS / "performance").items()))
    drawn = draw(figures, name, tmp_path)
    assert "path" in drawn
    for part, picture in drawn.items():
        assert picture.name == f"{name}-{part}.svg"
        assert picture.read_text(encoding="utf-8").count("<path") > 10


def test_bars_are_judged_and_machines_stand_beside_each_other(model_repository: Path, tmp_path: Path) -> None:
    about = {**environment(model_repository), "machine": "a machine"}
    for name, gain in (("one", 5.0), ("two", 7.0)):
        Results(tmp_path / f"{name}.json", about).record("decode", [Gain(gain=gain)])
    figures = {name: load(tmp_path / f"{name}.json") for name in ("one", "two")}
    figures["three"] = {"environment": about, "measured": {}}
    assert [line.met for name in figures for line in lines(figures[name])] == [False, True]
    summary = "| a film | whole over keyframes | ≥ 6 | 5 ✗ | 7 ✓ | not measured |"
    assert summary in page(figures, {}).splitlines()
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    console.print(ratios_table(figures["one"]))
    assert re.search(r"decode .* a film .* 5 .* ≥ 6 .* ✗", console.export_text())


def test_what_other_benches_wrote_stands_with_its_machine(tmp_path: Path) -> None:
    Results(tmp_path / "m.json", ABOUT).record("decode", [Gain()])
    later = {**ABOUT, "date": "2026-01-03"}
    Results(tmp_path / "m.films.json", later).record("films", [])
    (tmp_path / "m.peers.json").write_text(
        json.dumps({"environment": {"started": "2026-01-02T03:04:05+00:00"}, "peers": [{"ratio": 2.0}]})
    )
    figures = machines_of(tmp_path)["m"]
    assert figures["peers"] == [{"ratio": 2.0}]
    assert {part: when["date"] for part, when in figures["measured"].items()} == {
        "decode": "2026-01-01",
        "films": "2026-01-03",
        "peers": "2026-01-02",
    }
    (tmp_path / "m.peers.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"m.peers.json: KeyError: 'environment'"):
        machines_of(tmp_path)
    with pytest.raises(ResultsError, match="at least one that `make bench` wrote"):
        machines_of(DOCS / "nowhere")


def test_kept_parts_are_of_the_same_machine(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    Results(path, ABOUT).record("decode", [Gain()])
    later = {**ABOUT, "date": "2026-01-02"}
    Results(path, later, keep=True).record("films", [])
    kept: dict[str, Any] = json.loads(path.read_text())
    assert {part: when["date"] for part, when in kept["measured"].items()} == {
        "decode": "2026-01-01",
        "films": "2026-01-02",
    }
    with pytest.raises(ResultsError, match="machine is a machine, and now another"):
        Results(path, {**ABOUT, "machine": "another"}, keep=True)
    Results(path, later).record("films", [])
    assert "decode" not in json.loads(path.read_text())
    path.write_text("{}")
    with pytest.raises(ResultsError, match="no environment, measured"):
        load(path)


def test_a_machine_is_told_by_its_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: A CPU\ncpu family\t: 6\nmodel\t\t: 85\n\nmodel name\t: another\n")
    assert machine(cpuinfo).startswith("A CPU (family 6, model 85), ")
    assert Baseline().of(machine()) == ({}, FOREIGN_LOSS)
