"""What is uploaded: where it comes from, in what form and order, and whether it can be read a second time."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from resonance.clients.errors import (
    MediaLimitError,
    NoModalityError,
    NotMediaError,
    TranscriptError,
)
from resonance.clients.face import Source, Transcript
from resonance.clients.finishing import to_the_end
from resonance.clients.gateway.messages import media_id_of
from resonance.clients.media.file_objects import (
    binary_file,
    can_seek,
    is_pipe,
    name_of,
    read_what_is_there,
    unreadable,
)
from resonance.clients.media.mp4_index import upload_order
from resonance.clients.media.picture import open_picture
from resonance.clients.media.sidecars import SUBTITLE_SUFFIXES, find_sidecar
from resonance.clients.media.source import MediaSource
from resonance.clients.media.text import TEXT_SUFFIXES, read_text
from resonance.clients.media.types import Limits
from resonance.clients.media.waiting import awaited_within, within
from resonance.clients.media.words import MAX_SUBTITLE_BYTES, SubtitleFile
from resonance.v1 import embedding_pb2 as pb

T = TypeVar("T")

CHUNK_BYTES = 512 * 1024
#: Subtitles that go with a film stand in one message, and gateways take at most 4 MiB.
MAX_SIDE_SUBTITLES_BYTES = 3 * 1024 * 1024

_LIMITS = Limits()


@dataclass(slots=True)
class Upload:
    """An opened source. Use each `chunks()` once; close it in the end.

    Attributes:
        name: what the caller calls it. mode: pb.Mode. size_bytes: 0 where it is not known.
        subtitles: what goes with the first message, or None.
        owned: `pipe` was opened here.
        spent: bytes were taken from a source that cannot give them again.
    """

    name: str
    mode: pb.Mode
    size_bytes: int
    subtitles: pb.SubtitleFile | None
    source: MediaSource | None
    pipe: BinaryIO | None
    owned: bool = False
    spent: bool = False

    @property
    def media_id(self) -> str:
        """The name, as a gateway takes it."""
        return media_id_of(self.name)

    async def chunks(self) -> AsyncGenerator[pb.Chunk, None]:
        """All of the source, an MP4's index first where it can seek: segments come while the rest is sent.

        It is read in a thread, a pipe in one of its own, and only as fast as chunks are taken.

        Raises:
            MediaError: it cannot be read any more. MediaStalledError: a pipe gives nothing.
        """
        if self.pipe is not None:
            offset = 0
            while data := await self._read_pipe(self.pipe):
                yield pb.Chunk(offset_bytes=offset, data=data)
                offset += len(data)
            return
        assert self.source is not None
        source, opened = self.source, list[BinaryIO]()
        try:
            # to its end: who is left meanwhile, as by a full gateway, would have a file that nobody closes
            await to_the_end(asyncio.to_thread(lambda: opened.append(source.open())))
            file = opened[0]
            for start, length in await asyncio.to_thread(self._order, file):
                for offset in range(start, start + length, CHUNK_BYTES):
                    size = min(CHUNK_BYTES, start + length - offset)
                    yield pb.Chunk(
                        offset_bytes=offset, data=await asyncio.to_thread(self._read, file, offset, size)
                    )
        finally:
            # in a thread: it waits for a read under way, and a slow one would stop all that runs on the loop
            for file in opened:
                await to_the_end(asyncio.to_thread(file.close))

    def close(self) -> None:
        """Free what this opened itself; a caller's file object stays open."""
        if self.source is not None:
            self.source.close()
        if self.pipe is not None and self.owned:
            self.pipe.close()  # at once: nobody waits inside a read, see `read_what_is_there`

    async def _read_pipe(self, pipe: BinaryIO) -> bytes:
        self.spent = True
        left = threading.Event()
        try:
            return await awaited_within(
                _LIMITS.stall_timeout_s,
                self.name,
                lambda: read_what_is_there(pipe, CHUNK_BYTES, self.name, left=left.is_set),
            )
        finally:
            left.set()

    def _order(self, file: BinaryIO) -> list[tuple[int, int]]:
        try:
            return upload_order(file, self.size_bytes)
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from error

    def _read(self, file: BinaryIO, offset: int, size: int) -> bytes:
        try:
            file.seek(offset)
            data = file.read(size)
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from error
        if len(data) != size:
            raise NotMediaError(
                self.name,
                f"{offset + len(data):,} bytes where {self.size_bytes:,} were before",
                "a file that is complete",
            )
        return data


async def in_thread(source: Source, name: str | None, work: Callable[[], T]) -> T:
    """`work`, which opens `source`, in a thread, in one of its own where it may wait for a sender.

    Those of the loop are few, and serve all that runs there.
    """
    called = name_of(Path(source) if isinstance(source, str) else source, name)
    if await asyncio.to_thread(_has_sender, source, called):
        return await awaited_within(None, called, work)
    return await asyncio.to_thread(work)


