"""How many files and connections the gateway may have open."""

from __future__ import annotations

import contextlib
import resource


def allow_descriptors() -> int:
    """Raise the soft limit of open files to the hard one, where that is allowed; how many may be open now.

    A connection takes one, an upload three. The soft limit is 1,024 on most machines, for programs that use
    select(2), which nothing here does: a single caller within its bounds would come near it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft
