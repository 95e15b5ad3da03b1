"""Memory of all reading processes together: each has its own limit, and many may wait for their callers."""

from __future__ import annotations

import os
from pathlib import Path

from resonance.clients.errors import OverloadedError
from resonance.serving.gateway.shares import RETRY_AFTER_S, Share, to_give_up

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryBudget:
    """Bytes that the processes may hold beyond what each is started with.

    For one event loop; not for threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.shares: set[Share] = set()

    @property
    def used_bytes(self) -> int:
        """As they were last looked at."""
        return sum(share.held for share in self.shares)

    def hold(self, share: Share, size_bytes: int) -> None:
        """`share` holds so much now. Over the bound the largest of the caller who holds most is ended."""
        share.held = size_bytes
        self.shares.add(share)
        if self.used_bytes > self.max_bytes and (found := to_give_up(self.shares)) is not None:
            came, in_all = found.held, self.used_bytes
            self.leave(found)
            found.end(
                OverloadedError(
                    f"readers of uploads hold {in_all:,} bytes of memory, {came:,} of them for this one; "
                    f"expected at most {self.max_bytes:,} in all: send it again later",
                    retry_after_s=RETRY_AFTER_S,
                )
            )

    def leave(self, share: Share) -> None:
        """It holds nothing any more."""
        self.shares.discard(share)


def private_bytes(pid: int) -> int:
    """Memory of a process that no file backs; 0 where it is gone."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES
