from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.audit.tags import read_tags
from resonance.clients.ingest.errors import CatalogueError

EXPECTED = {"a": ("noir", "sea"), "b": ()}


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"tags.{request.param}"
    if request.param == "csv":
        path.write_text('tags,media_id,other\n"sea; noir;",a,1\n,b,2\nsea,c,3\n', encoding="utf-8-sig")
    elif request.param == "jsonl":
        path.write_text(
            '{"media_id": "a", "tags": ["sea", " noir", ""]}\n\n{"media_id": "b", "tags": null}\n'
            '{"media_id": "c", "tags": "sea"}\n'
        )
    else:
        rows = {"media_id": ["a", "b", "c"], "tags": [["sea", "noir"], None, ["sea"]], "other": [1, 2, 3]}
        pq.write_table(pa.table(rows), path)
    return path


def test_tags_of_the_wanted_titles(file: Path) -> None:
    found = read_tags(str(file), ["a", "b", "unknown"])
    assert found.by_title == EXPECTED
    assert (found.others, found.example) == (1, "c")
    assert found.notes("tags.csv", whole=False) == ()
    assert found.notes("tags.csv", whole=True) == (
        "1 row of tags.csv: of no title of the store, such as 'c'.",
    )


def test_rows_of_one_title_are_added_together(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("media_id,tags\na,sea\na,noir\na,sea\n")
    found = read_tags(str(path), ["a"])
    assert found.by_title == {"a": ("noir", "sea")}
    assert (found.others, found.notes("tags.csv", whole=True)) == (0, ())


def test_accents_may_be_written_otherwise(tmp_path: Path) -> None:
    together, apart = "\u00e9t\u00e9", "e\u0301te\u0301"
    path = tmp_path / "tags.csv"
    path.write_text(f"media_id,tags\n{apart},sea\n{together},noir\n", encoding="utf-8")
    for name in (together, apart):
        assert read_tags(str(path), [name]).by_title == {name: ("noir", "sea")}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tags.csv", "id,tags\na,sea\n", "no column media_id among id, tags"),
        ("tags.csv", "media_id,tags\n,sea\n", "row 1, media_id: nothing"),
        ("tags.csv", "media_id,tags\na,sea,noir\n", "row 1: more fields than columns"),
        ("tags.jsonl", '{"media_id": "a", "tags": []}\n{"media_id": ', "line 2: no JSON"),
        ("tags.jsonl", "[1]\n", "line 1: a JSON list"),
        ("tags.jsonl", '{"media_id": "a", "tags": [1]}\n', r"row 1: tags \[1\]"),
        ("tags.jsonl", '{"media_id": "a"}\n', "line 1: no column tags"),
        ("tags.parquet", "no parquet", "ArrowInvalid"),
        ("tags.txt", "a sea\n", "the ending '.txt'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(CatalogueError, match=told):
        read_tags(str(path), ["a"])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"nothing\.csv"):
        read_tags(str(tmp_path / "nothing.csv"), ["a"])
