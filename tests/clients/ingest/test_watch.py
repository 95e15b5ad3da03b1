"""Watching a folder: what is there comes first, and each upload as soon as it is whole, once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from watchfiles import Change

from resonance.clients.ingest.errors import CatalogueError
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.ingest.watch import _Uploads, watch
from tests.clients.ingest.made import count_listings

SETTLE_S = 0.3
#: Of the events and of the looks in between, on a busy machine.
LATE_S = 5.0
#: A name that is not UTF-8.
ODD = os.fsdecode(b"caf\xe9.mp4")


class Watched:
    """A folder that is being watched."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.seen: list[tuple[str, float]] = []
        self.is_seen = asyncio.Event()  # an upload
        self.gone: list[str] = []
        self._loop = asyncio.get_running_loop()
        options.setdefault("settle_s", SETTLE_S)
        self._items = watch(
            folder,
            on_seen=self._saw,
            on_gone=lambda item: self.gone.append(item.media_id),
            **options,
        )
        self._came: asyncio.Queue[str] = asyncio.Queue()
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with aclosing(self._items) as items:
            async for item in items:
                assert isinstance(item, CatalogueItem)
                self._came.put_nowait(item.media_id)

    def _saw(self, item: CatalogueItem, seen_at_s: float) -> None:
        self.seen.append((item.media_id, seen_at_s))
        if len(self.seen) > 1:
            self._loop.call_soon_threadsafe(self.is_seen.set)

    async def next(self, within_s: float = LATE_S) -> str:
        return await asyncio.wait_for(self._came.get(), within_s)

    async def nothing(self, for_s: float = 2 * SETTLE_S) -> None:
        with pytest.raises(TimeoutError):
            await self.next(for_s)


@asynccontextmanager
async def watched(folder: Path, **options: Any) -> AsyncIterator[Watched]:
    """It knows of everything in the folder, and listens, when it is handed out."""
    (folder / "before.mp4").touch()
    os.utime(folder / "before.mp4", (0, 0))
    watching = Watched(folder, **options)
    try:
        assert await watching.next() == "before.mp4"
        yield watching
    finally:
        watching.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching.task


@pytest.mark.parametrize("poll", [False, True])
async def test_what_is_there_comes_first_and_then_every_upload(tmp_path: Path, poll: bool) -> None:
    async with watched(tmp_path, poll=poll) as uploads:
        (tmp_path / "below").mkdir()
        await asyncio.sleep(0.5)
        (tmp_path / "below" / "film.mp4").write_bytes(b"film")
        assert await uploads.next() == "below/film.mp4"
        (tmp_path / "notes.nfo").touch()
        (tmp_path / ".hidden.mp4").touch()
        await uploads.nothing()
        assert [name for name, _ in uploads.seen] == ["before.mp4", "below/film.mp4"]
        assert time.time() - uploads.seen[1][1] < 2 * LATE_S


async def test_a_file_counts_as_whole_when_it_has_ceased_to_grow(tmp_path: Path) -> None:
    settle_s = 2.0  # so long that no stall between two writes looks like the end
    async with watched(tmp_path, settle_s=settle_s) as uploads:
        with (tmp_path / "film.mp4").open("wb") as file:
            ends_s = time.monotonic() + 1.5 * settle_s
            while time.monotonic() < ends_s:
                await uploads.nothing(0.1)
                file.write(b"x" * 1000)
                file.flush()
                ended_s = time.monotonic()
        assert await uploads.next() == "film.mp4"
        assert time.monotonic() - ended_s > settle_s / 2
        assert len(uploads.seen) == 2  # it was first seen when it began


@pytest.mark.parametrize("temporary", ["film.mp4.part", ".film.mp4.x7f", "film.crdownload"])
async def test_a_file_that_is_renamed_is_whole_at_once(tmp_path: Path, temporary: str) -> None:
    async with watched(tmp_path, settle_s=30.0) as uploads:
        with (tmp_path / temporary).open("wb") as file:
            for _ in range(3):
                file.write(b"x")
                file.flush()
                await uploads.nothing(0.3)
        os.rename(tmp_path / temporary, tmp_path / "film.mp4")
        assert await uploads.next() == "film.mp4"


