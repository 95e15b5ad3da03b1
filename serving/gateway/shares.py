"""What each call holds of something that all calls share, and who gives up when there is no more of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from resonance.clients.errors import OverloadedError

#: Until what was given up has come back to those who share it.
RETRY_AFTER_S = 5.0


@dataclass(slots=True, eq=False)
class Share:
    """One call's part. `held`: how much; `end`: lets the call fail with an error, to come again later."""

    caller: str
    end: Callable[[OverloadedError], None] = lambda error: None
    held: int = 0


def to_give_up(shares: Collection[Share], caller: str | None = None, more: int = 0) -> Share | None:
    """The largest share of the caller who holds most, where others are to have some of it, too.

    Args:
        caller, more: who asks for how much. Only who holds over twice as much as that would be gives up: what
            is given up has to be sent again.
    """
    held: Counter[str] = Counter()
    for share in shares:
        held[share.caller] += share.held
    most = max(held, key=lambda name: held[name], default=None)
    if most is None or most == caller or (caller is not None and held[most] <= 2 * (held[caller] + more)):
        return None
    return max((share for share in shares if share.caller == most), key=lambda share: share.held)


def make_room(shares: Collection[Share], caller: str, more: int, what: str) -> None:
    """End the call that is to leave room for `caller`, if one is: `caller` itself comes again meanwhile."""
    if (found := to_give_up(shares, caller, more)) is not None:
        found.end(
            OverloadedError(
                f"{found.held:,} {what} of this call, the largest of its caller, who holds most; others need "
                "them: send again later",
                retry_after_s=RETRY_AFTER_S,
            )
        )
