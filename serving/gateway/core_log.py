"""What libraries write to stderr past Python's logging: one of our lines each, failed handshakes counted.

gRPC's core tells of a failed TLS handshake in no other way than a line on file descriptor 2. Left alone,
such lines would stand between the JSON objects, as many as a stranger likes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

from resonance.serving.gateway.reasons import HandshakeFault

_log = logging.getLogger("resonance.serving.gateway.core")
_PIPE_BYTES = 1 << 20
_REPEAT_S = 10.0
_MAX_LINE_BYTES = 500
_CORE_LINE = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (?P<text>.*)")
#: What OpenSSL's error says, as the reason that is counted. The first that fits counts.
_REASONS = (
    ("WRONG_VERSION_NUMBER", HandshakeFault.PLAIN_TEXT),
    ("HTTP_REQUEST", HandshakeFault.PLAIN_TEXT),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", HandshakeFault.NO_CERTIFICATE),
    ("certificate has expired", HandshakeFault.CERTIFICATE_EXPIRED),
    ("CERTIFICATE_VERIFY_FAILED", HandshakeFault.CERTIFICATE_UNKNOWN),
    ("UNSUPPORTED_PROTOCOL", HandshakeFault.OLD_PROTOCOL),
    ("NO_SHARED_CIPHER", HandshakeFault.NO_SHARED_CIPHER),
    ("ALERT", HandshakeFault.REFUSED_BY_CLIENT),
)
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}


class StderrLines:
    """Reads file descriptor 2 of this process while it is open; `stream` is the real stderr.

    The pipe never blocks who writes: what does not fit is lost. Lines that come in the moment of a crash
    may be lost, too, so leave it out where a crash is looked for.

    Args:
        on_handshake_failed: called with the reason, in a thread of its own.
    """

    def __init__(self, *, on_handshake_failed: Callable[[HandshakeFault], None]) -> None:
        self._on_handshake_failed = on_handshake_failed
        self._last_s: dict[str, float] = {}
        self._left_out: dict[str, int] = {}
        sys.stderr.flush()
        self._real = os.dup(2)
        self.stream: IO[str] = os.fdopen(os.dup(self._real), "w", buffering=1, encoding="utf-8")
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(write, False)
        os.dup2(write, 2)
        os.close(write)
        self._thread = threading.Thread(target=self._read, args=(read,), name="stderr-lines", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give file descriptor 2 back; returns once all that was written to it is logged.

        `stream` stays open: handlers may still hold it.
        """
        sys.stderr.flush()
        os.dup2(self._real, 2)  # the last writing end here closes with it
        self._thread.join(timeout=2)  # a child that lives on holds another
        os.close(self._real)

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            while line := pipe.readline(8192):
                self._tell(line.decode("utf-8", "replace").rstrip())

    def _tell(self, line: str) -> None:
        if not line:
            return
        found = _CORE_LINE.match(line)
        text = found["text"] if found else line
        if "Handshake failed" in text:
            reason = next((reason for mark, reason in _REASONS if mark in text), HandshakeFault.OTHER)
            self._on_handshake_failed(reason)
            self._once_in_a_while(logging.WARNING, "a TLS handshake failed", reason)
            return
        level = _LEVELS[found["level"]] if found else logging.WARNING
        if level > logging.INFO:
            self._once_in_a_while(level, text[:_MAX_LINE_BYTES], None)

    def _once_in_a_while(self, level: int, text: str, reason: str | None) -> None:
        key = reason or text[:40]
        now_s = time.monotonic()
        if now_s - self._last_s.get(key, -_REPEAT_S) < _REPEAT_S:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return
        if len(self._last_s) > 256:
            self._last_s.clear()
            self._left_out.clear()
        self._last_s[key] = now_s
        left_out = self._left_out.pop(key, None)
        _log.log(level, "%s", text, extra={"reason": reason, "suppressed": left_out})