async def test_what_is_moved_in_is_whole_if_it_is_old_enough(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    for path in (elsewhere / "series", folder):
        path.mkdir(parents=True)
    for name in ("film.mp4", "series/one.mp4", "series/two.mp4"):
        (elsewhere / name).touch()
        os.utime(elsewhere / name, (0, 0))
    async with watched(folder, settle_s=30.0) as uploads:
        os.rename(elsewhere / "film.mp4", folder / "film.mp4")
        assert await uploads.next() == "film.mp4"
        os.rename(elsewhere / "series", folder / "series")
        assert {await uploads.next(), await uploads.next()} == {"series/one.mp4", "series/two.mp4"}


async def test_a_file_that_changed_comes_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as uploads:
        for _ in range(2):
            (tmp_path / "before.mp4").write_bytes(os.urandom(10))
            assert await uploads.next() == "before.mp4"
        await uploads.nothing()


async def test_subtitles_make_their_film_come_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as uploads:
        (tmp_path / "before.en.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
        assert await uploads.next() == "before.mp4"
        (tmp_path / "before.en.srt").unlink()
        assert await uploads.next() == "before.mp4"
        await uploads.nothing()


async def test_many_subtitles_that_come_at_once_cost_one_listing_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"show.s01e{n:02}" for n in range(20)]
    for name in names:
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.en.srt").touch()
    listed = count_listings(monkeypatch)
    seen: list[str] = []
    uploads = _Uploads(
        tmp_path, 0.0, lambda item, seen_at_s: seen.append(item.media_id), lambda item: None, trust_age=False
    )
    uploads.changed({(Change.added, str(tmp_path / f"{name}.en.srt")) for name in names})
    assert sorted(seen) == [f"{name}.mp4" for name in names]
    assert len(uploads.take_whole()) == len(names)
    assert len(listed) == 1


async def test_uploads_behind_a_link_to_a_folder_are_left_as_at_the_start(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    for path in (folder, other / "below"):
        path.mkdir(parents=True)
    (folder / "link").symlink_to(other)
    async with watched(folder) as uploads:
        for path in (other / "film.mp4", other / "below" / "film.mp4"):
            path.touch()
        await uploads.nothing(1.0)
        assert [name for name, _ in uploads.seen] == ["before.mp4"]
        (folder / "film.mp4").symlink_to(other / "film.mp4")
        assert await uploads.next() == "film.mp4"


async def test_an_upload_that_is_taken_away_is_told(tmp_path: Path) -> None:
    settle_s = LATE_S  # so long that it is not whole before it is taken away
    async with watched(tmp_path, settle_s=settle_s) as uploads:
        (tmp_path / "film.mp4").touch()
        await asyncio.wait_for(uploads.is_seen.wait(), LATE_S)
        (tmp_path / "film.mp4").unlink()
        await uploads.nothing(1.5 * settle_s)
        assert uploads.gone == ["film.mp4"]


async def test_an_upload_goes_before_what_was_there(tmp_path: Path) -> None:
    """Of a thousand files, the one that comes while they are read is not the last."""
    for n in range(1000):
        path = tmp_path / f"{n:04}.mp4"
        path.touch()
        os.utime(path, (0, 0))
    names: list[str] = []
    async with aclosing(watch(tmp_path, settle_s=0.2)) as items:
        async for item in items:
            assert isinstance(item, CatalogueItem)
            names.append(item.media_id)
            if len(names) == 10:
                (tmp_path / "new.mp4").touch()
            await asyncio.sleep(0.001)
            if len(names) == 1001:
                break
    assert sorted(set(names)) == sorted([*(f"{n:04}.mp4" for n in range(1000)), "new.mp4"])
    assert names.index("new.mp4") < 1000


async def test_no_file_is_lost_that_comes_while_the_watch_begins(tmp_path: Path) -> None:
    """Files that come at any moment of the beginning are either there before or told of."""
    names = set()
    async with aclosing(watch(tmp_path, settle_s=0.05)) as items:

        async def upload() -> None:
            for n in range(200):
                (tmp_path / f"{n}.mp4").touch()
                await asyncio.sleep(0.002)

        uploading = asyncio.create_task(upload())
        async with asyncio.timeout(20):
            async for item in items:
                assert isinstance(item, CatalogueItem)
                names.add(item.media_id)
                if len(names) == 200:
                    break
        await uploading
    assert names == {f"{n}.mp4" for n in range(200)}


@pytest.mark.parametrize("poll", [False, True])
async def test_names_that_are_not_utf8_are_told_once_and_what_came_meanwhile_is_found(
    tmp_path: Path, poll: bool, caplog: pytest.LogCaptureFixture
) -> None:
    came: list[str] = []
    odd = tmp_path / ODD
    (tmp_path / "before.mp4").touch()
    os.utime(tmp_path / "before.mp4", (0, 0))
    async with aclosing(watch(tmp_path, settle_s=SETTLE_S, poll=poll)) as items, asyncio.timeout(20):
        async for item in items:
            came.append(item.media_id if isinstance(item, CatalogueItem) else item.where)
            if len(came) == 1:
                odd.touch()
                await asyncio.sleep(0.5)
                (tmp_path / "meanwhile.mp4").touch()  # when nobody listens
            elif came.count("meanwhile.mp4") == 1:
                odd.write_bytes(b"more")
            elif came.count("meanwhile.mp4") == 2:
                break
    assert came.count(f"{tmp_path}/caf\\udce9.mp4") == 1
    assert caplog.messages
    assert all("caf\\xE9.mp4" in said for said in caplog.messages)


async def test_names_that_are_not_utf8_in_a_folder_that_is_moved_in_are_told(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for path in (folder, elsewhere, tmp_path / ".hidden"):
        path.mkdir()
        (path / ODD).touch()
    uploads = _Uploads(folder, 0.0, lambda item, seen_at_s: None, lambda item: None, trust_age=False)
    os.rename(elsewhere, folder / "series")
    os.rename(tmp_path / ".hidden", folder / ".hidden")
    uploads.changed({(Change.added, str(folder / name)) for name in ("series", ".hidden")})
    (faulty,) = uploads.take_whole()
    assert isinstance(faulty, FaultyRow)
    assert faulty.where == f"{folder}/series/caf\\udce9.mp4"
    assert uploads.take_whole() == []


async def test_a_folder_given_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with watched(Path(".")) as uploads:
        (tmp_path / "film.mp4").touch()
        assert await uploads.next() == "film.mp4"


async def test_a_folder_that_is_none_or_goes_away(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no folder"):
        await anext(watch(tmp_path / "none"))
    (tmp_path / "folder").mkdir()
    async with watched(tmp_path / "folder") as uploads:
        shutil.rmtree(tmp_path / "folder")
        with pytest.raises(CatalogueError, match="cannot be watched any more"):
            await asyncio.wait_for(uploads.task, LATE_S)
        uploads.task = asyncio.create_task(asyncio.sleep(0))


async def test_changes_that_the_kernel_dropped_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a queue of inotify runs over, what is in it no more is told by nobody."""

    async def tells_nothing(*given: Any, **named: Any) -> AsyncIterator[set[tuple[Change, str]]]:
        while True:
            yield set()
            await asyncio.sleep(0.05)

    monkeypatch.setattr("resonance.clients.ingest.watch.awatch", tells_nothing)
    monkeypatch.setattr("resonance.clients.ingest.watch._MISSED_EVERY_S", 0.1)
    monkeypatch.setattr("resonance.clients.ingest.watch._TOLD_WITHIN_S", 0.0)
    async with watched(tmp_path) as uploads:
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "film.mp4").write_bytes(b"film")
        assert await uploads.next() == "below/film.mp4"
        (tmp_path / "before.en.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
        assert await uploads.next() == "before.mp4"
        await uploads.nothing()
    assert caplog.messages
    assert all("the kernel did not tell" in said for said in caplog.messages)


def test_changes_that_were_told_are_not_taken_for_dropped(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    for path in (elsewhere, folder):
        path.mkdir()
    for path in (folder / "before.mp4", elsewhere / "one.mp4", elsewhere / "one.en.srt"):
        path.touch()
    uploads = _Uploads(folder, 0.0, lambda item, seen_at_s: None, lambda item: None, trust_age=False)
    uploads.remember()
    assert uploads.unknown() == []
    for name in ("film.mp4", "before.srt"):
        (folder / name).write_bytes(b"new")
    assert sorted(uploads.unknown()) == [str(folder / name) for name in ("before.srt", "film.mp4")]
    os.rename(elsewhere, folder / "series")
    uploads.changed({(Change.added, str(folder / name)) for name in ("film.mp4", "before.srt", "series")})
    assert uploads.unknown() == []
    assert len(uploads.take_whole()) == 3
    (folder / "film.mp4").write_bytes(b"newer")
    assert uploads.look_at_missed(uploads.unknown()) == 1
    (whole,) = uploads.take_whole()
    assert isinstance(whole, CatalogueItem)
    assert whole.media_id == "film.mp4"


def test_what_is_listed_anew_is_not_taken_for_dropped(tmp_path: Path) -> None:
    """After a change that could not be told all is listed anew, with what came while nobody listened."""
    (tmp_path / "before.mp4").touch()
    uploads = _Uploads(tmp_path, 0.0, lambda item, seen_at_s: None, lambda item: None, trust_age=True)
    assert len(list(uploads.there_before())) == 1
    for name in ("before.en.srt", "film.mp4"):
        (tmp_path / name).write_bytes(b"new")
    assert len(list(uploads.there_before())) == 2
    assert uploads.unknown() == []
    assert uploads.take_whole() == []
