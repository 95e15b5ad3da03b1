"""Titles of a library by their names, which nobody knows by heart."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Container, Iterable
from pathlib import PurePosixPath

from resonance.clients.discovery.types import Filter, Library, TitleFacts


def browse(
    library: Library, words: str = "", only: Filter | None = None, *, limit: int, within_s: float
) -> tuple[list[TitleFacts], bool]:
    """The first titles whose id holds all `words`, in any case and however accents are written, and whether
    these are all. Blocks.

    It stops where there are more than `limit` titles, or after `within_s`.

    Raises:
        StoreError: the library cannot be read.
    """
    wanted = _folded(words).split()
    only = only or Filter()
    found: list[TitleFacts] = []
    deadline_s = time.monotonic() + within_s
    for facts in library.facts():
        if time.monotonic() > deadline_s:
            return found, False
        name = _folded(facts.media_id)
        if only.takes(facts) and all(word in name for word in wanted):
            if len(found) == limit:
                return found, False
            found.append(facts)
    return found, True


def spellings(media_id: str) -> list[str]:
    """The id as it was written, then with accents together (NFC, as keyboards do) and apart (NFD, as names of
    files from macOS have them)."""
    forms = (media_id, unicodedata.normalize("NFC", media_id), unicodedata.normalize("NFD", media_id))
    return list(dict.fromkeys(forms))


def spelling_in(there: Container[str], media_id: str) -> str | None:
    """The first of its `spellings` that is `there`; None where none is."""
    return next((form for form in spellings(media_id) if form in there), None)


def all_spellings(media_ids: Iterable[str]) -> frozenset[str]:
    """`spellings` of them all: who leaves a title out leaves it out however it is written."""
    return frozenset(spelling for media_id in media_ids for spelling in spellings(media_id))


def ids_like(library: Library, media_id: str, *, most: int, within_s: float) -> list[str]:
    """Ids for one that is not there: of titles of that name in another folder, or with another ending.

    Raises:
        StoreError: the library cannot be read.
    """
    name = PurePosixPath(media_id)
    for words in dict.fromkeys(filter(None, (name.name, name.stem))):
        found, _ = browse(library, words, limit=most, within_s=within_s)
        if found:
            return [facts.media_id for facts in found]
    return []


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
