"""Errors that travel between processes."""

from __future__ import annotations

import pickle

import pytest

from resonance.clients.errors import CorruptMediaError, OverloadedError, ResonanceError
from resonance.clients.ingest.errors import JournalError, PruneError, SourceUnavailableError, StoreError
from resonance.space.errors import SpaceError, SpaceMismatchError


@pytest.mark.parametrize(
    "error",
    [
        CorruptMediaError("film.mp4", "nothing", "a picture"),
        OverloadedError("full", retry_after_s=2.5),
        StoreError("s3://bucket", "no room", "room"),
        JournalError("journal.sqlite", "no database", "one"),
        PruneError(5, 10, 0.2),
        SourceUnavailableError("http://host/film.mp4", "refused"),
        SpaceMismatchError("a" * 64, "b" * 64, "store"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_on_the_other_side(error: ResonanceError | SpaceError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert vars(there) == vars(error)


def test_two_spaces_that_begin_alike_are_told_apart() -> None:
    text = str(SpaceMismatchError("ab" * 6, "ab" * 32, "the server"))
    assert "space ababababababa, expected space abababababab;" in text
    text = str(SpaceMismatchError("ab" * 10 + "0" * 44, "ab" * 32, "the server"))
    assert f"space {'ab' * 10}a, expected space {'ab' * 10}0;" in text
    assert "space abababababab, expected space cdcdcdcdcdcd;" in str(
        SpaceMismatchError("cd" * 32, "ab" * 32, "the server")
    )
