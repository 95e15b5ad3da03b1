"""Every upload into a folder, as soon as it is whole."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from watchfiles import Change, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.folders import FolderTitles, Given, files_below, local_folder
from resonance.clients.ingest.job import first_error
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES

#: A file that did not grow or change for so long is whole; copying tools write without such a pause.
SETTLE_S = 2.0
_LOOK_EVERY_S = 0.25
#: A file that is written changes many times a second, and each change may be one that cannot be told.
_LISTEN_AGAIN_AFTER_S = 1.0
#: It is looked for changes that were not told this often, and for no larger share of the time.
_MISSED_EVERY_S, _MISSED_SHARE = 600.0, 0.05
#: A change that was not told by then is one of those.
_TOLD_WITHIN_S = 2.0
#: Files that were there before, looked at before it is looked whether an upload is whole.
_FILES_AT_ONCE = 64
#: Names under which browsers and copying tools keep a file that is not whole, besides hidden ones.
TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart")

_log = logging.getLogger(__name__)
Seen = Callable[[CatalogueItem, float], None]


async def watch(
    folder: Path,
    *,
    settle_s: float = SETTLE_S,
    on_seen: Seen = lambda item, seen_at_s: None,
    on_gone: Callable[[CatalogueItem], None] = lambda item: None,
    poll: bool | None = None,
) -> AsyncGenerator[CatalogueItem | FaultyRow, None]:
    """What is in `folder` and below, then every upload, without an end; one that changed comes again.

    An upload that is whole goes before what was there already. Hidden names, and endings that no media has
    (``.part``, ``.tmp``), are left alone until they are renamed; what was renamed from such a name is whole.
    Subtitles that come or change make the media beside them come again. So does everything that is there when
    a change could not be told, as that of a file whose name is not UTF-8; such a file is a faulty row, once.
    The kernel drops changes, and the library that listens says nothing of it, where more come at once than it
    keeps: a large tree that is moved in is enough. So it is looked for those now and then.

    Args:
        settle_s: size and time of change stand still for so long before a file counts as whole.
        on_seen: told of each title when it is first seen, with the Unix time.
        on_gone: told of one that was seen and will not come: it was taken away again, or is no title now.
        poll: look again and again instead of being told by the kernel, which knows of no changes that
            another machine makes on a network file system; ages of files are not believed then, for clocks
            differ. None: as the environment variable ``WATCHFILES_FORCE_POLLING`` says.

    Raises:
        CatalogueError: `folder` is no folder, or cannot be watched any more.
    """
    if not await asyncio.to_thread(folder.is_dir):
        raise CatalogueError(str(folder), "no folder", "a folder to watch")
    folder = Path(await asyncio.to_thread(os.path.abspath, folder))  # as changes are told
    polls = "WATCHFILES_FORCE_POLLING" in os.environ if poll is None else poll
    uploads = _Uploads(folder, settle_s, on_seen, on_gone, trust_age=not polls)
    listens = asyncio.Event()
    listening = asyncio.create_task(_listen(folder, uploads, listens, polls))
    ready = asyncio.create_task(listens.wait())
    looking = None
    try:
        await asyncio.wait((listening, ready), return_when=asyncio.FIRST_COMPLETED)
        listens.clear()
        if not polls:
            looking = asyncio.create_task(_look_for_missed(uploads))
        before = uploads.there_before()
        told: set[str] = set()
        while not listening.done():
            for read in (uploads.take_whole, partial(list, islice(before, _FILES_AT_ONCE))):
                some: list[Given] = await asyncio.to_thread(read)
                for given in some:
                    if isinstance(given, CatalogueItem) or given.where not in told:
                        yield given
                    if isinstance(given, FaultyRow):
                        told.add(given.where)
            if not some and listens.is_set():  # anew
                listens.clear()
                before = uploads.there_before()
            elif not some:
                await asyncio.wait((listening,), timeout=_LOOK_EVERY_S)
        try:
            listening.result()
        except OSError as error:
            raise CatalogueError(
                str(folder), f"it cannot be watched ({error})", "a folder to watch"
            ) from error
        raise CatalogueError(str(folder), "it cannot be watched any more", "a folder that stays")
    finally:
        tasks = [task for task in (listening, ready, looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look_for_missed(uploads: _Uploads) -> None:
    took_s = 0.0
    while True:
        await asyncio.sleep(max(_MISSED_EVERY_S, took_s / _MISSED_SHARE))
        began_s = time.monotonic()
        unknown = await asyncio.to_thread(uploads.unknown)
        took_s = time.monotonic() - began_s
        await asyncio.sleep(_TOLD_WITHIN_S)
        if found := await asyncio.to_thread(uploads.look_at_missed, unknown):
            _log.warning(
                "%s: the kernel did not tell of changes to %d files, which are looked at now; where another "
                "machine makes them, as on a network file system, set WATCHFILES_FORCE_POLLING=1",
                *(uploads.folder, found),
            )


async def _listen(folder: Path, uploads: _Uploads, listens: asyncio.Event, polls: bool) -> None:
    """Tell `uploads` of changes; `listens` is set when none will be missed any more, and again whenever some
    were: what is there then has to be looked through.
    """
    said = None
    while True:
        try:
            await _listen_once(folder, uploads, listens, polls)
            return
        except* WatchfilesRustInternalError as failed:  # such as of a name that is not UTF-8
            error = str(first_error(failed))
        if error != said:
            _log.warning("%s is looked through again, for a change in it cannot be told: %s", folder, error)
            said = error
        await asyncio.sleep(_LISTEN_AGAIN_AFTER_S)


async def _listen_once(folder: Path, uploads: _Uploads, listens: asyncio.Event, polls: bool) -> None:
    listened = False
    changes = awatch(
        folder,
        watch_filter=None,  # the usual one leaves out folders that programmers have, such as node_modules
        debounce=200,
        rust_timeout=int(_LOOK_EVERY_S * 1000),
        yield_on_timeout=True,
        force_polling=polls,
        ignore_permission_denied=True,
    )
    async for changed in changes:
        if not listened:
            listens.set()
            listened = True
        if changed:
            await asyncio.to_thread(uploads.changed, changed)
        if not await asyncio.to_thread(folder.is_dir):
            return


class _Uploads:
    """Files that are still coming. Its methods are called by several threads."""

    def __init__(
        self,
        folder: Path,
        settle_s: float,
        on_seen: Seen,
        on_gone: Callable[[CatalogueItem], None],
        *,
        trust_age: bool,
    ) -> None:
        self.folder, self._settle_s, self._trust_age = folder, settle_s, trust_age
        self._on_seen, self._on_gone = on_seen, on_gone
        self._lock = threading.Lock()
        self._coming: dict[Path, _Still] = {}
        self._faulty: list[FaultyRow] = []
        self._temporary: dict[Path, int] = {}  # inodes of files under names that say they are not whole
        self._known: set[int | None] = set()  # states of files that were there, or that were looked at

    def remember(self) -> None:
        """The files that are there now are known."""
        self._known.update(map(_state, files_below(self.folder)))

    def unknown(self) -> list[str]:
        """Files whose state of now nobody told of, yet."""
        old, new = self._known.copy(), []
        for name in files_below(self.folder):
            state = _state(name)
            old.discard(state)
            if state not in self._known:
                new.append(name)
        self._known -= old  # of files that changed since, or are gone
        return new

    def look_at_missed(self, names: Collection[str]) -> int:
        """Look at those of the files that are still unknown; how many."""
        unknown = [name for name in names if _state(name) not in self._known]
        missed = [name for name in unknown if Path(name) not in self._coming]
        self.changed([(Change.modified, name) for name in missed])
        return len(missed)

    def there_before(self) -> Iterator[Given]:
        """Titles that need not be waited for, of those there; the others are looked at as uploads.

        All that is there is known from then on.
        """
        if self._trust_age:  # else everything is looked at anyway
            self.remember()  # before they are listed, so that none is in neither
        for given in local_folder(self.folder):
            if isinstance(given, CatalogueItem):
                path = Path(given.uri)
                if self._for_s(path) < self._settle_s:
                    self._saw(path, given)
                    continue
                self._on_seen(given, time.time())
            yield given

    def changed(self, changes: Collection[tuple[Change, str]]) -> None:
        """Files that are new, changed or gone; a folder that was moved in stands for all that is in it."""
        gone = [Path(name) for change, name in changes if change is Change.deleted]
        whole = {inode for path in gone if (inode := self._temporary.pop(path, None)) is not None}
        titles = FolderTitles(self.folder)
        for change, path in sorted((change, Path(name)) for change, name in changes):
            if not os.path.isdir(path):
                self._look_at(path, whole, titles)
            elif change is Change.added and not os.path.islink(path):  # as those that were there before
                self._known.update(map(_state, files_below(path)))
                for given in titles.below(path):
                    self._saw(Path(given.uri) if isinstance(given, CatalogueItem) else path, given)

    def _look_at(self, path: Path, whole: Collection[int], titles: FolderTitles) -> None:
        self._known.add(_state(path))
        if _is_temporary(path.name):
            inode = _inode(path)
            if inode is not None:
                self._temporary[path] = inode
            return
        self._saw(path, titles.item(path), whole)
        if path.suffix.lower() in SUBTITLE_SUFFIXES:
            for media in titles.media_of(path):
                self._saw(media, titles.item(media))

    def _saw(self, path: Path, given: Given | None, whole: Collection[int] = ()) -> None:
        if given is None:
            return
        with self._lock:
            if isinstance(given, FaultyRow):
                self._faulty.append(given)
                return
            if path in self._coming:
                return  # its size and time are being looked at anyway
            waited_s = self._settle_s if _inode(path) in whole else self._for_s(path)
            self._coming[path] = _Still(given, path, waited_s)
        self._on_seen(given, time.time())

    def _for_s(self, path: Path) -> float:
        """How long a file has not changed, by its own time; a file that was moved keeps that."""
        try:
            return max(time.time() - path.stat().st_mtime, 0.0) if self._trust_age else 0.0
        except OSError:
            return 0.0

    def take_whole(self) -> list[Given]:
        """Those that came to their end, and what can be no title."""
        whole: list[Given] = []
        with self._lock:
            whole += self._faulty
            self._faulty.clear()
            settled = [path for path, still in self._coming.items() if still.for_s() >= self._settle_s]
            taken = [(path, self._coming.pop(path)) for path in settled]
        titles = FolderTitles(self.folder)
        for path, still in taken:
            self._known.add(_state(path))
            if titles.item(path) is None:  # gone, or subtitles whose film has come
                self._on_gone(still.item)
            else:
                whole.append(still.item)
        return whole


class _Still:
    """How long a file has not changed. `waited_s`: before it was looked at."""

    def __init__(self, item: CatalogueItem, path: Path, waited_s: float) -> None:
        self.item, self._path = item, path
        self._found = self._stat()
        self._since_s = time.monotonic() - waited_s

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


def _is_temporary(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(TEMPORARY_SUFFIXES)


def _state(path: str | Path) -> int | None:
    """What tells one state of a file from another, in little memory; None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return hash((str(path), found.st_ino, found.st_size, found.st_mtime_ns))


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
