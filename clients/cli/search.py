"""`resonance search`: titles or moments that are like examples."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.discovery_options import (
    ArticleOption,
    ImageOption,
    LanguageOption,
    LikeOption,
    SamplingOption,
    SinceOption,
    SoundOption,
    StoreArgument,
    TagOption,
    TextOption,
    UntilOption,
    VideoOption,
    WeightsOption,
    check_one_of,
    make_examples,
    make_filter,
    make_weights,
)
from resonance.clients.cli.server_options import DEFAULT_SERVER, ServerOption, with_credentials, wrong_use

if TYPE_CHECKING:
    from resonance.clients.credentials import Credentials


@with_credentials
def search(
    store: StoreArgument,
    image: ImageOption = None,
    sound: SoundOption = None,
    video: VideoOption = None,
    text: TextOption = None,
    article: ArticleOption = None,
    like: LikeOption = None,
    taste: Annotated[
        Path | None, typer.Option(help="A taste that `resonance taste --save` wrote, instead of examples.")
    ] = None,
    weights: WeightsOption = None,
    tag: TagOption = None,
    language: LanguageOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    segments: Annotated[bool, typer.Option("--segments", help="Moments as results, not titles.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Results at most.")] = 10,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: the best ones; towards 1: less alike among themselves.")
    ] = 0.0,
    space: Annotated[
        Path | None,
        typer.Option(help="space.json, for one --like or a --taste alone: no server is asked."),
    ] = None,
    sampling: SamplingOption = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Search a store by example: a picture, a sound, a clip, words, an article, a title, or a mix of them.

    Exit code 0: the search was made; 1: it could not be, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.querying import QuerySource
    from resonance.clients.cli.search_run import SearchRun

    examples = make_examples(image=image, sound=sound, video=video, text=text, article=article, like=like)
    check_one_of(examples, taste)
    run = SearchRun(
        store=store,
        source=QuerySource(
            examples=examples,
            taste=taste,
            space=space,
            sampling=str(sampling) if sampling else None,
            server=server,
            credentials=credentials,
        ),
        weights=make_weights(weights),
        only=make_filter(tag, language, since, until),
        segments=segments,
        limit=limit,
        diversity=diversity,
        json_out=json_out,
    )
    with wrong_use():
        code = asyncio.run(run.search())
    raise typer.Exit(code)
