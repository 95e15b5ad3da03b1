"""What one job of ingestion is asked to do, and what follows from it: catalogue, journal, quarantine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.credentials import Credentials
from resonance.clients.errors import UsageError
from resonance.clients.ingest.asr import AsrOptions
from resonance.clients.ingest.catalogue import read_catalogue
from resonance.clients.ingest.embedding import EmbedOptions
from resonance.clients.ingest.job import Given
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.migration import titles_of
from resonance.clients.ingest.pending import BatchSize
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.quarantine import make_folder
from resonance.clients.ingest.state_files import default_journal
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.uris import check_utf_8, local_path
from resonance.clients.new_files import check_new_file, check_no_input
from resonance.clients.results import SpaceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """The options of the command; see its help.

    `prune_limit`: the largest share of the stored titles that is removed because the catalogue has them no
    more; None: none is. `from_store`: the one source is a store, whose titles are embedded again
    (`resonance migrate`).
    """

    sources: tuple[str, ...]
    sink: str
    server: str
    credentials: Credentials
    journal: Path | None = None
    failed: Path | None = None
    retry_failed: bool = False
    concurrency: int | None = None
    sampling: str | None = None
    watch: bool = False
    from_store: bool = False
    asr: str | None = None
    asr_cache: Path | None = None
    asr_language: str | None = None
    ray: bool = False
    ray_address: str | None = None
    workers: int | None = None
    batch_titles: int = 64
    patience_s: float = 600.0
    prune_limit: float | None = None
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        check_utf_8(self.sink, "--sink")
        if self.watch and (len(self.sources) != 1 or local_path(self.sources[0]) is None or self.ray):
            raise UsageError("--watch looks at one folder of this machine, without Ray")
        if self.watch and self.prune_limit is not None:
            raise UsageError("--prune needs a catalogue that comes to an end; --watch has none")

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        return self.journal if self.journal is not None else default_journal(self.sink)

    @property
    def failed_path(self) -> Path:
        """Where the titles in quarantine are written."""
        return self.failed or self.journal_path.with_name("failed.parquet")

    def check_failed_path(self) -> None:
        """Make its folder; refuse the path where what the job reads, or its journal, is or will be. Blocks.

        Raises:
            UsageError: as it says. StoreError: the folder cannot be made.
        """
        make_folder(self.failed_path)
        check_new_file(self.failed_path, "--failed")
        if self.failed is not None:
            others = map(local_path, [*self.sources, self.sink])
            check_no_input(self.failed, [*others, self.journal_path])
        if os.path.realpath(self.failed_path) == os.path.realpath(self.journal_path):
            raise UsageError(
                f"{self.failed_path}: the titles in quarantine would take the place of the journal; "
                "expected another path (--failed, --journal)"
            )

    @property
    def is_read_by_one_alone(self) -> bool:
        """Whether the catalogue cannot be opened a second time: Qdrant's embedded store has one reader."""
        place = qdrant_place(self.sources[0]) if self.from_store else None
        return place is not None and place.folder is not None

    def catalogue(self) -> Iterator[Given]:
        """What is to be embedded, from its beginning. Blocks. Errors: see `read_catalogue`, `open_store`."""
        return titles_of(self.sources[0]) if self.from_store else read_catalogue(self.sources)

    @property
    def embed_options(self) -> EmbedOptions:
        """How titles are embedded."""
        asr = None
        if self.asr is not None:
            cache = self.asr_cache or self.journal_path.with_name("transcripts")
            asr = AsrOptions(model=self.asr, cache=cache, language=self.asr_language)
        return EmbedOptions(sampling=self.sampling, patience_s=self.patience_s, asr=asr)

    def open_ledger(self, space: SpaceRef, stopping: threading.Event | None = None) -> Ledger:
        """Journal and sink, for vectors of `space`. Blocks. Arguments, errors: see `Ledger`."""
        return Ledger(
            self.journal_path,
            self.sink,
            space,
            open_sink,
            batch=BatchSize(titles=self.batch_titles),
            retry_failed=self.retry_failed,
            stopping=stopping,
            migrated_from=self.sources[0] if self.from_store else None,
        )
