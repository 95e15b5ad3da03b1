"""The boxes of files of the MP4 family, photos in HEIC among them (ISO/IEC 14496-12, 4.2).

A file is a row of boxes: 32 bits of size, 4 letters of type; size 1 puts 64 bits of size after the type, size
0 means that the box lasts to the end of the file.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER_BYTES, LONG_HEADER_BYTES = 8, 16


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box stands. end: None where it lasts to the end of a file whose size is not known."""

    kind: bytes
    start: int
    end: int | None


class MalformedBoxError(ValueError):
    """Not a box, or one that contradicts the file's size."""


def read_box(start: int, header: bytes, size_bytes: int | None) -> Box:
    """The box at `start` whose first 16 bytes (fewer at the end of the file) are `header`.

    Args:
        size_bytes: of the whole file; None where it is not known, or boxes may reach beyond it.

    Raises:
        MalformedBoxError: it is none.
    """
    if len(header) < HEADER_BYTES:
        raise MalformedBoxError
    size, kind = int.from_bytes(header[:4], "big"), header[4:8]
    least = HEADER_BYTES
    if size == 1:
        if len(header) < LONG_HEADER_BYTES:
            raise MalformedBoxError
        size, least = int.from_bytes(header[8:16], "big"), LONG_HEADER_BYTES
    elif size == 0:
        return Box(kind, start, size_bytes)
    if size < least or (size_bytes is not None and start + size > size_bytes):
        raise MalformedBoxError
    return Box(kind, start, start + size)
