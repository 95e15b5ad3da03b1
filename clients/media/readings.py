"""How media are read may get better from one release to the next: what is stored tells which way it was."""

from __future__ import annotations

#: By ending, where it is no longer the first way. A number goes up when the same bytes give other vectors, so
#: that the next job embeds such titles again; those of other endings are left as they are.
#: 2: a HEIC whose picture lies in tiles is put together, its first tile was taken for it; GIF and WebP are
#: films where they move, one picture was taken of them (of PNG, too, but few of those move, and all would be
#: embedded again), and so is AVIF; a TIFF of floats is seen, it was black.
_READINGS = dict.fromkeys((".heic", ".heif", ".hif", ".gif", ".webp", ".avif", ".tif", ".tiff"), 2)


def reading(ending: str) -> str | None:
    """The way in which media of an ending, in small letters, are read: ``read2``; None for the first."""
    return f"read{_READINGS[ending]}" if ending in _READINGS else None
