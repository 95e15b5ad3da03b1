"""The Parquet data set: what other readers see of it, what is read for what, and what a broken one says."""

from __future__ import annotations

import resource
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from resonance.clients.arrow_types import DAMAGE
from resonance.clients.discovery.rows import facts_of
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import EmptyStoreError, StoreError
from resonance.clients.ingest.parquet import ParquetSink
from resonance.clients.ingest.part_files import ROW_GROUP_VECTORS, PartFolder, row_groups
from resonance.clients.ingest.pending import read_row, row_bytes
from resonance.clients.ingest.rows import title_schema
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import Store
from resonance.clients.media.types import Damage
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_row, made_rows


def test_any_reader_of_parquet_sees_each_title_once(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(made_rows("a", "b"), batch="1")
    sink.write(made_rows("b", version="v2"), batch="2", replaces={"b"})
    (tmp_path / "_resonance").mkdir()
    (tmp_path / "_resonance" / "failed.parquet").write_bytes(b"of no concern to readers")
    (tmp_path / ".half-of-a-killed-writer.parquet").write_bytes(b"nor this")
    table = ds.dataset(tmp_path, format="parquet").to_table()
    assert table.sort_by("media_id")["content_hash"].to_pylist() == ["v1", "v2"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 1788)
    assert table.schema.metadata[b"resonance.fingerprint"] == SPACE.fingerprint.encode()
    frame = pd.read_parquet(tmp_path, columns=["media_id", "vector"]).sort_values("media_id")
    assert frame["media_id"].to_list() == ["a", "b"]
    assert np.array_equal(frame["vector"].iloc[1], made_row("b", "v2")["vector"][0].values.to_numpy())


def test_a_reader_at_any_moment_sees_each_title_once_and_whole(tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(8)]
    sink = open_sink(str(tmp_path), SPACE)
    for name in names:
        sink.write(made_rows(name), batch=name)
    versions = [pa.concat_tables([made_row(n, f"v{v}", segments=v) for n in names]) for v in range(2, 12)]
    known = {(row["media_id"], row["content_hash"]): row for t in versions for row in t.to_pylist()}
    known |= {(row["media_id"], "v1"): row for row in made_rows(*names).to_pylist()}
    seen = set()

    def write() -> None:
        for at, rows in enumerate(versions):
            sink.write(rows, batch=f"again-{at}", replaces=names)

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        while True:
            over = writing.done()
            rows = ds.dataset(tmp_path, format="parquet").to_table().to_pylist()
            assert sorted(row["media_id"] for row in rows) == names
            for row in rows:
                assert row == known[row["media_id"], row["content_hash"]]
                seen.add(row["content_hash"])
            if over:
                break
        writing.result()
    assert {row["content_hash"] for row in rows} == {"v11"}
    assert len(seen) > 2  # it was read while it was written


def test_a_title_that_the_job_forgot_is_replaced_all_the_same(tmp_path: Path) -> None:
    for batch in ("1", "2"):  # a job whose journal is lost names nothing that is replaced
        open_sink(str(tmp_path), SPACE).write(made_rows("a", "b", version=f"v{batch}"), batch=batch)
    assert [path.name for path in tmp_path.iterdir()] == ["part-1.parquet"]
    assert pq.read_table(tmp_path / "part-1.parquet")["content_hash"].to_pylist() == ["v2", "v2"]


def test_a_write_that_failed_is_not_taken_for_done(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(made_rows("a"), batch="1")
    whole = (tmp_path / "part-1.parquet").read_bytes()
    (tmp_path / "part-1.parquet").write_bytes(whole[:-9])
    with pytest.raises(StoreError, match=r"part-1\.parquet: ArrowInvalid"):
        sink.write(made_rows("a", "b", version="v2"), batch="2")
    (tmp_path / "part-1.parquet").write_bytes(whole)
    sink.write(made_rows("a", "b", version="v2"), batch="2")
    assert ds.dataset(tmp_path).to_table(["content_hash"])["content_hash"].to_pylist() == ["v2", "v2"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".half-0.parquet").write_bytes(b"PAR1")
    open_sink(str(tmp_path), SPACE)
    assert not list(tmp_path.iterdir())


def test_a_write_that_found_no_room_leaves_none_of_it_taken(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a row has 4 vectors of 7,152 bytes
    try:
        with pytest.raises(StoreError, match=r"part-a\.parquet: .*; expected a folder that can be"):
            sink.write(made_rows("one"), batch="a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    sink.write(made_rows("one"), batch="a")
    assert [path.name for path in tmp_path.iterdir()] == ["part-a.parquet"]


def test_names_are_looked_up_without_reading_vectors(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(pa.concat_tables([made_row(f"t{n}", segments=60) for n in range(20)]), batch="1")
    folder = PartFolder(str(tmp_path))
    size_bytes = (tmp_path / "part-1.parquet").stat().st_size

    def read_bytes() -> int:
        (line,) = (
            line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar:")
        )
        return int(line.split()[1])

    before = read_bytes()
    names = [
        name for batch in folder.batches("part-1.parquet", ["media_id"]) for name in batch[0].to_pylist()
    ]
    for_names = read_bytes() - before
    assert len(names) == 20
    assert for_names < 0.02 * size_bytes
    before = read_bytes()
    assert sum(batch.num_rows for batch in folder.batches("part-1.parquet")) == 20
    assert read_bytes() - before > 0.9 * size_bytes  # the meter measures


def test_row_groups_hold_no_more_vectors_than_a_reader_can_hold(tmp_path: Path) -> None:
    long = made_row("long", segments=ROW_GROUP_VECTORS + 5)
    rows = pa.concat_tables([*(made_row(f"t{n}", segments=300) for n in range(14)), long, made_row("short")])
    sizes = [[len(part) for part in group["segments"].to_pylist()] for group in row_groups(rows)]
    assert sizes == [[300] * 6, [300] * 6, [300] * 2, [ROW_GROUP_VECTORS + 5], [3]]
    open_sink(str(tmp_path), SPACE).write(rows, batch="1")
    store = open_store(str(tmp_path))
    assert [batch.num_rows for batch in store.titles()] == [6, 6, 2, 1, 1]
    assert pa.Table.from_batches(list(store.titles())).equals(rows)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file/store"):
        open_sink(str(tmp_path / "file" / "store"), SPACE)


def test_a_scheme_that_nobody_opens() -> None:
    with pytest.raises((StoreError, UsageError), match="nosuch"):
        open_sink("nosuch://bucket/store", SPACE)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(made_rows("a"), batch="1")
    (tmp_path / "part-2.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=r"part-2\.parquet.*bring it back from a copy, or remove it"):
        open_store(str(tmp_path))


def test_two_spaces_in_one_folder_are_refused(tmp_path: Path) -> None:
    open_sink(str(tmp_path / "a"), SPACE).write(made_rows("a"), batch="1")
    open_sink(str(tmp_path / "b"), OTHER_SPACE).write(made_rows("b", space=OTHER_SPACE), batch="2")
    (tmp_path / "b" / "part-2.parquet").rename(tmp_path / "a" / "part-2.parquet")
    with pytest.raises(SpaceMismatchError, match=r"part-2\.parquet.*bbbbbbbbbbbb.*aaaaaaaaaaaa"):
        open_store(str(tmp_path / "a"))


def _names(store: Store) -> list[str]:
    return sorted(name for batch in store.titles(["media_id"]) for name in batch[0].to_pylist())


def _found(store: Store, *media_ids: str) -> dict[str, str]:
    batches = store.find(media_ids, ["media_id", "content_hash"])
    return {
        name: version for batch in batches for name, version in zip(*batch.to_pydict().values(), strict=True)
    }


def test_an_open_store_sees_what_is_written_replaced_and_removed(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), SPACE)
    sink.write(made_rows("a", "b"), batch="1")
    store = open_store(str(tmp_path))
    assert (store.count(), _names(store), _found(store, "a", "c")) == (2, ["a", "b"], {"a": "v1"})
    sink.write(made_rows("b", "c", version="v2"), batch="2", replaces={"b"})
    assert (store.count(), _names(store)) == (3, ["a", "b", "c"])
    assert _found(store, "a", "b", "c") == {"a": "v1", "b": "v2", "c": "v2"}
    sink.remove(["a"])
    assert (store.count(), _names(store), _found(store, "a", "c")) == (2, ["b", "c"], {"c": "v2"})


def test_an_open_store_sees_parts_that_were_merged(tmp_path: Path) -> None:
    for name in "abc":
        open_sink(str(tmp_path), SPACE).write(made_rows(name), batch=name)
    store = open_store(str(tmp_path))
    assert set(_found(store, "a", "b", "c")) == {"a", "b", "c"}
    whole = pq.read_table([tmp_path / f"part-{name}.parquet" for name in "abc"])
    for name in "ab":
        (tmp_path / f"part-{name}.parquet").unlink()
    pq.write_table(whole, tmp_path / "part-c.parquet")  # under a name that had fewer titles
    assert (store.count(), _names(store)) == (3, ["a", "b", "c"])
    assert set(_found(store, "a", "b", "c")) == {"a", "b", "c"}
    (tmp_path / "part-c.parquet").unlink()
    with pytest.raises(EmptyStoreError):
        store.count()


def test_a_part_that_goes_while_it_is_read_is_passed_over(tmp_path: Path) -> None:
    for name in "abc":
        open_sink(str(tmp_path), SPACE).write(made_rows(name), batch=name)
    store = open_store(str(tmp_path))
    for read in (store.titles(["media_id"]), store.find(["a", "b", "c"], ["media_id"])):
        whole = (tmp_path / "part-b.parquet").read_bytes()
        assert next(read)[0].to_pylist() == ["a"]
        (tmp_path / "part-b.parquet").unlink()
        assert [batch[0].to_pylist() for batch in read] == [["c"]]
        (tmp_path / "part-b.parquet").write_bytes(whole)


def test_an_open_store_refuses_a_part_that_came_with_another_space(tmp_path: Path) -> None:
    open_sink(str(tmp_path / "a"), SPACE).write(made_rows("a"), batch="1")
    store, lenient = (open_store(str(tmp_path / "a"), lenient=lenient) for lenient in (False, True))
    open_sink(str(tmp_path / "b"), OTHER_SPACE).write(made_rows("b", space=OTHER_SPACE), batch="2")
    (tmp_path / "b" / "part-2.parquet").rename(tmp_path / "a" / "part-2.parquet")
    for _ in range(2):
        with pytest.raises(SpaceMismatchError, match=r"part-2\.parquet.*bbbbbbbbbbbb.*aaaaaaaaaaaa"):
            store.count()
        assert (lenient.count(), _names(lenient)) == (1, ["a"])
    assert [fault.where for fault in lenient.faults()] == ["part-2.parquet"]


def test_of_parts_that_did_not_change_nothing_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        open_sink(str(tmp_path), SPACE).write(made_rows(name), batch=name)
    store = open_store(str(tmp_path))
    _found(store, "a")
    opened: list[str] = []
    real = PartFolder._opened

    def counted(folder: PartFolder, name: str) -> AbstractContextManager[pq.ParquetFile]:
        opened.append(name)
        return real(folder, name)

    monkeypatch.setattr(PartFolder, "_opened", counted)
    assert _found(store, "b") == {"b": "v1"}
    assert opened == ["part-b.parquet"]
    opened.clear()
    open_sink(str(tmp_path), SPACE).write(made_rows("d"), batch="d")
    opened.clear()
    assert _found(store, "d") == {"d": "v1"}
    assert opened == ["part-d.parquet"] * 3  # its space, its names, the title


def test_an_open_store_elsewhere_sees_what_is_written() -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    sink = open_sink(folder, SPACE)
    sink.write(made_rows("a"), batch="1")
    store = open_store(folder)
    assert _found(store, "a", "b") == {"a": "v1"}
    sink.write(made_rows("a", "b", version="v2"), batch="2", replaces={"a"})
    assert _found(store, "a", "b") == {"a": "v2", "b": "v2"}


def test_a_store_of_before_what_is_late_was_counted_goes_on(tmp_path: Path) -> None:
    rows = pa.concat_tables([made_row("cut", damage=Damage(2, 3.5)), made_rows("whole")])
    at = rows.schema.get_field_index("damage")
    short = pa.struct([DAMAGE.field("unreadable_packets"), DAMAGE.field("missing_s")])
    older = rows.set_column(at, pa.field("damage", short), rows["damage"].cast(short))
    pq.write_table(older, tmp_path / "part-1.parquet")
    sink = ParquetSink(str(tmp_path), SPACE)
    sink.write(made_row("feed", damage=Damage(late_cues=1)), batch="2")
    sink.write(made_row("whole", "v2"), batch="3")  # the older file is written anew
    store = open_store(str(tmp_path))
    found = pa.Table.from_batches(list(store.titles()))
    assert found.schema.equals(title_schema(SPACE))
    damage = {row["media_id"]: facts_of(row).damage for row in found.to_pylist()}
    assert damage == {"cut": Damage(2, 3.5), "feed": Damage(late_cues=1), "whole": Damage()}
    named = ds.dataset(tmp_path, schema=title_schema(SPACE)).to_table(["damage"])
    assert named.num_rows == 3


def test_a_store_of_before_damage_was_kept_goes_on(tmp_path: Path) -> None:
    old = [made_rows(*names).drop_columns(["damage"]) for names in ("ab", "cd")]
    for name, rows in zip(("part-1.parquet", "part-2.parquet"), old, strict=True):
        pq.write_table(rows, tmp_path / name)
    store = open_store(str(tmp_path))
    wanted = dict.fromkeys("abcd")
    for columns in (None, ["media_id", "damage"]):
        read = pa.Table.from_batches(list(store.titles(columns))).to_pylist()
        assert {row["media_id"]: row["damage"] for row in read} == wanted
    assert [batch["damage"].to_pylist() for batch in store.find(["a"], ["media_id", "damage"])] == [[None]]
    assert "damage" not in pa.Table.from_batches(list(store.titles(["media_id"]))).column_names
    sink = ParquetSink(str(tmp_path), SPACE)
    sink.write(made_row("a", "v2", damage=Damage(1)), batch="3")  # among older rows
    sink.write(read_row(row_bytes(made_row("e").drop_columns(["damage"]))), batch="4")  # a job was killed
    sink.remove(["c"])
    found = pa.Table.from_batches(list(store.titles()))
    assert found.schema.equals(title_schema(SPACE))
    damaged = {row["media_id"]: row["damage"] is not None for row in found.to_pylist()}
    assert damaged == {"a": True, "b": False, "d": False, "e": False}
