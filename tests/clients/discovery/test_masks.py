"""A filter takes the same rows by their columns as by the facts of each."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.discovery import scanned_library
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.masks import rows_taken
from resonance.clients.discovery.rows import FACTS, facts_of
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError
from resonance.space import MODALITIES
from tests.clients.discovery.made import Made, random_titles, write

PLAIN = Made("plain", random_titles(1, seed=9)[0].blocks)  # without tags, language, date
TITLES = [*random_titles(24, segments=1), PLAIN]
(BATCH,) = pa.concat_tables([title.row() for title in TITLES]).combine_chunks().to_batches()

days = st.dates(date(2026, 1, 1), date(2026, 12, 31))
some_of = {"tags": ["film", "rare", "none"], "languages": ["de", "en", "fr"], "modalities": [*MODALITIES]}
filters = st.builds(
    Filter,
    **{name: st.lists(st.sampled_from(known), max_size=2).map(tuple) for name, known in some_of.items()},
    since=st.none() | days.map(lambda day: min(day, date(2026, 6, 30))),
    until=st.none() | days.map(lambda day: max(day, date(2026, 7, 1))),
    excluded=st.frozensets(st.sampled_from([*(title.media_id for title in TITLES), "nobody"]), max_size=5),
)


@given(filters, st.integers(0, 24))
def test_rows_are_taken_as_their_facts_are(only: Filter, first: int) -> None:
    batch = BATCH.select(FACTS).slice(first)
    expected = [only.takes(facts_of(row)) for row in batch.to_pylist()]
    np.testing.assert_array_equal(rows_taken(batch, only), expected)


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(UsageError, match="'pictures'; expected one of visual"):
        Filter(modalities=("pictures",))


@pytest.mark.parametrize(("tag", "most"), [("none", 0), ("rare", 8)])
def test_facts_are_made_of_titles_that_are_taken_alone(
    tag: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(str(tmp_path / "store"), TITLES)
    made, make = [], scanned_library.facts_of
    monkeypatch.setattr(scanned_library, "facts_of", lambda row: made.append(row) or make(row))
    with closing(open_library(str(tmp_path / "store"))) as library:
        found = library.nearest_titles(np.ones(1788, np.float32), 20, Filter(tags=(tag,)))
    assert len(found) == len(made) == most
