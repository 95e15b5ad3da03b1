"""Subtitle files of SubRip and WebVTT, and the words in the markup of all subtitles."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator

#: Of both kinds; SubRip's has hours and a comma, WebVTT's may lack the hours.
_TIME = r"(-?)(?:(\d{1,5}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMING = re.compile(rf"\s*{_TIME}\s*-{{1,2}}>\s*{_TIME}(?:\s.*)?")
_COUNTER = re.compile(r"\s*\d+\s*")

#: A moment between two cues, or of one, that nobody sees: captions that roll have 10 ms.
_ROLLING_S = 0.05

#: What ASS and players of SubRip take for settings within words. In ASS any braces are settings or a comment.
_SETTINGS = re.compile(r"(\{\\[^{}]*\})")
_ASS_SETTINGS = re.compile(r"((?<!\\)\{[^{}]*\})")
_DRAWS = re.compile(r"\\p(\d)")
_ASS_SPACES = re.compile(r"\\[Nnh]")
#: Tags that stand between words, all tags, and WebVTT's times within words. A bare < or > is no tag.
_PARTING_TAG = re.compile(r"</?(?:br|p|v|rt)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|</?>|< *+(?:/ *+)?[bius] *+>|<\d[\d:.]*>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]\w{1,31});")


def timed_texts(text: str, form: str) -> Iterator[tuple[float, float, str]]:
    """(start_s, end_s, marked-up text) of each cue of a subtitle file, in its order.

    `form`: "srt" or "vtt"; what begins as WebVTT is read as that in any case. Comments, styles and the names
    and numbers of cues are left out, and so is a cue whose times are malformed.
    """
    webvtt = form == "vtt" or text.startswith("WEBVTT")
    times: tuple[float, float] | None = None
    lines: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        timing = _TIMING.fullmatch(line)
        if timing is not None:
            if times is not None:
                yield (*times, "\n".join(lines if webvtt else _without_counter(lines)))
            values = timing.groups()
            times, lines = (_seconds(*values[:5]), _seconds(*values[5:])), []
        elif webvtt and not line:
            if times is not None:
                yield (*times, "\n".join(lines))
            times = None
        elif times is not None:
            lines.append(line)
    if times is not None:
        yield (*times, "\n".join(lines))


def unrolled(cues: Iterable[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """Cues with each line once where captions roll, as YouTube's do: what is new in one cue stands alone
    for a moment, and then above what is new in the next.

    A line is left out where it goes on being shown; what is said twice has a cue of one line each time.
    """
    last, shown_to_s = "", -math.inf
    for start_s, end_s, text in cues:
        lines = [line for line in text.split("\n") if caption_words(line)]
        goes_on = bool(lines) and start_s - shown_to_s <= _ROLLING_S and caption_words(lines[0]) == last
        if lines:
            last, shown_to_s = caption_words(lines[-1]), end_s
        if goes_on and len(lines) > 1:
            yield start_s, end_s, "\n".join(lines[1:])
        elif not goes_on or end_s - start_s > _ROLLING_S:
            yield start_s, end_s, text


def _seconds(sign: str, hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    whole_s = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    time_ms = whole_s * 1000 + int((fraction or "").ljust(3, "0"))
    return (-time_ms if sign else time_ms) / 1000


def _without_counter(lines: list[str]) -> list[str]:
    """SubRip's words of a cue, which may hold empty lines, without the number of the next cue."""
    while lines and not lines[-1].strip():
        lines.pop()
    return lines[:-1] if lines and _COUNTER.fullmatch(lines[-1]) else lines


def caption_words(text: str) -> str:
    """Words of SubRip, WebVTT or MPEG-4 text without markup, white space folded."""
    return _words(text, _SETTINGS)


def ass_words(text: str) -> str:
    """The same of an ASS event."""
    return _words(text, _ASS_SETTINGS).replace(r"\{", "{").replace(r"\}", "}")


def _words(text: str, settings: re.Pattern[str]) -> str:
    parts = []
    draws = False
    for part in settings.split(text):
        if settings.fullmatch(part):
            modes = _DRAWS.findall(part)
            draws = modes[-1] != "0" if modes else draws
        elif not draws:  # between {\p1} and {\p0} stand the strokes of a drawing
            parts.append(part)
    shown = _ASS_SPACES.sub(" ", "".join(parts))
    shown = _TAG.sub("", _PARTING_TAG.sub(" ", shown))
    return " ".join(_ENTITY.sub(lambda entity: html.unescape(entity[0]), shown).split())
