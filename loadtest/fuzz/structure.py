"""Where container formats write lengths, types and checksums: what a mutation has to hit.

Nothing here validates: a walk stops where the bytes make no sense, which after a mutation is soon.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Walks are for seeds of some tens of KB; of a longer one the first elements are enough.
MAX_ELEMENTS = 512
_MP4_PARENTS = frozenset(
    b"moov trak mdia minf stbl edts udta meta moof traf mvex dinf ilst mfra stsd avc1 hvc1 mp4a av01".split()
)
#: Bytes of fields before the children of a box that has both.
_MP4_FIELDS = {b"meta": 4, b"stsd": 8, b"avc1": 78, b"hvc1": 78, b"av01": 78, b"mp4a": 28}
_MP4_TYPES = frozenset(b"ftyp moov mdat free skip wide styp moof sidx".split())
_EBML_PARENTS = frozenset(
    (
        0x1A45DFA3,  # EBML head
        0x18538067,  # Segment
        0x1F43B675,  # Cluster
        0xA0,  # BlockGroup
        0x1654AE6B,  # Tracks
        0xAE,  # TrackEntry
        0xE0,  # Video
        0xE1,  # Audio
        0x1C53BB6B,  # Cues
        0xBB,  # CuePoint
        0xB7,  # CueTrackPositions
        0x114D9B74,  # SeekHead
        0x4DBB,  # Seek
        0x6D80,  # ContentEncodings
        0x6240,  # ContentEncoding
        0x1941A469,  # Attachments
        0x61A7,  # AttachedFile
    )
)


@dataclass(frozen=True, slots=True)
class Field:
    """An unsigned number in a file: `size_bytes` at `offset`, big or little endian."""

    offset: int
    size_bytes: int
    big: bool = True

    def read(self, data: bytes | bytearray) -> int:
        """Its value."""
        return int.from_bytes(
            data[self.offset : self.offset + self.size_bytes], "big" if self.big else "little"
        )

    def write(self, data: bytearray, value: int) -> None:
        """Put `value` there, as many of its low bits as fit."""
        kept = value & ((1 << 8 * self.size_bytes) - 1)
        written = kept.to_bytes(self.size_bytes, "big" if self.big else "little")
        data[self.offset : self.offset + self.size_bytes] = written


@dataclass(frozen=True, slots=True)
class Element:
    """A box, element, chunk, page or packet: bytes [start, end) of the file, and the field of its length."""

    start: int
    end: int
    length: Field


def elements(data: bytes | bytearray) -> list[Element]:
    """Elements of a file of a known kind in their order, parents before children; none of an unknown one."""
    for fits, walk in _WALKS:
        if fits(data):
            found = []
            for element in walk(data):
                found.append(element)
                if len(found) == MAX_ELEMENTS:
                    break
            return found
    return []


def repair(data: bytearray) -> None:
    """Write the checksums again that readers look at first: of Ogg pages and PNG chunks."""
    if data[:4] == b"OggS":
        for page in elements(data):
            data[page.start + 22 : page.start + 26] = bytes(4)
            data[page.start + 22 : page.start + 26] = struct.pack("<I", ogg_crc(data[page.start : page.end]))
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        for chunk in elements(data):
            if chunk.end <= len(data):
                data[chunk.end - 4 : chunk.end] = struct.pack(
                    ">I", zlib.crc32(data[chunk.start + 4 : chunk.end - 4])
                )


def ogg_crc(page: bytes | bytearray) -> int:
    """CRC-32 of an Ogg page (polynomial 0x04C11DB7, not reflected, starting from 0) whose own field is 0."""
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _OGG_TABLE[(crc >> 24) ^ byte]
    return crc


def _ogg_row(index: int) -> int:
    crc = index << 24
    for _ in range(8):
        crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
    return crc & 0xFFFFFFFF


_OGG_TABLE = [_ogg_row(index) for index in range(256)]


def _mp4(data: bytes | bytearray) -> Iterator[Element]:
    yield from _mp4_boxes(data, 0, len(data))


def _mp4_boxes(data: bytes | bytearray, at: int, end: int) -> Iterator[Element]:
    while at + 8 <= end:
        size, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        length = Field(at, 4)
        if size == 1:
            length = Field(at + 8, 8)
            size = length.read(data)
        if size < 8:
            return
        stop = min(at + size, end)
        yield Element(at, stop, length)
        if kind in _MP4_PARENTS:
            yield from _mp4_boxes(data, at + 8 + _MP4_FIELDS.get(kind, 0), stop)
        at = stop


def _ebml(data: bytes | bytearray) -> Iterator[Element]:
    yield from _ebml_elements(data, 0, len(data))


def _ebml_elements(data: bytes | bytearray, at: int, end: int) -> Iterator[Element]:
    while at + 2 <= end:
        id_bytes, size_at = _vint_bytes(data[at]), at + _vint_bytes(data[at])
        if id_bytes > 4 or size_at >= end:
            return
        identity = int.from_bytes(data[at:size_at], "big")
        size_bytes = _vint_bytes(data[size_at])
        body = size_at + size_bytes
        if size_bytes > 8 or body > end:
            return
        size = Field(size_at, size_bytes).read(data) & ((1 << 7 * size_bytes) - 1)
        stop = min(body + size, end)
        yield Element(at, stop, Field(size_at, size_bytes))
        if identity in _EBML_PARENTS:
            yield from _ebml_elements(data, body, stop)
        at = stop


def _vint_bytes(first: int) -> int:
    return 9 - first.bit_length()


def _riff(data: bytes | bytearray) -> Iterator[Element]:
    yield Element(0, len(data), Field(4, 4, big=False))
    yield from _riff_chunks(data, 12, len(data))


def _riff_chunks(data: bytes | bytearray, at: int, end: int) -> Iterator[Element]:
    while at + 8 <= end:
        length = Field(at + 4, 4, big=False)
        size = length.read(data)
        stop = min(at + 8 + size + size % 2, end)
        yield Element(at, stop, length)
        if data[at : at + 4] == b"LIST":
            yield from _riff_chunks(data, at + 12, stop)
        at = stop


def _ogg(data: bytes | bytearray) -> Iterator[Element]:
    at = 0
    while data[at : at + 4] == b"OggS" and at + 27 <= len(data):
        segments = data[at + 26]
        body = at + 27 + segments
        stop = min(body + sum(data[at + 27 : body]), len(data))
        yield Element(at, stop, Field(at + 26, 1))
        at = stop


def _ts(data: bytes | bytearray) -> Iterator[Element]:
    for at in range(0, len(data) - 187, 188):
        adaptation, starts = data[at + 3] & 0x20, data[at + 1] & 0x40
        if adaptation:
            yield Element(at, at + 188, Field(at + 4, 1))
        elif starts and data[at + 4 : at + 7] == b"\x00\x00\x01":
            yield Element(at, at + 188, Field(at + 8, 2))  # of a PES packet
        elif starts:
            yield Element(at, at + 188, Field(at + 6, 2))  # of a table's section
        else:
            yield Element(at, at + 188, Field(at + 1, 2))


def _flv(data: bytes | bytearray) -> Iterator[Element]:
    at = 13
    while at + 11 <= len(data):
        length = Field(at + 1, 3)
        stop = min(at + 15 + length.read(data), len(data))
        yield Element(at, stop, length)
        at = stop


def _png(data: bytes | bytearray) -> Iterator[Element]:
    at = 8
    while at + 12 <= len(data):
        length = Field(at, 4)
        stop = at + 12 + length.read(data)
        yield Element(at, min(stop, len(data)), length)
        at = stop


def _jpeg(data: bytes | bytearray) -> Iterator[Element]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = Field(at + 2, 2)
        stop = min(at + 2 + max(length.read(data), 2), len(data))
        yield Element(at, stop, length)
        at = stop


def _flac(data: bytes | bytearray) -> Iterator[Element]:
    at, last = 4, False
    while at + 4 <= len(data) and not last:
        last = bool(data[at] & 0x80)
        length = Field(at + 1, 3)
        stop = min(at + 4 + length.read(data), len(data))
        yield Element(at, stop, length)
        at = stop


def _asf(data: bytes | bytearray) -> Iterator[Element]:
    at = 0
    while at + 24 <= len(data):
        length = Field(at + 16, 8, big=False)
        size = length.read(data)
        if size < 24:
            return
        yield Element(at, min(at + size, len(data)), length)
        at += 30 if at == 0 else size  # the first object holds the next ones


def _iff(data: bytes | bytearray) -> Iterator[Element]:
    at = 12
    while at + 8 <= len(data):
        length = Field(at + 4, 4)
        size = length.read(data)
        stop = min(at + 8 + size + size % 2, len(data))
        yield Element(at, stop, length)
        at = stop


def _caf(data: bytes | bytearray) -> Iterator[Element]:
    at = 8
    while at + 12 <= len(data):
        length = Field(at + 4, 8)
        stop = min(at + 12 + length.read(data), len(data))
        yield Element(at, stop, length)
        at = stop


def _id3(data: bytes | bytearray) -> Iterator[Element]:
    if len(data) < 10:
        return
    size = sum((data[6 + i] & 0x7F) << (21 - 7 * i) for i in range(4))
    yield Element(0, min(10 + size, len(data)), Field(6, 4))
    at = 10
    while at + 10 <= min(10 + size, len(data)) and data[at]:
        length = Field(at + 4, 4)
        stop = min(at + 10 + length.read(data), len(data))
        yield Element(at, stop, length)
        at = stop


Walk = Callable[[bytes | bytearray], Iterator[Element]]


def _starts(*magics: bytes) -> Callable[[bytes | bytearray], bool]:
    return lambda data: data.startswith(magics)


_WALKS: tuple[tuple[Callable[[bytes | bytearray], bool], Walk], ...] = (
    (lambda data: bytes(data[4:8]) in _MP4_TYPES, _mp4),
    (_starts(b"\x1a\x45\xdf\xa3"), _ebml),
    (_starts(b"RIFF"), _riff),
    (_starts(b"OggS"), _ogg),
    (lambda data: len(data) > 376 and data[0] == data[188] == 0x47, _ts),
    (_starts(b"FLV"), _flv),
    (_starts(b"\x89PNG\r\n\x1a\n"), _png),
    (_starts(b"\xff\xd8"), _jpeg),
    (_starts(b"fLaC"), _flac),
    (_starts(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), _asf),
    (_starts(b"FORM"), _iff),
    (_starts(b"caff"), _caf),
    (_starts(b"ID3"), _id3),
)
