"""Transcripts, and the folder where they are kept so that no title is recognised twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pysubs2

from resonance.clients.ingest.errors import StoreError
from resonance.clients.media.words import SubtitleFile
from resonance.clients.new_files import whole_file

#: Of the files and of how speech is recognised: another one, and every title is recognised anew.
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said.

    Attributes:
        language: as Whisper calls it: ``en``, ``yue``.
        probability: of the language, as the model sees it; 1 where it was given or there is but one.
        model: as it was named. cues: (start_s, end_s, text), by their start.
    """

    language: str
    probability: float
    model: str
    cues: tuple[tuple[float, float, str], ...]

    def subtitles(self, name: str) -> SubtitleFile:
        """As WebVTT. `name`: what to call it in errors."""
        file = pysubs2.SSAFile()
        for start_s, end_s, text in self.cues:
            file.append(pysubs2.SSAEvent(start=round(start_s * 1e3), end=round(end_s * 1e3), text=text))
        return SubtitleFile("vtt", file.to_string("vtt").encode(), name)


@dataclass(frozen=True, slots=True)
class Kept:
    """That a title is known. `transcript`: None where nothing is said in it."""

    transcript: Transcript | None


class TranscriptCache:
    """One JSON file a title, whole or not at all. Several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: tuple[object, ...]) -> Kept | None:
        """What is kept under `key`; None where there is nothing, or nothing that can be read. Blocks."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))["transcript"]
            return Kept(_transcript(kept) if kept is not None else None)
        except (OSError, ValueError, TypeError, KeyError):
            return None  # a broken file is written over by the next recognition

    def write(self, key: tuple[object, ...], kept: Kept) -> None:
        """Keep it. Blocks.

        Raises:
            StoreError: the folder cannot be written to.
        """
        data = json.dumps(asdict(kept), ensure_ascii=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path(key)) as half:
                half.write_text(data, encoding="utf-8")
        except OSError as error:
            raise StoreError(
                str(self._folder),
                f"a transcript cannot be kept ({error.strerror or error})",
                "a folder that can be written to (--asr-cache)",
            ) from error

    def _path(self, key: tuple[object, ...]) -> Path:
        data = json.dumps([_VERSION, *key]).encode()
        return self._folder / f"{hashlib.blake2b(data, digest_size=16).hexdigest()}.json"


def _transcript(kept: dict[str, object]) -> Transcript:
    """Raises ValueError, TypeError or KeyError where `kept` is none."""
    cues = kept["cues"]
    if not isinstance(cues, list):
        raise TypeError(f"cues: {type(cues).__name__}; expected a list")
    return Transcript(
        language=str(kept["language"]),
        probability=float(str(kept["probability"])),
        model=str(kept["model"]),
        cues=tuple((float(start_s), float(end_s), str(text)) for start_s, end_s, text in cues),
    )
