"""`resonance validate`: every fault is found and named, a good store has none, drift is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from typer.testing import CliRunner

from resonance.clients.arrow_types import VECTOR
from resonance.clients.cli.main import make_app
from resonance.clients.errors import UsageError
from resonance.clients.ingest.parquet import ParquetSink
from resonance.clients.ingest.rows import SEGMENT, title_schema
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.validate import LARGE_PSI, Profile, drift
from resonance.clients.media.types import Damage
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_row, made_rows

COMMAND = str(Path(sys.executable).with_name("resonance"))


def write(uri: Path | str, *rows: pa.Table, batch: str = "1") -> None:
    sink = open_sink(str(uri), SPACE)
    sink.write(pa.concat_tables(rows), batch=batch)
    sink.close()


def validate(uri: Path | str, *more: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(make_app(), ["validate", str(uri), "--json", *more])
    return done.exit_code, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def changed(row: pa.Table, **values: Any) -> pa.Table:
    """A row with other values of some columns, as Python has them."""
    return pa.Table.from_pylist([{**row.to_pylist()[0], **values}], schema=title_schema(SPACE))


def with_segments(row: pa.Table, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> pa.Table:
    return changed(row, segments=change(row["segments"].to_pylist()[0]))


def with_vector(row: pa.Table, vector: np.ndarray) -> pa.Table:
    return changed(row, vector=vector.astype(np.float32))


def first_vector(vector: np.ndarray) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda segments: [{**segments[0], "vector": vector.astype(np.float32)}, *segments[1:]]


def test_a_good_store(tmp_path: Path) -> None:
    write(tmp_path, made_rows("a", "b"), made_row("c", segments=5))
    done = subprocess.run([COMMAND, "validate", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no faults" in done.stdout
    code, report = validate(tmp_path)
    assert code == 0
    assert report == {
        "store": str(tmp_path),
        "fingerprint": SPACE.fingerprint,
        "titles": 3,
        "segments": 3 + 3 + 5,
        "hours": round((3 + 3 + 5) * 8 / 3600, 3),
        "absent": {"visual": 0.0, "audio": 0.0, "transcript": 1.0},
        "damaged": {"count": 0, "for_example": []},
        "faults": {},
    }


def test_titles_of_damaged_media_are_told_and_are_no_fault(tmp_path: Path) -> None:
    write(tmp_path, made_rows("a", "b"), made_row("[cut] off", damage=Damage(missing_s=3.5)))
    code, report = validate(tmp_path)
    assert (code, report["damaged"]) == (0, {"count": 1, "for_example": ["[cut] off"]})
    done = CliRunner().invoke(make_app(), ["validate", str(tmp_path)])
    assert "1 of media that could not be read in full: [cut] off; all of them: " in done.stdout


UNIT = np.full(1788, 1788**-0.5)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (with_vector(made_row("x"), UNIT * 1.002), "title vector not of unit norm"),
        (with_vector(made_row("x"), UNIT * 0), "title vector all zero"),
        (with_vector(made_row("x"), UNIT * np.nan), "title vector not finite"),
        (with_segments(made_row("x"), first_vector(UNIT * 0.99)), "segment vector not of unit norm"),
        (with_segments(made_row("x"), first_vector(UNIT * 0)), "segment vector all zero"),
        (with_segments(made_row("x"), first_vector(UNIT * np.inf)), "segment vector not finite"),
        (with_segments(made_row("x"), lambda parts: parts[::-1]), "segments out of order or twice"),
        (
            with_segments(made_row("x"), lambda parts: parts[1:]),
            "saliences that do not sum to 1: segments missing",
        ),
        (with_segments(made_row("x"), lambda parts: []), "title without segments"),
        (changed(made_row("x"), segments=None), "title without segments"),
        (
            changed(made_row("x"), present=dict.fromkeys(("visual", "audio", "transcript"), False)),
            "title without any modality",
        ),
        (
            changed(made_row("x"), axes=[("tension", {"value": 1.5, "low": "calm", "high": "tense"})]),
            "axis tension outside 0 to 1",
        ),
    ],
)
def test_each_fault_is_found_and_named(tmp_path: Path, row: pa.Table, fault: str) -> None:
    write(tmp_path, made_rows("a", "b"), row)
    code, report = validate(tmp_path)
    assert code == 1
    assert report["faults"] == {fault: {"count": 1, "for_example": ["x"]}}
    assert report["titles"] == 3


def test_a_file_with_a_vector_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, changed(made_row("x"), vector=None))
    write(tmp_path, made_row("a"), batch="2")
    code, report = validate(tmp_path)
    assert code == 1
    assert report["faults"] == {"file that cannot be read": {"count": 1, "for_example": ["part-1.parquet"]}}


def test_a_norm_within_the_tolerance_is_none(tmp_path: Path) -> None:
    write(tmp_path, with_vector(made_row("x"), UNIT * 1.0009))
    assert validate(tmp_path)[0] == 0


def test_what_stands_in_files_that_should_not_be_there(tmp_path: Path) -> None:
    write(tmp_path / "a", made_rows("a", "b"))
    write(tmp_path / "copy", made_rows("b"), batch="2")
    ParquetSink(str(tmp_path / "other"), OTHER_SPACE).write(made_rows("c", space=OTHER_SPACE), batch="3")
    for name in ("copy/part-2.parquet", "other/part-3.parquet"):
        (tmp_path / name).rename(tmp_path / "a" / Path(name).name)
    (tmp_path / "a" / "part-4.parquet").write_bytes(b"PAR1, and then the disk was full")
    broken = (tmp_path / "a" / "part-1.parquet").read_bytes()
    (tmp_path / "a" / "part-5.parquet").write_bytes(broken[:4000] + bytes(4000) + broken[8000:])
    code, report = validate(tmp_path / "a")
    assert code == 1
    assert report["titles"] == 3
    assert report["faults"] == {
        "title stored twice": {"count": 1, "for_example": ["b"]},
        "file of another space": {"count": 1, "for_example": ["part-3.parquet"]},
        "file that cannot be read": {"count": 2, "for_example": ["part-4.parquet", "part-5.parquet"]},
    }


def test_a_readable_report_says_what_and_where(tmp_path: Path) -> None:
    write(tmp_path, made_rows("a"), with_vector(made_row("[odd] name"), UNIT * 0))
    done = CliRunner().invoke(make_app(), ["validate", str(tmp_path)])
    assert done.exit_code == 1
    assert "1 x title vector all zero: [odd] name" in done.stdout


def test_what_a_broken_off_write_left_in_qdrant(tmp_path: Path) -> None:
    uri = f"qdrant+local:{tmp_path}/q?name=films"
    write(uri, made_rows("a", "b"))
    client = QdrantClient(path=str(tmp_path / "q"))
    wanted = models.FieldCondition(key="media_id", match=models.MatchValue(value="b"))
    client.delete("films-titles", models.Filter(must=[wanted]))
    index = models.FieldCondition(key="index", match=models.MatchValue(value=1))
    of_a = models.FieldCondition(key="media_id", match=models.MatchValue(value="a"))
    client.delete("films-segments", models.Filter(must=[of_a, index]))
    client.close()
    code, report = validate(uri)
    assert code == 1
    assert report["faults"] == {
        "segment without its title": {"count": 3, "for_example": ["b", "b", "b"]},
        "saliences that do not sum to 1: segments missing": {"count": 1, "for_example": ["a"]},
        "title that lacks segments": {"count": 1, "for_example": ["a"]},
    }


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--reference"], 2), (["nowhere"], 1)])
def test_exit_codes(tmp_path: Path, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(make_app(), ["validate", *arguments]).exit_code == code


def test_an_address_that_makes_no_sense_is_wrong_use() -> None:
    assert CliRunner().invoke(make_app(), ["validate", "qdrant://host"]).exit_code == 2


def test_a_reference_of_another_space_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", made_rows("a"))
    ParquetSink(str(tmp_path / "b"), OTHER_SPACE).write(made_rows("b", space=OTHER_SPACE), batch="1")
    done = CliRunner().invoke(
        make_app(), ["validate", str(tmp_path / "a"), "--reference", str(tmp_path / "b")]
    )
    assert done.exit_code == 1
    assert SPACE.fingerprint[:12] in done.stderr
    assert OTHER_SPACE.fingerprint[:12] in done.stderr


def tense(name: str, value: float) -> pa.Table:
    return changed(made_row(name), axes=[("tension", {"value": value, "low": "calm", "high": "tense"})])


def test_drift_is_told_and_may_fail(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    write(tmp_path / "calm", *(tense(f"c{n}", float(chance.beta(2, 5))) for n in range(80)))
    write(tmp_path / "same", *(tense(f"c{n}", float(chance.beta(2, 5))) for n in range(80)))
    write(tmp_path / "tense", *(tense(f"t{n}", float(chance.beta(5, 2))) for n in range(80)))
    code, report = validate(tmp_path / "same", "--reference", str(tmp_path / "calm"), "--fail-on-drift")
    assert code == 0
    assert report["drift"]["large"] == []
    assert all(value == pytest.approx(1) for value in report["drift"]["cosine_of_means"].values())
    code, report = validate(tmp_path / "tense", "--reference", str(tmp_path / "calm"))
    assert code == 0  # to be told of it is no fault
    assert report["drift"]["large"] == ["tension"]
    assert all(abs(value) < 0.5 for value in report["drift"]["cosine_of_means"].values())
    code, _ = validate(tmp_path / "tense", "--reference", str(tmp_path / "calm"), "--fail-on-drift")
    assert code == 1


def test_the_index_by_hand() -> None:
    """Half in the first bin and half in the second, against all in the first."""
    halves, all_first = np.zeros(10, np.int64), np.zeros(10, np.int64)
    halves[:2], all_first[0] = 45, 90
    profiles = [
        Profile(titles=90, sums=np.ones((3, 596)), axes={"tension": bins}) for bins in (halves, all_first)
    ]
    found = drift(*profiles)
    expected = (46 - 91) / 100 * np.log(46 / 91) + (46 - 1) / 100 * np.log(46 / 1)
    assert found.psi == {"tension": pytest.approx(expected)}
    assert expected > LARGE_PSI
    assert found.cosine == {m: pytest.approx(1) for m in ("visual", "audio", "transcript")}


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="without titles"):
        drift(Profile(), Profile(titles=1))


def test_the_rows_made_here_are_of_the_schema() -> None:
    row = changed(made_row("a"))
    assert row.equals(made_row("a"))
    assert row.schema.field("vector").type == VECTOR
    assert row.schema.field("segments").type == pa.list_(SEGMENT)
