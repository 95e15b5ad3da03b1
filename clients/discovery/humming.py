"""A hum looked for in a library by its vector; by its contour: `resonance.clients.discovery.hum_contours`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resonance.clients.discovery.examples import ExampleSource, query_of_examples
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.types import Filter
from resonance.clients.embedder import Embedder
from resonance.space.scores import Query, Weights

if TYPE_CHECKING:  # it needs librosa, which a search by vector does not
    from resonance.clients.discovery.melody import MelodyHit

#: A hum is a sound: what a clip looks like, or says, does not count.
SOUND_ALONE = Weights(visual=0.0, audio=1.0, transcript=0.0)


@dataclass(frozen=True, slots=True)
class HumHit:
    """A clip found: the best place of a title.

    Attributes:
        start_s, end_s: of the place, in the title.
        melody: how its contour fits; None where it was found by its vector.
        score: of its vector; None where it was found by its contour.
    """

    media_id: str
    uri: str
    start_s: float
    end_s: float
    melody: MelodyHit | None = None
    score: float | None = None


async def find_by_vector(embedder: Embedder, store: str, hum_file: Path, *, limit: int = 10) -> list[HumHit]:
    """The titles with a segment that sounds most like a hum; inferred sound does not count.

    Raises:
        As `resonance.clients.discovery.examples.query_of_examples` and `Searcher.find_segments`.
    """
    with closing(await asyncio.to_thread(open_library, store)) as library:
        query = await query_of_examples(embedder, library, [ExampleSource("sound", hum_file)])
        searcher = Searcher(library, await embedder.space())
        return await asyncio.to_thread(_best_places, searcher, query, limit)


def _best_places(searcher: Searcher, query: Query, limit: int) -> list[HumHit]:
    """The best place of each title. A title that was found is left out of the next look: of a few long ones
    all segments would be asked for otherwise, to learn that there are no others."""
    best: dict[str, HumHit] = {}
    while len(best) < limit:
        known = len(best)
        only = Filter(modalities=("audio",), excluded=frozenset(best))
        for hit in searcher.find_segments(query, SOUND_ALONE, limit=limit, only=only):
            segment, name = hit.segment, hit.facts.media_id
            if segment.start_s is not None and segment.end_s is not None:
                place = HumHit(name, hit.facts.uri, segment.start_s, segment.end_s, score=hit.score)
                best.setdefault(name, place)
        if len(best) == known:
            break
    return list(best.values())[:limit]
