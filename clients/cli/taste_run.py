"""What `resonance taste` does once its arguments are known."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from resonance.clients.cli.descriptors import descriptor_for
from resonance.clients.cli.reporting import failed_with, hits_table, say_remark, share_cell, title_cell
from resonance.clients.credentials import Credentials
from resonance.clients.discovery.browsing import all_spellings
from resonance.clients.discovery.explanation import HistoryFacts, history_facts
from resonance.clients.discovery.history import read_history
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reasons import past_reason
from resonance.clients.discovery.sample import sample_library
from resonance.clients.discovery.search import Searcher, TitleHit, told_shares
from resonance.clients.discovery.taste import HALF_LIFE_DAYS, Taste, make_taste, save_taste, unknown_line
from resonance.clients.discovery.types import Filter, FoundTitle, Library
from resonance.clients.errors import ResonanceError, UsageError
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceError
from resonance.space.scores import Weights


@dataclass(frozen=True, slots=True)
class Recommended:
    """A title found, and what each title of the history brings to its score."""

    hit: TitleHit
    history: HistoryFacts


@dataclass(slots=True)
class TasteRun:
    """One call of the command; the fields are its options."""

    store: str
    history: Path
    limit: int
    weights: Weights
    less_like: Sequence[str]
    half_life_days: float | None
    save: Path | None
    space: Path | None
    json_out: bool
    server: str
    credentials: Credentials

    async def recommend(self) -> int:
        """Recommend and report; gives the exit code.

        Raises:
            UsageError: wrong use.
        """
        try:
            with closing(await asyncio.to_thread(open_library, self.store)) as library:
                descriptor = await descriptor_for(library, self.space, self.server, self.credentials)
                taste, found = await asyncio.to_thread(self._found, library, descriptor)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        if self.save is not None:
            save_taste(taste, self.save)
        if self.json_out:
            report = {"store": self.store, "fingerprint": descriptor.fingerprint}
            sys.stdout.write(json.dumps(report | told(taste, found), ensure_ascii=False) + "\n")
        else:
            show(taste, found, Console())
            if taste.unknown:
                say_remark(Console(stderr=True), unknown_line(taste.unknown))
        return 0

    def _found(self, library: Library, descriptor: Descriptor) -> tuple[Taste, list[Recommended]]:
        viewings = read_history(self.history)
        taste, blend = make_taste(
            library,
            descriptor,
            viewings,
            half_life_days=HALF_LIFE_DAYS if self.half_life_days is None else self.half_life_days,
            less_like=self.less_like,
        )
        past = all_spellings([*(viewing.media_id for viewing in viewings), *self.less_like])
        hits = Searcher(library, descriptor).find_titles(
            taste.query, self.weights, limit=self.limit, only=Filter(excluded=past)
        )
        sample = sample_library(library)
        found = [FoundTitle(hit.facts, hit.vector) for hit in hits]
        parts = history_facts(found, self.weights, sample, taste, blend)
        return taste, [Recommended(hit, history) for hit, history in zip(hits, parts, strict=True)]


def told(taste: Taste, found: Sequence[Recommended]) -> dict[str, Any]:
    """A taste and what was found with it as JSON has them; `history` of a title sums to its score."""
    return {
        "half_life_days": taste.half_life_days,
        "counted": [asdict(counted) for counted in taste.counted],
        "unknown": list(taste.unknown),
        "hits": [
            {
                "media_id": one.hit.facts.media_id,
                "uri": one.hit.facts.uri,
                "score": one.hit.score,
                "shares": told_shares(one.hit.shares),
                "history": {past.media_id: past.part for past in one.history.parts},
                "reason": past.media_id if (past := past_reason(one.history)) else None,
            }
            for one in found
        ],
    }


def show(taste: Taste, found: Sequence[Recommended], console: Console) -> None:
    """A table a person can read; a share of an inferred block has a tilde."""
    against = sum(counted.share < 0 for counted in taste.counted)
    console.print(
        f"{len(taste.counted)} titles of the history count, {against} of them against", highlight=False
    )
    if not found:
        console.print("nothing else is in the library")
        return
    console.print()
    blocks = [share.modality for share in found[0].hit.shares]
    table = hits_table("score", *blocks)
    table.add_column("speaks most for it", overflow="fold", min_width=12)
    for rank, one in enumerate(found, 1):
        cells = [share_cell(share.value, share.inferred) for share in one.hit.shares]
        past = past_reason(one.history)
        reason = "–" if past is None else f"{'' if past.share > 0 else 'unlike '}{title_cell(past.media_id)}"
        table.add_row(str(rank), title_cell(one.hit.facts.media_id), f"{one.hit.score:+.3f}", *cells, reason)
    console.print(table)
