"""Transcripts: cues of a subtitle file or an embedded stream, and the words that fall into each window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.errors import TranscriptError
from resonance.clients.media.captions import caption_words, timed_texts, unrolled
from resonance.clients.media.encodings import decoded
from resonance.clients.media.windows import Windows

MAX_SUBTITLE_BYTES = 32 * 1024 * 1024
EXPECTED_SUBTITLES = "subtitles in SubRip (.srt) or WebVTT (.vtt)"


@dataclass(frozen=True, slots=True)
class Cue:
    """Words shown from `start_s` to `end_s` of the title."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Reached:
    """Among cues: none that starts before `time_s` of the title follows."""

    time_s: float


@dataclass(frozen=True, slots=True)
class WordsWindow:
    """The words of one window, and its cues. `end_s`: where the last ends, at most the window's end."""

    text: str
    cues: tuple[Cue, ...]
    end_s: float

    def words_per_second(self, start_s: float, end_s: float) -> float:
        """Over a stretch of the window: a cue's words count by the share of its time that lies there."""
        words = 0.0
        for cue in self.cues:
            lasts_s = cue.end_s - cue.start_s
            overlap_s = min(cue.end_s, end_s) - max(cue.start_s, start_s)
            share = overlap_s / lasts_s if lasts_s > 0 else float(cue.start_s < end_s)
            words += len(cue.text.split()) * min(max(share, 0.0), 1.0)
        return words / (end_s - start_s)


def words_by_window(cues: Iterable[Cue], length_s: float) -> Iterator[tuple[int, WordsWindow]]:
    """(index, window) in rising order, for windows that a cue overlaps; cues sorted by start.

    A cue's text counts in every window it overlaps.
    """
    return ((index, words) for index, words in words_as_known(cues, length_s) if words is not None)


def words_as_known(
    cues: Iterable[Cue | Reached], length_s: float
) -> Iterator[tuple[int, WordsWindow | None]]:
    """The same, each window as soon as its cues are known; None for one up to which all are known, where it
    has none."""
    windows = Windows(length_s)
    open_cues: dict[int, list[Cue]] = {}
    earliest = 0  # windows before this one were handed out
    for cue in cues:
        if isinstance(cue, Reached):
            known = windows.index(cue.time_s)
            if known > earliest:
                for done in sorted(i for i in open_cues if i < known - 1):
                    yield done, _join(windows, done, open_cues.pop(done))
                here = open_cues.pop(known - 1, None)
                yield known - 1, _join(windows, known - 1, here) if here else None
                earliest = known
            continue
        if not cue.text or cue.end_s <= 0:
            continue
        first = max(windows.index(cue.start_s), earliest)
        earliest = first
        for done in sorted(i for i in open_cues if i < first):
            yield done, _join(windows, done, open_cues.pop(done))
        last = max(first, windows.index(cue.end_s - 1e-6))
        for index in range(first, min(last, first + _MOST_WINDOWS_PER_CUE) + 1):
            open_cues.setdefault(index, []).append(cue)
    for done in sorted(open_cues):
        yield done, _join(windows, done, open_cues[done])


#: A cue that claims to last longer has a broken end time.
_MOST_WINDOWS_PER_CUE = 16


def _join(windows: Windows, index: int, cues: list[Cue]) -> WordsWindow:
    text = " ".join(cue.text for cue in cues)
    return WordsWindow(text, tuple(cues), min(max(c.end_s for c in cues), windows.end_s(index)))


@dataclass(frozen=True, slots=True)
class SubtitleFile:
    """The bytes of a subtitle file. `format`: "srt" or "vtt"; `name`: what to call it in errors."""

    format: str
    data: bytes
    name: str = "subtitles"


def read_cues(source: Path | SubtitleFile) -> list[Cue]:
    """Cues of a .srt or .vtt file, sorted by start; malformed ones are left out.

    Raises:
        TranscriptError: it cannot be read, or holds no cue with words.
    """
    given = source if isinstance(source, SubtitleFile) else _read_file(source)
    if len(given.data) > MAX_SUBTITLE_BYTES:
        raise TranscriptError(
            given.name, f"{len(given.data):,} bytes", f"at most {MAX_SUBTITLE_BYTES:,} bytes"
        )
    timed = unrolled(timed_texts(decoded(given.data), given.format))
    cues = [Cue(start_s, end_s, caption_words(text)) for start_s, end_s, text in timed if end_s >= start_s]
    cues = sorted((c for c in cues if c.text), key=lambda c: c.start_s)
    if not cues:
        raise TranscriptError(given.name, "no cue with words and valid times", EXPECTED_SUBTITLES)
    return cues


def _read_file(path: Path) -> SubtitleFile:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SUBTITLE_BYTES + 1)
    except OSError as error:
        raise TranscriptError(
            str(path), f"it cannot be opened ({error.strerror})", EXPECTED_SUBTITLES
        ) from error
    return SubtitleFile(path.suffix.lower().lstrip("."), data, str(path))
