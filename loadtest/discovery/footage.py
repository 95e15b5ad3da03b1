"""`python -m resonance.loadtest.discovery.footage --media FOLDER`: copies and stills of real clips find them.

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
from resonance.clients.results import Segment, SpaceRef
from resonance.loadtest.bench.agreement import COPIES
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space.scores import Weights

#: A segment.
WINDOW_S = 8.0
PICTURES = Weights(audio=0, transcript=0)
#: More than the clips have.
MOST_MOMENTS = 1000
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

    @property
    def right(self) -> bool:
        """The clip is first, and the moment within one window."""
        return self.rank == 0 and (self.off_s or 0.0) <= WINDOW_S


def cases_of(media: Path) -> list[Case]:
    """Each copy of a clip in another file, and each still."""
    copies = [
        Case("video", media / "video" / copy, names[0], None)
        for names in COPIES.values()
        for copy in names[1:]
    ]
    return copies + [Case("image", media / "image" / f, clip, at_s) for f, clip, at_s in STILLS]


async def store_clips(embedder: Embedder, files: Sequence[Path], uri: str, sampling: str) -> None:
    """Embed `files` and store them, each by its name."""
    space = SpaceRef.of(await embedder.space())
    rows = []
    for file in track(files, "embedding", console=Console(stderr=True)):
        title = await embedder.embed(file, sampling=sampling)
        rows.append(title_row(CatalogueItem(media_id=file.name, uri=str(file)), "1", title))
    with closing(open_sink(uri, space)) as sink:
        sink.write(pa.concat_tables(rows), batch="1")


async def search_cases(embedder: Embedder, uri: str, cases: Sequence[Case], sampling: str) -> list[Outcome]:
    """Search with each: a copy for titles with all weights 1, a still for moments by pictures alone."""
    outcomes = []
    with closing(open_library(uri)) as library:
        searcher = Searcher(library, await embedder.space())
        for case in cases:
            query = await query_of_examples(
                embedder, library, [ExampleSource(case.kind, case.file)], sampling=sampling
            )
            if case.at_s is None:
                titles = searcher.find_titles(query, Weights(), limit=library.count())
                names = [hit.facts.media_id for hit in titles]
                outcomes.append(Outcome(case, names.index(case.clip), names[0], None))
                continue
            moments = searcher.find_segments(query, PICTURES, limit=MOST_MOMENTS)
            # of each title its best moment
            best = {hit.facts.media_id: hit.segment for hit in reversed(moments)}
            names = list(dict.fromkeys(hit.facts.media_id for hit in moments))
            off_s = _off_s(best[case.clip], case.at_s)
            outcomes.append(Outcome(case, names.index(case.clip), names[0], off_s))
    return outcomes


def _off_s(segment: Segment, at_s: float) -> float:
    assert segment.start_s is not None, "clips have a clock"
    assert segment.end_s is not None, "clips have a clock"
    return max(segment.start_s - at_s, at_s - segment.end_s, 0.0)


def main(
    media: Annotated[Path, typer.Option(help="A folder with `video` and `image` of the files named here.")],
    sampling: Annotated[str, typer.Option(help="How the stored clips are sampled.")] = "uniform",
    repository: Path = Path("model_repository"),
) -> None:
    """Exit code 1 where a clip is not first, or its moment over one window away."""
    outcomes = asyncio.run(_measured(media, sampling, repository))
    table = Table("with", "clip", "rank", "moment off by", "first")
    for outcome in outcomes:
        off = "–" if outcome.off_s is None else f"{outcome.off_s:.1f} s"
        table.add_row(outcome.case.file.name, outcome.case.clip, str(outcome.rank + 1), off, outcome.first)
    Console(width=160).print(table)
    raise typer.Exit(not all(outcome.right for outcome in outcomes))


async def _measured(media: Path, sampling: str, repository: Path) -> list[Outcome]:
    cases = cases_of(media)
    copies = {case.file.name for case in cases}
    files = sorted(file for file in (media / "video").iterdir() if file.name not in copies)
    with (
        TritonServer(ServerSettings(model_repository=repository)) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with Embedder(server.grpc_address) as embedder:
            await store_clips(embedder, files, folder, sampling)
            return await search_cases(embedder, folder, cases, sampling)


if __name__ == "__main__":
    typer.run(main)
