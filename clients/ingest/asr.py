"""Transcripts where there are none: speech found, recognised by a Whisper model, kept in a cache.

faster-whisper holds the sound that it is given as a whole, so it is given pieces of ten minutes, cut where it
is quietest; a film of three hours then needs 40 MB of sound and not 700.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pysubs2

from resonance.clients.errors import MediaError, UsageError
from resonance.clients.media.probe import probe
from resonance.clients.media.reader import open_media
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import FloatArray, Limits
from resonance.clients.media.words import SubtitleFile, find_sidecar
from resonance.space.descriptor import Descriptor

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

SAMPLE_RATE_HZ = 16_000
#: Sound that is recognised at once.
PIECE_S = 600.0
#: Silence of so long ends a piece.
LONG_SILENCE_S = 60.0
#: Where to cut is chosen among the ends of so many last windows of a piece.
_CUTS = 8
#: Loudness is looked at so far to both sides of a cut.
_AROUND_CUT_S = 0.25
_CACHE_VERSION = 1


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


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. `cues`: (start_s, end_s, text); `probability`: of the language, as the model sees it."""

    language: str
    probability: float
    model: str
    cues: tuple[tuple[float, float, str], ...]

    def subtitles(self, name: str) -> SubtitleFile:
        """As WebVTT."""
        file = pysubs2.SSAFile()
        for start_s, end_s, text in self.cues:
            file.append(pysubs2.SSAEvent(start=round(start_s * 1e3), end=round(end_s * 1e3), text=text))
        return SubtitleFile("vtt", file.to_string("vtt").encode(), name)


class _Nothing:
    """Known to hold no speech."""


class Transcriber:
    """Recognises one title at a time, in a thread of its own; the model is loaded with the first."""

    def __init__(self, options: AsrOptions) -> None:
        self._options = options
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resonance-asr")
        self._model: WhisperModel | None = None

    async def transcript(
        self, opened: Callable[[], Path | BinaryIO], name: str, version: str, descriptor: Descriptor
    ) -> Transcript | None:
        """What is said in media; None where it has a transcript already, no sound, or no speech.

        Args:
            opened: gives the media; a file object is closed. version: a hash of its bytes, for the cache.

        Raises:
            UsageError: the model cannot be loaded. MediaError: the media's own fault.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transcript, opened, name, version, descriptor)

    def _transcript(
        self, opened: Callable[[], Path | BinaryIO], name: str, version: str, descriptor: Descriptor
    ) -> Transcript | None:
        cached = self._cache_path(version)
        found = _read_cache(cached)
        if found is not None:
            return found if isinstance(found, Transcript) else None
        if not _wants_words(opened, name):
            return None
        transcript = self._recognised(opened, name, descriptor)
        _write_cache(cached, transcript)
        return transcript

    def _recognised(
        self, opened: Callable[[], Path | BinaryIO], name: str, descriptor: Descriptor
    ) -> Transcript | None:
        model = self._loaded()
        language, probability = self._options.language, 1.0
        cues: list[tuple[float, float, str]] = []
        source = opened()
        try:
            for start_s, sound in _pieces(source, name, descriptor):
                heard, info = model.transcribe(
                    sound,
                    language=language,
                    vad_filter=True,
                    temperature=0.0,  # its usual second tries draw at random: the same sound, other words
                    condition_on_previous_text=False,  # else it repeats itself without those tries
                )
                lines = [(start_s + s.start, start_s + s.end, s.text.strip()) for s in heard]
                if lines and language is None:  # the rest of a title is in the same one
                    language, probability = info.language, float(info.language_probability)
                cues += [line for line in lines if line[2] and line[1] > line[0]]
        finally:
            if not isinstance(source, Path):
                source.close()
        if not cues or language is None:
            return None
        return Transcript(language, probability, self._options.model, tuple(cues))

    def _loaded(self) -> WhisperModel:
        if self._model is None:
            options = self._options
            try:
                from faster_whisper import WhisperModel
            except ImportError as error:
                raise UsageError("--asr needs faster-whisper: pip install 'resonance[asr]'") from error
            try:
                self._model = WhisperModel(
                    options.model,
                    device="cpu",
                    compute_type=options.compute_type,
                    cpu_threads=options.threads,
                )
            except Exception as error:  # of the hub, of files, of CTranslate2
                came = " ".join(f"{type(error).__name__}: {error}".split())
                raise UsageError(
                    f"--asr {options.model}: {came}; expected a folder with model.bin, made by"
                    " ct2-transformers-converter, or a model of faster-whisper's hub that can be reached"
                ) from error
        return self._model

    def _cache_path(self, version: str) -> Path:
        options = self._options
        key = json.dumps([_CACHE_VERSION, version, options.model, options.language, options.compute_type])
        return options.cache / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"

    def close(self) -> None:
        """End the thread after what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _wants_words(opened: Callable[[], Path | BinaryIO], name: str) -> bool:
    """Whether the media has sound and no transcript: none beside it, no text in it."""
    given = opened()
    source = MediaSource(given, name=name, limits=Limits())
    try:
        if isinstance(given, Path) and find_sidecar(given) is not None:
            return False
        kinds = probe(source, Limits()).kinds
    except MediaError:
        return False  # a picture, a text, or what embedding will tell
    finally:
        source.close()
        if not isinstance(given, Path):
            given.close()
    return "audio" in kinds and "subtitle" not in kinds


def _pieces(source: Path | BinaryIO, name: str, descriptor: Descriptor) -> Iterator[tuple[float, FloatArray]]:
    """Stretches of sound: when each starts, float32 [samples] at 16 kHz. Long silence is left out."""
    held: list[FloatArray] = []  # windows that follow each other, each as long as a window
    start_s = 0.0
    with open_media(source, descriptor, name=name, modalities={"audio"}) as reader:
        for segment in reader.segments():
            if segment.pcm is None or segment.start_s is None:
                continue
            gap = round((segment.start_s - start_s) / descriptor.segment.length_s) - len(held)
            if held and gap * descriptor.segment.length_s >= LONG_SILENCE_S:
                yield start_s, np.concatenate(held)
                held = []
            if not held:
                start_s, gap = segment.start_s, 0
            held += [np.zeros_like(segment.pcm.samples)] * gap + [segment.pcm.samples]
            if len(held) * descriptor.segment.length_s >= PIECE_S:
                cut = _quietest(held)
                yield start_s, np.concatenate(held[:cut])
                start_s += cut * descriptor.segment.length_s
                held = held[cut:]
    if held:
        yield start_s, np.concatenate(held)


def _quietest(windows: list[FloatArray]) -> int:
    """How many windows to cut off: at that of their last ends around which there is least sound."""
    around = round(_AROUND_CUT_S * SAMPLE_RATE_HZ)

    def energy(at: int) -> float:
        return float(np.square(windows[at - 1][-around:]).sum() + np.square(windows[at][:around]).sum())

    return min(range(max(1, len(windows) - _CUTS), len(windows)), key=energy)


def _read_cache(path: Path) -> Transcript | _Nothing | None:
    """What was found before; None where that is not known."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found is None:
            return _Nothing()
        return Transcript(**{**found, "cues": tuple((a, b, text) for a, b, text in found["cues"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not there, or broken off: it is made again


def _write_cache(path: Path, transcript: Transcript | None) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{uuid.uuid4().hex}.tmp")
    half.write_text(json.dumps(asdict(transcript) if transcript is not None else None, ensure_ascii=False))
    os.replace(half, path)
