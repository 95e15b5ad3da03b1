"""Every sink: whole titles, each once, of one space, the same after any kill, and read back bit for bit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_row, made_rows

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["parquet", "memory", "qdrant"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        import fsspec

        yield f"memory://{tmp_path.name}/store"
        fsspec.filesystem("memory").store.clear()
    else:
        yield {"parquet": str(tmp_path / "store"), "qdrant": f"qdrant+local:{tmp_path}/store?name=films"}[
            request.param
        ]


def stored(uri: str) -> dict[str, dict]:
    store = open_store(uri)
    try:
        rows = pa.Table.from_batches(list(store.titles())).to_pylist()
        assert store.count() == len(rows)
    finally:
        store.close()
    assert len({row["media_id"] for row in rows}) == len(rows)  # each once
    return {row["media_id"]: row for row in rows}


def expected(*tables: pa.Table) -> dict[str, dict]:
    return {row["media_id"]: row for table in tables for row in table.to_pylist()}


def test_what_is_written_is_read_back_bit_for_bit(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a", "b"), batch="1")
    sink.write(made_row("long", segments=300), batch="2")
    sink.close()
    assert stored(uri) == expected(made_rows("a", "b"), made_row("long", segments=300))
    store = open_store(uri)
    assert store.space == SPACE
    store.close()


def test_the_same_batch_again_changes_nothing(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    for _ in range(2):
        sink.write(made_rows("a", "b"), batch="1")
    sink.write(made_rows("a", "b"), batch="1", replaces={"a", "b"})
    sink.close()
    assert stored(uri) == expected(made_rows("a", "b"))


def test_a_changed_title_is_replaced_and_others_are_kept(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a", "b", "c"), batch="1")
    sink.write(made_rows("d"), batch="2")
    changed = pa.concat_tables([made_row("b", "v2", segments=2), made_row("e")])
    sink.write(changed, batch="3", replaces={"b"})
    sink.write(made_rows("d", "f", version="v2"), batch="4", replaces={"d", "f"})  # f is not there yet
    sink.close()
    assert stored(uri) == expected(made_rows("a", "c"), changed, made_rows("d", "f", version="v2"))


def test_vectors_of_another_space_are_refused(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a"), batch="1")
    with pytest.raises(SpaceMismatchError, match=OTHER_SPACE.fingerprint[:12]):
        sink.write(made_rows("b", space=OTHER_SPACE), batch="2")
    sink.close()
    with pytest.raises(SpaceMismatchError, match=OTHER_SPACE.fingerprint[:12]):
        open_sink(uri, OTHER_SPACE)
    assert stored(uri) == expected(made_rows("a"))


def test_a_store_that_is_not_there(uri: str) -> None:
    with pytest.raises(StoreError, match="resonance ingest"):
        open_store(uri)


def test_columns_can_be_chosen(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a"), batch="1")
    sink.close()
    store = open_store(uri)
    (batch,) = store.titles(["media_id", "present"])
    store.close()
    assert batch.to_pylist() == [{k: expected(made_rows("a"))["a"][k] for k in ("media_id", "present")}]


@pytest.mark.parametrize(
    "uri", ["qdrant://", "qdrant://host", "qdrant://host:1/a/b", "qdrant+local:", "qdrants:///name"]
)
def test_addresses_that_lack_something(uri: str) -> None:
    with pytest.raises(UsageError, match="expected qdrant://HOST:PORT/NAME"):
        qdrant_place(uri)


def test_a_qdrant_that_does_not_answer() -> None:
    with pytest.raises(StoreError, match="a Qdrant that answers"):
        open_sink("qdrant://127.0.0.1:9/films", SPACE)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file/store"):
        open_sink(str(tmp_path / "file" / "store"), SPACE)


def test_any_reader_of_parquet_sees_each_title_once(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(made_rows("a", "b"), batch="1")
    sink.write(made_rows("b", version="v2"), batch="2", replaces={"b"})
    (tmp_path / "_resonance").mkdir()
    (tmp_path / "_resonance" / "failed.parquet").write_bytes(b"of no concern to readers")
    table = ds.dataset(tmp_path, format="parquet").to_table()
    assert table.sort_by("media_id")["content_hash"].to_pylist() == ["v1", "v2"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 1788)
    assert table.schema.metadata[b"resonance.fingerprint"] == SPACE.fingerprint.encode()


@pytest.mark.parametrize("kind", ["parquet", "qdrant"])
def test_a_killed_writer_leaves_nothing_half(tmp_path: Path, kind: str) -> None:
    """Killed again and again at random points, what is there is always whole; in the end it is all there."""
    uri = str(tmp_path / "store") if kind == "parquet" else f"qdrant+local:{tmp_path}/store?name=films"
    first = [f"old-{n}" for n in range(12)]
    sink = open_sink(uri, SPACE)
    sink.write(made_rows(*first), batch="first")
    sink.close()
    program = (
        "from tests.clients.ingest.made import *; import pyarrow as pa, sys\n"
        "from resonance.clients.ingest.stores import open_sink\n"
        f"sink = open_sink({uri!r}, SPACE)\n"
        "print('ready', flush=True)\n"
        "for n in range(12):\n"
        "    rows = pa.concat_tables([made_row(f'old-{n}', 'v2'), made_row(f'new-{n}')])\n"
        "    sink.write(rows, batch=f'batch-{n}', replaces={f'old-{n}', f'new-{n}'})\n"
        "sink.close(); print('done', flush=True)\n"
    )
    old, new = expected(made_rows(*first)), {}
    for n in range(12):
        new |= expected(made_row(f"old-{n}", "v2"), made_row(f"new-{n}"))
    chance = random.Random(5)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        for media_id, row in stored(uri).items():
            assert row in (old.get(media_id), new[media_id])
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    assert stored(uri) == new
    if kind == "parquet":
        assert not list((tmp_path / "store").glob(".*"))
