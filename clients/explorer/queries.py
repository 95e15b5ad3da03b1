"""What a page asks: examples by key, titles of the library, weights, filters; put into one query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError
from resonance.clients.explorer.keys import media_id_of
from resonance.clients.explorer.shelf import ExampleShelf
from resonance.clients.query import Example, blocks_of
from resonance.clients.results import Vector
from resonance.space.descriptor import Descriptor
from resonance.space.scores import Query, Weights, query_from_blocks
from resonance.space.taste import Blend

MAX_EXAMPLES, MAX_RESULTS = 32, 200


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(_Message):
    """One example: `key` of an embedded example or of a title, or the viewer's history, which needs none.

    A negative weight is "less like this".
    """

    source: Literal["example", "title", "history"]
    key: Annotated[str, Field(max_length=16_384)] = ""
    weight: Annotated[float, Field(ge=-4, le=4)] = 1.0


class BlockWeights(_Message):
    """The sliders."""

    visual: Annotated[float, Field(ge=0, le=100)] = 1.0
    audio: Annotated[float, Field(ge=0, le=100)] = 1.0
    transcript: Annotated[float, Field(ge=0, le=100)] = 1.0


class Words(_Message):
    """An example in words."""

    text: Annotated[str, Field(min_length=1)]


class SearchRequest(_Message):
    """A search. Dates are ISO 8601; see `resonance.clients.discovery.types.Filter`."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=MAX_EXAMPLES)]
    weights: BlockWeights = BlockWeights()
    tags: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    languages: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    since: date | None = None
    until: date | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 24
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0

    def block_weights(self) -> Weights:
        """Raises WeightError: all are 0."""
        return Weights(self.weights.visual, self.weights.audio, self.weights.transcript)

    def titles(self) -> frozenset[str]:
        """Media ids of the titles that are examples.

        Raises:
            UnknownTitleError: a key that is none.
        """
        return frozenset(media_id_of(part.key) for part in self.parts if part.source == "title")

    def with_history(self) -> bool:
        """Whether the viewer's history counts."""
        return any(part.source == "history" for part in self.parts)

    def filter(self, watched: frozenset[str]) -> Filter:
        """Which titles are looked at: titles that are examples are no answers, nor what was watched.

        Raises:
            UsageError: see `Filter`. UnknownTitleError: see `titles`.
        """
        return Filter(
            tags=self.tags,
            languages=self.languages,
            since=self.since,
            until=self.until,
            excluded=self.titles() | (watched if self.with_history() else frozenset()),
        )


def query_of_request(
    asked: SearchRequest,
    shelf: ExampleShelf,
    vectors: Mapping[str, Vector],
    descriptor: Descriptor,
    taste: Query | None,
) -> Query:
    """One query of what is wanted, less what is not.

    The examples that are wanted are one query, as `resonance search` has them; each that is not is a query of
    its own, and so is the viewer's taste. `resonance.space.taste` puts them together, the first counting 1
    and the others their weight.

    Args:
        vectors: of the titles of `SearchRequest.titles`. taste: of the viewer; None where there is none.

    Raises:
        ExpiredExampleError: an example is gone. UsageError: a title is, or a weight is 0.
    """
    wanted: list[Example] = []
    unwanted: list[Example] = []
    tastes: list[tuple[Query, float]] = []
    for part in asked.parts:
        if part.weight == 0:
            raise UsageError("an example of weight 0; expected one that counts: take it away instead")
        if part.source == "history":
            if taste is None:
                raise UsageError("no history was given; expected `resonance explore --history FILE`")
            tastes.append((taste, part.weight))
            continue
        example = _example(part, shelf, vectors)
        (wanted if part.weight > 0 else unwanted).append(replace(example, weight=abs(part.weight)))
    mixed = [(query_from_blocks(blocks_of(wanted), descriptor), 1.0)] if wanted else []
    against = [(query_from_blocks(blocks_of([e]), descriptor), -e.weight) for e in unwanted]
    queries, amounts = zip(*mixed, *tastes, *against, strict=True)
    return Blend.of(queries, amounts).query()


def _example(part: Part, shelf: ExampleShelf, vectors: Mapping[str, Vector]) -> Example:
    if part.source == "example":
        return shelf.get(part.key).example
    media_id = media_id_of(part.key)
    if media_id not in vectors:
        raise UsageError(f"title '{media_id}' is no longer in the library; take it away")
    # all of its blocks, inferred ones too, as `query_from_vector` has it
    return Example("video", media_id, vectors[media_id], (True, True, True))
