"""Jobs without a server: real catalogues, journals and sinks, and texts that are embedded by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pyarrow.parquet as pq

from resonance.clients.embedder import Embedder
from resonance.clients.ingest.catalogue import read_catalogue
from resonance.clients.ingest.embedding import EmbedOptions, Outcome, TitleWorker
from resonance.clients.ingest.job import LedgerThread, in_thread, run_job
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import MediaEmbedding
from tests.clients.ingest.made import SPACE, made_embedding


class Offline:
    """Of an `Embedder`, what texts need. Made with whatever one is made with."""

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        pass

    async def space(self) -> Any:
        return SimpleNamespace(signals={"audio": ()}, axes={})

    async def embed_text(self, text: str, *, name: str) -> MediaEmbedding:
        await asyncio.sleep(0)
        return made_embedding(name, text)


def in_quarantine(folder: Path) -> set[str]:
    """Names of what is there after a `night`."""
    return set(pq.read_table(folder / "failed.parquet")["media_id"].to_pylist())


def offline_worker(ledger: LedgerThread) -> TitleWorker:
    return TitleWorker(cast(Embedder, Offline()), ledger, EmbedOptions())


def night(folder: Path, sources: Sequence[str]) -> dict[str, list[str]]:
    """One job of a catalogue of texts, into `folder`; the results of each title, as they came."""
    results: dict[str, list[str]] = {}

    def told(outcome: Outcome) -> None:
        results.setdefault(outcome.media_id, []).append(str(outcome.result))

    async def job() -> None:
        sink, journal = str(folder / "sink"), folder / "journal.sqlite"
        ledger = LedgerThread(lambda: Ledger(journal, sink, SPACE, open_sink))
        try:
            await ledger.open()
            items = in_thread(cast(Iterator[Any], read_catalogue(sources)))
            await run_job(items, offline_worker(ledger), ledger, concurrency=4, on_outcome=told)
            await ledger.call(lambda opened: opened.end_catalogue(sources, None))
            await ledger.call(lambda opened: opened.write_failures(folder / "failed.parquet"))
        finally:
            await ledger.close()

    asyncio.run(job())
    return results
