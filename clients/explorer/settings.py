"""What the explorer is run with, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorerSettings:
    """The bounds are of one process that one person uses.

    Attributes:
        max_upload_bytes, max_text_bytes: of one example.
        examples_kept: embedded examples in memory, 7 KB each; the longest unused is forgotten first.
        poster_cache_bytes, clip_cache_bytes: pictures and clips made so far.
        renders_at_once: posters, and as many clips, made side by side.
        renders_waiting: further ones that may wait; what comes beyond is refused at once.
        poster_timeout_s: after that the picture decoded last is shown.
        clip_length_s, clip_timeout_s: of a clip made for a browser that cannot play the file; after the
            timeout what is there by then is the clip.
        browse_timeout_s: how long titles are looked through for a name or a tag.
        moment_pairs: pairs of segments compared at most for the moments that the sentence of an opened title
            names, as of two films of three hours; with more it names none.
    """

    max_upload_bytes: int = 512 * MIB
    max_text_bytes: int = MIB
    examples_kept: int = 256
    poster_cache_bytes: int = 64 * MIB
    clip_cache_bytes: int = 128 * MIB
    renders_at_once: int = 2
    renders_waiting: int = 200
    poster_timeout_s: float = 5.0
    clip_length_s: float = 20.0
    clip_timeout_s: float = 15.0
    browse_timeout_s: float = 3.0
    moment_pairs: int = 2_000_000
