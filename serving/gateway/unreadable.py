"""Requests whose bytes are no message, or that do not come: the caller's fault.

gRPC would answer the first as a fault of the server, and wait for the others as long as the connection lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from resonance.clients.errors import DeadlineExceededError, InvalidFieldError


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a request would."""

    size_bytes: int


def reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`deserialize`, with `Unreadable` in the place of what it cannot read."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:  # protobuf's runtimes raise different types
            return Unreadable(len(data))

    return read


def readable(request: Any) -> Any:
    """`request` as it is.

    Raises:
        InvalidFieldError: it is none.
    """
    if isinstance(request, Unreadable):
        raise InvalidFieldError(
            "request",
            f"{request.size_bytes:,} bytes that cannot be parsed",
            "a message of the method's type, all text in it whole and in UTF-8",
        )
    return request


class ReadableRequests:
    """The requests of a stream.

    Raises:
        InvalidFieldError: one that cannot be read. DeadlineExceededError: none came for `timeout_s`.
    """

    def __init__(self, requests: AsyncIterable[Any], timeout_s: float) -> None:
        self._given, self._timeout_s = requests, timeout_s
        self._requests: AsyncIterator[Any] | None = None

    def __aiter__(self) -> ReadableRequests:
        return self

    async def __anext__(self) -> Any:
        if self._requests is None:  # gRPC's begins to read when it is asked for, not when it is first read
            self._requests = aiter(self._given)
        return readable(await _in_time(anext(self._requests), self._timeout_s))


async def only_request(context: grpc.aio.ServicerContext, timeout_s: float) -> Any:
    """The one request of a call that has one, and whose requests nobody else reads.

    gRPC tells the end of sending as well where a request was too large, and where the caller is gone: such
    calls count as INVALID_ARGUMENT here, whatever gRPC has told their callers.

    Raises:
        InvalidFieldError: it cannot be read, or none came. DeadlineExceededError: see `ReadableRequests`.
    """
    request = await _in_time(context.read(), timeout_s)
    if request is grpc.aio.EOF:
        raise InvalidFieldError("request", "the end of sending", "a message of the method's type")
    return readable(request)


async def _in_time(coming: Awaitable[Any], timeout_s: float) -> Any:
    try:
        async with asyncio.timeout(timeout_s):
            return await coming
    except TimeoutError:
        raise DeadlineExceededError(
            f"no message for {timeout_s:g} s; expected one, or the end of sending"
        ) from None
