"""A live stream of bytes, sent as it happens: nobody can give them a second time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from resonance.clients.errors import NotMediaError, UsageError
from resonance.clients.gateway.messages import media_id_of
from resonance.clients.gateway.uploading import CHUNK_BYTES
from resonance.clients.media.file_objects import binary_file, is_pipe, name_of, read_what_is_there, unreadable
from resonance.clients.media.remux import Remuxed, is_address, told_address
from resonance.clients.media.waiting import LOOK_S, awaited_within
from resonance.v1 import embedding_pb2 as pb

T = TypeVar("T")

#: A packet of MPEG-TS (ISO/IEC 13818-1) begins with this byte and has this length; so many tell it.
_SYNC_BYTE, _PACKET_BYTES, _PACKETS = 0x47, 188, 4
_HEAD_BYTES = _PACKET_BYTES * _PACKETS


class LiveStream:
    """What happens now, from a pipe or an address on the network, for `GatewayEmbedder.follow`.

    Attributes:
        origin: what it is read from: an address without password and query, a path, or ``-``.
        name: what results, errors and logs call it.
        fault: what an address broke off with, until it is opened again.
        sent_bytes: since it was opened last.

    Args:
        source: a binary file object, such as ``sys.stdin.buffer``; the path of a pipe; or an address such as
            ``rtsp://camera/1``, see `resonance.clients.media.remux`.
        name: by default what the source calls itself, an address without password and query.
        endless: an address that ends is opened again, as one that breaks off is: that of a camera that is
            started anew ends like any other.

    Raises:
        UsageError: none of these; an address that makes no sense; a path that is no pipe; a pipe that is
            `endless`.
    """

    mode = pb.MODE_ENCODED
    size_bytes = 0
    subtitles = None

    def __init__(
        self, source: BinaryIO | Path | str, *, name: str | None = None, endless: bool = False
    ) -> None:
        self._endless = endless
        self._url = source if isinstance(source, str) and is_address(source) else None
        self._path = Path(source) if isinstance(source, str | Path) and self._url is None else None
        try:
            self.origin = told_address(self._url) if self._url else str(self._path or "-")
        except ValueError:  # which may quote a password
            raise UsageError("came what is no address; expected one such as rtsp://camera/1") from None
        self.name = name or (self.origin if self._url else name_of(self._path or source, None))
        self._pipe: BinaryIO | None = None
        if self._path is not None and not is_pipe(self._path):
            came = "a file that is whole" if self._path.exists() else "a path where nothing is"
            raise UsageError(f"{self.name}: came {came}; expected a pipe or an address; files are embedded")
        if not isinstance(source, str | Path):
            self._pipe = binary_file(source, self.name)
        if endless and self._url is None:
            raise UsageError(
                f"{self.name}: came a pipe without an end; expected an address, which can be opened again"
            )
        self._remuxed: Remuxed | None = None
        self._begun = self._joinable = False
        self._over = threading.Event()
        self.fault: NotMediaError | None = None
        self.sent_bytes = 0

    @property
    def media_id(self) -> str:
        """The name, as a gateway takes it."""
        return media_id_of(self.name)

    @property
    def has_begun(self) -> bool:
        """Whether anything was sent of it."""
        return self._begun

    @property
    def is_over(self) -> bool:
        """Whether a pipe ended, or `end` was called: nothing more comes."""
        return self._over.is_set()

    @property
    def may_come_back(self) -> bool:
        """Whether what cannot be opened now was there before, and may be again: an address of a camera."""
        return self._url is not None and self._begun and not self.is_over

    @property
    def goes_on(self) -> bool:
        """Whether a call that begins now can read what comes: an address is opened anew, but a pipe is in the
        middle of something, which only MPEG-TS can be read from."""
        return not self._begun or self._joinable or self._url is not None

    def end(self) -> None:
        """Read no more: the last segments and the title follow. From any thread, and from signal handlers."""
        self._over.set()

    async def open(self) -> None:
        """Wait for a sender, where there is none yet; of a stream that is over no address is opened again.

        Raises:
            NotMediaError: it cannot be opened.
        """
        url, path = self._url, self._path
        self.fault, self.sent_bytes = None, 0
        if self._remuxed is not None:  # of a call that broke before it took any of it
            self._remuxed.close()
            self._remuxed = None
        if url is not None:
            opening = awaited_within(
                None, self.name, lambda: Remuxed(url, self.name), unwanted=lambda late: late.close()
            )
            self._remuxed = await self._unless_over(opening)
        if path is not None and self._pipe is None:
            try:
                self._pipe = await awaited_within(None, self.name, lambda: path.open("rb"))
            except OSError as error:
                raise unreadable(self.name, error) from error

    async def chunks(self) -> AsyncGenerator[pb.Chunk, None]:
        """What happens from now on, for one call; `open` it before.

        Raises:
            NotMediaError: it cannot be read.
        """
        remuxed, self._remuxed = self._remuxed, None
        pipe = self._pipe if remuxed is None else remuxed.pipe
        head = b""
        try:
            while pipe is not None and (data := await self._read(pipe)):
                if len(head) < _HEAD_BYTES:
                    head = (head + data)[:_HEAD_BYTES]
                    self._joinable = self._joinable or _is_transport_stream(head)
                self._begun = True
                yield pb.Chunk(offset_bytes=self.sent_bytes, data=data)
                self.sent_bytes += len(data)
            if remuxed is not None and not self.is_over:
                self.fault = remuxed.fault or self._no_end()
            if self.fault is None:
                self.end()
        finally:
            if remuxed is not None:
                remuxed.close()

    def _no_end(self) -> NotMediaError | None:
        return NotMediaError(self.name, "it ended", "a stream that goes on") if self._endless else None

    async def meanwhile(self, waiting: Coroutine[Any, Any, None], *, to_the_end: bool) -> None:
        """Wait while what comes passes by: a sender that has to wait as well would send old things later.

        Args:
            to_the_end: of `waiting`, also where the stream is over before.

        Raises: what `waiting` raises.
        """
        passing = asyncio.create_task(self._pass_by())
        try:
            await (waiting if to_the_end else self._unless_over(waiting))
        finally:
            passing.cancel()
            with suppress(asyncio.CancelledError, NotMediaError):
                await passing

    def close(self) -> None:
        """Free what was opened here; a caller's file object stays open."""
        self.end()
        for opened in (self._remuxed, self._pipe if self._path is not None else None):
            if opened is not None:
                opened.close()

    async def _unless_over(self, doing: Coroutine[Any, Any, T]) -> T | None:
        """What `doing` gives; None where the stream is over before it does."""
        task = asyncio.create_task(doing)
        try:
            while not (task.done() or self.is_over):
                await asyncio.wait([task], timeout=LOOK_S)
            return task.result() if task.done() else None
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _pass_by(self) -> None:
        if self._pipe is not None and self._begun:
            while await self._read(self._pipe):
                pass
            self.end()

    async def _read(self, pipe: BinaryIO) -> bytes:
        left = threading.Event()

        def is_left() -> bool:
            return left.is_set() or self.is_over

        try:
            return await awaited_within(
                None, self.name, lambda: read_what_is_there(pipe, CHUNK_BYTES, self.name, left=is_left)
            )
        finally:
            left.set()


def _is_transport_stream(head: bytes) -> bool:
    return head[:_HEAD_BYTES:_PACKET_BYTES] == bytes([_SYNC_BYTE]) * _PACKETS
