"""One title of the catalogue: known, read, embedded, told to the ledger. The same for every engine."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol
from weakref import WeakValueDictionary

from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    MediaError,
    MediaStalledError,
    OverloadedError,
    ServerError,
    ServerUnavailableError,
    SpaceChangedError,
    TranscriptError,
)
from resonance.clients.finishing import to_the_end
from resonance.clients.gateway.messages import FieldNames, segment_from_message, segment_to_message
from resonance.clients.ingest.asr import AsrOptions, Transcriber
from resonance.clients.ingest.catalogue import FaultyRow
from resonance.clients.ingest.errors import CatalogueError, MissingPackageError, SourceUnavailableError
from resonance.clients.ingest.file_systems import may_pass
from resonance.clients.ingest.journal_records import Fault
from resonance.clients.ingest.ledger import Begun, Verdict
from resonance.clients.ingest.opening import content_hash, identity, open_uri, read_subtitles
from resonance.clients.ingest.pending import row_bytes
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.source_places import PACE_S, SourcePlaces
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.uris import local_path, suffix
from resonance.clients.media.readings import reading
from resonance.clients.media.text import MAX_TEXT_BYTES, TEXT_SUFFIXES, decode_text
from resonance.clients.media.types import MediaInfo
from resonance.clients.media.words import SubtitleFile
from resonance.clients.results import MediaEmbedding, Segment
from resonance.v1 import embedding_pb2 as pb

_log = logging.getLogger(__name__)
#: Segments told to the ledger at once, and the longest that one waits to be told.
SEGMENTS_AT_ONCE, TOLD_EVERY_S = 16, 2.0
#: Tries of a title at which the server failed in another way than being away or full.
MAX_ATTEMPTS = 8
_FIRST_WAIT_S, _MOST_WAIT_S = 0.5, 15.0
#: Where others of its place answer, and it breaks off each time: over a minute of waits.
_MOST_TRIES_OF_A_SOURCE = 2 * MAX_ATTEMPTS


class AsyncLedger(Protocol):
    """`Ledger` from elsewhere: another thread, or another machine."""

    async def look(self, item: CatalogueItem, identity: str | None) -> Verdict:
        """See `Ledger.look`."""
        ...

    async def begin(self, item: CatalogueItem, identity: str | None, content_hash: str) -> Begun:
        """See `Ledger.begin`."""
        ...

    async def add_segments(
        self, media_id: str, content_hash: str, first: int, messages: Sequence[bytes]
    ) -> None:
        """See `Ledger.add_segments`."""
        ...

    async def finish(self, media_id: str, content_hash: str, row: bytes) -> None:
        """See `Ledger.finish`."""
        ...

    async def fail(
        self,
        item: CatalogueItem,
        content_hash: str,
        *,
        identity: str | None,
        fault: Fault,
    ) -> None:
        """See `Ledger.fail`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """How titles are embedded.

    Attributes:
        sampling: ``keyframes``, ``uniform``, or None for what the space says.
        patience_s: how long a server that is away or full is waited for, without a segment of any title.
        asr: recognise speech where there is no transcript.
    """

    sampling: str | None = None
    patience_s: float = 600.0
    asr: AsrOptions | None = None


