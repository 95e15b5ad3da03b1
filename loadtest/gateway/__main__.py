"""`python -m resonance.loadtest.gateway`: every figure of docs/gateway-load.md, at once or part by part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from resonance.loadtest.exits import IN_THE_WAY, NOT_RUN, exits
from resonance.loadtest.gateway import flow, latency, long_feed, overload, plots, streams
from resonance.loadtest.gateway.driving import Screen
from resonance.loadtest.gateway.figures import environment, show, to_json
from resonance.loadtest.gateway.material import LOOP_S, WINDOW_S, Broadcast, RawFeed, short_titles
from resonance.loadtest.gateway.script import Script, encoded_script, frames_script
from resonance.loadtest.gateway.stack import Stack
from resonance.loadtest.gateway.usage import CORES, wait_quiet

console = Console()
DEAF_RAW_S = 600
#: What completes a window is learnt on two rounds of the loop, and what the last of them waits for.
LEARN_S = 2 * LOOP_S + WINDOW_S
DEAF_ROUNDS = 30
DEAF_BIT_RATE = 4_000_000


def long_raw() -> RawFeed:
    """What is sent for three hours: sound that has to be resampled."""
    return RawFeed(fps=10, width=96, height=54, rate_hz=44_100)


def large_raw() -> RawFeed:
    """Pictures as cameras give them."""
    return RawFeed(fps=25, width=640, height=360, rate_hz=48_000)


class Part(StrEnum):
    """What can be measured by itself."""

    LATENCY = "latency"
    FLOW = "flow"
    OVERLOAD = "overload"
    STREAMS = "streams"
    FEED = "feed"


class Run:
    """One run: the stack, what is measured on it, and where figures and pictures go."""

    def __init__(self, stack: Stack, out: Path, seconds: float | None, screen: Screen) -> None:
        self.stack, self.folder, self.seconds, self.screen = stack, out.parent, seconds, screen
        self.figures: dict[str, Any] = {"environment": environment()}
        self._out = out

    def record(self, name: str, figures: Any) -> None:
        """Print, and write all figures so far."""
        show(console, name, figures)
        self.figures[name] = to_json(figures)
        self._out.write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")

    async def measure_overload(self) -> None:
        """Uploads, then queries."""
        for kind, callers in (("uploads", (1, 2, 3, 4)), ("queries", (1, 2, 3, 4))):
            run = await overload.measure_overload(
                self.stack, kind, self.folder, self.screen, seconds=self.seconds or 60, callers=callers
            )
            self.record(f"overload, {kind}", run.figures)
            plots.plot_overload(run, self.folder / f"overload-{kind}.png")

    async def measure_streams(self) -> None:
        """A hundred, raw and encoded."""
        seconds = self.seconds or 240
        length_s = max(seconds, LEARN_S)
        await self._streams("frames", frames_script(RawFeed(), length_s), seconds)
        await self._streams("encoded", encoded_script(Broadcast(), 0.5, length_s), seconds)

    async def _streams(self, kind: str, script: Script, seconds: float) -> None:
        run = await streams.measure_streams(self.stack, kind, script, self.screen, seconds=seconds)
        self.record(f"streams, {kind}", run.figures)
        picture = self.folder / f"streams-{kind}.png"
        plots.plot_memory(run.samples, run.started_s, picture, f"100 streams, {kind}")

    async def measure_latency(self) -> None:
        """One stream, raw and encoded."""
        windows = max(round((self.seconds or 60) * 1.2), 12)
        length_s = max(windows * WINDOW_S + 2 * WINDOW_S, LEARN_S)
        raw, resampled = RawFeed(), RawFeed(rate_hz=48_000, stretch_s=0.1)
        for kind, script in (
            ("frames", frames_script(raw, length_s)),
            ("frames, sound at 48 kHz", frames_script(resampled, length_s)),
            ("encoded", encoded_script(Broadcast(), 0.1, length_s)),
        ):
            found = await latency.measure_latency(self.stack, kind, script, self.screen, windows=windows)
            self.record(f"latency, {kind}", found)

    async def measure_feed(self) -> None:
        """Three hours, raw and encoded."""
        feed_s = (self.seconds or 216) * 50
        feed_s -= feed_s % 40
        raw = await long_feed.measure_frames_feed(self.stack, long_raw(), self.screen, feed_s=feed_s)
        self._long("frames", raw)
        broadcast = Broadcast()
        self._long(
            "encoded",
            await long_feed.measure_broadcast_feed(self.stack, broadcast, self.screen, feed_s=feed_s),
        )

    def _long(self, kind: str, run: long_feed.LongFeedRun) -> None:
        self.record(f"feed, {kind}", run.figures)
        hours = run.figures.feed_s / 3600
        title = f"{hours:.3g} hours of a feed, {kind}, at {run.figures.speed:.0f} times real time"
        plots.plot_memory(run.samples, run.started_s, self.folder / f"feed-{kind}.png", title)

    async def measure_flow(self) -> None:
        """Callers who do not read, send slowly, go away."""
        seconds = self.seconds or 40
        raw = large_raw()
        raw_bytes = DEAF_RAW_S * raw.fps * raw.width * raw.height * 3
        broadcast = Broadcast(bit_rate=DEAF_BIT_RATE)
        sent_bytes = sum(len(data) for _, data in broadcast.pieces(2.0, 1)) * DEAF_ROUNDS
        for kind, messages, size_bytes in (
            ("frames", flow.deaf_frames(raw, DEAF_RAW_S), raw_bytes),
            ("upload", flow.deaf_upload(broadcast, DEAF_ROUNDS), sent_bytes),
            ("live", flow.deaf_upload(broadcast, DEAF_ROUNDS, live=True), sent_bytes),
        ):
            found = await flow.measure_deaf(
                self.stack, kind, messages, size_bytes, self.screen, seconds=seconds
            )
            self.record(f"flow, deaf, {kind}", found)
        titles = await asyncio.to_thread(short_titles, self.folder)
        pausing = 6 * CORES
        slow = await flow.measure_slow(self.stack, titles, self.screen, pausing=pausing, uploads=10)
        self.record("flow, slow", slow)
        for kind, begin in (
            ("frames", lambda: flow.deaf_frames(raw, DEAF_RAW_S)),
            ("upload", lambda: flow.deaf_upload(broadcast, DEAF_ROUNDS)),
        ):
            gone = await flow.measure_cancel(self.stack, kind, begin, self.screen, rounds=10)
            self.record(f"flow, cancelled, {kind}", gone)


def load(
    parts: Annotated[
        list[Part] | None, typer.Argument(help="What to measure; by default everything.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of each measurement; by default that of the documentation.")
    ] = None,
    out: Annotated[Path, typer.Option("--json", help="All figures; pictures go beside it.")] = Path(
        "build/gateway-load/load.json"
    ),
    repository: Annotated[Path, typer.Option(help="The exported models.")] = Path("model_repository"),
    quiet: Annotated[
        float, typer.Option(help="Wait up to so many seconds before each part for a machine that rests.")
    ] = 0.0,
    limit: Annotated[
        list[str] | None, typer.Option(help="A flag of the gateway, such as max-uploads=3; more than one.")
    ] = None,
) -> None:
    """Measure on a Triton and a gateway of its own, on this machine, and print."""
    limits = dict(_limit(each) for each in limit or [])
    with exits(console, NOT_RUN, *IN_THE_WAY):
        out.parent.mkdir(parents=True, exist_ok=True)
    with (
        exits(console, NOT_RUN, *IN_THE_WAY),
        Stack(repository, limits=limits) as stack,
        Screen(console).shown() as screen,
    ):
        run = Run(stack, out, seconds, screen)
        run.figures["limits"] = limits
        steps: dict[Part, Callable[[], Coroutine[Any, Any, None]]] = {
            Part.LATENCY: run.measure_latency,
            Part.FLOW: run.measure_flow,
            Part.OVERLOAD: run.measure_overload,
            Part.STREAMS: run.measure_streams,
            Part.FEED: run.measure_feed,
        }
        for part in parts or list(Part):
            if quiet:
                console.print(f"{part}: the machine is in use to {wait_quiet(quiet):.0%}")
            asyncio.run(steps[part]())
    console.print(f"all figures: {out}")


def _limit(given: str) -> tuple[str, float]:
    """Name and value of a flag.

    Raises:
        typer.BadParameter: it is not both.
    """
    name, _, value = given.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{given!r}: expected FLAG=NUMBER, such as max-uploads=3", param_hint="--limit"
        ) from None


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(load)
    app()
