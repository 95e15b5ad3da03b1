"""What a job must know of its server before it begins, waited for as its later answers are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from resonance.clients.errors import DeadlineExceededError, OverloadedError, ServerUnavailableError, described

T = TypeVar("T")
_AWAY = (ServerUnavailableError, OverloadedError, DeadlineExceededError)
_MOST_WAIT_S = 5.0


async def first_answers(
    ask: Callable[[], Awaitable[T]], *, patience_s: float, tell: Callable[[str], None]
) -> T:
    """What `ask` gives, asked again while the server is away, starting or full.

    Args:
        patience_s: the error is raised where it lasts longer. tell: called once, with a line, if it has to
            be waited for: an address that was mistyped looks the same.

    Raises:
        ServerUnavailableError, OverloadedError, DeadlineExceededError: for longer than `patience_s`.
        Whatever else `ask` raises, at once.
    """

    def waiting(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            error = state.outcome.exception()
            assert error is not None  # what succeeded is not tried again
            tell(f"{described(error)}; waiting up to {patience_s:g} s for it (--patience-s)")

    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(_AWAY),
        stop=stop_after_delay(patience_s),
        wait=wait_random_exponential(multiplier=0.5, max=_MOST_WAIT_S),
        before_sleep=waiting,
        reraise=True,
    ):
        with attempt:
            return await ask()
    raise AssertionError("unreachable: the last attempt returns or raises")
