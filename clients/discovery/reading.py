"""Titles of a library read whole, few at a time: their segments are hundreds of times as large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resonance.clients.discovery.browsing import ids_like, spellings
from resonance.clients.discovery.types import Library, StoredTitle
from resonance.clients.errors import UsageError

#: A film of two hours has 900 segments of 7 KB: 16 of them are 100 MB.
TITLES_AT_ONCE = 16
#: Ids that are named to whom gave one that is not there, and how long they are looked for.
MOST_NAMED, NAMING_S = 3, 2.0


def whole_titles(library: Library, media_ids: Iterable[str]) -> Iterator[StoredTitle]:
    """Those that the library has, in the order asked for. Blocks.

    Raises:
        StoreError: it cannot be read.
    """
    names = list(dict.fromkeys(media_ids))
    for at in range(0, len(names), TITLES_AT_ONCE):
        found = library.titles(names[at : at + TITLES_AT_ONCE])
        for name in names[at : at + TITLES_AT_ONCE]:
            if name in found:
                yield found.pop(name)


def known_title(library: Library, media_id: str) -> StoredTitle:
    """A title that must be there, however its accents are written. Blocks.

    Raises:
        UsageError: it is not. StoreError: the library cannot be read.
    """
    names = spellings(media_id)
    found = library.titles(names)
    for name in names:
        if name in found:
            return found[name]
    like = ids_like(library, media_id, most=MOST_NAMED, within_s=NAMING_S)
    near = f", such as {' or '.join(map(repr, like))}" if like else ""
    expected = f"a media id of it{near} (`resonance titles` lists them)"
    raise UsageError(f"no title '{media_id}' in {library.uri}; expected {expected}")
