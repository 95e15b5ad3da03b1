"""`python -m resonance.loadtest.audit.finishing_example FOLDER`: something for `resonance audit resonance`.

A store of the titles that `tiny` is evaluated on, with the vectors and axes of the committed encoders, and a
log of what viewers of known taste did with recommendations of them (`resonance.loadtest.audit.resonance`);
it does not say how likely a position is seen.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray

from resonance.clients.audit.viewings import write_viewings
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import SpaceRef
from resonance.loadtest.audit.coldstart_vectors import EVALUATED, catalogue_titles, fuse, kept_blocks
from resonance.loadtest.audit.resonance import (
    DESCRIPTOR,
    SHOWING,
    VIEWERS,
    Catalogue,
    draw_shown,
    without_chances,
)
from resonance.loadtest.audit.stored import title_rows
from resonance.space.axes import AxisMeter
from resonance.space.descriptor import Descriptor


def evaluated_catalogue(loud_share: float = 0.1) -> Catalogue:
    """Titles as `tiny` is evaluated on them; some are loud, whatever they are like."""
    titles = tuple(catalogue_titles(EVALUATED))
    return Catalogue(titles, np.random.default_rng(0).random(len(titles)) < loud_share)


def write_catalogue(
    uri: str,
    catalogue: Catalogue,
    vectors: NDArray[np.float32],
    present: NDArray[np.bool_],
    descriptor: Descriptor,
) -> None:
    """A store of the titles with their values on the space's axes; genre and `LOUD` are tags.

    vectors: [N, 1788]; present: [N, 3].
    """
    space = SpaceRef.of(descriptor)
    rows = title_rows(catalogue.media_ids, vectors, present, catalogue.tags, space)
    meter = AxisMeter(descriptor.axes)
    axes = [
        [
            (name, {"value": value, "low": axis.low[0], "high": axis.high[0]})
            for (name, axis), value in zip(descriptor.axes.items(), own, strict=True)
        ]
        for own in meter.values(vectors, present).tolist()
    ]
    place = rows.schema.get_field_index("axes")
    rows = rows.set_column(place, rows.schema.field(place), pa.array(axes, rows.schema.field(place).type))
    sink = open_sink(uri, space)
    sink.write(rows, batch="catalogue")
    sink.close()


def main(
    folder: Annotated[Path, typer.Argument(help="Where store, log and space.json are written.")],
    space: Annotated[Path, typer.Option(help="space.json of `tiny`.")] = DESCRIPTOR,
    work: Annotated[Path, typer.Option(help="Where encoded titles are kept.")] = Path(
        "build/audit/coldstart"
    ),
    pool: Annotated[Path, typer.Option(help="Where the titles are, or are rendered.")] = Path(
        "build/train/cpu/evaluation"
    ),
    viewers: Annotated[int, typer.Option(help="Of the log.")] = VIEWERS,
) -> None:
    """Write them, and say how they are audited."""
    descriptor = Descriptor.load(space)
    catalogue = evaluated_catalogue()
    complete = np.ones((len(catalogue.titles), 3), np.bool_)
    found = fuse(kept_blocks(work, pool, "trained"), complete, "trained")
    folder.mkdir(parents=True, exist_ok=True)
    write_catalogue(str(folder / "store"), catalogue, found.vectors, found.present, descriptor)
    log = without_chances(draw_shown(catalogue, viewers, SHOWING, seed=0).log)
    write_viewings(log, folder / "log.parquet")
    shutil.copyfile(space, folder / "space.json")
    typer.echo(f"resonance audit resonance {folder}/store {folder}/log.parquet --space {folder}/space.json")


if __name__ == "__main__":
    typer.run(main)
