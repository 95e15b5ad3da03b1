"""What `resonance arcs` does once its arguments are known."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from resonance.clients.cli.reporting import failed_with, hits_table, title_cell
from resonance.clients.discovery.arc_search import ArcHit, ArcsFound, Unusable, find_arcs, shapes_like
from resonance.clients.discovery.arc_shapes import drawn_shape, named_shape
from resonance.clients.discovery.browsing import spellings
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.types import Filter, Library
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.new_files import check_no_input
from resonance.space.arcs import Arc, FloatArray, resample_to
from resonance.space.errors import SpaceError

#: Arcs in a line of text: so many steps together and at least so many each, each as high as one of these.
SPARK_STEPS, LEAST_STEPS, SPARK_BARS = 24, 8, "▁▂▃▄▅▆▇█"
WHY = {
    Unusable.ABSENT: "without the arc",
    Unusable.SHORT: "too short",
    Unusable.TORN: "with a large gap",
    Unusable.BROKEN: "whose times do not rise",
}


@dataclass(slots=True)
class ArcsRun:
    """One call of the command; the fields are its options."""

    store: str
    shape: str | None
    curve: str | None
    like: str | None
    names: tuple[str, ...]
    only: Filter
    limit: int
    plot: Path | None
    json_out: bool

    def search(self) -> int:
        """Search and report; gives the exit code.

        Raises:
            UsageError: wrong use.
        """
        if self.plot is not None:
            from resonance.clients.plot import check_plot_path

            check_plot_path(self.plot)
            if self.curve is not None:
                check_no_input(self.plot, [Path(self.curve)])
        try:
            with closing(open_library(self.store)) as library:
                wanted = self._wanted(library)
                found = find_arcs(library, wanted, limit=self.limit, only=self._only())
            if self.plot is not None:
                from resonance.clients.discovery.arc_plot import plot_found

                plot_found(found, wanted, self._heading(), self.plot)
        except UsageError:
            raise
        except (ResonanceError, SpaceError, OSError) as failed:
            return failed_with(failed)
        if self.json_out:
            sys.stdout.write(json.dumps(self._told(found, wanted), ensure_ascii=False) + "\n")
        else:
            show(found, Console())
        return 0

    def _wanted(self, library: Library) -> dict[str, FloatArray]:
        if self.like is not None:
            return shapes_like(library, self.like, self.names)
        shape = drawn_shape(self.curve) if self.curve is not None else named_shape(str(self.shape))
        return dict.fromkeys(self.names, shape)

    def _only(self) -> Filter:
        if self.like is None:
            return self.only
        return replace(self.only, excluded=self.only.excluded.union(spellings(self.like)))

    def _heading(self) -> str:
        wanted = f"like {self.like}" if self.like is not None else (self.shape or "the drawn curve")
        return f"{' and '.join(self.names)}: {wanted}"

    def _told(self, found: ArcsFound, wanted: dict[str, FloatArray]) -> dict[str, Any]:
        """The result as JSON has it."""
        return {
            "store": self.store,
            "shape": self.shape,
            "curve": self.curve,
            "like": self.like,
            "wanted": {name: shape.tolist() for name, shape in wanted.items()},
            "compared": found.compared,
            "left_out": {str(reason): count for reason, count in found.left_out.items()},
            "hits": [_told(hit) for hit in found.hits],
        }


def _told(hit: ArcHit) -> dict[str, Any]:
    told = asdict(hit)
    facts = told.pop("facts")
    return {"media_id": facts["media_id"], "uri": facts["uri"], **told}


def show(found: ArcsFound, console: Console) -> None:
    """A table a person can read, and below it what was left out."""
    if found.hits:
        names = list(found.hits[0].distances)
        # of three arcs and more their own distances have no room in 80 columns; --json has them
        own = ("low–high",) if len(names) == 1 else ("distance",) if len(names) == 2 else ()
        table = hits_table("distance", *(head for name in names for head in (escape(name), *own)))
        for rank, hit in enumerate(found.hits, 1):
            drawn = [cell for name in names for cell in _drawn(hit, name, len(names))[: 1 + len(own)]]
            table.add_row(str(rank), title_cell(hit.facts.media_id), f"{hit.distance:.3f}", *drawn)
        console.print(table)
    else:
        console.print("nothing found")
    left_out = [f"{count:,} {WHY[reason]}" for reason, count in found.left_out.items()]
    console.print(
        f"{found.compared:,} titles compared" + (f"; left out {', '.join(left_out)}" if left_out else ""),
        highlight=False,
    )


def _drawn(hit: ArcHit, name: str, among: int) -> tuple[str, str]:
    """An arc as bars between its own lowest and highest value, and those two; of several its distance."""
    times_s, values = zip(*hit.arcs[name], strict=True)
    heights = resample_to(Arc.of(times_s, values), max(SPARK_STEPS // among, LEAST_STEPS)).values
    low, high = float(heights.min()), float(heights.max())
    bars = (heights - low) / max(high - low, 1e-9) * (len(SPARK_BARS) - 1)
    told = f"{low:.2f}–{high:.2f}" if among == 1 else f"{hit.distances[name]:.3f}"
    return "".join(SPARK_BARS[round(bar)] for bar in bars), told
