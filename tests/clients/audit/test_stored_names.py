"""Accents together (NFC) as keyboards write them, apart (NFD) as names of files from macOS have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import cast

import numpy as np
import pyarrow as pa

from resonance.clients.audit.groups import GroupSource
from resonance.clients.audit.stored_names import as_stored, by_spelling, stored_names
from resonance.clients.audit.viewing_log import ViewingLog
from resonance.clients.ingest.types import Store

TOGETHER, APART = "\u00e9t\u00e9", "e\u0301te\u0301"


class Titles:
    """A store of names alone."""

    def __init__(self, *media_ids: str) -> None:
        self.media_ids = media_ids

    def find(self, media_ids: Collection[str], columns: Collection[str]) -> Iterator[pa.RecordBatch]:
        assert list(columns) == ["media_id"]
        found = [name for name in self.media_ids if name in media_ids]
        yield pa.RecordBatch.from_pydict({"media_id": pa.array(found, pa.string())})


def names_in(store: Titles, *asked: str) -> dict[str, str]:
    return stored_names(cast("Store", store), asked)


def test_ids_are_called_as_the_store_does() -> None:
    assert names_in(Titles("plain", APART), "plain", TOGETHER, "\u00e9trange") == {TOGETHER: APART}
    assert names_in(Titles(TOGETHER), APART) == {APART: TOGETHER}
    assert names_in(Titles(TOGETHER, APART), APART, TOGETHER) == {}, "two titles, each by its own name"


def test_a_log_that_writes_a_title_in_two_ways() -> None:
    log = ViewingLog(
        users=np.array([0, 1, 0]),
        titles=np.array([0, 1, 2]),
        at_s=np.arange(3.0),
        completion=np.ones(3, np.float32),
        user_ids=("a", "b"),
        media_ids=(TOGETHER, "plain", APART),
    )
    named = as_stored(log, {TOGETHER: APART})
    assert [named.media_ids[at] for at in named.titles] == [APART, "plain", APART]
    assert named.media_ids == (APART, "plain")
    assert as_stored(log, {}) is log


def test_each_spelling_is_known_and_one_that_is_an_id_is_that_one() -> None:
    assert by_spelling([APART, "b"]) == {APART: APART, TOGETHER: APART, "b": "b"}
    assert by_spelling([APART, TOGETHER]) == {APART: APART, TOGETHER: TOGETHER}


def test_a_file_of_groups() -> None:
    source = GroupSource("file", "file", listed={APART: "x", TOGETHER: "y", "o\u0308l": "z"})
    told = [source.group_of(name, name) for name in (APART, TOGETHER, "\u00f6l", "plain")]
    assert told == ["x", "y", "z", None]
