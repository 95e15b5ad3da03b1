"""Queries of which the results are audited: read from a file, asked of a library."""

from __future__ import annotations

import json
import tokenize
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resonance.clients.audit.groups import GroupSource
from resonance.clients.audit.representation import Against, Cell
from resonance.clients.discovery.browsing import all_spellings
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.taste import load_taste
from resonance.clients.discovery.types import Filter, TitleFacts
from resonance.clients.errors import UsageError
from resonance.clients.results import Vector
from resonance.space.descriptor import TITLE_WIDTH
from resonance.space.scores import Query, Weights, query_from_vector

_EXPECTED = (
    'a media id a line; or .jsonl with {"like": MEDIA_ID}, {"taste": FILE} or {"vector": [1788 numbers]} '
    'a line, and "name" where one is wanted; or .npy, a row a query'
)


@dataclass(frozen=True, slots=True, eq=False)
class AskedQuery:
    """One query; exactly one of `like`, `taste` and `vector` is there.

    Attributes:
        like: a media id. taste: a file of `resonance taste --save`. vector: [1788], as that of a title.
    """

    name: str
    like: str | None = None
    taste: Path | None = None
    vector: Vector | None = None


def read_queries(path: Path) -> list[AskedQuery]:
    """Of a file: media ids, JSON lines, or an array [n, 1788].

    Raises:
        UsageError: it cannot be read, holds no query, or names one twice.
    """
    try:
        if path.suffix == ".npy":
            queries = _of_array(np.load(path, allow_pickle=False))
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            read = _of_json if path.suffix == ".jsonl" else _of_name
            queries = [
                read(line.strip(), number, path) for number, line in enumerate(lines, 1) if line.strip()
            ]
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        *(EOFError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile),  # of numpy's reader
    ) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}; expected {_EXPECTED}") from error
    names = [query.name for query in queries]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if not queries or twice:
        came = f"{', '.join(twice)} twice" if twice else "no query"
        raise UsageError(f"{path}: {came}; expected {_EXPECTED}")
    return queries


def _of_array(rows: Any) -> list[AskedQuery]:
    if rows.ndim != 2 or rows.shape[1] != TITLE_WIDTH or not np.isfinite(rows).all():
        raise ValueError(f"array of shape {rows.shape}")
    return [AskedQuery(f"row {at}", vector=row.astype(np.float32)) for at, row in enumerate(rows)]


def _of_name(line: str, number: int, path: Path) -> AskedQuery:
    return AskedQuery(f"like {line}", like=line)


def _of_json(line: str, number: int, path: Path) -> AskedQuery:
    told = json.loads(line)
    given = {"like", "taste", "vector"} & set(told)
    if len(given) != 1 or set(told) - given - {"name"}:
        raise ValueError(f"line {number} has {', '.join(told)}")
    if "vector" in told:
        vector = np.array(told["vector"], np.float32)
        if vector.shape != (TITLE_WIDTH,) or not np.isfinite(vector).all():
            raise ValueError(f"vector of shape {vector.shape} in line {number}")
        return AskedQuery(str(told.get("name", f"line {number}")), vector=vector)
    (kind,) = given
    name = str(told.get("name", f"{kind} {told[kind]}"))
    if kind == "like":
        return AskedQuery(name, like=str(told["like"]))
    return AskedQuery(name, taste=path.parent / str(told["taste"]))


def ask(query: AskedQuery, searcher: Searcher, weights: Weights, limit: int) -> list[TitleFacts]:
    """The best `limit` titles. What a query was made of is left out of them. Blocks.

    Raises:
        UsageError: a media id that the library does not have, or a taste that cannot be read.
        SpaceMismatchError: a taste of another space. StoreError: the store cannot be read.
    """
    asked, left_out = _made(query, searcher)
    hits = searcher.find_titles(asked, weights, limit=limit, only=Filter(excluded=left_out))
    return [hit.facts for hit in hits]


def _made(query: AskedQuery, searcher: Searcher) -> tuple[Query, frozenset[str]]:
    if query.like is not None:
        return searcher.like(query.like), all_spellings([query.like])
    if query.taste is not None:
        taste = load_taste(query.taste, searcher.descriptor)
        return taste.query, frozenset(counted.media_id for counted in taste.counted)
    assert query.vector is not None
    return query_from_vector(query.vector, searcher.descriptor), frozenset()


def result_counts(
    found: Sequence[TitleFacts], source: GroupSource, groups: Sequence[str]
) -> tuple[list[int], int]:
    """Results of each of `groups`, and all whose group is known."""
    told = [source.group_of_facts(facts) for facts in found]
    return [told.count(group) for group in groups], sum(group is not None for group in told)


def compared(first: Cell, second: Cell) -> Cell:
    """A group in a place of one store against the same of another store."""
    return Cell(
        first.kind,
        first.place,
        first.dimension,
        first.group,
        first.count,
        first.size,
        Against.OTHER,
        second.count,
        second.size,
    )
