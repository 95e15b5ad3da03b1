"""What is asked of a reading process, and how far it may go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One upload to be read.

    Attributes:
        media_id: its name in errors.
        mode: ``encoded``, ``text`` or ``subtitles``.
        sampling: ``keyframes`` or ``uniform``; None: what the space says.
        modalities: those of ``visual``, ``audio``, ``transcript`` to read; None: all.
        first_index: windows before it were embedded by an earlier call, and are read over; of a live feed,
            whose bytes go on where that call ended, the first one is counted so.
        live: a feed without an end; old bytes are forgotten.
        size_bytes: of the whole file, where it is known; chunks may come in any order then.
        subtitles: (format, bytes) to be taken instead of those inside; with ``subtitles`` the format of
            what is uploaded, and no bytes.
    """

    media_id: str
    mode: str
    sampling: str | None = None
    modalities: frozenset[str] | None = None
    first_index: int = 0
    live: bool = False
    size_bytes: int | None = None
    subtitles: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Caps on one upload; None: no cap.

    Attributes:
        max_media_bytes: size of the upload; max_media_s: its length.
        max_picture_pixels: of a still picture; max_video_pixels: of a coded video picture, or a
            frame of an animation.
        stall_timeout_s: longest time without a step while there are bytes to read; a still picture, which
            is one step, gets more by its pixels.
        memory_bytes: private memory of the reading process beyond what it starts with.
        ahead_bytes: how far an upload may run ahead of what was read; of a live feed also how much may come
            while its reader waits for what is further away.
    """

    max_media_bytes: int | None = 8 * 1024**3
    max_media_s: float | None = 6 * 3600.0
    max_picture_pixels: int = 128 * 1024 * 1024
    max_video_pixels: int = 64 * 1024 * 1024
    stall_timeout_s: float = 8.0
    memory_bytes: int = 1024**3
    ahead_bytes: int = 32 * 1024 * 1024
