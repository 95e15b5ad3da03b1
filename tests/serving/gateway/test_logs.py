"""Logs: one line an event, no content, nothing forged."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.serving.gateway.core_log import StderrLines
from resonance.serving.gateway.log_format import LogFormat
from resonance.serving.gateway.logs import FIELDS, FewLines, clean, configure_logs
from tests.serving.gateway import noisy_run
from tests.small_disk import disk_of

_log = logging.getLogger("resonance.test")

Configure = Callable[[LogFormat], io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Logs into a string; the process's own logging stands again afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def into_string(log_format: LogFormat) -> io.StringIO:
        stream = io.StringIO()
        configure_logs(log_format, stream=stream)
        return stream

    yield into_string
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def _objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_object_a_line_with_the_listed_fields_alone(configure: Configure) -> None:
    stream = configure(LogFormat.JSON)
    extra = {"media_id": "film-7", "segments": 3, "duration_ms": 12.5, "vector": [0.1], "transcript": "words"}
    _log.info("call ended", extra=extra)
    (line,) = _objects(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "resonance.test",
        "event": "call ended",
        "media_id": "film-7",
        "duration_ms": 12.5,
        "segments": 3,
    }


def test_text_for_a_terminal(configure: Configure) -> None:
    stream = configure(LogFormat.TEXT)
    _log.warning("call ended", extra={"media_id": "a\x1b[31m\nb", "caller": 'x code="OK"', "segments": 0})
    when, _, rest = stream.getvalue().partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", when)
    assert rest == 'W call ended media_id=a\\x1b[31m\\nb caller="x code=\\"OK\\"" segments=0\n'


def test_an_exception_shows_its_type_and_place_and_not_its_text(configure: Configure) -> None:
    stream = configure(LogFormat.JSON)
    try:
        raise ValueError("secret words of a film")
    except ValueError:
        _log.exception("it went wrong")
        logging.getLogger("asyncio").error("Task failed\nfuture: <secret words>", exc_info=True)
        logging.getLogger("other").error("cannot take %s", "secret words")
    shown = _objects(stream)
    assert "secret" not in stream.getvalue()
    assert shown[0]["error"].startswith("ValueError at test_logs.py:")
    assert shown[1]["event"] == "Task failed"
    assert shown[2]["event"] == "cannot take %s"


def test_a_line_that_cannot_be_made_shows_where_and_no_argument(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = configure(LogFormat.JSON)
    _log.info("%d segments", "secret words")
    (line,) = _objects(stream)
    assert line["event"] == "a line of the log could not be made"
    assert line["error"].startswith("TypeError at ")
    assert "secret" not in stream.getvalue() + capsys.readouterr().err


def test_of_lines_that_find_the_disk_full_nothing_is_said_elsewhere(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogFormat.JSON)
    log = tmp_path / "log"
    with log.open("w", buffering=1) as stream:
        configure_logs(LogFormat.JSON, stream=stream)
        with disk_of(100):
            for _ in range(100):
                logging.getLogger("other").error("cannot take %s", "secret words")
                _log.info("call ended", extra={"media_id": "m" * 100})
        _log.info("there is room")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[-1]["event"] == "there is room"
    assert capsys.readouterr().err == ""


def test_others_repeat_themselves_once_a_minute_and_we_as_often_as_we_like(configure: Configure) -> None:
    stream = configure(LogFormat.JSON)
    for _ in range(50):
        logging.getLogger("opentelemetry.sdk").warning("Queue full, dropping %s.", "Span")
        _log.info("call ended")
    events = [line["event"] for line in _objects(stream)]
    assert (events.count("Queue full, dropping %s."), events.count("call ended")) == (1, 50)


def test_warnings_are_lines_too(configure: Configure) -> None:
    stream = configure(LogFormat.JSON)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\nthing", stacklevel=1)
    assert len(_objects(stream)) == 1


@given(st.text())
def test_a_cleaned_text_is_one_short_plain_line(text: str) -> None:
    cleaned = clean(text, 64)
    assert len(cleaned.encode()) <= 64
    assert cleaned.isprintable()
    assert len(cleaned.splitlines()) <= 1


@pytest.mark.parametrize(
    ("given_id", "shown"),
    [
        ("film", "film"),
        ("Größe/日本", "Größe/日本"),
        ('a\nlevel=error event="all fine"', 'a\\nlevel=error event="all fine"'),
        ("\x1b[2J\x00\x7f\x85\u2028\u202e\ud800", "\\x1b[2J\\x00\\x7f\\x85\\u2028\\u202e\\ud800"),
        ("é" * 400, "é" * 256),
        ("x" * 10_000, "x" * 512),
    ],
)
def test_media_ids_are_cut_and_escaped(given_id: str, shown: str) -> None:
    assert clean(given_id) == shown


def test_what_libraries_write_past_the_log_becomes_lines(tmp_path: Path) -> None:
    """In a process of its own: it is about file descriptor 2."""
    code = """if True:
        import os, sys, logging
        from resonance.serving.gateway.core_log import StderrLines
        from resonance.serving.gateway.log_format import LogFormat
        from resonance.serving.gateway.logs import configure_logs
        failed = []
        with StderrLines(on_handshake_failed=failed.append) as lines:
            configure_logs(LogFormat.JSON, stream=lines.stream)
            core = b"1127 22:41:00.75  6988 ssl_transport_security.cc:2563] "
            for _ in range(500):
                os.write(2, b"I" + core + b"Handshake failed with error: WRONG_VERSION_NUMBER\\n")
            expired = b"CERTIFICATE_VERIFY_FAILED: certificate has expired"
            os.write(2, b"I" + core + b"Handshake failed with error: " + expired + b"\\n")
            os.write(2, b"I" + core + b"all is well\\nE" + core + b"all is not well\\n")
            os.write(2, b"a library says \\x1b[31m something\\n")
            print("and so does print", file=sys.stderr)
        logging.getLogger("resonance").info("after it")
        os.write(2, b"stderr is itself again\\n")
        print(failed.count("plain_text"), failed.count("certificate_expired"), len(failed))
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    assert ended.stdout.split() == [b"500", b"1", b"501"]
    *lines, after, last = ended.stderr.decode().splitlines()
    assert last == "stderr is itself again"
    assert json.loads(after)["event"] == "after it"
    events = [(line["level"], line["event"], line.get("reason")) for line in map(json.loads, lines)]
    assert events == [
        ("warning", "a TLS handshake failed", "plain_text"),
        ("warning", "a TLS handshake failed", "certificate_expired"),
        ("error", "all is not well", None),
        ("warning", "a library says \\x1b[31m something", None),
        ("warning", "and so does print", None),
    ]


