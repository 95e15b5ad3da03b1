"""File objects of all kinds that programs hand over, read here and sent to a gateway."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resonance.clients.errors import NotMediaError, UsageError
from resonance.clients.gateway.uploading import open_upload, read_example
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Limits

DATA = b"some bytes"
#: A wait that is never over is told from a slow one.
SOON_S = 5.0


class Bare:
    """Has `read` alone, as many hand-written wrappers of a request's body."""

    def __init__(self, *chunks: object) -> None:
        self._chunks: Iterator[object] = iter(chunks)

    def read(self, size: int) -> object:
        return next(self._chunks)


class Pipe(Bare):
    def seekable(self) -> bool:
        return False


class Broken(Pipe):
    def read(self, size: int) -> object:
        raise ConnectionResetError("Connection reset by peer")


class Seekable(io.BytesIO):
    """Opens, and cannot be read."""

    def __init__(self, answer: Callable[[], object]) -> None:
        super().__init__(DATA)
        self._answer = answer

    def read(self, size: int | None = -1, /) -> bytes:
        return self._answer()  # type: ignore[return-value]


class Awaited:
    """As FastAPI's UploadFile, or a file of aiofiles."""

    async def read(self, size: int = -1) -> bytes:
        return DATA

    async def seek(self, offset: int) -> None: ...


def ends() -> object:
    raise StopIteration


def breaks() -> object:
    raise OSError("Input/output error")


def copied(source: object) -> bytes:
    opened = MediaSource(source, name="given", limits=Limits())  # type: ignore[arg-type]
    try:
        with opened.open() as file:
            return file.read()
    finally:
        opened.close()


def sent(source: object) -> bytes:
    """Across asyncio, which passes no StopIteration on."""

    async def run() -> bytes:
        async with asyncio.timeout(SOON_S):
            upload = await asyncio.to_thread(open_upload, source, transcript=None, name="given")  # type: ignore[arg-type]
            return b"".join([chunk.data async for chunk in upload.chunks()])

    return asyncio.run(run())


def shown(source: object) -> bytes:
    return read_example(source, 1 << 20)  # type: ignore[arg-type]


@pytest.mark.parametrize("taken", [copied, sent, shown])
def test_read_is_enough(taken: Callable[[object], bytes]) -> None:
    assert taken(Bare(DATA[:4], bytearray(DATA[4:]), b"")) == DATA


@pytest.mark.parametrize("taken", [copied, sent, shown])
@pytest.mark.parametrize(
    ("source", "came"),
    [
        (lambda: Pipe(DATA), "StopIteration"),
        (lambda: Pipe(DATA, None), "does not wait"),  # not an end: the rest of the media would be lost
        (lambda: Pipe("text"), "gave str"),
        (lambda: Broken(), "Connection reset by peer"),
        (lambda: Seekable(ends), "StopIteration"),
        (lambda: Seekable(lambda: None), "does not wait"),
        (lambda: Seekable(breaks), "Input/output error"),
    ],
)
def test_what_cannot_be_read_is_told(
    taken: Callable[[object], bytes], source: Callable[[], object], came: str
) -> None:
    with pytest.raises((NotMediaError, OSError) if taken is copied else NotMediaError, match=came):
        taken(source())


def test_the_number_of_a_descriptor_is_no_name(tmp_path: Path) -> None:
    """As of a pipe, and of an upload that a web framework has put on disk."""
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    with tempfile.TemporaryFile() as temporary, path.open("rb") as named, open(bytes(path), "rb") as by_bytes:
        temporary.write(DATA)
        temporary.flush()
        for source, called in (
            (temporary, "media"),
            (named, str(path)),
            (by_bytes, str(path)),
            (path, str(path)),
            (DATA, "media"),
        ):
            assert MediaSource(source, name=None, limits=Limits()).name == called
            assert open_upload(source, transcript=None, name=None).name == called
            assert open_upload(source, transcript=None, name="given").name == "given"


@pytest.mark.parametrize("taken", [copied, sent, shown])
def test_files_that_async_code_reads_are_refused(taken: Callable[[object], bytes]) -> None:
    with pytest.raises(UsageError, match="came Awaited, whose read has to be awaited"):
        taken(Awaited())


@pytest.mark.parametrize("taken", [copied, sent, shown])
def test_a_file_that_was_closed_is_told(taken: Callable[[object], bytes], tmp_path: Path) -> None:
    """As an upload's, in what runs after its request was answered."""
    (tmp_path / "a").write_bytes(DATA)
    with (tmp_path / "a").open("rb") as file:
        pass
    with pytest.raises(NotMediaError, match="it cannot be read"):
        taken(file)
