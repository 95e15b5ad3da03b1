"""A photo in HEIC, as phones write them: boxes of ISO/IEC 23008-12 round pictures in HEVC."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import av


def photo_of(film: bytes, size: tuple[int, int]) -> bytes:
    """The pictures of a film in HEVC of keyframes alone: one as it is, four as two by two tiles of `size`."""
    with av.open(io.BytesIO(film), "r") as file:
        [stream] = file.streams.video
        headers = bytes(stream.codec_context.extradata or b"")
        pictures = [bytes(packet) for packet in file.demux(stream) if packet.size]
    kind = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    length = len(kind) + len(_meta(headers, pictures, size, 0))
    return kind + _meta(headers, pictures, size, length + 8) + _box(b"mdat", *pictures)


def _meta(headers: bytes, pictures: Sequence[bytes], size: tuple[int, int], first_at: int) -> bytes:
    """The items: each picture, and behind them, where there are several, the grid that they make."""
    tiles, is_grid = len(pictures), len(pictures) > 1
    grid = tiles + 1
    items = list(range(1, tiles + 1 + is_grid))
    kinds = [_full(b"infe", 2, is_grid, struct.pack(">HH4s", i, 0, b"hvc1"), b"\0") for i in items[:tiles]]
    kinds += [_full(b"infe", 2, 0, struct.pack(">HH4s", i, 0, b"grid"), b"\0") for i in items[tiles:]]
    width, height = size
    properties = _box(
        b"ipco",
        _box(b"hvcC", headers),
        _full(b"ispe", 0, 0, struct.pack(">II", width, height)),
        _full(b"ispe", 0, 0, struct.pack(">II", 2 * width, 2 * height)),
    )
    owned = [struct.pack(">HBBB", i, 2, 0x81, 2) for i in items[:tiles]]
    owned += [struct.pack(">HBB", i, 1, 3) for i in items[tiles:]]
    places, at = [], first_at
    for item, picture in zip(items, pictures, strict=False):
        places.append(struct.pack(">HHHHII", item, 0, 0, 1, at, len(picture)))
        at += len(picture)
    parts = [
        _full(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, b"pict"), b"\0"),
        _full(b"pitm", 0, 0, struct.pack(">H", items[-1])),
        _full(b"iinf", 0, 0, struct.pack(">H", len(items)), *kinds),
        _box(b"iprp", properties, _full(b"ipma", 0, 0, struct.pack(">I", len(items)), *owned)),
    ]
    if is_grid:
        of = struct.pack(f">HH{tiles}H", grid, tiles, *items[:tiles])
        parts.append(_full(b"iref", 0, 0, _box(b"dimg", of)))
        parts.append(_box(b"idat", struct.pack(">BBBBHH", 0, 0, 1, 1, 2 * width, 2 * height)))
        places.append(struct.pack(">HHHHII", grid, 1, 0, 1, 0, 8))
    parts.append(_full(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, len(items)), *places))
    return _full(b"meta", 0, 0, *parts)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)
