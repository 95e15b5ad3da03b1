"""`python -m resonance.loadtest.discovery.footage --media FOLDER`: copies and stills of real clips find their clip.

Every clip of `video` is stored but the copies that are searched with; each copy must find its clip first, and
each still too, at the time that it was taken from, to within one window.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from resonance.clients.discovery.examples import ExampleSource, query_of_examples
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.search import Searcher
from resonance.clients.embedder import Embedder
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.results import SpaceRef
from resonance.loadtest.bench.agreement import COPIES
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space.scores import Weights

#: Stills of clips: the file, the clip, seconds into it.
STILLS = (
    ("frame_flower.jpg", "plants_flower_opening.mp4", 4.5),
    ("frame_flower_altered.jpg", "plants_flower_opening.mp4", 4.8),
    ("frame_bug.jpg", "animals_bug_on_flower_bw.mp4", 3.0),
    ("frame_bug_altered.jpg", "animals_bug_on_flower_bw.mp4", 3.3),
    ("frame_bbb_bird.jpg", "animation_bbb_opening_30s.webm", 19.0),
    ("frame_bbb_bird_altered.jpg", "animation_bbb_opening_30s.webm", 19.3),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A search whose right answer is known; `at_s` None where any moment is right."""

    kind: str
    file: Path
    clip: str
    at_s: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the right clip stood, and how far from its window the moment lies that was named."""

    case: Case
    rank: int
    first: str
    off_s: float | None


def cases_of(media: Path) -> list[Case]:
    """Each copy of a clip in another file, and each still."""
    copies = [
        Case("video", media / "video" / copy, names[0], None)
        for names in COPIES.values()
        for copy in names[1:]
    ]
    return copies + [Case("image", media / "image" / f, clip, at_s) for f, clip, at_s in STILLS]


async def store_clips(embedder: Embedder, files: Sequence[Path], uri: str) -> None:
    """Embed `files` and store them, each by its name."""
    space = SpaceRef.of(await embedder.space())
    rows = []
    for file in track(files, "embedding", console=Console(stderr=True)):
        rows.append(
            title_row(CatalogueItem(media_id=file.name, uri=str(file)), "1", await embedder.embed(file))
        )
    with closing(open_sink(uri, space)) as sink:
        sink.write(pa.concat_tables(rows), batch="1")


async def search_cases(
    embedder: Embedder, uri: str, cases: Sequence[Case], weights: Weights
) -> list[Outcome]:
    """Search with each."""
    outcomes = []
    with closing(open_library(uri)) as library:
        searcher = Searcher(library, await embedder.space())
        for case in cases:
            query = await query_of_examples(embedder, library, [ExampleSource(case.kind, case.file)])
            hits = searcher.find_titles(query, weights, limit=library.count())
            names = [hit.facts.media_id for hit in hits]
            rank = names.index(case.clip)
            outcomes.append(Outcome(case, rank, names[0], _off_s(case, hits[rank].segment)))
    return outcomes


def _off_s(case: Case, segment) -> float | None:  # type: ignore[no-untyped-def]
    if case.at_s is None or segment is None:
        return None
    return max(segment.start_s - case.at_s, case.at_s - segment.end_s, 0.0)


def main(
    media: Annotated[Path, typer.Option(help="A folder with `video` and `image` of the files named here.")],
    weights: Annotated[str, typer.Option(help="As `resonance search --weights`.")] = "visual=1",
    repository: Path = Path("model_repository"),
) -> None:
    """Exit code 1 where a clip is not first, or its moment over one window away."""
    outcomes = asyncio.run(_measured(media, Weights.parse(weights), repository))
    table = Table("with", "clip", "rank", "moment off by", "first")
    for outcome in outcomes:
        off = "–" if outcome.off_s is None else f"{outcome.off_s:.1f} s"
        table.add_row(outcome.case.file.name, outcome.case.clip, str(outcome.rank + 1), off, outcome.first)
    Console().print(table)
    raise typer.Exit(any(o.rank > 0 or (o.off_s or 0.0) > 8.0 for o in outcomes))


async def _measured(media: Path, weights: Weights, repository: Path) -> list[Outcome]:
    cases = cases_of(media)
    copies = {case.file.name for case in cases}
    files = sorted(file for file in (media / "video").iterdir() if file.name not in copies)
    with (
        TritonServer(ServerSettings(model_repository=repository)) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with Embedder(server.grpc_address) as embedder:
            await store_clips(embedder, files, folder)
            return await search_cases(embedder, folder, cases, weights)


if __name__ == "__main__":
    typer.run(main)
