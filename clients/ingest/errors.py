"""Errors of ingestion, beside those of `resonance.clients.errors`.

ResonanceError
├── CatalogueError  a manifest or folder cannot be read, or a row of it makes no sense
├── StoreError      a sink or store cannot be opened, read or written
│   ├── EmptyStoreError
│   └── MissingPartError
├── PruneError      too many titles would be removed
├── ServerUnavailableError
│   └── SourceUnavailableError  what a title's media is on does not answer
├── UsageError
│   └── MissingPackageError     what opens such a URI is not installed
└── JournalError    the journal cannot be used: another job has it, or it is of another version
"""

from __future__ import annotations

from resonance.clients.errors import ResonanceError, ServerUnavailableError, UsageError


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


class MissingPartError(StoreError):
    """A file of a Parquet store is not there, or not any more."""


class PruneError(ResonanceError):
    """More titles would be removed than may be: a catalogue that is half there looks like one that shrank.

    Attributes:
        gone: stored titles that the catalogue has not. stored: all of them. limit: the share that may go.
    """

    def __init__(self, gone: int, stored: int, limit: float) -> None:
        self.gone, self.stored, self.limit = gone, stored, limit
        super().__init__(
            f"{gone:,} of {stored:,} stored titles are not in the catalogue; expected at most {limit:.0%} of "
            "them. Nothing was removed: see whether the whole library is there, or raise --prune-limit"
        )


class SourceUnavailableError(ServerUnavailableError):
    """The host or store that a title's media, or its transcript, is on does not answer.

    Attributes:
        uri: of the file.
    """

    def __init__(self, uri: str, came: str) -> None:
        self.uri = uri
        super().__init__(f"{uri}: its host or store does not answer ({came})")


class MissingPackageError(UsageError):
    """What opens a URI of such a scheme is not installed."""


class JournalError(ResonanceError):
    """The journal cannot be used.

    Attributes:
        path: which one. came: what was found. expected: what would have worked, or what to do.
    """

    def __init__(self, path: str, came: str, expected: str) -> None:
        self.path, self.came, self.expected = path, came, expected
        super().__init__(f"{path}: {came}; expected {expected}")
