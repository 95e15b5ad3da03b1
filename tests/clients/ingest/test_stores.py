"""Every sink: whole titles, each once, of one space, the same after any kill, and read back bit for bit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.media.types import Damage
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_row, made_rows
from tests.clients.ingest.object_stores import s3_server
from tests.clients.ingest.store_uris import KINDS, store_uri
from tests.lengths import short_and_whole

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture(params=[*KINDS, "memory", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    match request.param:
        case "memory":
            yield f"memory://{tmp_path.name}/store"
            fsspec.filesystem("memory").store.clear()
        case "s3":
            request.getfixturevalue("s3")
            yield f"s3://library/{tmp_path.name}"
        case kind:
            with store_uri(kind, tmp_path, monkeypatch) as made:
                yield made


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
    damage = Damage(2, 3.5, late_frames=4, late_sound_s=1.5, late_cues=1)
    long, cut_off = made_row("long", segments=300), made_row("cut off", damage=damage)
    sink.write(pa.concat_tables([long, cut_off]), batch="2")
    sink.close()
    assert stored(uri) == expected(made_rows("a", "b"), long, cut_off)
    assert stored(uri)["cut off"]["damage"] == {
        "unreadable_packets": 2,
        "missing_s": 3.5,
        "late_frames": 4,
        "late_sound_s": 1.5,
        "late_cues": 1,
    }
    assert stored(uri)["a"]["damage"] is None
    store = open_store(uri)
    assert store.space == SPACE
    store.close()


def test_what_is_removed_is_gone_wholly_and_the_others_stay(uri: str) -> None:
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a", "b", "c"), batch="1")
    sink.write(made_rows("d", "e"), batch="2")
    sink.remove(["a", "d", "e", "nobody"])
    sink.close()
    assert stored(uri) == expected(made_rows("b", "c"))
    store = open_store(uri)
    assert list(store.faults()) == []
    assert pa.Table.from_batches(store.find(["a", "b"], ["media_id"]))["media_id"].to_pylist() == ["b"]
    store.close()
    sink = open_sink(uri, SPACE)
    sink.write(made_rows("a", "f", version="v2"), batch="3")
    sink.remove(["b", "c", "f"])
    sink.write(made_rows("a", version="v3"), batch="4", replaces=["a"])
    sink.close()
    assert stored(uri) == expected(made_rows("a", version="v3"))


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


@pytest.mark.parametrize("kills", short_and_whole(1, 4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_writer_leaves_nothing_half(
    tmp_path: Path, kind: str, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again at random points, what is there is always whole; in the end it is all there.

    The writer says when it begins a batch and goes no further than it was let, so none is done before it is
    killed; the kill comes within as long as the batch before took.
    """
    with store_uri(kind, tmp_path, monkeypatch) as uri:
        first = [f"old-{n}" for n in range(12)]
        sink = open_sink(uri, SPACE)
        sink.write(made_rows(*first), batch="first")
        sink.close()
        program = (
            "from tests.clients.ingest.made import *; import pyarrow as pa, sys\n"
            "from resonance.clients.ingest.stores import open_sink\n"
            f"sink = open_sink({uri!r}, SPACE)\n"
            "for n in range(12):\n"
            "    sys.stdin.readline(); print(n, flush=True)\n"
            "    rows = pa.concat_tables([made_row(f'old-{n}', 'v2'), made_row(f'new-{n}')])\n"
            "    sink.write(rows, batch=f'batch-{n}', replaces={f'old-{n}', f'new-{n}'})\n"
            "sink.close(); print('done', flush=True)\n"
        )
        old, new = expected(made_rows(*first)), {}
        for n in range(12):
            new |= expected(made_row(f"old-{n}", "v2"), made_row(f"new-{n}"))
        chance = random.Random(5)
        for _ in range(kills):
            last = chance.randrange(1, 11)  # the batch that it is killed in
            child = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n" * (last + 1))
            child.stdin.flush()
            began_s = []
            for n in range(last + 1):
                assert child.stdout.readline() == f"{n}\n"
                began_s.append(time.monotonic())
            time.sleep(chance.uniform(0.0, began_s[-1] - began_s[-2]))
            child.kill()
            assert child.wait() == -signal.SIGKILL
            child.stdin.close()
            assert child.stdout.read() == ""  # it was not done
            child.stdout.close()
            found = stored(uri)
            assert found.keys() >= old.keys()
            for media_id, row in found.items():
                assert row in (old.get(media_id), new[media_id])
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,  # nothing holds it up
            stdout=subprocess.DEVNULL,
        )
        assert stored(uri) == new
        store = open_store(uri, lenient=True)
        assert list(store.faults()) == []  # nor is anything left that readers do not see
        store.close()
    if kind == "parquet":
        assert not list((tmp_path / "store").glob(".*"))


def test_a_store_that_cannot_be_opened_is_named_once() -> None:
    with pytest.raises(StoreError) as failed:
        open_store("foo://x")
    assert str(failed.value).startswith("foo://x: NotMediaError: Protocol not known: foo")
    assert str(failed.value).count("foo://x") == 1
