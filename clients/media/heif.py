"""Photos in HEIC (HEIF with HEVC), as phones take them: libheif puts their tiles together, through Pillow.

FFmpeg would give a tile as if it were the photo. PI-HEIF is the plugin that decodes and does not encode.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import BinaryIO

import pi_heif
from PIL import Image

from resonance.clients.errors import CorruptMediaError, MediaLimitError
from resonance.clients.media.mp4_boxes import LONG_HEADER_BYTES, MalformedBoxError, read_box

FORMAT = "HEIF"
#: A photo of 48 million pixels takes some 10 MB; it is held in memory while it is read.
MOST_BYTES = 128 << 20
#: A file type box tells it (ISO/IEC 23008-12, annex B), by its major brand or by those it is compatible with.
BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis"))
#: Moving pictures, which FFmpeg reads.
_SEQUENCES = frozenset((b"hevc", b"hevx", b"msf1"))
#: Boxes that hold what is shown.
_SHOWN = frozenset((b"meta", b"mdat"))
#: Of the beginning that is looked at: a file type box with a dozen brands.
HEAD_BYTES = 64

if FORMAT not in Image.OPEN:  # a program that has its own plugin keeps it
    # in the thread that asks: others are read meanwhile, and more threads hold more tiles in memory at once
    pi_heif.register_heif_opener(decode_threads=0, thumbnails=False, depth_images=False, aux_images=False)


def is_heic(head: bytes) -> bool:
    """Whether a file that begins with `head`, of `HEAD_BYTES`, is a photo in HEIC, and none in AVIF."""
    if head[4:8] != b"ftyp":
        return False
    box = head[: int.from_bytes(head[:4], "big")]
    brands = {box[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))}
    return bool(brands & BRANDS) and b"avif" not in brands and brands.isdisjoint(_SEQUENCES)


def open_heic(file: BinaryIO, name: str) -> Image.Image:
    """The photo in `file`, which is read whole; its pixels are decoded when they are asked for.

    Raises:
        MediaLimitError: a file of over `MOST_BYTES`, or Pillow's guard against decompression bombs.
        CorruptMediaError: it is cut off: libheif would leave the tiles that are missing black.
        OSError and others: what Pillow and libheif raise on other bytes. ResonanceError: the source's.
    """
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MediaLimitError(name, f"a HEIC photo of over {MOST_BYTES:,} bytes", "a smaller one")
    end = _end(data)
    if end > len(data):
        raise CorruptMediaError(
            name, f"a HEIC photo that is cut off after {len(data):,} bytes", f"at least {end:,}"
        )
    return Image.open(io.BytesIO(data), formats=(FORMAT,))


def _end(data: bytes) -> int:
    """Where the last box that is there says that it ends.

    Behind a photo may stand what is no box, such as a phone's trailer; it is not taken for a cut one.
    """
    at = 0
    with suppress(MalformedBoxError):
        while at < len(data):
            box = read_box(at, data[at : at + LONG_HEADER_BYTES], None)
            if box.end is None or (box.end > len(data) and box.kind not in _SHOWN):
                break
            at = box.end
    return max(at, len(data))
