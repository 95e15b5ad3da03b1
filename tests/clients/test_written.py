"""No command writes over what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.clients.errors import UsageError
from resonance.clients.ingest.part_files import PartFolder
from resonance.clients.new_files import check_no_input
from resonance.loadtest.audit.stored import write_store

AUDIT_BIAS = ("audit", "bias", "store", "--group")
COLDSTART = ("audit", "coldstart", "store")
RESONANCE = ("audit", "resonance", "store")
CARRY = ("carry", "store", "store2", "--old-space", "file.json")


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "metadata", "store", "file.csv", "--html", "file.csv"),
        ("audit", "metadata", "store", "file:file.csv", "--html", "link.html"),
        (*AUDIT_BIAS, "file.csv", "--html", "file.csv"),
        (*AUDIT_BIAS, "language", "--target", "file.csv", "--html", "file.csv"),
        (*AUDIT_BIAS, "language", "--queries", "file.jsonl", "--feed", "file.jsonl"),
        (*AUDIT_BIAS, "language", "--space", "file.json", "--prometheus", "file.json"),
        (
            *AUDIT_BIAS,
            "language",
            "--against",
            "store2",
            "--against-space",
            "file.json",
            "--html",
            "file.json",
        ),
        (*COLDSTART, "file.csv", "--html", "file.csv"),
        (*COLDSTART, "log.csv", "--test", "file.csv", "--html", "file.csv"),
        (*COLDSTART, "log.csv", "--tags", "file.csv", "--html", "file.csv"),
        (*COLDSTART, "log.csv", "--held-out", "file.csv", "--html", "file.csv"),
        (*RESONANCE, "file.csv", "--html", "file.csv"),
        (*RESONANCE, "log.csv", "--group", "file.csv", "--html", "file.csv"),
        (*RESONANCE, "log.csv", "--space", "file.json", "--html", "file.json"),
        ("embed", "other.jpg", "file.jpg", "--plot", "file.jpg"),
        ("embed", "file.jsonl", "--output", "file.jsonl"),
        ("arcs", "store", "--curve", "file.jpg", "--plot", "file.jpg"),
        ("taste", "store", "--history", "file.csv", "--save", "file.csv"),
        (*CARRY, "--html", "file.json"),
    ],
)
def test_what_is_read_is_not_written_over(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resonance.training.tuning.restart_tuned", lambda: None)
    for ending in ("csv", "json", "jsonl", "jpg"):
        Path(f"file.{ending}").write_text("media_id,group,share\na,b,0.5\n")
    Path("file.jsonl").write_text('{"like": ["a"]}\n')
    Path("link.html").symlink_to("file.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), arguments)
    assert done.exit_code == 2, done.output
    assert "take the place of what is read" in done.output
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("audit", "metadata", "store", "--html", "tags.csv"), "expected .html or .htm"),
        ((*AUDIT_BIAS, "language", "--feed", "groups.csv"), "expected .parquet"),
        ((*CARRY, "--html", "new.json"), "expected .html or .htm"),
        (("taste", "store", "--history", "watched.csv", "--save", "store/part-0.parquet"), "expected .json"),
        (("carry-taste", "c.npz", "t.json", "-o", "c.npz", "--new-space", "new.json"), "expected .json"),
        ((*AUDIT_BIAS, "language", "--feed", "store/part-0.parquet"), "a part of the store store"),
        (("contours", "store", "--out", "store/part-0.parquet"), "a part of the store store"),
    ],
)
def test_an_ending_or_a_place_of_something_else(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resonance.training.tuning.restart_tuned", lambda: None)
    Path("store").mkdir()
    done = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), arguments)
    assert done.exit_code == 2, done.output
    assert expected in done.output


def test_a_file_that_a_store_would_read_is_none_to_write(tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_store(str(store), 20)
    names = PartFolder(str(store)).names()
    assert names
    for name in names:
        check_no_input(tmp_path / name, [store])
        with pytest.raises(UsageError, match="it would be a part of the store"):
            check_no_input(store / name, [None, tmp_path / "log.csv", store])
    check_no_input(store / "report.html", [store])
