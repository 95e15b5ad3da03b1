"""Every upload into a folder, as soon as it is whole."""

from __future__ import annotations

import asyncio
import glob
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from watchfiles import Change, awatch

from resonance.clients.ingest.catalogue import folder_item
from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.words import SUBTITLE_SUFFIXES

#: A file that did not grow or change for so long is whole; copying tools write without such a pause.
SETTLE_S = 2.0
_LOOK_EVERY_S = 0.25


async def watch(
    folder: Path,
    *,
    settle_s: float = SETTLE_S,
    on_seen: Callable[[CatalogueItem, float], None] = lambda item, seen_at_s: None,
    poll: bool | None = None,
) -> AsyncGenerator[CatalogueItem, None]:
    """What is in `folder` and below, then every upload, without an end; one that changed comes again.

    Names with a leading dot, and endings that no media has (``.part``, ``.tmp``), are left alone until they
    are renamed.

    Args:
        settle_s: size and time of change stand still for so long before a file counts as whole.
        on_seen: told of each title when it is first seen, with the Unix time.
        poll: look again and again instead of waiting to be told, as network file systems need; None: decide.

    Raises:
        CatalogueError: `folder` is no folder.
    """
    uploads = _Uploads(folder, settle_s, on_seen)
    changes = awatch(folder, force_polling=poll, step=50, debounce=200)
    listening = asyncio.ensure_future(_listen(changes, uploads))
    try:
        await asyncio.to_thread(uploads.look_at_all)
        while not listening.done():
            for item in await asyncio.to_thread(uploads.take_whole):
                yield item
            await asyncio.sleep(min(_LOOK_EVERY_S, settle_s))
        listening.result()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(changes: AsyncGenerator[set[tuple[Change, str]], None], uploads: _Uploads) -> None:
    async for changed in changes:
        await asyncio.to_thread(uploads.look_at, sorted(Path(name) for _, name in changed))


class _Uploads:
    """Files that are still coming."""

    def __init__(
        self, folder: Path, settle_s: float, on_seen: Callable[[CatalogueItem, float], None]
    ) -> None:
        if not folder.is_dir():
            raise CatalogueError(str(folder), "no folder", "a folder to watch")
        self._folder, self._settle_s, self._on_seen = folder, settle_s, on_seen
        self._lock = threading.Lock()
        self._coming: dict[Path, _Still] = {}

    def look_at_all(self) -> None:
        """All files that are there."""
        self.look_at(sorted(self._folder.rglob("*")))

    def look_at(self, paths: Sequence[Path]) -> None:
        """Files that are new or changed; a folder that was moved in as a whole stands for all in it."""
        for path in paths:
            if path.is_dir():
                self.look_at([p for p in sorted(path.rglob("*")) if not p.is_dir()])
                continue
            self._saw(path)
            if path.suffix.lower() in SUBTITLE_SUFFIXES:  # a transcript changes the film beside it
                for other in sorted(path.parent.glob(f"{glob.escape(path.name.split('.')[0])}.*")):
                    self._saw(other)

    def _saw(self, path: Path) -> None:
        item = folder_item(path, self._folder)
        if item is None or not path.is_file():
            return
        with self._lock:
            if path in self._coming:
                return  # its size and time are being looked at anyway
            self._coming[path] = _Still(item, path)
        self._on_seen(item, time.time())

    def take_whole(self) -> list[CatalogueItem]:
        """Those that came to their end."""
        with self._lock:
            whole = [path for path, still in self._coming.items() if still.for_s() >= self._settle_s]
            taken = [(path, self._coming.pop(path)) for path in whole]
        return [still.item for path, still in taken if path.is_file()]


class _Still:
    """How long a file has not changed."""

    def __init__(self, item: CatalogueItem, path: Path) -> None:
        self.item, self._path = item, path
        self._found = self._stat()
        self._since_s = time.monotonic()

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def for_s(self) -> float:
        """Seconds since the last change that was seen."""
        found = self._stat()
        if found != self._found:
            self._found, self._since_s = found, time.monotonic()
        return time.monotonic() - self._since_s
