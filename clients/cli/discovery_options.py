"""Options that the commands which search a store share: examples, weights, filters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.sampling import SamplingChoice
from resonance.clients.cli.server_options import wrong_use

if TYPE_CHECKING:
    from resonance.clients.discovery.examples import ExampleSource
    from resonance.clients.discovery.types import Filter
    from resonance.space.scores import Weights

StoreArgument = Annotated[str, typer.Argument(metavar="STORE", help="As --sink of `resonance ingest`.")]
ImageOption = Annotated[
    list[str] | None, typer.Option(metavar="FILE[@WEIGHT]", help="A picture; may be given again.")
]
SoundOption = Annotated[
    list[str] | None,
    typer.Option("--sound", "--audio", metavar="FILE[@WEIGHT]", help="A sound; may be given again."),
]
VideoOption = Annotated[
    list[str] | None, typer.Option(metavar="FILE[@WEIGHT]", help="A clip; counts with all that it has.")
]
TextOption = Annotated[
    list[str] | None, typer.Option(metavar="WORDS[@WEIGHT]", help="A sentence; may be given again.")
]
ArticleOption = Annotated[
    list[str] | None, typer.Option(metavar="FILE[@WEIGHT]", help="A long text, plain or HTML.")
]
LikeOption = Annotated[
    list[str] | None, typer.Option(metavar="MEDIA_ID[@WEIGHT]", help="A title of the store.")
]
SamplingOption = Annotated[
    SamplingChoice | None,
    typer.Option(help="Of clips given as examples, as STORE was sampled. [default: the space's]"),
]
WeightsOption = Annotated[
    str | None, typer.Option(metavar="visual=2,transcript=0.5", help="How much each block counts. [1 each]")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Only titles with this tag; given again, with all of them.")
]
LanguageOption = Annotated[
    list[str] | None, typer.Option("--language", help="Only titles in one of these languages.")
]
SinceOption = Annotated[
    str | None, typer.Option(metavar="DAY", help="Only titles whose attribute `date` is this day or later.")
]
UntilOption = Annotated[
    str | None, typer.Option(metavar="DAY", help="Only titles whose attribute `date` is this day or earlier.")
]


def check_one_of(examples: Sequence[ExampleSource], taste: Path | None) -> None:
    """A query is made of examples or of a taste; both or neither is wrong use of the command."""
    if bool(examples) == (taste is not None):
        came = "examples and a taste" if examples else "neither an example nor a taste"
        raise typer.BadParameter(f"came {came}; expected examples (--image, --text, --like, ...) or --taste")


def make_examples(
    *,
    image: list[str] | None = None,
    sound: list[str] | None = None,
    video: list[str] | None = None,
    text: list[str] | None = None,
    article: list[str] | None = None,
    like: list[str] | None = None,
) -> list[ExampleSource]:
    """Of the options above. A value may end in ``@2``: its weight."""
    from resonance.clients.discovery.examples import ExampleSource

    given = {"image": image, "sound": sound, "video": video, "text": text, "article": article, "like": like}
    found = []
    with wrong_use():
        for kind, values in given.items():
            for value in values or ():
                name, weight = _weighted(value)
                source = name if kind in ("text", "like") else Path(name)
                found.append(ExampleSource(kind, source, weight))
    return found


def _weighted(value: str) -> tuple[str, float]:
    """``photo.jpg@2`` as its parts; what does not end in a number is all name."""
    name, at, weight = value.rpartition("@")
    try:
        return (name, float(weight)) if at and name else (value, 1.0)
    except ValueError:
        return value, 1.0


def make_weights(text: str | None) -> Weights:
    """Of the option above; what is no weight is wrong use of the command."""
    from resonance.space.errors import WeightError
    from resonance.space.scores import Weights

    try:
        return Weights() if text is None else Weights.parse(text)
    except WeightError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--weights") from wrong


def make_filter(
    tags: list[str] | None, languages: list[str] | None, since: str | None = None, until: str | None = None
) -> Filter:
    """Of the options above; what is no day is wrong use of the command."""
    from resonance.clients.discovery.types import Filter

    with wrong_use():
        return Filter(
            tags=tuple(tags or ()),
            languages=tuple(languages or ()),
            since=_day(since, "--since"),
            until=_day(until, "--until"),
        )


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as wrong:
        raise typer.BadParameter(f"'{text}'; expected a day such as 2026-11-28", param_hint=option) from wrong
