"""Errors of ingestion, beside those of `resonance.clients.errors`.

ResonanceError
├── CatalogueError  a manifest or folder cannot be read, or a row of it makes no sense
├── StoreError      a sink or store cannot be opened, read or written
│   └── EmptyStoreError
└── JournalError    the journal cannot be used: another job has it, or it is of another version
"""

from __future__ import annotations

from resonance.clients.errors import ResonanceError


class CatalogueError(ResonanceError):
    """What should be ingested cannot be told.

    Attributes:
        where: the manifest or folder, with a row's number where one row is at fault.
        came: what was there. expected: what would have worked, or what to do.
    """

    def __init__(self, where: str, came: str, expected: str) -> None:
        self.where, self.came, self.expected = where, came, expected
        super().__init__(f"{where}: {came}; expected {expected}")


class StoreError(ResonanceError):
    """A sink or store cannot be opened, read or written.

    Attributes:
        uri: which one. came: what happened. expected: what would have worked, or what to do.
    """

    def __init__(self, uri: str, came: str, expected: str) -> None:
        self.uri, self.came, self.expected = uri, came, expected
        super().__init__(f"{uri}: {came}; expected {expected}")


class EmptyStoreError(StoreError):
    """A place for a store that holds no title."""


class JournalError(ResonanceError):
    """The journal cannot be used.

    Attributes:
        path: which one. came: what was found. expected: what would have worked, or what to do.
    """

    def __init__(self, path: str, came: str, expected: str) -> None:
        self.path, self.came, self.expected = path, came, expected
        super().__init__(f"{path}: {came}; expected {expected}")
