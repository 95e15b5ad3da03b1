"""Transcripts where there are none: speech found, recognised by a Whisper model, kept in a cache."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from resonance.clients.errors import MediaError
from resonance.clients.ingest.asr_cache import Kept, Transcript, TranscriptCache
from resonance.clients.ingest.asr_model import SpeechModel, model_identity
from resonance.clients.ingest.asr_sound import pieces
from resonance.clients.media.probe import probe
from resonance.clients.media.reader import open_media
from resonance.clients.media.sidecars import find_sidecar
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Limits
from resonance.space.descriptor import Descriptor

T = TypeVar("T")
#: Gives a title's media, each time from its start; a file object is closed by who asked for it.
Opened = Callable[[], Path | BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrOptions:
    """How speech is recognised.

    Attributes:
        model: a folder with a model in CTranslate2's form, or its name at the hub of faster-whisper.
        cache: a folder for transcripts. language: of the speech; None: told by the model.
        threads: of a recognition. compute_type: of CTranslate2, ``int8`` for a CPU.
    """

    model: str
    cache: Path
    language: str | None = None
    threads: int = 1
    compute_type: str = "int8"


class Transcriber:
    """Recognises one title at a time, in a thread of its own; the model is loaded with the first.

    Titles that need no recognition do not wait for those that do.
    """

    def __init__(self, options: AsrOptions) -> None:
        self._options = options
        self._cache = TranscriptCache(options.cache)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resonance-asr")
        self._model: SpeechModel | None = None
        self._identity: str | None = None
        self._naming = threading.Lock()

    def identity(self) -> str:
        """What tells the model from others: see `model_identity`. Blocks the first time.

        Raises:
            UsageError: a folder that cannot be read.
        """
        with self._naming:  # titles side by side ask for it, and it takes long to find out
            if self._identity is None:
                self._identity = model_identity(self._options.model)
            return self._identity

    async def transcript(
        self, opened: Opened, name: str, version: str, descriptor: Descriptor
    ) -> Transcript | None:
        """What is said in media; None where it has a transcript already, no sound, or no speech.

        Cancelled, it returns at once; the thread stops with the next window that is read or cue that is
        recognised.

        Args:
            version: a hash of the media's bytes, for the cache.

        Raises:
            UsageError: the model cannot be loaded. StoreError: the cache cannot be written.
            MediaError: the media's own fault.
        """
        kept = await asyncio.to_thread(self._known, opened, name, version)
        if kept is None:
            stopped = threading.Event()
            try:
                kept = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._recognised, opened, name, version, descriptor, stopped
                )
            except asyncio.CancelledError:
                stopped.set()
                raise
        return kept.transcript

    def _known(self, opened: Opened, name: str, version: str) -> Kept | None:
        """What can be told of a title without recognition; None where nothing can."""
        kept = self._cache.read(self._key(version))
        return Kept(None) if kept is None and not wants_words(opened, name) else kept

    def _recognised(
        self, opened: Opened, name: str, version: str, descriptor: Descriptor, stopped: threading.Event
    ) -> Kept:
        kept = self._cache.read(self._key(version))  # the same bytes may have been before it in the queue
        if kept is None:
            kept = Kept(self._heard(opened, name, descriptor, stopped))
            self._cache.write(self._key(version), kept)
        return kept

    def _heard(
        self, opened: Opened, name: str, descriptor: Descriptor, stopped: threading.Event
    ) -> Transcript | None:
        options = self._options
        if self._model is None:
            self._model = SpeechModel(
                options.model,
                language=options.language,
                threads=options.threads,
                compute_type=options.compute_type,
            )
        language: str | None = None  # of the first words; the rest of a title is in the same one
        probability = 1.0
        cues: list[tuple[float, float, str]] = []
        source = opened()
        try:
            with open_media(source, descriptor, name=name, modalities={"audio"}) as reader:
                for start_s, sound in pieces(_until(stopped, reader.segments())):
                    heard = self._model.hear(sound, language=language)
                    for cue_start_s, cue_end_s, text in _until(stopped, heard.cues):
                        if language is None:
                            language, probability = heard.language, heard.probability
                        cues.append((start_s + cue_start_s, start_s + cue_end_s, text))
        finally:
            if not isinstance(source, Path):
                source.close()
        return Transcript(language, probability, options.model, tuple(cues)) if language is not None else None

    def _key(self, version: str) -> tuple[object, ...]:
        options = self._options
        return version, self.identity(), options.language, options.compute_type


class _StoppedError(Exception):
    """Nobody waits for the transcript any more."""


def _until(stopped: threading.Event, items: Iterable[T]) -> Iterator[T]:
    for item in items:
        if stopped.is_set():
            raise _StoppedError
        yield item


def wants_words(opened: Opened, name: str) -> bool:
    """Whether media has sound and no transcript: no subtitles beside it, no text in it. Blocks.

    Media that cannot be opened want none: embedding tells what is wrong with them.
    """
    given = opened()
    source = MediaSource(given, name=name, limits=Limits())
    try:
        if isinstance(given, Path) and find_sidecar(given) is not None:
            return False
        kinds = probe(source, Limits()).kinds
    except MediaError:
        return False
    finally:
        source.close()
        if not isinstance(given, Path):
            given.close()
    return "audio" in kinds and "subtitle" not in kinds
