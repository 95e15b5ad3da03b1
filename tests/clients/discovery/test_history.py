"""Histories of every kind give the same viewings; what is wrong is told by file, row and column."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.discovery.history import Viewing, read_history
from resonance.clients.errors import InvalidFieldError, UsageError

ROWS = [
    {"media_id": "alpha", "completion": 0.95, "watched_at": "2026-11-20T20:15:00+01:00", "signal": None},
    {"media_id": "beta", "completion": 0.05, "watched_at": "2026-11-21T08:00:00Z", "signal": ""},
    {"media_id": "gamma", "completion": None, "watched_at": "2026-11-22", "signal": "Like"},
    {"media_id": "alpha", "completion": 0, "watched_at": "2026-11-23T10:00:00", "signal": "dislike"},
]
VIEWINGS = [
    Viewing("alpha", 0.95, datetime(2026, 11, 20, 20, 15, tzinfo=timezone(timedelta(hours=1)))),
    Viewing("beta", 0.05, datetime(2026, 11, 21, 8, tzinfo=UTC)),
    Viewing("gamma", None, datetime(2026, 11, 22, tzinfo=UTC), "like"),
    Viewing("alpha", 0.0, datetime(2026, 11, 23, 10, tzinfo=UTC), "dislike"),
]


def as_csv(folder: Path) -> Path:
    path = folder / "history.csv"
    lines = ["media_id, completion ,device,watched_at,signal"]
    for row in ROWS:
        seen = "" if row["completion"] is None else row["completion"]
        lines.append(f"{row['media_id']},{seen},tv,{row['watched_at']},{row['signal'] or ''}")
    path.write_text("\ufeff" + "\n".join(lines) + "\n")
    return path


def as_jsonl(folder: Path) -> Path:
    path = folder / "history.jsonl"
    path.write_text("\n\n".join(json.dumps({**row, "device": "tv"}) for row in ROWS))
    return path


def as_parquet(folder: Path) -> Path:
    path = folder / "history.parquet"
    pq.write_table(pa.Table.from_pylist([{**row, "device": "tv"} for row in ROWS]), path)
    return path


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_every_kind_of_file_gives_the_same(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert read_history(write(tmp_path)) == VIEWINGS


def test_times_and_numbers_of_parquet_are_taken_as_they_are(tmp_path: Path) -> None:
    times = pa.array([VIEWINGS[0].watched_at, VIEWINGS[1].watched_at], pa.timestamp("us", "UTC"))
    table = pa.table(
        {"media_id": ["alpha", "beta"], "completion": pa.array([0.5, 1], pa.float32()), "watched_at": times}
    )
    pq.write_table(table, tmp_path / "h.parquet")
    found = read_history(tmp_path / "h.parquet")
    assert [(v.media_id, v.completion, v.watched_at) for v in found] == [
        ("alpha", 0.5, VIEWINGS[0].watched_at),
        ("beta", 1.0, VIEWINGS[1].watched_at),
    ]


@pytest.mark.parametrize(
    ("row", "field", "expected"),
    [
        ({"completion": 1.5}, "completion", "0 to 1"),
        ({"completion": -0.1}, "completion", "0 to 1"),
        ({"completion": "most"}, "completion", "0 to 1"),
        ({"completion": 10**400}, "completion", "0 to 1"),
        ({"completion": True}, "completion", "0 to 1"),
        ({"completion": float("nan")}, "completion", "0 to 1"),
        ({"completion": None}, "completion", "a signal"),
        ({"completion": [1]}, "completion", "0 to 1"),
        ({"watched_at": "yesterday"}, "watched_at", "ISO 8601"),
        ({"watched_at": None}, "watched_at", "ISO 8601"),
        ({"watched_at": 20261128}, "watched_at", "ISO 8601"),
        ({"signal": "meh"}, "signal", "like, dislike"),
        ({"media_id": " "}, "media_id", "media id"),
        ({"media_id": None}, "media_id", "media id"),
    ],
)
def test_a_wrong_value_is_told_by_file_row_and_column(
    row: dict[str, object], field: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "history.jsonl"
    good = {"media_id": "alpha", "completion": 0.5, "watched_at": "2026-11-20"}
    path.write_text(f"{json.dumps(good)}\n{json.dumps({**good, **row})}\n")
    with pytest.raises(InvalidFieldError, match=expected) as caught:
        read_history(path)
    assert caught.value.field == f"{path} row 2: {field}"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("h.txt", b"", "ending"),
        ("h.csv", b"title,when\na,b\n", "media_id"),
        ("h.csv", b"media_id;watched_at;completion\na;2026-01-01;1\n", "separated by semicolons"),
        (
            "h.csv",
            b"media_id,watched_at,completion\nMe, Myself,2026-11-20,0.9\n",
            "line 2: more fields than columns; expected fields that hold a comma in quotes",
        ),
        ("h.csv", b"", "none"),
        ("h.csv", b"media_id,watched_at\na,2026-01-01\n", "completion"),
        ("h.csv", b"media_id,completion,watched_at\n\xff,1,2026-01-01\n", "cannot be read"),
        ("h.jsonl", b"{", "no JSON"),
        ("h.jsonl", b"[1]", "list"),
        ("h.parquet", b"PAR1 or not", "cannot be read"),
    ],
)
def test_files_that_are_no_history_are_refused(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as caught:
        read_history(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_history(tmp_path / "none.csv")


def test_an_empty_history_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("media_id,completion,watched_at\n")
    assert read_history(path) == []
    (tmp_path / "h.jsonl").write_text("")
    assert read_history(tmp_path / "h.jsonl") == []
