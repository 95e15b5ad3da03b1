"""Where the index (the `moov` box) of an MP4 or MOV stands: before the media data, or after it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import BinaryIO

from resonance.clients.media.mp4_boxes import (
    HEADER_BYTES,
    LONG_HEADER_BYTES,
    Box,
    MalformedBoxError,
    read_box,
)
from resonance.clients.media.ranges import Ranges

#: Types of a first box that make a file one of the MP4 family.
MP4_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"))
#: Files of more boxes than this before their index are taken as they come.
MAX_BOXES = 64


class IndexPlace(Enum):
    """Where the index stands."""

    FIRST = auto()
    LAST = auto()
    #: Not a file of this kind, or one that is broken.
    NONE = auto()


def upload_order(file: BinaryIO, size_bytes: int) -> list[tuple[int, int]]:
    """Ranges (offset, length) that cover the file, in the order in which they are best sent.

    Of an MP4 whose index stands at the end, the headers of its boxes and the index come before the media
    data. Every other file is one range. The file's position is left anywhere.
    """
    plain = [(0, size_bytes)] if size_bytes else []
    boxes: list[Box] = []
    at = 0
    try:
        while not boxes or boxes[-1].kind != b"moov":
            if len(boxes) == MAX_BOXES:
                return plain
            file.seek(at)
            box = read_box(at, file.read(LONG_HEADER_BYTES), size_bytes)
            if box.end is None or (not boxes and box.kind not in MP4_BOXES):
                return plain
            boxes.append(box)
            at = box.end
    except MalformedBoxError:
        return plain
    if all(box.kind != b"mdat" for box in boxes):
        return plain
    first: list[tuple[int, int]] = []
    later: list[tuple[int, int]] = []
    for box in boxes[:-1]:
        assert box.end is not None
        head = min(box.start + LONG_HEADER_BYTES, box.end) if box.kind == b"mdat" else box.end
        first.append((box.start, head - box.start))
        if head < box.end:
            later.append((head, box.end - head))
    first.append((boxes[-1].start, size_bytes - boxes[-1].start))
    return _joined(first) + later


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours made one."""
    joined: list[tuple[int, int]] = []
    for offset, length in ranges:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((offset, length))
    return joined


class IndexProbe:
    """Tells, over the bytes so far, where the index stands.

    Args:
        read_at: (offset, size) to bytes that are there.
        size_bytes: of the whole file; None where it is not known, and bytes come in order.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], size_bytes: int | None) -> None:
        self._read_at, self._size = read_at, size_bytes
        self._at = self._boxes = 0
        self._data: Box | None = None  # the media data, found before an index
        self._place: IndexPlace | None = None

    def look(self, there: Ranges, arrived: tuple[int, int]) -> IndexPlace | None:
        """None while it cannot be told. `arrived`: (offset, length) of the newest bytes, `there` included.

        An index counts as last as soon as media data is sent before it.
        """
        while self._place is None and self._step(there):
            pass
        if self._place is None and self._data is not None:
            ahead = self._size is None or self._data.end is None
            in_data = arrived[0] > self._data.start and (
                self._data.end is None or arrived[0] + LONG_HEADER_BYTES < self._data.end
            )
            if ahead or in_data:
                self._place = IndexPlace.LAST
        return self._place

    def _step(self, there: Ranges) -> bool:
        """Read one more box, if its header is there."""
        reach = there.end_of(self._at)
        needed = LONG_HEADER_BYTES
        if self._size is not None:
            needed = min(needed, max(self._size - self._at, HEADER_BYTES))
        if reach - self._at < needed:
            if self._size is not None and self._at + HEADER_BYTES > self._size:
                self._place = IndexPlace.NONE  # the file ends without an index
            return False
        try:
            box = read_box(self._at, self._read_at(self._at, needed), self._size)
        except MalformedBoxError:
            self._place = IndexPlace.NONE
            return False
        self._boxes += 1
        if (self._boxes == 1 and box.kind not in MP4_BOXES) or self._boxes > MAX_BOXES:
            self._place = IndexPlace.NONE
        elif box.kind == b"moov":
            self._place = IndexPlace.FIRST  # at the front, or sent there
        elif box.kind == b"mdat":
            self._data = self._data or box
        if box.end is None:
            return False
        self._at = box.end
        return self._place is None
