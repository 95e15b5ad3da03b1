"""Photos in HEIC whose pictures are numbered."""

from __future__ import annotations

from resonance.loadtest.fuzz.heic import photo_of
from tests.clients.media.synthetic import film

TILE = (128, 96)


def whole_photo() -> bytes:
    """A photo that is one picture, numbered 0."""
    return _photo(tiles=1)


def tiled_photo() -> bytes:
    """A photo of two by two tiles, numbered from 0."""
    return _photo(tiles=4)


def _photo(tiles: int) -> bytes:
    options = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=1"}
    times_s = [float(number) for number in range(tiles)]
    return photo_of(film(times_s, codec="libx265", gop=1, options=options, size=TILE, rate=1), TILE)
