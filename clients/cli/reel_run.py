"""What `resonance reel` does once its arguments are known: the query, progress, the list of clips."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from resonance.clients.cli.querying import Asked, QuerySource
from resonance.clients.cli.reporting import failed_with, hits_table, say_failed, title_cell
from resonance.clients.clock import clock
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reel import ReelMaker, ReelOptions
from resonance.clients.discovery.reel_list import LeftOut, Reel, check_paths, told
from resonance.clients.discovery.reel_media import Kind
from resonance.clients.discovery.reel_plan import ReelPlan
from resonance.clients.discovery.search import Searcher
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.long_work import LongWork
from resonance.space.errors import SpaceError
from resonance.space.scores import Weights


@dataclass(slots=True)
class ReelRun:
    """One call of the command; the fields are its options."""

    store: str
    output: Path
    source: QuerySource
    weights: Weights
    options: ReelOptions
    json_out: bool

    def __post_init__(self) -> None:
        # before anything is asked or searched
        check_paths(self.output, self.source.files)
        ReelPlan(self.options.seconds, self.options.clip_s)

    def run(self) -> int:
        """Make the reel and report; gives the exit code. Blocks.

        Raises:
            UsageError: wrong use.
        """
        console = Console(stderr=True)
        try:
            with closing(open_library(self.store)) as library:
                asked = asyncio.run(self.source.query(library))
                reel = self._made(Searcher(library, asked.descriptor), asked, console)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        if not reel.clips:
            say_failed(console, f"{self.store}: nothing was found that can be shown; no reel was written")
            return 1
        if self.json_out:
            sys.stdout.write(json.dumps(told(reel), ensure_ascii=False) + "\n")
        else:
            show(reel, Console())
        return 0

    def _made(self, searcher: Searcher, asked: Asked, console: Console) -> Reel:
        work = LongWork(console, "reel", "s", total=self.options.seconds)
        only = self.options.only
        if self.source.taste is not None:  # what was watched; a title that others are to be like may come
            only = replace(only, excluded=only.excluded | asked.titles)

        def left_out(title: LeftOut) -> None:
            say_failed(console, f"{title.facts.media_id}: {title.why}")

        with work:
            maker = ReelMaker(
                searcher,
                asked.query,
                self.weights,
                replace(self.options, only=only),
                on_clip=work.tell,
                on_left_out=left_out,
            )
            return maker.write(self.output, title=self.output.stem)


def show(reel: Reel, console: Console) -> None:
    """What is in the reel, a row a clip; a bar marks a cut of the title itself."""
    table = hits_table("from", "to", "score", first="in the reel")
    for clip in reel.clips:
        start = end = "–"
        if clip.kind is not Kind.PICTURE:
            start = f"{clip.source.start_s:.2f}{' |' if clip.start_at_shot else ''}"
            end = f"{clip.source.end_s:.2f}{' |' if clip.end_at_shot else ''}"
        table.add_row(
            f"{clock(clip.place.start_s)}–{clock(clip.place.end_s)}",
            title_cell(clip.facts.media_id),
            start,
            end,
            f"{clip.score:+.3f}",
        )
    console.print(table)
    if any(clip.start_at_shot or clip.end_at_shot for clip in reel.clips):
        console.print("|: at a cut of the title itself", highlight=False)
    console.print(
        f"{reel.path}: {len(reel.clips)} clips, {reel.seconds:.1f} s, "
        f"{reel.form.width}x{reel.form.height} at {reel.form.fps} a second",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
