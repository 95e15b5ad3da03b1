"""What `resonance hum` does once its arguments are known."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from resonance.clients.cli.reporting import failed_with, hits_table, say_warning, title_cell
from resonance.clients.clock import clock
from resonance.clients.credentials import Credentials
from resonance.clients.discovery.humming import HumHit, find_by_vector
from resonance.clients.embedder import Embedder
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.ingest.stores import open_store
from resonance.space.errors import SpaceError


@dataclass(slots=True)
class HumRun:
    """One call of the command; the fields are its options."""

    store: str
    sound: Path
    contours: Path | None
    by: str
    limit: int
    json_out: bool
    server: str
    credentials: Credentials

    async def find(self) -> int:
        """Search and report; gives the exit code.

        Raises:
            UsageError: wrong use.
        """
        console = Console(stderr=True)
        try:
            hits = await self._hits(console)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        if self.json_out:
            report = {"store": self.store, "by": self.by, "hits": [told(hit) for hit in hits]}
            sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
        else:
            show(hits, Console())
        return 0

    async def _hits(self, console: Console) -> Sequence[HumHit]:
        if self.by == "contour":
            return await asyncio.to_thread(self._by_contour, console)
        async with Embedder(self.server, credentials=self.credentials) as embedder:
            return await find_by_vector(embedder, self.store, self.sound, limit=self.limit)

    def _by_contour(self, console: Console) -> Sequence[HumHit]:
        from resonance.clients.discovery.hum_contours import find_by_contour

        if self.contours is None:
            raise UsageError(
                "by contour and no --contours; expected the file that "
                f"`resonance contours {self.store} --out FILE.parquet` writes"
            )
        with closing(open_store(self.store)) as store:
            found = find_by_contour(store, self.contours, self.sound, limit=self.limit)
        if found.without:
            line = f"{found.without:,} titles with sound are new or changed since {self.contours} was made"
            say_warning(console, line)
        return found.hits


def told(hit: HumHit) -> dict[str, Any]:
    """A hit as JSON has it."""
    melody = hit.melody
    return {
        "media_id": hit.media_id,
        "uri": hit.uri,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "score": hit.score,
        "off_semitones": melody.off_semitones if melody else None,
        "transposed_semitones": melody.transposed_semitones if melody else None,
        "tempo": melody.tempo if melody else None,
    }


def show(hits: Sequence[HumHit], console: Console) -> None:
    """A table a person can read."""
    if not hits:
        console.print("nothing found")
        return
    heads = ("off by", "key", "tempo") if hits[0].melody else ("score",)
    table = hits_table("moment", *heads)
    for rank, hit in enumerate(hits, 1):
        moment = f"{clock(hit.start_s)}–{clock(hit.end_s)}"
        table.add_row(str(rank), title_cell(hit.media_id), moment, *_cells(hit))
    console.print(table)


def _cells(hit: HumHit) -> tuple[str, ...]:
    if hit.melody is None:
        return (f"{hit.score:+.3f}",)
    melody = hit.melody
    return (
        f"{melody.off_semitones:.2f} semitones",
        f"{melody.transposed_semitones:+.2f}",
        f"x {melody.tempo:.2f}",
    )
