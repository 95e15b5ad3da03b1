"""What `resonance explain` does once its arguments are known."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resonance.clients.cli.descriptors import descriptor_for
from resonance.clients.cli.reporting import failed_with, say_remark, share_cell, title_cell
from resonance.clients.clock import clock
from resonance.clients.credentials import Credentials
from resonance.clients.discovery.browsing import spellings
from resonance.clients.discovery.errors import EmptyHistoryError
from resonance.clients.discovery.explanation import (
    BlockPart,
    HistoryFacts,
    Moment,
    SuggestionFacts,
    Trait,
    Usual,
    explain_suggestion,
)
from resonance.clients.discovery.history import read_history
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reading import known_title
from resonance.clients.discovery.reasons import Reasons, above, reasons_of
from resonance.clients.discovery.sample import sample_library
from resonance.clients.discovery.sentences import sentence_of
from resonance.clients.discovery.taste import HALF_LIFE_DAYS, Taste, make_taste, unknown_line
from resonance.clients.discovery.types import Library
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.media.text import shown
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceError
from resonance.space.scores import Weights


@dataclass(slots=True)
class ExplainRun:
    """One call of the command; the fields are its options."""

    store: str
    a: str
    b: str
    weights: Weights
    history: Path | None
    half_life_days: float | None
    space: Path | None
    json_out: bool
    server: str
    credentials: Credentials

    async def explain(self) -> int:
        """Explain and report; gives the exit code.

        Raises:
            UsageError: wrong use.
        """
        if self.half_life_days is not None and self.history is None:
            raise UsageError("--half-life without --history; expected both")
        try:
            with closing(await asyncio.to_thread(open_library, self.store)) as library:
                descriptor = await descriptor_for(library, self.space, self.server, self.credentials)
                facts, taste, seen = await asyncio.to_thread(self._facts, library, descriptor)
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        if self.json_out:
            report = {"store": self.store, "fingerprint": descriptor.fingerprint, **told(facts)}
            if taste is not None:
                report["history"]["unknown"] = list(taste.unknown)
                report["history"]["b_viewings"] = seen
            sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n")
        else:
            show(facts, Console())
            console = Console(stderr=True)
            if seen:
                say_remark(console, f"{self.b} was watched itself: left out of the history")
            if taste is not None and taste.unknown:
                say_remark(console, unknown_line(taste.unknown))
        return 0

    def _facts(self, library: Library, descriptor: Descriptor) -> tuple[SuggestionFacts, Taste | None, int]:
        """The facts, the taste, and the viewings of B itself: a title is no reason for itself."""
        a, b = known_title(library, self.a), known_title(library, self.b)
        taste, seen = None, 0
        if self.history is not None:
            read = read_history(self.history)
            itself = spellings(b.facts.media_id)
            viewings = [viewing for viewing in read if viewing.media_id not in itself]
            seen = len(read) - len(viewings)
            if seen and not viewings:
                raise EmptyHistoryError(
                    f"{self.history}: viewings of B itself alone, '{self.b}'; expected others: a title is "
                    "no reason for itself"
                )
            half_life_days = HALF_LIFE_DAYS if self.half_life_days is None else self.half_life_days
            taste = make_taste(library, descriptor, viewings, half_life_days=half_life_days)
        sample = sample_library(library)
        facts = explain_suggestion(a, b, self.weights, descriptor, sample, taste)
        return facts, taste[0] if taste else None, seen


def told(facts: SuggestionFacts) -> dict[str, Any]:
    """Facts as JSON has them; `reasons` says which of them the sentence names."""
    reasons = reasons_of(facts)
    report = asdict(facts)
    for block, written in zip(facts.blocks, report["blocks"], strict=True):
        written["above_usual"] = above(block.share, block.usual)
    for past, written in zip(facts.history.parts if facts.history else (), _written(report), strict=True):
        written["above_usual"] = above(past.part, past.usual)
    return {
        **report,
        "reasons": {
            "blocks": [block.modality for block in reasons.blocks],
            "mainly": reasons.mainly,
            "axes": [named.trait.name for named in reasons.axes],
            "signals": [named.trait.name for named in reasons.signals],
            "past": reasons.past.media_id if reasons.past else None,
        },
        "sentence": sentence_of(facts),
    }


def _written(report: dict[str, Any]) -> list[dict[str, Any]]:
    return report["history"]["parts"] if report["history"] else []


def show(facts: SuggestionFacts, console: Console) -> None:
    """Tables a person can read; a share of an inferred block has a tilde, what is a reason is bold."""
    reasons = reasons_of(facts)
    console.print(shown(sentence_of(facts)), markup=False, highlight=False, soft_wrap=True)
    console.print()
    console.print(_blocks(facts, reasons))
    if facts.moment is not None:
        console.print(f"most alike over all: {_moment(facts.moment)}", markup=False, highlight=False)
    if facts.axes or facts.signals:
        console.print()
        console.print(_traits(facts, reasons))
    if facts.history is not None:
        console.print()
        console.print(_history(facts.history, reasons))


def _blocks(facts: SuggestionFacts, reasons: Reasons) -> Table:
    columns = ("block", "share", "usual", "above it", "spread", "most alike")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    named = {block.modality for block in reasons.blocks}
    for block in facts.blocks:
        share = share_cell(block.share, block.a_inferred or block.b_inferred)
        table.add_row(
            block.modality,
            share,
            *_usual(block.share, block.usual),
            _block_moment(block),
            style="bold" if block.modality in named else None,
        )
    table.add_row("score", f"{facts.score:+.3f}")
    return table


def _usual(value: float, usual: Usual | None) -> tuple[str, str, str]:
    if usual is None:
        return "–", "–", "–"
    return f"{usual.mean:+.3f}", f"{value - usual.mean:+.3f}", f"{usual.spread:.3f}"


def _block_moment(block: BlockPart) -> str:
    return "–" if block.moment is None else _moment(block.moment)


def _moment(moment: Moment) -> str:
    def at(index: int, start_s: float | None) -> str:
        return f"segment {index}" if start_s is None else clock(start_s)

    of_a, of_b = at(moment.a_index, moment.a_start_s), at(moment.b_index, moment.b_start_s)
    return f"B {of_b}, A {of_a} ({moment.score:+.3f})"


def _traits(facts: SuggestionFacts, reasons: Reasons) -> Table:
    table = Table("axis or signal", "A", "B", "place of A", "of B", box=None, padding=(0, 2, 0, 0))
    named = {trait.trait.name for trait in (*reasons.axes, *reasons.signals)}
    for trait in (*facts.axes, *facts.signals):
        places = (_place(trait.a_place), _place(trait.b_place))
        style = "bold" if trait.name in named else None
        table.add_row(_name(trait), f"{trait.a:.3g}", f"{trait.b:.3g}", *places, style=style)
    return table


def _name(trait: Trait) -> str:
    ends = f" ({trait.low}–{trait.high})" if trait.low is not None else ""
    return escape(f"{trait.name}{ends}")


def _place(place: float | None) -> str:
    return "–" if place is None else f"{place:.2f}"


def _history(history: HistoryFacts, reasons: Reasons) -> Table:
    columns = ("history", "counts", "part", "usual", "above it", "spread")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    named = reasons.past.media_id if reasons.past else None
    for past in history.parts:
        style = "bold" if past.media_id == named else None
        usual = _usual(past.part, past.usual)
        table.add_row(
            title_cell(past.media_id), f"{past.share:+.1%}", f"{past.part:+.3f}", *usual, style=style
        )
    table.add_row("score", "", f"{history.score:+.3f}")
    return table
