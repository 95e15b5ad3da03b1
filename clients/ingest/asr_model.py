"""A Whisper model through faster-whisper: loaded, named, asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resonance.clients.errors import UsageError, described
from resonance.clients.extras import extra_hint
from resonance.clients.ingest.asr_sound import SAMPLE_RATE_HZ
from resonance.clients.media.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faster_whisper.transcribe import Segment

EXPECTED_MODEL = (
    "a folder with model.bin and tokenizer.json, made by ct2-transformers-converter,"
    " or a model of faster-whisper's hub that can be reached"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a piece of sound holds.

    Attributes:
        language: that of the recognition. probability: see `Transcript`.
        cues: (start_s, end_s, text) from the piece's start; each is recognised when it is asked for.
    """

    language: str
    probability: float
    cues: Iterator[tuple[float, float, str]]


class SpeechModel:
    """Loaded, on the CPU. One piece at a time."""

    def __init__(self, name: str, *, language: str | None, threads: int, compute_type: str) -> None:
        """Load it: seconds, and a download where it is of the hub and not on this machine yet. Blocks.

        Args:
            name: a folder, or a name at faster-whisper's hub.

        Raises:
            UsageError: it cannot be loaded, or does not know the language.
        """
        self._name, self._language = name, language
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise UsageError(f"--asr needs faster-whisper: {extra_hint('asr')}") from error
        try:
            self._model = WhisperModel(name, device="cpu", compute_type=compute_type, cpu_threads=threads)
        except Exception as error:  # of the hub, of files, of CTranslate2: none is promised
            raise self._fault(error) from error
        known = self._model.supported_languages
        if language is not None and language not in known:
            raise UsageError(
                f"--asr-language {language}: {name} does not know it; expected one of {', '.join(known)}"
            )

    def hear(self, sound: FloatArray, *, language: str | None) -> Heard:
        """Recognise `sound`, float32 [samples] at 16 kHz; no cue where nobody speaks.

        Args:
            language: known from earlier pieces; None: told by the model, unless it was given at the start.

        Raises:
            UsageError: the model does not fit its own description.
        """
        try:
            found, info = self._model.transcribe(
                sound,
                language=self._language or language,
                vad_filter=True,
                temperature=0.0,  # its usual second tries draw at random: the same sound, other words
                condition_on_previous_text=False,  # else it repeats itself without those tries
            )
        except (RuntimeError, ValueError) as error:
            raise self._fault(error) from error
        cues = self._cues(found, sound.size / SAMPLE_RATE_HZ)
        return Heard(info.language, float(info.language_probability), cues)

    def _cues(self, found: Iterable[Segment], length_s: float) -> Iterator[tuple[float, float, str]]:
        try:
            for cue in found:
                # a model's last time may lie up to 30 s behind the end of the sound
                end_s = min(cue.end, length_s)
                if (text := cue.text.strip()) and cue.start < end_s:
                    yield cue.start, end_s, text
        except (RuntimeError, ValueError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> UsageError:
        came = described(error)
        return UsageError(f"--asr {self._name}: {came}; expected {EXPECTED_MODEL}")


def model_identity(name: str) -> str:
    """What tells a model from others: a hash of a folder's files, or its name at the hub. Blocks.

    A folder is read whole: 1 to 3 s for the largest Whisper.
    """
    folder = Path(name)
    if not folder.is_dir():
        return name
    total = hashlib.blake2b(digest_size=16)
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
            total.update(f"{path.name}\0{digest}\n".encode())
    except OSError as error:
        raise UsageError(f"--asr {name}: it cannot be read ({error}); expected {EXPECTED_MODEL}") from error
    return total.hexdigest()