def open_upload(source: Source, *, transcript: Transcript | None, name: str | None) -> Upload:
    """What `resonance.clients.media.reader.open_media` would read, to be sent instead. Blocks.

    Raises:
        NotMediaError: it cannot be opened, or is empty. TranscriptError: the subtitles cannot be used.
        MediaLimitError: a picture of far too many pixels.
        UsageError: a file object of text, or of async code.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    called = name_of(path or source, name)
    suffix = path.suffix.lower() if path is not None else ""
    if path is not None and suffix in TEXT_SUFFIXES:
        if transcript is not None:
            raise TranscriptError.beside(called, "a text")
        return text_upload(read_text(path), called)
    if path is not None and suffix in SUBTITLE_SUFFIXES:
        if transcript is not None:
            raise TranscriptError.beside(called, "subtitles")
        data = _subtitle_bytes(path, MAX_SUBTITLE_BYTES)
        return _bytes_upload(data, called, pb.MODE_SUBTITLES, pb.SubtitleFile(format=suffix.lstrip(".")))
    named = _named_subtitles(transcript)
    if path is not None and is_pipe(path):
        beside = _subtitles_beside(path) if named is None else None
        pipe = within(_LIMITS.stall_timeout_s, called, lambda: _opened(path, called))
        return Upload(called, pb.MODE_ENCODED, 0, named or beside, None, pipe, owned=True)
    if path is None and not isinstance(source, bytes | bytearray | memoryview):
        given = binary_file(source, called)
        if not can_seek(given, called):
            return Upload(called, pb.MODE_ENCODED, 0, named, None, given)
    opened = MediaSource(source, name=name, limits=_LIMITS)
    beside = _subtitles_beside(path) if path is not None and named is None else None
    with opened.open() as file:
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        if beside is not None and open_picture(file, called) is not None:
            beside = None  # whatever its name: the server tells by content, and refuses them for a picture
    return Upload(called, pb.MODE_ENCODED, size_bytes, named or beside, opened, None)


def text_upload(text: str, name: str) -> Upload:
    """Text without a clock.

    Raises:
        NoModalityError: there are no words.
    """
    if not text.split():
        raise NoModalityError(name, "no words", "text with words in it")
    return _bytes_upload(text.encode(), name, pb.MODE_TEXT, None)


def read_example(source: Source, most_bytes: int, *, left: Callable[[], bool] = lambda: False) -> bytes:
    """The content of something small. Blocks.

    Args:
        left: see `MediaSource`.

    Raises:
        NotMediaError: it cannot be opened, or is empty. MediaLimitError: it is larger than `most_bytes`.
    """
    opened = MediaSource(source, name=None, limits=_LIMITS, left=left)
    try:
        with opened.open() as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise unreadable(opened.name, error) from error
    finally:
        opened.close()
    if len(data) > most_bytes:
        raise MediaLimitError(opened.name, f"over {most_bytes:,} bytes", "an example of at most that; cut it")
    return data


def _bytes_upload(data: bytes, name: str, mode: pb.Mode, subtitles: pb.SubtitleFile | None) -> Upload:
    return Upload(name, mode, len(data), subtitles, MediaSource(data, name=name, limits=_LIMITS), None)


def _named_subtitles(transcript: Transcript | None) -> pb.SubtitleFile | None:
    if isinstance(transcript, SubtitleFile):
        return pb.SubtitleFile(format=transcript.format, data=_checked(transcript.data, transcript.name))
    return _subtitles_of(Path(transcript)) if transcript else None


def _subtitles_beside(path: Path) -> pb.SubtitleFile | None:
    side = find_sidecar(path)
    return _subtitles_of(side) if side is not None else None


def _subtitles_of(side: Path) -> pb.SubtitleFile:
    suffix = side.suffix.lower()
    if suffix not in SUBTITLE_SUFFIXES:
        raise TranscriptError(str(side), f"a file ending in '{suffix}'", " or ".join(SUBTITLE_SUFFIXES))
    data = _subtitle_bytes(side, MAX_SIDE_SUBTITLES_BYTES)
    return pb.SubtitleFile(format=suffix.lstrip("."), data=data)


def _subtitle_bytes(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise TranscriptError(
            str(path), f"it cannot be opened ({error.strerror})", "a subtitle file that can be read"
        ) from error
    return _checked(data, str(path), most_bytes)


def _checked(data: bytes, name: str, most_bytes: int = MAX_SIDE_SUBTITLES_BYTES) -> bytes:
    if not 0 < len(data) <= most_bytes:
        came = f"over {most_bytes:,} bytes" if data else "no bytes at all"
        raise TranscriptError(name, came, f"subtitles of at most {most_bytes:,} bytes")
    return data


def _has_sender(source: Source, name: str) -> bool:
    if isinstance(source, str | Path):
        return is_pipe(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return False
    return not can_seek(binary_file(source, name), name)


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise NotMediaError(
            name, f"it cannot be opened ({error.strerror})", "a file that can be read"
        ) from error
