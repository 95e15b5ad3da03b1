"""Logs: one line an event on stderr, JSON for programs or text for a terminal.

What may stand in a line is listed here, so nothing else can: a record's own attributes are left out
unless `FIELDS` names them, other people's messages are not filled in with their arguments, and of an
exception its type and place are told, never its text. So no media, transcript, vector or token gets out
by an `exc_info=True` somewhere.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any

from pythonjsonlogger.json import JsonFormatter

from resonance.serving.gateway.log_format import LogFormat

#: Attributes of a record (`extra=`) that are shown, in this order.
FIELDS = (
    *("media_id", "caller", "method", "code", "duration_ms", "segments", "received_bytes"),
    *("reason", "model", "incident", "suppressed", "trace_id"),
)
MAX_ID_BYTES = 512
_MAX_EVENT_BYTES = 2048
#: Loggers whose messages are filled in: ours, which say no content, and what speaks of addresses alone.
_TRUSTED = ("resonance", "opentelemetry.exporter")
_REPEAT_S = 60.0
_log = logging.getLogger(__name__)


def configure_logs(
    log_format: LogFormat = LogFormat.JSON, *, stream: IO[str] | None = None, level: int = logging.INFO
) -> logging.Handler:
    """Send everything that is logged in this process to `stream`, by default stderr, in one form.

    Returns:
        The handler, to be removed by a test.
    """
    handler = _Lines(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format is LogFormat.JSON else TextLines())
    handler.addFilter(ForeignRepeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    return handler


def clean(text: str, most_bytes: int = MAX_ID_BYTES) -> str:
    """`text` on one line and no longer than `most_bytes` of UTF-8, for a log.

    Control characters, line separators, marks of writing direction and lone surrogates are written as
    escapes, so that nobody can forge a line or colour a terminal.
    """
    text = text[:most_bytes]  # a character is a byte or more: what follows works on little
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text.encode("utf-8", "backslashreplace")[:most_bytes].decode("utf-8", "ignore")


def failure_place(error: BaseException) -> str:
    """Type of an exception and where it was raised, innermost last, without its text."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} at {' > '.join(places) or 'unknown'}"


class _Lines(logging.StreamHandler[IO[str]]):
    """Says of a line that could not be made where it failed, and nothing where the disk takes no more.

    Python would print a traceback of each, with the line's arguments, which may be content, on stderr: in the
    gateway these become lines of their own, and fail as well.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (Python's name)
        """See the class."""
        if record.name != __name__ and not isinstance(sys.exc_info()[1], OSError):
            _log.error("a line of the log could not be made", exc_info=True)


class JsonLines(JsonFormatter):
    """A JSON object a line: time, level, logger, event, and the fields that are there."""

    def __init__(self) -> None:
        super().__init__(json_ensure_ascii=True)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Not used: `format` makes the object itself, of listed fields alone."""
        return log_data

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return str(self.serialize_log_record(dict(_shown(record))))


class TextLines(logging.Formatter):
    """``12:00:01 I event  key=value key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        shown = dict(_shown(record))
        when, level, event = shown.pop("time"), shown.pop("level"), shown.pop("event")
        shown.pop("logger")
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in shown.items())
        return f"{when[11:19]} {level[0].upper()} {event}{pairs}"


class ForeignRepeats(logging.Filter):
    """Lets one message of other people's loggers through a minute: some speak once a lost span."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; the next one says how many were not."""
        if record.name.startswith("resonance"):
            return True
        key = (record.name, str(record.msg)[:100])
        now_s = time.monotonic()
        if now_s - self._last_s.get(key, -_REPEAT_S) < _REPEAT_S:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return False
        if len(self._last_s) > 256:
            self._last_s.clear()
            self._left_out.clear()
        self._last_s[key] = now_s
        if count := self._left_out.pop(key, 0):
            record.suppressed = count
        return True


class FewLines:
    """Of lines that anybody at the port can cause, so many a second; the next one says how many were not."""

    def __init__(self, most_a_second: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most_a_second, clock
        self._second, self._told, self._left_out = -1, 0, 0

    def suppressed(self) -> int | None:
        """Before a line: how many were left out before it; None: it is to be left out, too."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
        if self._told >= self._most:
            self._left_out += 1
            return None
        self._told += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _quoted(value: Any) -> str:
    """In quotes where it could pass for a further pair."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s="]', text) else text


def _shown(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    when = datetime.fromtimestamp(record.created, UTC)
    yield "time", when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    yield "level", record.levelname.lower()
    yield "logger", record.name
    yield "event", clean(_event(record), _MAX_EVENT_BYTES)
    attributes: Mapping[str, Any] = record.__dict__
    for name in FIELDS:
        value = attributes.get(name)
        if isinstance(value, bool | int | float):
            yield name, value
        elif value:
            yield name, clean(str(value))
    if (error := _exception(record)) is not None:
        yield "error", clean(failure_place(error), _MAX_EVENT_BYTES)


def _event(record: logging.LogRecord) -> str:
    if record.name.startswith(_TRUSTED):
        return record.getMessage()
    # the first line of what was written in their source; what would be filled in may be content
    return str(record.msg).partition("\n")[0]


def _exception(record: logging.LogRecord) -> BaseException | None:
    info: tuple[type[BaseException], BaseException, TracebackType | None] | Any = record.exc_info
    return info[1] if isinstance(info, tuple) and isinstance(info[1], BaseException) else None
