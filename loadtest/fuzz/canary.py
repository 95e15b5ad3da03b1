"""A file and a port of this machine that nobody has a reason to touch: media name them, and both tell."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import tempfile
from pathlib import Path
from types import TracebackType

_IN_OPEN, _IN_ACCESS = 0x20, 0x01
_EVENT = struct.Struct("iIII")


class Canary:
    """Use it as a context manager.

    Attributes:
        path: of the file; its folder is watched as well.
        address: HOST:PORT that listens.
    """

    def __enter__(self) -> Canary:
        # names of the same length each time: what is made of them differs in these bytes alone
        self._folder = tempfile.TemporaryDirectory(prefix="resonance-canary-")
        self.path = str(Path(self._folder.name) / "touched.mp4")
        Path(self.path).write_bytes(b"0" * 64)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]:05d}"
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watched = self._watch >= 0 and (
            libc.inotify_add_watch(self._watch, os.fsencode(self._folder.name), _IN_OPEN | _IN_ACCESS) >= 0
        )
        if not watched:
            raise OSError(
                ctypes.get_errno(), "inotify cannot watch the canary; raise fs.inotify.max_user_watches"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._watch)
        self._listener.close()
        self._folder.cleanup()

    def touches(self) -> list[str]:
        """What happened to them since the last call."""
        told = []
        while True:
            try:
                events = os.read(self._watch, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(events):
                _, mask, _, length = _EVENT.unpack_from(events, at)
                name = events[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0").decode()
                told.append(f"{'opened' if mask & _IN_OPEN else 'read'} {name or 'the folder'}")
                at += _EVENT.size + length
        while True:
            try:
                connection, peer = self._listener.accept()
            except BlockingIOError:
                return told
            connection.close()
            told.append(f"a connection from {peer[0]}:{peer[1]}")
