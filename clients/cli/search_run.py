"""What `resonance search` does once its arguments are known."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from resonance.clients.cli.querying import Asked, QuerySource
from resonance.clients.cli.reporting import failed_with, hits_table, share_cell, title_cell
from resonance.clients.clock import clock
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher, SegmentHit, TitleHit, told_shares
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import ResonanceError, UsageError
from resonance.space.errors import SpaceError
from resonance.space.scores import Weights


@dataclass(slots=True)
class SearchRun:
    """One call of the command; the fields are its options."""

    store: str
    source: QuerySource
    weights: Weights
    only: Filter
    segments: bool
    limit: int
    diversity: float
    json_out: bool

    async def search(self) -> int:
        """Search and report; gives the exit code.

        Raises:
            UsageError: wrong use.
        """
        try:
            with closing(await asyncio.to_thread(open_library, self.store)) as library:
                asked = await self.source.query(library)
                found = await asyncio.to_thread(self._found, Searcher(library, asked.descriptor), asked)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        if self.json_out:
            report = {"store": self.store, "fingerprint": asked.descriptor.fingerprint}
            sys.stdout.write(json.dumps({**report, "hits": [told(hit) for hit in found]}) + "\n")
        else:
            show(found, Console())
        return 0

    def _found(self, searcher: Searcher, asked: Asked) -> Sequence[TitleHit | SegmentHit]:
        find = searcher.find_segments if self.segments else searcher.find_titles
        # who asks for what is like a title, or like all that was watched, has that already
        only = replace(self.only, excluded=self.only.excluded | asked.titles)
        return find(asked.query, self.weights, limit=self.limit, only=only, diversity=self.diversity)


def told(hit: TitleHit | SegmentHit) -> dict[str, Any]:
    """A hit as JSON has it."""
    facts = hit.facts
    index, start_s, end_s = _moment(hit)
    return {
        "media_id": facts.media_id,
        "uri": facts.uri,
        "score": hit.score,
        "shares": told_shares(hit.shares),
        "segment": None if index is None else {"index": index, "start_s": start_s, "end_s": end_s},
        "tags": list(facts.tags),
        "language": facts.language,
        "duration_s": facts.duration_s,
        "attributes": dict(facts.attributes),
    }


def _moment(hit: TitleHit | SegmentHit) -> tuple[int | None, float | None, float | None]:
    segment = hit.segment
    return (None, None, None) if segment is None else (segment.index, segment.start_s, segment.end_s)


def show(hits: Sequence[TitleHit | SegmentHit], console: Console) -> None:
    """A table a person can read; a share from an inferred block has a tilde."""
    if not hits:
        console.print("nothing found")
        return
    names = [share.modality for share in hits[0].shares]
    table = hits_table("moment", "score", *names)
    for rank, hit in enumerate(hits, 1):
        _, start_s, end_s = _moment(hit)
        moment = "–"
        if start_s is not None and end_s is not None and end_s > start_s:  # a picture is no moment
            moment = f"{clock(start_s)}–{clock(end_s)}"
        cells = [share_cell(share.value, share.inferred) for share in hit.shares]
        table.add_row(str(rank), title_cell(hit.facts.media_id), moment, f"{hit.score:+.3f}", *cells)
    console.print(table)
