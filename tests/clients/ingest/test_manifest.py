"""Manifests of each kind: what their columns mean, and what a row that makes no sense does to the others."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.manifest import FaultyRow, read_manifest
from resonance.clients.ingest.types import CatalogueItem, day_of

ROWS: list[dict[str, Any]] = [
    {"id": "1", "uri": "films/one.mp4", "transcript_uri": "one.srt", "tags": "news; short |", "year": "1999"},
    {
        "id": None,
        "uri": "s3://b/two.mp4",
        "transcript_uri": None,
        "language": "pt-BR",
        "tags": None,
        "year": "",
    },
    {"id": "drei", "uri": "/absolut/drei ünï.mp4", "transcript_uri": None, "tags": "", "year": "2001"},
]
COLUMNS = ("id", "uri", "transcript_uri", "language", "tags", "year")


def as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({c: pa.array([row.get(c) for row in rows], pa.string()) for c in COLUMNS}), out)
    return out.getvalue()


def items(path: Path | str) -> list[CatalogueItem]:
    rows = list(read_manifest(str(path)))
    assert not [row for row in rows if isinstance(row, FaultyRow)]
    return [row for row in rows if isinstance(row, CatalogueItem)]


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "make"), [("list.csv", as_csv), ("list.JSONL", as_jsonl), ("list.parquet", as_parquet)]
)
def test_the_same_rows_of_every_kind(tmp_path: Path, name: str, make: Any) -> None:
    assert items(written(tmp_path, name, make(ROWS))) == [
        CatalogueItem(
            media_id="1",
            uri=str(tmp_path / "films" / "one.mp4"),
            transcript_uri=str(tmp_path / "one.srt"),
            tags=("news", "short"),
            attributes={"year": "1999"},
        ),
        CatalogueItem(media_id="s3://b/two.mp4", uri="s3://b/two.mp4", language="pt-BR"),
        CatalogueItem(media_id="drei", uri="/absolut/drei ünï.mp4", attributes={"year": "2001"}),
    ]


def test_a_manifest_of_a_store_and_what_is_relative_to_it() -> None:
    fsspec.filesystem("memory").pipe("/lists/today/list.csv", b"\xef\xbb\xbfuri\n../one.mp4\n")
    (item,) = items("memory://lists/today/list.csv")
    assert item.uri == "memory://lists/one.mp4"
    assert item.media_id == "../one.mp4"


def test_values_of_parquet_that_are_no_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([7]),
            "uri": pa.array([b"one.mp4"]),  # as older writers have text
            "tags": pa.array([["a; b", " c ", None]]),
            "score": pa.array([0.5]),
            "cast": pa.array([[{"name": "Zoë"}]]),
            "missing": pa.array([float("nan")]),
            "day": pa.array([0], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    (item,) = items(tmp_path / "list.parquet")
    assert (item.media_id, item.uri) == ("7", str(tmp_path / "one.mp4"))
    assert item.tags == ("a; b", "c")
    assert item.attributes == {"score": "0.5", "cast": '[{"name": "Zoë"}]', "day": "1970-01-01"}


@pytest.mark.parametrize("name", ["list.parquet", "list.jsonl"])
def test_whole_numbers_that_come_as_floats_are_whole_numbers(tmp_path: Path, name: str) -> None:
    """pandas makes floats of a column of them in which one is missing."""
    columns = {
        "uri": ["one.mp4", "two.mp4"],
        "id": [101.0, None],
        "date": [1999.0, None],
        "score": [0.5, -2.0],
        "views": [1e300, float("inf")],
    }
    if name == "list.parquet":
        pq.write_table(pa.table(columns), tmp_path / name)
    else:
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        (tmp_path / name).write_bytes(as_jsonl(list(rows)))
    first, second = items(tmp_path / name)
    assert first.media_id == "101"
    assert first.attributes == {"date": "1999", "score": "0.5", "views": "1e+300"}
    assert day_of(first.attributes) == date(1999, 1, 1)
    assert second.media_id == "two.mp4"
    assert second.attributes == {"score": "-2", "views": "inf"}


@pytest.mark.parametrize(
    ("name", "data", "came"),
    [
        ("list.csv", b"uri,id\none.mp4,1\n,2\nthree.mp4,3\n", "no uri"),
        ("list.csv", b"uri,id\none.mp4,1\na, b.mp4,2\nthree.mp4,3\n", "3 fields under 2 columns"),
        ("list.csv", b"uri,id\none.mp4,1\n\xff\xfe.mp4,2\nthree.mp4,3\n", "not UTF-8"),
        ("list.csv", b"uri,id\none.mp4,1\n" + b"x" * (1 << 21) + b",2\nthree.mp4,3\n", "field larger"),
        ("list.jsonl", b'{"uri":"one.mp4"}\n{"uri":\n{"uri":"three.mp4"}\n', "no JSON"),
        ("list.jsonl", b'{"uri":"one.mp4"}\n"two.mp4"\n\n{"uri":"three.mp4"}\n', "a JSON str"),
        ("list.jsonl", b'{"uri":"one.mp4"}\n{"uri":"\\ud800"}\n{"uri":"three.mp4"}', "not UTF-8"),
        ("list.jsonl", b'{"uri":"one.mp4"}\n{"uri":"\xff"}\n{"uri":"three.mp4"}', "no JSON"),
        ("list.jsonl", b'{"uri":"one.mp4"}\n' + b"[" * 100_000 + b'\n{"uri":"three.mp4"}', "recursion"),
        (
            "list.jsonl",
            b'{"uri":"one.mp4"}\n{"uri":"two.mp4","x":"' + b"x" * (3 << 20) + b'"}\n{"uri":"three.mp4"}',
            "over 1,048,576 bytes",
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_told_and_the_others_go_on(
    tmp_path: Path, name: str, data: bytes, came: str
) -> None:
    path = written(tmp_path, name, data)
    first, faulty, last = read_manifest(str(path))
    assert isinstance(first, CatalogueItem)
    assert isinstance(last, CatalogueItem)
    assert (first.uri, last.uri) == (str(tmp_path / "one.mp4"), str(tmp_path / "three.mp4"))
    assert isinstance(faulty, FaultyRow)
    assert faulty.where == f"{path} row 2"
    assert came in faulty.error.came
    str(faulty.error).encode()  # it will be stored


def test_a_column_of_bytes_is_named(tmp_path: Path) -> None:
    table = pa.table({"uri": ["one.mp4", "two.mp4"], "poster": [b"\xff\xd8", b"text"]})
    pq.write_table(table, tmp_path / "list.parquet")
    faulty, second = read_manifest(str(tmp_path / "list.parquet"))
    assert isinstance(faulty, FaultyRow)
    assert faulty.error.came == "text that is not UTF-8 in poster"
    assert isinstance(second, CatalogueItem)


@pytest.mark.parametrize("rest", [b"", b'six.mp4,"6"\n', b"six.mp4," + b"6" * 999 + b"\n"])
def test_a_quote_that_is_not_closed_costs_its_own_row_alone(tmp_path: Path, rest: bytes) -> None:
    rest *= 1 if len(rest) < 99 else 1_100  # more than a field may have
    whole = b'uri,title\none.mp4,1\ntwo.mp4,"Best of\nthree.mp4,3\nfour.mp4,4\n' + rest
    path = written(tmp_path, "list.csv", whole)
    rows = list(read_manifest(str(path)))
    (faulty,) = (row for row in rows if isinstance(row, FaultyRow))
    assert faulty is rows[1]
    assert (faulty.where, "quotes that are closed" in faulty.error.expected) == (f"{path} row 2", True)
    names = [row.media_id for row in rows if isinstance(row, CatalogueItem)]
    assert names == ["one.mp4", "three.mp4", "four.mp4", *["six.mp4"] * rest.count(b"six")]


def test_what_spreadsheets_and_people_write_is_read(tmp_path: Path) -> None:
    rows = b'uri,title\r\n"one.mp4","a ""b"",\r\n\r\nc"\r\n"two.mp4" ,"Best of" 2020\r\nthree.mp4,6" left\r\n'
    found = items(written(tmp_path, "list.csv", rows + b'four.mp4,"last, without an end of line"'))
    assert [(Path(item.uri).name, item.attributes["title"]) for item in found] == [
        ("one.mp4", 'a "b",\r\n\r\nc'),
        ("two.mp4", "Best of 2020"),
        ("three.mp4", '6" left'),
        ("four.mp4", "last, without an end of line"),
    ]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    (item,) = items(written(tmp_path, "list.csv", b"id,uri,title,,\n1,one.mp4,One,,\n"))
    assert (item.media_id, item.attributes) == ("1", {"title": "One"})


def test_a_row_of_parquet_that_makes_no_sense(tmp_path: Path) -> None:
    uris = pa.array([b"one.mp4", b"\xff", b"three.mp4"])
    days = pa.array([0, 0, 10**14], pa.timestamp("s"))  # long after the last year that Python has
    pq.write_table(pa.table({"uri": uris, "day": days}), tmp_path / "list.parquet")
    first, second, third = read_manifest(str(tmp_path / "list.parquet"))
    assert isinstance(first, CatalogueItem)
    assert isinstance(second, FaultyRow)
    assert isinstance(third, FaultyRow)
    assert "cannot be read" in third.error.came


@pytest.mark.parametrize(
    ("name", "data", "came"),
    [
        ("list.csv", b"", r"columns \(none\)"),
        ("list.csv", b"id,url\n1,one.mp4\n", "columns id, url; expected a column uri"),
        ("list.csv", b"uri,id,id\none.mp4,1,2\n", "column id more than once"),
        ("list.parquet", b"no parquet at all", "ArrowInvalid"),
    ],
)
def test_a_manifest_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, came: str) -> None:
    with pytest.raises(CatalogueError, match=came):
        list(read_manifest(str(written(tmp_path, name, data))))


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "none.csv"), "memory://nowhere/none.csv"):
        with pytest.raises(CatalogueError, match="cannot be opened"):
            list(read_manifest(uri))


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
def test_rows_are_streamed(tmp_path: Path, name: str) -> None:
    """Twice the rows take no more memory; 10 million would not fit if they did."""
    few, many = _peak_bytes(tmp_path, name, 20_000), _peak_bytes(tmp_path, name, 40_000)
    assert many < 1.25 * few + (256 << 10), (few, many)  # 20,000 rows would take megabytes


def _peak_bytes(folder: Path, name: str, count: int) -> int:
    """The most that Python held while `count` rows were read; some were read before, for what is kept."""
    uris = [f"s3://library/films/{n:08}.mp4" for n in range(count)]
    path = folder / f"{count}-{name}"
    if name == "list.csv":
        path.write_text("uri\n" + "\n".join(uris))
    elif name == "list.jsonl":
        path.write_text("\n".join(f'{{"uri": "{uri}"}}' for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris}), path, row_group_size=10_000)
    del uris
    rows = read_manifest(str(path))
    assert len(list(islice(rows, 5_000))) == 5_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert sum(1 for _ in rows) == count - 5_000
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
