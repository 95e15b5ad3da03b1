"""A live title in every sink: once, as it was written last, beside titles that it leaves alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest

from resonance.clients.errors import NotMediaError
from resonance.clients.ingest import part_files
from resonance.clients.ingest.live import LiveTitleSink
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_embedding, made_row
from tests.clients.ingest.store_uris import KINDS, store_uri


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with store_uri(request.param, tmp_path, monkeypatch) as made:
        yield made


def stored(uri: str) -> dict[str, dict]:
    with closing(open_store(uri)) as store:
        rows = pa.Table.from_batches(list(store.titles())).to_pylist()
        assert store.count() == len(rows)
        assert not list(store.faults())
    return {row["media_id"]: row for row in rows}


def test_it_is_there_once_as_it_was_written_last(uri: str) -> None:
    film = made_row("film")
    with closing(open_sink(uri, SPACE)) as sink:
        sink.write(film, batch="first")
    for run in range(2):  # a second one goes on with the same name
        with closing(LiveTitleSink(uri, SPACE, media_id="cam-1", origin="rtsp://camera/1")) as live:
            for count in (2, 4):
                title = made_embedding("cam-1", f"{run} {count}", segments=count)
                live.write(title)
        found = stored(uri)
        assert set(found) == {"film", "cam-1"}
        assert found["cam-1"]["uri"] == "rtsp://camera/1"
        assert [s["index"] for s in found["cam-1"]["segments"]] == list(range(4))
        np.testing.assert_allclose(found["cam-1"]["vector"], title.title, atol=1e-6)
        assert found["film"]["content_hash"] == film["content_hash"][0].as_py()


def test_another_space_and_names_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    with closing(open_sink(uri, SPACE)) as sink:
        sink.write(made_row("film"), batch="first")
    with pytest.raises(SpaceMismatchError):
        LiveTitleSink(uri, OTHER_SPACE, media_id="cam-1", origin="-")
    with pytest.raises(NotMediaError, match="not UTF-8"):
        LiveTitleSink(uri, SPACE, media_id="cam-\udcff", origin="-")


def test_a_live_stream_begins_while_a_job_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the job may begin while a live stream is written: neither loses its file to the other."""
    uri, write = str(tmp_path / "store"), part_files._write_parquet
    live: list[LiveTitleSink] = []

    def meanwhile(file: BinaryIO, tables: Iterable[pa.Table]) -> None:
        if not live:
            live.append(LiveTitleSink(uri, SPACE, media_id="cam-1", origin="-"))
            live[0].write(made_embedding("cam-1", "1", segments=2))
        write(file, tables)

    monkeypatch.setattr(part_files, "_write_parquet", meanwhile)
    with closing(open_sink(uri, SPACE)) as sink:
        sink.write(made_row("film"), batch="first")
    live[0].close()
    assert set(stored(uri)) == {"film", "cam-1"}
    assert not list((tmp_path / "store").glob(".half-*"))