def test_lines_that_anybody_causes_are_few_and_tell_how_many_there_were() -> None:
    now_s = 5.0
    lines = FewLines(most_a_second=3, clock=lambda: now_s)
    assert [lines.suppressed() for _ in range(8)] == [0, 0, 0, None, None, None, None, None]
    now_s = 6.1
    assert [lines.suppressed() for _ in range(2)] == [5, 0]


def test_a_full_pipe_blocks_nobody() -> None:
    go_on = threading.Event()
    with StderrLines(on_handshake_failed=lambda _: bool(go_on.wait(20))) as lines:
        os.write(2, b"Handshake failed\n")  # whose reader stops here
        with pytest.raises(BlockingIOError):  # lost, and not waited for
            _write_lines(4000)
        go_on.set()
    lines.stream.close()


def _write_lines(count: int) -> None:
    for _ in range(count):
        os.write(2, b"x" * 1000 + b"\n")


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_a_whole_run_says_nothing_of_tokens_media_or_words(tmp_path: Path, log_format: LogFormat) -> None:
    """A gateway's doors in a process of their own, called in every way that fails and succeeds."""
    command = [sys.executable, "-m", "tests.serving.gateway.noisy_run", str(tmp_path), log_format.value]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=True)
    output = ended.stderr.decode()
    for secret in noisy_run.SECRETS:
        assert secret not in output, secret
        assert secret.encode().hex() not in output
    for expected in (
        "film-7",
        "alice",
        "EmbedMedia",
        "UNAUTHENTICATED",
        "INTERNAL",
        "plain_text",
        "CANCELLED",
    ):
        assert expected in output, expected
    assert "forged" in output  # a media id may hold anything, but makes no line of its own
    assert not [line for line in output.splitlines() if line.lstrip().startswith("forged")]
    if log_format is LogFormat.JSON:
        known = {"time", "level", "logger", "event", "error", *FIELDS}
        for line in output.splitlines():
            assert set(json.loads(line)) <= known
