"""What `resonance embed` does once its arguments are known: progress, results, failures."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from resonance.clients.cli.reporting import say_failed, say_remark
from resonance.clients.credentials import Credentials
from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    AuthenticationError,
    CredentialsError,
    NotMediaError,
    ResonanceError,
    ServerUnavailableError,
    TranscriptError,
    UsageError,
)
from resonance.clients.media.text import TEXT_SUFFIXES, can_be_stored, read_text, shown
from resonance.clients.media.types import MediaInfo
from resonance.clients.output import to_json, write_results
from resonance.clients.results import MediaEmbedding, Segment
from resonance.clients.signals import signal_value
from resonance.space.errors import SpaceError


@dataclass(slots=True)
class EmbedRun:
    """One call of the command; the fields are its options."""

    server: str
    credentials: Credentials
    sampling: str | None
    transcript: Path | None
    fingerprint: str | None
    json_out: bool
    output: Path | None
    plot: Path | None
    failures: int = 0
    embedded: int = 0
    #: Kept only where something is written at the end; --json alone keeps nothing.
    results: list[MediaEmbedding] = field(default_factory=list)

    async def embed_all(self, paths: Sequence[Path]) -> int:
        """Embed `paths` one after the other and report; gives the exit code."""
        console = Console(stderr=True)
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} s of media"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        try:
            async with Embedder(
                self.server, expected_fingerprint=self.fingerprint, credentials=self.credentials
            ) as embedder:
                with progress:
                    for path in paths:
                        try:
                            await self._embed_one(embedder, path, progress)
                        except (ServerUnavailableError, AuthenticationError, CredentialsError) as gone:
                            self._fail(console, f"{shown(str(path))}: {gone}")
                            break  # every further file would fail the same way
                        except (ResonanceError, SpaceError) as failed:
                            text, name = str(failed), shown(str(path))
                            self._fail(console, text if name in text else f"{name}: {text}")
        except asyncio.CancelledError:
            console.print(f"stopped: {self.embedded} of {len(paths)} embedded", highlight=False)
            raise
        finally:  # what is embedded is not lost with the rest
            if self.results:
                self._write_files(console)
        if not self.json_out and self.results:
            summarise(self.results, Console())
        return 1 if self.failures else 0

    async def _embed_one(self, embedder: Embedder, path: Path, progress: Progress) -> None:
        name = str(path)
        if not can_be_stored(name):
            raise NotMediaError(
                shown(name), "a name that is not UTF-8", "one that results can hold; rename it"
            )
        task = progress.add_task(escape(path.name), total=None)
        try:
            if path.suffix.lower() in TEXT_SUFFIXES:
                if self.transcript is not None:
                    raise TranscriptError.beside(name, "a text")
                result = await embedder.embed_text(read_text(path), name=name)
            else:
                async for part in embedder.stream(path, sampling=self.sampling, transcript=self.transcript):
                    if isinstance(part, MediaInfo):
                        progress.update(task, total=part.duration_s)
                        for remark in part.remarks():
                            say_remark(progress.console, remark)
                    elif isinstance(part, Segment):
                        progress.update(task, completed=part.end_s or 0.0)
                    else:
                        result = part
        finally:
            progress.remove_task(task)
        for remark in result.damage.remarks(name):
            say_remark(progress.console, remark)
        if self.json_out:
            sys.stdout.write(to_json(result) + "\n")
            sys.stdout.flush()
        self.embedded += 1
        if not self.json_out or self.output is not None or self.plot is not None:
            self.results.append(result)

    def _write_files(self, console: Console) -> None:
        self._write(console, self.output, write_results)
        if self.plot is not None:
            # matplotlib takes as long to import as all the rest
            from resonance.clients.plot import plot_arcs

            self._write(console, self.plot, plot_arcs)

    def _write(
        self, console: Console, path: Path | None, write: Callable[[Sequence[MediaEmbedding], Path], None]
    ) -> None:
        try:
            if path is not None:
                write(self.results, path)
        except OSError as error:
            self._fail(console, f"{path}: it cannot be written ({error.strerror})")
        except UsageError as error:  # it could be written when the command began
            self._fail(console, str(error))

    def _fail(self, console: Console, line: str) -> None:
        self.failures += 1
        say_failed(console, line)


def summarise(results: Sequence[MediaEmbedding], console: Console) -> None:
    """A table a person can read: one row a title, and for a single title one row a segment."""
    for result in results:
        trained = "trained" if result.space.trained else "not trained"
        length = f"{result.duration_s:.1f} s" if result.duration_s is not None else "no clock"
        speed = (
            f", {result.duration_s * 1e3 / result.timing.total_ms:.0f} x real time"
            if result.duration_s and result.timing.total_ms
            else ""
        )
        console.print(
            f"[bold]{escape(shown(result.media))}[/bold]  {length}, {len(result.segments)} segments, "
            f"{' + '.join(result.modalities)}{speed}",
            highlight=False,
            soft_wrap=True,
        )
        head = ", ".join(f"{x:+.4f}" for x in result.title[:4])
        console.print(
            f"  title [{head}, … {result.title.size} numbers], space {result.space.name} "
            f"{result.space.fingerprint[:12]} ({trained})",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if result.axes:
            line = ", ".join(f"{name} {axis.value:.2f}" for name, axis in result.axes.items())
            console.print(f"  axes {line}", highlight=False, markup=False, soft_wrap=True)
    if len(results) == 1:
        console.print(segment_table(results[0]))
        if results[0].axes:
            console.print(axis_table(results[0]))


def segment_table(result: MediaEmbedding) -> Table:
    """Times, what is present (Visual, Audio, Transcript), salience, signals, measured arcs; 80 columns."""
    arcs = {name: values for name, values in result.arcs.items() if name not in result.axes}
    names = ("seconds", "has", "frames", "share", "cuts/min", "motion", "dBFS", *arcs)
    table = Table(*(Column(name, no_wrap=True) for name in names), box=None, padding=(0, 1, 0, 0))
    points = {name: dict(values) for name, values in arcs.items()}
    for segment in result.segments:
        letters = "".join(
            letter if there else "·" for letter, there in zip("VAT", segment.present, strict=True)
        )
        middle_s = (
            (segment.start_s + segment.end_s) / 2
            if segment.start_s is not None and segment.end_s is not None
            else None
        )
        shown = {name: signal_value(value) for name, value in segment.signals.items()}
        table.add_row(
            f"{_figure(segment.start_s, '.0f')}–{_figure(segment.end_s, '.0f')}",
            letters,
            str(segment.sampled_by),
            _figure(segment.salience, ".2f"),
            _figure(shown.get("cut_rate_per_min"), ".0f"),
            _figure(shown.get("motion"), ".2f"),
            _figure(shown.get("loudness_dbfs"), ".0f"),
            *(
                _figure(values.get(middle_s) if middle_s is not None else None, ".2f")
                for values in points.values()
            ),
        )
    return table


def axis_table(result: MediaEmbedding) -> Table:
    """Each segment's own value on each axis, not smoothed; 0 is the first label of a head, 1 the second."""
    heads = [f"{name}\n{axis.low}\n{axis.high}" for name, axis in result.axes.items()]
    table = Table("seconds", *heads, box=None, padding=(0, 1, 0, 0))
    for segment in result.segments:
        table.add_row(
            f"{_figure(segment.start_s, '.0f')}–{_figure(segment.end_s, '.0f')}",
            *(_figure(segment.axes.get(name), ".2f") for name in result.axes),
        )
    return table


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
