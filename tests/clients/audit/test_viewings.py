"""Logs of viewings: what is read of each format, and what is wrong is said by file, row and field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.audit.ratings import RATED, read_genres
from resonance.clients.audit.viewing_log import WATCHED, Recommended, ViewingLog
from resonance.clients.audit.viewings import read_viewings, write_viewings
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import CatalogueError

HEAD = "user,title,time,completion"
FULL = f"{HEAD},score,position,propensity,clicked,watch_s"


def log_of(path: Path, text: str) -> ViewingLog:
    path.write_text(text, encoding="utf-8")
    return read_viewings(path)


def test_viewings_are_in_the_order_of_time(tmp_path: Path) -> None:
    log = log_of(
        tmp_path / "log.csv",
        f"other,{HEAD}\nx,ann,film 2,1970-01-01T00:02:00,0.5\nx,bob,film 1,60,1\n\nx,ann,film 1,60.5,\n",
    )
    assert log.at_s.tolist() == [60, 60.5, 120]
    assert [log.user_ids[user] for user in log.users] == ["bob", "ann", "ann"]
    assert [log.media_ids[title] for title in log.titles] == ["film 1", "film 1", "film 2"]
    np.testing.assert_array_equal(log.completion, np.array([1, np.nan, 0.5], np.float32))
    assert log.completion.dtype == np.float32
    assert log.recommended is None
    assert log.completion_is == WATCHED


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"user": 7, "title": "a", "time": 10, "completion": 0.25, "score": 0.5, "position": 1}
        | {"propensity": 1.0, "clicked": True, "watch_s": 30.5},
        {"user": 8, "title": "b", "time": 20, "completion": None, "score": None, "position": 2}
        | {"propensity": None, "clicked": False, "watch_s": None},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text(f"{FULL}\n7,a,10,0.25,0.5,1,1.0,true,30.5\n8,b,20,,,2,,no,\n")
    for name in ("log.jsonl", "log.parquet", "log.csv"):
        log = read_viewings(str(tmp_path / name))
        assert log.user_ids == ("7", "8")
        assert log.completion.tolist() == [0.25, 0]  # not clicked: nothing was watched
        given = log.recommended
        assert given is not None
        np.testing.assert_array_equal(given.score, np.array([0.5, np.nan], np.float32))
        np.testing.assert_array_equal(given.propensity, np.array([1, np.nan], np.float32))
        assert given.position.tolist() == [1, 2]
        assert given.clicked.tolist() == [True, False]
        assert given.watch_s.tolist() == [30.5, 0]


@pytest.mark.parametrize(
    "value",
    ["2026-11-28T21:15:00+01:00", "2026-11-28 20:15", "20261128T201500Z", "1795896900", "1.7958969e9"],
)
def test_a_moment_in_many_ways(tmp_path: Path, value: str) -> None:
    log = log_of(tmp_path / "log.csv", f"{HEAD}\nann,a,{value},1\nann,b,0,1\n")
    assert log.at_s[1] == datetime(2026, 11, 28, 20, 15, tzinfo=UTC).timestamp()


def test_times_of_parquet(tmp_path: Path) -> None:
    moments = [datetime(2026, 11, 28, 20, 15), datetime(2026, 11, 28)]
    pq.write_table(
        pa.table({"user": ["a", "a"], "title": [1, 2], "time": moments, "completion": [1, 0]}),
        tmp_path / "log.parquet",
    )
    log = read_viewings(tmp_path / "log.parquet")
    assert log.at_s.tolist() == [m.replace(tzinfo=UTC).timestamp() for m in reversed(moments)]
    assert [log.media_ids[at] for at in log.titles] == ["2", "1"]


def test_nanoseconds_of_parquet_as_pandas_writes_them(tmp_path: Path) -> None:
    moments = pa.array([1_795_896_900_000_000_001, 0], pa.timestamp("ns", "UTC"))
    pq.write_table(
        pa.table({"user": ["a", "a"], "title": [1, 2], "time": moments, "completion": [1, 0]}),
        tmp_path / "log.parquet",
    )
    assert read_viewings(tmp_path / "log.parquet").at_s.tolist() == [0, 1_795_896_900]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"time": pa.array([10**18], pa.timestamp("us"))}, "log.parquet: time: OverflowError"),
        ({"time": pa.array([0], pa.timestamp("us", "Foo/Bar"))}, "log.parquet: time: "),
    ],
)
def test_times_of_parquet_that_are_none(tmp_path: Path, columns: dict[str, pa.Array], told: str) -> None:
    table = pa.table({"user": ["a"], "title": [1], "completion": [1], **columns})
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(CatalogueError, match=told):
        read_viewings(tmp_path / "log.parquet")


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    names = ["user", "user", "title", "time", "completion"]
    pq.write_table(pa.table([pa.array([1])] * 5, names=names), tmp_path / "log.parquet")
    with pytest.raises(CatalogueError, match="column user more than once"):
        read_viewings(tmp_path / "log.parquet")


def test_without_clicked_every_row_was_watched(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.csv", f"{HEAD},position\nann,a,1,0,3\n")
    assert log.recommended is not None
    assert log.recommended.clicked.tolist() == [True]
    assert log.recommended.position.tolist() == [3]
    (tmp_path / "log.jsonl").write_text('{"user": "a", "title": "b", "time": 1, "completion": 1}\n')
    assert read_viewings(tmp_path / "log.jsonl").recommended is None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "log.csv",
            "user,title,time\n",
            "log.csv: no column completion among user, title, time; expected a log",
        ),
        ("log.csv", f"{HEAD}\n", "log.csv: no viewing"),
        ("log.csv", "", "no column user"),
        ("log.csv", f"{HEAD}\nann,a,1,1\n,a,1,1\n", "log.csv row 2, user: nothing; expected a name"),
        ("log.csv", f"{HEAD}\nann, ,1,1\n", "row 1, title: ' '"),
        ("log.csv", f"{HEAD}\nann,a,yesterday,1\n", "row 1, time: 'yesterday'; expected seconds of the Unix"),
        ("log.csv", f"{HEAD}\nann,a,,1\n", "row 1, time: nothing"),
        ("log.csv", f"{HEAD}\nann,a,nan,1\n", "row 1, time: 'nan'"),
        ("log.csv", f"{HEAD}\nann,a,1e300,1\n", "row 1, time: '1e300'"),
        ("log.csv", f"{HEAD}\nann,a,1,1\nann,a,1,1.5\n", "row 2, completion: '1.5'; expected 0 to 1"),
        ("log.csv", f"{HEAD}\nann,a,1,-0.1\n", "row 1, completion: '-0.1'"),
        ("log.csv", f"{HEAD}\nann,a,1,inf\n", "row 1, completion: 'inf'"),
        ("log.csv", f"{HEAD}\nann,a,1,half\n", "row 1, completion: 'half'"),
        ("log.csv", f"{HEAD}\nann,a,1,0.5,1\n", "row 1: more fields than columns"),
        ("log.csv", f"{HEAD},position\nann,a,1,1,1.5\n", "row 1, position: '1.5'; expected a place from 1"),
        ("log.csv", f"{HEAD},position\nann,a,1,1,-1\n", "row 1, position: '-1'"),
        ("log.csv", f"{HEAD},propensity\nann,a,1,1,0\n", "row 1, propensity: '0'; expected a chance above 0"),
        ("log.csv", f"{HEAD},propensity\nann,a,1,1,1.01\n", "row 1, propensity: '1.01'"),
        ("log.csv", f"{HEAD},score\nann,a,1,1,inf\n", "row 1, score: 'inf'"),
        ("log.csv", f"{HEAD},score\nann,a,1,1,1e39\n", "row 1, score: '1e39'"),
        ("log.csv", f"{HEAD},position\nann,a,1,1,1e19\n", "row 1, position: '1e19'"),
        ("log.csv", f"{HEAD},watch_s\nann,a,1,1,-3\n", "row 1, watch_s: '-3'"),
        ("log.csv", f"{HEAD},clicked\nann,a,1,1,maybe\n", "row 1, clicked: 'maybe'; expected true or false"),
        ("log.csv", f"{HEAD},clicked\nann,a,1,0.5,false\n", "row 1, completion: 0.5 of a title not clicked"),
        ("log.csv", f"{HEAD},clicked,watch_s\nann,a,1,,0,5\n", "row 1, watch_s: 5 of a title not clicked"),
        ("log.jsonl", '{"user": "a"}\n', "line 1: no column title"),
        ("log.jsonl", '{"user": true, "title": "a", "time": 1, "completion": 1}\n', "row 1, user: True"),
        ("log.jsonl", '{"user": "u", "title": "a", "time": 1, "completion": true}\n', "completion: True"),
        ("log.jsonl", '{"user": "u", "title": "a", "time": 1, "completion": [1]}\n', r"completion: \[1\]"),
        ("log.jsonl", "\n[1]\n", "line 2: a JSON list"),
        ("log.parquet", "no parquet", "ArrowInvalid"),
        ("log.txt", HEAD, "the ending '.txt'"),
        ("nothing.d", "", "the ending '.d'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(CatalogueError, match=told):
        log_of(tmp_path / name, text)


def test_a_log_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nothing\.csv"):
        read_viewings(tmp_path / "nothing.csv")
    (tmp_path / "log.csv").write_bytes(b"user,title,time,completion\n\xff,a,1,1\n")
    with pytest.raises(CatalogueError, match="UnicodeDecodeError"):
        read_viewings(tmp_path / "log.csv")


def test_rows_beyond_the_first_batch_have_their_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resonance.clients.audit.table._ROWS_AT_ONCE", 2)
    moments = (0, 1, 2, 3, 4, "x")
    lines = [json.dumps({"user": "ann", "title": "a", "time": at, "completion": 1}) for at in moments]
    texts = {"log.csv": [HEAD, *(f"ann,a,{at},1" for at in moments)], "log.jsonl": lines}
    for name, text in texts.items():
        with pytest.raises(CatalogueError, match="row 6, time: 'x'"):
            log_of(tmp_path / name, "\n".join(text))
    told: list[int] = []
    (tmp_path / "five.csv").write_text("\n".join([HEAD, *(f"u{at},a,{5 - at},1" for at in range(5))]))
    log = read_viewings(tmp_path / "five.csv", progress=told.append)
    assert told == [2, 4, 5]
    assert log.at_s.tolist() == [1, 2, 3, 4, 5]
    assert log.users.tolist() == [4, 3, 2, 1, 0]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    log = ViewingLog(
        users=np.array([0, 1, 0]),
        titles=np.array([1, 0, 0]),
        at_s=np.array([1.0, 2.5, 3.0]),
        completion=np.array([0.5, np.nan, 0], np.float32),
        user_ids=("ann", "bob"),
        media_ids=("a, with a comma", "b"),
        recommended=Recommended(
            score=np.array([0.125, np.nan, -1], np.float32),
            position=np.array([1, 0, 2]),
            propensity=np.array([0.5, np.nan, 0.25], np.float32),
            clicked=np.array([True, True, False]),
            watch_s=np.array([7, np.nan, 0], np.float32),
        ),
    )
    for name in ("log.csv", "log.parquet"):
        write_viewings(log, tmp_path / name)
        found = read_viewings(tmp_path / name)
        # numbers are given as names come; the names of the rows are the same
        assert [found.media_ids[at] for at in found.titles] == [log.media_ids[at] for at in log.titles]
        assert [found.user_ids[at] for at in found.users] == [log.user_ids[at] for at in log.users]
        np.testing.assert_array_equal(found.completion, log.completion)
        assert found.recommended is not None
        assert log.recommended is not None
        for column in ("score", "position", "propensity", "clicked", "watch_s"):
            np.testing.assert_array_equal(
                getattr(found.recommended, column), getattr(log.recommended, column)
            )
    with pytest.raises(UsageError, match=r"'\.txt'"):
        write_viewings(log, tmp_path / "log.txt")
    some = log.take(np.array([True, False, True]))
    assert len(some) == 2
    assert some.recommended is not None
    assert some.recommended.position.tolist() == [1, 2]
    assert some.media_ids == log.media_ids


def test_a_folder_of_ratings(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,1029,4.0,1260759179\n2,31,4.0,835355493\n"
    )
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n31,"Minds, Dangerous (1995)",Drama|Crime\n1029,Dumbo,(no genres listed)\n'
    )
    log = read_viewings(tmp_path)
    assert log.at_s.tolist() == [835355493, 1260759144, 1260759179]
    assert log.completion.tolist() == [1.0, 0.625, 1.0]  # of the best rating of the log, 4
    assert [log.media_ids[at] for at in log.titles] == ["31", "31", "1029"]
    assert log.recommended is None
    assert log.completion_is == RATED
    assert read_genres(tmp_path) == {"31": ("Crime", "Drama"), "1029": ()}
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,0,1260759144\n")
    with pytest.raises(CatalogueError, match=r"ratings\.csv row 1, rating: '0'; expected a rating above 0"):
        read_viewings(tmp_path)
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\n")
    with pytest.raises(CatalogueError, match="no column timestamp"):
        read_viewings(tmp_path)
    (tmp_path / "ratings.csv").unlink()
    with pytest.raises(CatalogueError, match=r"ratings\.csv"):
        read_viewings(tmp_path)
