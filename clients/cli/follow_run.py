"""What `resonance follow` does once its arguments are known: segments and titles as they come."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from resonance.clients.cli.reporting import failed_with, say_remark, say_warning
from resonance.clients.clock import clock
from resonance.clients.credentials import Credentials
from resonance.clients.embedder import GATEWAY
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.finishing import to_the_end
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.live import LiveStream
from resonance.clients.media.text import shown
from resonance.clients.media.types import MediaInfo
from resonance.clients.output import segment_to_dict, title_to_dict
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef
from resonance.clients.signals import signal_value
from resonance.space.descriptor import MODALITIES
from resonance.space.errors import SpaceError

if TYPE_CHECKING:
    from resonance.clients.ingest.live import LiveTitleSink

_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class FollowRun:
    """One call of the command; the fields are its options."""

    source: str
    server: str
    credentials: Credentials
    name: str | None
    sampling: str | None
    endless: bool
    rolling_every: int
    sink: str | None
    fingerprint: str | None
    json_out: bool
    stopped_by: signal.Signals | None = None

    async def follow(self) -> int:
        """Until the stream ends, or a signal ends it; gives the exit code.

        Raises:
            UsageError: no gateway, or no source of a live stream.
        """
        if not self.server.startswith(GATEWAY):
            raise UsageError(f"server '{self.server}'; a live stream needs a gateway: {GATEWAY}HOST:PORT")
        stream = self._opened()
        try:
            with self._ended_by_signals(stream):
                async with GatewayEmbedder(
                    self.server.removeprefix(GATEWAY),
                    expected_fingerprint=self.fingerprint,
                    credentials=self.credentials,
                ) as gateway:
                    await self._follow(gateway, stream, Console(stderr=True))
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
        except UsageError:
            raise
        except (ResonanceError, SpaceError) as failed:
            return failed_with(failed)
        return 128 + self.stopped_by if self.stopped_by is not None else 0

    async def _follow(self, gateway: GatewayEmbedder, stream: LiveStream, console: Console) -> None:
        async with AsyncExitStack() as stack:
            store = None
            if self.sink is not None:
                store = await self._opened_sink(self.sink, stream, SpaceRef.of(await gateway.space()))
                stack.push_async_callback(asyncio.to_thread, store.close)

            def tell_break(error: Exception) -> None:
                say_warning(console, f"{stream.name}: broken off, to go on with what happens then: {error}")

            parts = gateway.follow(
                stream, sampling=self.sampling, rolling_every=self.rolling_every, on_break=tell_break
            )
            async for part in await stack.enter_async_context(aclosing(parts)):
                try:
                    if store is not None and isinstance(part, MediaEmbedding):
                        await self._store(store, part, console)
                finally:  # a last title that cannot be stored is nowhere else
                    self._tell(part, stream.name, console)

    async def _opened_sink(self, uri: str, stream: LiveStream, space: SpaceRef) -> LiveTitleSink:
        from resonance.clients.ingest.live import LiveTitleSink  # only who stores has what that needs

        return await asyncio.to_thread(LiveTitleSink, uri, space, media_id=stream.name, origin=stream.origin)

    async def _store(self, store: LiveTitleSink, title: MediaEmbedding, console: Console) -> None:
        """Raises StoreError: the last title could not be written; one so far is followed by another."""
        from resonance.clients.ingest.errors import StoreError

        try:
            await to_the_end(asyncio.to_thread(store.write, title))
        except StoreError as failed:
            if not title.rolling:
                raise
            say_warning(console, f"not stored: {failed}")

    def _opened(self) -> LiveStream:
        if self.source != "-":
            return LiveStream(self.source, name=self.name, endless=self.endless)
        if sys.stdin is None:
            raise UsageError("-: standard input is closed; expected a pipe")
        return LiveStream(sys.stdin.buffer, name=self.name or "live", endless=self.endless)

    @contextmanager
    def _ended_by_signals(self, stream: LiveStream) -> Iterator[None]:
        """The first of them ends a stream that has begun, a second one the command."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(by: signal.Signals) -> None:
            if self.stopped_by is None and stream.has_begun:
                stream.end()
            else:
                task.cancel()
            self.stopped_by = self.stopped_by or by

        for by in _STOPS:
            loop.add_signal_handler(by, stop, by)
        try:
            yield
        finally:
            for by in _STOPS:
                loop.remove_signal_handler(by)

    def _tell(self, part: Part, name: str, console: Console) -> None:
        if isinstance(part, MediaInfo):
            for remark in part.remarks():
                say_remark(console, remark)
        if isinstance(part, MediaEmbedding) and not part.rolling:
            for remark in part.damage.remarks(name):
                say_remark(console, remark)
        if sys.stdout is None:  # it was closed before; `--sink` has what comes
            return
        if self.json_out:
            line = json.dumps(_as_dict(part), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        else:
            line = shown(_as_line(part, name))
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _as_dict(part: Part) -> dict[str, Any]:
    """What came, under the name of what it is; a title without its segments, which came before it."""
    if isinstance(part, MediaInfo):
        return {"info": {"media": part.name, "container": part.container, "codecs": dict(part.codecs)}}
    if isinstance(part, Segment):
        return {"segment": {"index": part.index, **segment_to_dict(part)}}
    return {"title": {"rolling": part.rolling, **title_to_dict(part)}}


def _as_line(part: Part, name: str) -> str:
    if isinstance(part, MediaInfo):
        return f"{name}  {part.container}, {' + '.join(part.codecs.values())}"
    if isinstance(part, Segment):
        return "  ".join(_segment_figures(part))
    return "  ".join(_title_figures(part))


def _segment_figures(segment: Segment) -> Iterator[str]:
    yield f"{clock(segment.start_s or 0.0)}–{clock(segment.end_s or 0.0)}".rjust(15)
    there = zip(MODALITIES, segment.present, strict=True)
    yield "".join(modality[0].upper() if present else "·" for modality, present in there)
    for name, unit in (("cut_rate_per_min", "cuts/min"), ("motion", "motion"), ("loudness_dbfs", "dBFS")):
        value = signal_value(segment.signals.get(name))
        if value is not None:
            yield f"{value:.2f} {unit}" if name == "motion" else f"{value:.0f} {unit}"
    for name, axis in segment.axes.items():
        yield f"{name} {axis:.2f}"


def _title_figures(title: MediaEmbedding) -> Iterator[str]:
    yield f"{'so far' if title.rolling else 'in all'}, {len(title.segments)} segments".rjust(15)
    for name, axis in title.axes.items():
        yield f"{name} {axis.value:.2f} ({axis.low} to {axis.high})"
