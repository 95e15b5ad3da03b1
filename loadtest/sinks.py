"""`python -m resonance.loadtest.sinks`: rows a second into each sink, against writing the same rows straight.

Straight is `pyarrow.parquet.write_table` with the sink's options, a file a batch, and `QdrantClient.upsert`
of points that are ready. Both ways take turns, batch by batch, so that a machine that slows down slows both,
and each round goes into a new place; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from qdrant_client import QdrantClient
from rich.console import Console
from rich.table import Table

from resonance.clients.ingest.part_files import ROW_GROUP_VECTORS, WRITE_OPTIONS
from resonance.clients.ingest.qdrant_collections import API_KEY_VARIABLE
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.qdrant_points import points_of
from resonance.clients.ingest.qdrant_titles import POINTS_AT_ONCE
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy, StreamSignal
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space.descriptor import TITLE_WIDTH

SPACE = SpaceRef("bench", "b" * 64, False)
SEGMENT_S = 8.0
#: What has to be reached: issue 6.
LEAST_RATIO = 0.8


@dataclass(frozen=True, slots=True)
class Rates:
    """Titles a second, medians; `ratio`: the median of sink / straight by round."""

    sink: str
    titles: int
    segments: int
    sink_titles_s: float
    straight_titles_s: float
    ratio: float
    ratios: list[float]


def made_row(number: int, segments: int, chance: np.random.Generator) -> pa.Table:
    """A title with all that a real one has, and chance for numbers."""

    def unit_vectors(count: int) -> np.ndarray:
        vectors = chance.normal(size=(count, TITLE_WIDTH)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def value() -> float:
        return float(chance.random())

    vectors = unit_vectors(segments)
    parts = tuple(
        Segment(
            index=at,
            start_s=SEGMENT_S * at,
            end_s=SEGMENT_S * (at + 1),
            present=(True, True, at % 2 == 0),
            vector=vectors[at],
            signals={
                "cut_rate_per_min": StreamSignal(value(), "packet sizes", value()),
                "motion": StreamSignal(value(), "packet sizes", value()),
                **{
                    name: value()
                    for name in ("brightness", "colourfulness", "loudness_dbfs", "onset_rate_hz")
                },
            },
            sampled_by=SampledBy.KEYFRAMES,
            frame_times_s=tuple(SEGMENT_S * at + 2 * n for n in range(4)),
            salience=1 / segments,
            axes={"tension": value(), "pace": value()},
        )
        for at in range(segments)
    )
    result = MediaEmbedding(
        media=str(number),
        space=SPACE,
        duration_s=SEGMENT_S * segments,
        modalities=("visual", "audio", "transcript"),
        title=unit_vectors(1)[0],
        present=(True, True, True),
        segments=parts,
        arcs={
            n: [(SEGMENT_S * at, value()) for at in range(segments)] for n in ("pacing", "energy", "tension")
        },
        timing=Timing(0, 0, 0, 0, 0),
        axes={"tension": AxisValue(value(), "calm", "tense"), "pace": AxisValue(value(), "slow", "fast")},
    )
    item = CatalogueItem(
        media_id=f"title-{number}", uri=f"s3://library/{number}.mp4", language="en", tags=("news", "short")
    )
    return title_row(item, f"{number:064x}", result)


def made_batches(titles: int, segments: int, batch: int) -> list[pa.Table]:
    """Tables of `batch` titles, as a job writes them."""
    chance = np.random.default_rng(1)
    return [
        pa.concat_tables([made_row(n, segments, chance) for n in range(at, min(at + batch, titles))])
        for at in range(0, titles, batch)
    ]


#: Writes a batch: its number, its rows.
Write = Callable[[int, pa.Table], None]


@contextmanager
def sink_writer(uri: str, batches: Sequence[pa.Table]) -> Iterator[Write]:
    """Through the sink; in the end everything is there."""
    sink = open_sink(uri, SPACE)
    yield lambda at, rows: sink.write(rows, batch=f"{at:04d}")
    sink.close()
    store = open_store(uri)
    stored, wanted = store.count(), sum(map(len, batches))
    store.close()
    if stored != wanted:
        raise RuntimeError(f"{uri} has {stored} of {wanted} titles")


@contextmanager
def parquet_writer(uri: str, batches: Sequence[pa.Table]) -> Iterator[Write]:
    """A file a batch."""
    Path(uri).mkdir()
    segments = len(batches[0]["segments"][0])
    group = max(1, ROW_GROUP_VECTORS // (segments + 1))
    yield lambda at, rows: pq.write_table(
        rows, f"{uri}/{at:04d}.parquet", row_group_size=group, **WRITE_OPTIONS
    )


@contextmanager
def qdrant_writer(uri: str, batches: Sequence[pa.Table]) -> Iterator[Write]:
    """Points that were made before."""
    open_sink(uri, SPACE).close()  # makes the collections
    place = qdrant_place(uri)
    assert place is not None
    points = [points_of(rows, SPACE) for rows in batches]
    if place.url is None:
        client = QdrantClient(path=str(place.folder))
    else:
        key = os.environ.get(API_KEY_VARIABLE)
        client = QdrantClient(url=place.url, api_key=key, check_compatibility=False)

    def write(at: int, rows: pa.Table) -> None:
        titles, segments = points[at]
        for name, some in ((f"{place.name}-segments", segments), (f"{place.name}-titles", titles)):
            for first in range(0, len(some), POINTS_AT_ONCE):
                client.upsert(name, some[first : first + POINTS_AT_ONCE], wait=True)

    yield write
    client.close()


def compare(
    name: str,
    place: Callable[[str], str],
    straight: Callable[[str, Sequence[pa.Table]], AbstractContextManager[Write]],
    batches: Sequence[pa.Table],
    rounds: int,
) -> Rates:
    """Both ways by turns, batch by batch; `place` gives a new URI for a name."""
    spent_s: list[tuple[float, float]] = []
    for number in range(-1, rounds):  # the first one warms up and does not count
        took_s = [0.0, 0.0]
        with (
            sink_writer(place(f"sink-{number + 1}"), batches) as through_sink,
            straight(place(f"straight-{number + 1}"), batches) as written_straight,
        ):
            ways = (through_sink, written_straight)
            for at, rows in enumerate(batches):
                for way in (0, 1) if (at + number) % 2 else (1, 0):
                    started_s = time.perf_counter()
                    ways[way](at, rows)
                    took_s[way] += time.perf_counter() - started_s
        if number >= 0:
            spent_s.append((took_s[0], took_s[1]))
    titles = sum(map(len, batches))
    ratios = [straight / sink for sink, straight in spent_s]
    return Rates(
        name,
        titles,
        len(batches[0]["segments"][0]),
        titles / statistics.median(sink for sink, _ in spent_s),
        titles / statistics.median(straight for _, straight in spent_s),
        statistics.median(ratios),
        ratios,
    )


def main(
    titles: Annotated[int, typer.Option(help="Titles into Parquet.")] = 500,
    qdrant_titles: Annotated[int, typer.Option(help="Titles into Qdrant.")] = 100,
    segments: Annotated[int, typer.Option(help="Segments a title.")] = 30,
    batch: Annotated[int, typer.Option(help="Titles a batch.")] = 64,
    rounds: int = 7,
    qdrant: Annotated[
        str, typer.Option(help="A server, qdrant://HOST:PORT/NAME; the embedded one where none is given.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Report as JSON.")] = Path("build/ingest/sinks.json"),
) -> None:
    """Exit code 1: a sink has less than 0.8 of the rate of writing straight."""
    batches = made_batches(max(titles, qdrant_titles), segments, batch)
    few = [rows.slice(0, max(0, qdrant_titles - at * batch)) for at, rows in enumerate(batches)]
    few = [rows for rows in few if len(rows)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sinks-", dir=out.parent) as folder:

        def qdrant_uri(name: str) -> str:
            return f"{qdrant}-{name}" if qdrant else f"qdrant+local:{folder}/q-{name}?name=bench"

        found = [
            compare("Parquet", lambda name: f"{folder}/p-{name}", parquet_writer, batches, rounds),
            compare(qdrant or "Qdrant, embedded", qdrant_uri, qdrant_writer, few, rounds),
        ]
    out.write_text(json.dumps([asdict(rates) for rates in found], indent=1) + "\n")
    table = Table("sink", "titles", "segments each", "titles/s", "straight", "ratio", "lowest", "highest")
    for rates in found:
        table.add_row(
            rates.sink,
            str(rates.titles),
            str(rates.segments),
            f"{rates.sink_titles_s:.1f}",
            f"{rates.straight_titles_s:.1f}",
            f"{rates.ratio:.2f}",
            f"{min(rates.ratios):.2f}",
            f"{max(rates.ratios):.2f}",
        )
    Console().print(table)
    raise typer.Exit(1 if min(rates.ratio for rates in found) < LEAST_RATIO else 0)


if __name__ == "__main__":
    typer.run(main)
