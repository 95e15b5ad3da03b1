"""How the C library keeps memory that the gateway has freed."""

from __future__ import annotations

import ctypes

#: Parameters of mallopt, from glibc's malloc.h.
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
#: Blocks from this size up are mappings of their own and go back when they are freed. It is glibc's default;
#: saying it keeps it there, where glibc would raise it to the largest block freed so far, up to 32 MiB.
LARGE_BYTES = 128 * 1024


def give_large_blocks_back() -> None:
    """Keep what is resident near to what is held, for all blocks that this process allocates from now on.

    Media come and go in pieces of many sizes. With glibc's defaults, what was freed stayed resident until the
    blocks above it were freed too, in several arenas: RSS swung by 60 MiB about what is needed, and no growth
    of a few MiB could have been seen in it. It costs about 0.5 ms of page faults for a call with 2.4 MB of
    frames; with 4 MiB instead, which costs nothing, RSS swung by 40 MiB. Another C library than glibc is left
    as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_ARENA_MAX, 1)
