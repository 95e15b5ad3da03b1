"""The viewer whose history is given: a taste that counts among the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from resonance.clients.discovery.browsing import all_spellings, spelling_in
from resonance.clients.discovery.history import Viewing, read_history
from resonance.clients.discovery.taste import Taste, make_taste
from resonance.clients.discovery.types import Library
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.renewed import Renewed
from resonance.space.descriptor import Descriptor


class Viewer:
    """A history, and its taste once a descriptor is known. `name`: of the file, for people."""

    def __init__(self, name: str, viewings: Sequence[Viewing]) -> None:
        self.name = name
        self._viewings = viewings
        self._taste: Renewed[Taste] | None = None
        self._sigmas: Mapping[str, Mapping[str, float]] = {}  # that it is made with

    @classmethod
    def read(cls, path: Path) -> Viewer:
        """Of a file. UsageError, InvalidFieldError: see `read_history`."""
        return cls(path.stem, read_history(path))

    @property
    def watched(self) -> frozenset[str]:
        """Media ids in all spellings; what was watched is no suggestion."""
        return all_spellings(viewing.media_id for viewing in self._viewings)

    def unknown(self, library: Library) -> tuple[str, ...]:
        """Titles of the history that the library lacks. Blocks. StoreError: it cannot be read."""
        names = tuple(dict.fromkeys(viewing.media_id for viewing in self._viewings))
        there = {facts.media_id for facts in library.facts(all_spellings(names))}
        return tuple(name for name in names if spelling_in(there, name) is None)

    async def taste(self, catalogue: Catalogue, descriptor: Descriptor) -> Taste:
        """Made anew once the library has other titles, or the space other sigmas: those of an earlier day are
        used until the encoder server answers.

        Raises:
            EmptyHistoryError: the history says nothing of this library. Others: see `make_taste`.
        """
        if self._taste is None or self._sigmas != descriptor.sigmas:
            library, self._sigmas = catalogue.library, descriptor.sigmas
            self._taste = Renewed(library, lambda: make_taste(library, descriptor, self._viewings)[0])
        return await catalogue.read(self._taste.get)
