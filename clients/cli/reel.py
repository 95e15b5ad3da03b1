"""`resonance reel`: the best moments of a store for a query or a taste, as one film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.clients.cli.discovery_options import (
    ArticleOption,
    ImageOption,
    LanguageOption,
    LikeOption,
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
def reel(
    store: StoreArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The film, FILE.mp4; FILE.json beside it says what is in it."),
    ] = Path("reel.mp4"),
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
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="The reel is at most so long.")] = 60.0,
    clip_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=60,
            show_default="4.0, or the whole of a shorter reel",
            help="Of a clip; half to one and a half of it, to end at cuts.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Clips at most; as many as fit without it.")
    ] = None,
    per_title: Annotated[int, typer.Option(min=1, help="Clips of one title at most.")] = 2,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: the best ones; towards 1: less alike among themselves.")
    ] = 0.3,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Of the picture; what is shaped otherwise gets bars.")
    ] = "1280x720",
    fps: Annotated[int, typer.Option(help="Frames a second: 24, 25, 30, 50 or 60.")] = 30,
    space: Annotated[
        Path | None,
        typer.Option(help="space.json, for one --like or a --taste alone: no server is asked."),
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="The list of clips as one JSON object.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    *,
    credentials: Credentials,
) -> None:
    """Join the moments of a store that are most like examples or a taste into one MP4.

    A title that cannot be read is named on stderr, and the next best takes its place.

    Exit code 0: it was written; 1: it was not, one line on stderr; 2: wrong use.
    """
    from resonance.clients.cli.querying import QuerySource
    from resonance.clients.cli.reel_run import ReelRun
    from resonance.clients.discovery.reel import CLIP_S, ReelOptions
    from resonance.clients.discovery.reel_pictures import ReelFormat

    examples = make_examples(image=image, sound=sound, video=video, text=text, article=article, like=like)
    check_one_of(examples, taste)
    with wrong_use():
        run = ReelRun(
            store=store,
            output=output,
            source=QuerySource(
                examples=examples,
                taste=taste,
                space=space,
                sampling=None,
                server=server,
                credentials=credentials,
            ),
            weights=make_weights(weights),
            options=ReelOptions(
                seconds=seconds,
                clip_s=min(CLIP_S, seconds) if clip_seconds is None else clip_seconds,
                per_title=per_title,
                most_clips=limit,
                diversity=diversity,
                only=make_filter(tag, language, since, until),
                form=ReelFormat.parse(size, fps),
            ),
            json_out=json_out,
        )
        code = run.run()
    raise typer.Exit(code)
