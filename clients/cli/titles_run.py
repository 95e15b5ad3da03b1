"""What `resonance titles` does once its arguments are known."""

from __future__ import annotations

import json
import math
import sys
from contextlib import closing
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from resonance.clients.cli.reporting import failed_with, hits_table, title_cell
from resonance.clients.clock import clock
from resonance.clients.discovery.browsing import browse
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.types import Filter, TitleFacts
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.media.text import shown
from resonance.clients.media.types import Damage
from resonance.space.descriptor import MODALITIES

#: Titles in a table where nobody says how many.
MOST_IN_A_TABLE = 50


def list_titles(store: str, words: str, only: Filter, limit: int | None, *, json_out: bool) -> int:
    """List titles whose id holds all `words`; gives the exit code. Blocks.

    Raises:
        UsageError: wrong use.
    """
    most = limit or (sys.maxsize if json_out else MOST_IN_A_TABLE)
    try:
        with closing(open_library(store)) as library:
            found, whole = browse(library, words, only, limit=most, within_s=math.inf)
    except UsageError:
        raise
    except ResonanceError as failed:
        return failed_with(failed)
    if json_out:
        for facts in found:
            sys.stdout.write(json.dumps(_told(facts), ensure_ascii=False) + "\n")
    else:
        _show(found, whole)
    return 0


def _told(facts: TitleFacts) -> dict[str, Any]:
    return {
        "media_id": facts.media_id,
        "uri": facts.uri,
        "transcript_uri": facts.transcript_uri,
        "duration_s": facts.duration_s,
        "modalities": _modalities(facts),
        "language": facts.language,
        "tags": list(facts.tags),
        "attributes": dict(facts.attributes),
        "damage": asdict(facts.damage),
    }


def _modalities(facts: TitleFacts) -> list[str]:
    return [name for name, there in zip(MODALITIES, facts.present, strict=True) if there]


def _show(found: list[TitleFacts], whole: bool) -> None:
    table = hits_table("length", "has", "language", "tags")
    for facts in found:
        table.add_row(
            "",
            title_cell(facts.media_id),
            clock(facts.duration_s) if facts.duration_s else "–",
            " + ".join(_modalities(facts)) + (", damaged" if facts.damage != Damage() else ""),
            escape(shown(facts.language or "–")),
            escape(shown(", ".join(facts.tags) or "–")),
        )
    Console().print(table)
    if not whole:
        Console(stderr=True).print(f"the first {len(found)}; more with --limit", highlight=False)