class Result(StrEnum):
    """What became of a title. RELABELLED: only what the catalogue says of it has changed."""

    EMBEDDED = "embedded"
    UNCHANGED = "unchanged"
    RELABELLED = "relabelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a title.

    `duration_s`: of media that was embedded. `error`: what it failed with, in this job or an earlier one.
    """

    media_id: str
    result: Result
    duration_s: float = 0.0
    error: str = ""


class _ChangedMeanwhileError(Exception):
    """What was embedded is neither the old file nor the new one."""


@dataclass(slots=True)
class _Title:
    """A title under way. `known_by`, `version`: see `Ledger`; `done`: segments so far."""

    item: CatalogueItem
    known_by: str | None = None
    version: str = ""
    begun: bool = False
    done: list[Segment] = field(default_factory=list)


class TitleWorker:
    """Embeds titles, several at a time."""

    def __init__(self, embedder: Embedder, ledger: AsyncLedger, options: EmbedOptions) -> None:
        self._embedder, self._ledger, self._options = embedder, ledger, options
        self._transcriber = Transcriber(options.asr) if options.asr is not None else None
        self._progress_s = time.monotonic()  # when the last segment of any title came
        self._places = SourcePlaces(options.patience_s)
        self._turns = WeakValueDictionary[str, asyncio.Lock]()  # by media id, of those under way

    async def process(self, item: CatalogueItem) -> Outcome:
        """Embed a title unless it is done; its own faults are told to the ledger, not raised. So is one that
        nothing here can open, which the next job tries again.

        Titles of one name go one after the other, in the order in which they were given, so that the first of
        two files and the last of two descriptions of one are the same ones whenever a catalogue is read.

        Raises:
            ServerUnavailableError, OverloadedError: for longer than `EmbedOptions.patience_s`.
            SourceUnavailableError: no title's media answered for as long.
            RequestRejectedError, SpaceMismatchError, StoreError: nothing will be embedded any more.
        """
        async with self._turns.setdefault(item.media_id, asyncio.Lock()):
            return await self._in_turn(item)

    async def _in_turn(self, item: CatalogueItem) -> Outcome:
        title = _Title(item)
        attempts, tries, wait_s = 0, 0, _FIRST_WAIT_S
        away_since_s: float | None = None
        while True:
            before = len(title.done)
            try:
                return await self._attempt(title)
            except SpaceChangedError:
                raise
            except MissingPackageError as error:
                return await self._fail(title, error, attempts + 1)
            except (MediaError, CatalogueError, ServerError, _ChangedMeanwhileError) as error:
                if _is_own_fault(error, item):
                    return await self._fail(title, error, attempts + 1)
                if len(title.done) > before:
                    attempts, tries, wait_s, away_since_s = 0, 0, _FIRST_WAIT_S, None
                if isinstance(error, SourceUnavailableError):
                    tries += 1
                    if self._places.is_given_up(error) or tries >= _MOST_TRIES_OF_A_SOURCE:
                        await asyncio.sleep(PACE_S)
                        return await self._fail(title, error, tries)
                elif isinstance(error, ServerUnavailableError | OverloadedError):
                    now_s = time.monotonic()
                    if away_since_s is None:
                        away_since_s = now_s
                    # nothing may have been asked of the server for hours: that is no time that it was away
                    if now_s - max(away_since_s, self._progress_s) >= self._options.patience_s:
                        raise
                else:
                    attempts += 1
                    if attempts >= MAX_ATTEMPTS:
                        return await self._fail(title, error, attempts)
                _log.info("%s: %s; trying again in about %.1f s", item.media_id, error, wait_s)
                asked_s = (error.retry_after_s or 0.0) if isinstance(error, ServerError) else 0.0
                await asyncio.sleep(asked_s + wait_s * random.random())
                wait_s = min(2 * wait_s, _MOST_WAIT_S)

    async def refuse(self, row: FaultyRow) -> Outcome:
        """A row of the catalogue that names no title goes to quarantine under its place."""
        return await self._fail(_Title(CatalogueItem(media_id=row.where, uri=row.where)), row.error, 1)

    async def _attempt(self, title: _Title) -> Outcome:
        item = title.item
        if not title.begun:
            title.known_by = await asyncio.to_thread(self._known_by, item)
            self._places.answered(item.uri)
            begun = Begun(await self._ledger.look(item, title.known_by))
            if begun.verdict is Verdict.EMBED:
                title.version = await asyncio.to_thread(self._version, item)
                begun = await self._ledger.begin(item, title.known_by, title.version)
            if begun.verdict is Verdict.TWICE:
                title.item = replace(item, media_id=f"{item.media_id} ({item.uri})")
                title.known_by, title.version = None, ""
                raise CatalogueError(item.media_id, "another title of this name", "a name once")
            if begun.verdict in (Verdict.UNCHANGED, Verdict.RELABELLED):
                return Outcome(item.media_id, Result(begun.verdict.value))
            if begun.verdict is Verdict.IN_QUARANTINE:
                return Outcome(item.media_id, Result.FAILED, error="in quarantine since an earlier job")
            names = FieldNames.of(await self._embedder.space())
            title.done = [segment_from_message(pb.Segment.FromString(m), names) for m in begun.done]
            title.begun = True
        words, language = await self._words(item, title.version)
        item = replace(item, language=item.language or language)
        result = await self._stream(item, title.version, title.done, words)
        if await asyncio.to_thread(self._known_by, item) != title.known_by:
            title.begun, title.done = False, []
            raise _ChangedMeanwhileError(f"{item.uri}: it changed while it was embedded")
        row = await asyncio.to_thread(lambda: row_bytes(title_row(item, title.version, result)))
        await self._ledger.finish(item.media_id, title.version, row)
        return Outcome(item.media_id, Result.EMBEDDED, result.duration_s or 0.0)

    def _known_by(self, item: CatalogueItem) -> str | None:
        found = identity(item.uri, item.transcript_uri)
        return f"{found.version}{self._recipe(item)}" if found.version is not None else None

    def _version(self, item: CatalogueItem) -> str:
        return f"{content_hash(item.uri, item.transcript_uri)}{self._recipe(item)}"

    def _recipe(self, item: CatalogueItem) -> str:
        """What else the vectors depend on, beside media and space."""
        options = self._options
        heard: tuple[str | None, ...] = ()
        if options.asr is not None and self._transcriber is not None:
            heard = (self._transcriber.identity(), options.asr.language)
        return "".join(f"+{part}" for part in (options.sampling, *heard, reading(suffix(item.uri))) if part)

    async def _words(self, item: CatalogueItem, version: str) -> tuple[SubtitleFile | None, str | None]:
        """Subtitles that the catalogue names, or recognised ones, and their language where it was heard."""
        if item.transcript_uri is not None:
            return await asyncio.to_thread(read_subtitles, item.transcript_uri), None
        if self._transcriber is None or suffix(item.uri) in TEXT_SUFFIXES:
            return None, None
        path = local_path(item.uri)
        found = await self._transcriber.transcript(
            lambda: path if path is not None else open_uri(item.uri),
            item.uri,
            version,
            await self._embedder.space(),
        )
        return (found.subtitles(item.uri), found.language) if found is not None else (None, None)

    async def _stream(
        self, item: CatalogueItem, version: str, done: list[Segment], words: SubtitleFile | None
    ) -> MediaEmbedding:
        """Embed what is missing; `done` grows, and is told to the ledger in pieces, whatever happens."""
        told, told_s = len(done), time.monotonic()

        async def tell() -> None:
            nonlocal told, told_s
            messages = [segment_to_message(s).SerializeToString() for s in done[told:]]
            first, told, told_s = told, len(done), time.monotonic()
            await self._ledger.add_segments(item.media_id, version, first, messages)

        title: MediaEmbedding | None = None
        source = await asyncio.to_thread(_open, item)
        try:
            if isinstance(source, str):
                if words is not None:
                    raise TranscriptError.beside(item.uri, "a text")
                text = await self._embedder.embed_text(source, name=item.uri)
                self._progress_s = time.monotonic()
                return text
            parts = self._embedder.stream(
                source,
                sampling=self._options.sampling,
                transcript=words,
                name=item.uri,
                done=tuple(done),
            )
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, Segment):
                        self._progress_s = time.monotonic()
                        self._places.answered(item.uri)
                        done.append(part)
                        late = self._progress_s - told_s >= TOLD_EVERY_S
                        if len(done) - told >= SEGMENTS_AT_ONCE or late:
                            await tell()
                    elif isinstance(part, MediaInfo):
                        for remark in part.remarks():
                            _log.warning("%s", remark)
                    elif isinstance(part, MediaEmbedding):
                        title = part
        except BaseException:
            if len(done) > told:
                await to_the_end(tell())
            raise
        finally:
            if not isinstance(source, str | Path):
                await asyncio.to_thread(source.close)
        assert title is not None, "a stream ends with its title or raises"
        for remark in title.damage.remarks(item.uri):
            _log.warning("%s", remark)
        return title

    async def _fail(self, title: _Title, error: Exception, attempts: int) -> Outcome:
        fault = Fault(type(error).__name__, str(error), attempts, _is_own_fault(error, title.item))
        await self._ledger.fail(title.item, title.version, identity=title.known_by, fault=fault)
        return Outcome(title.item.media_id, Result.FAILED, error=f"{type(error).__name__}: {error}")


def _is_own_fault(error: Exception, item: CatalogueItem) -> bool:
    """Whether the same media will fail the same way again."""
    if isinstance(error, MediaStalledError) and local_path(item.uri) is None:
        return False  # it may be the store that is slow
    if may_pass(error):
        return False
    return isinstance(error, MediaError | CatalogueError)


def _open(item: CatalogueItem) -> Path | str | BinaryIO:
    """A path of this machine, the text of a text, or a seekable file of another place."""
    if suffix(item.uri) in TEXT_SUFFIXES:
        with open_uri(item.uri) as file:
            return decode_text(file.read(MAX_TEXT_BYTES + 1), item.uri)
    path = local_path(item.uri)
    return path if path is not None else open_uri(item.uri)
