"""Requests whose bytes are no message: the caller's fault, which gRPC would answer as one of the server."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from resonance.clients.errors import InvalidFieldError


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
    """The requests of a stream; the first that cannot be read raises `InvalidFieldError`."""

    def __init__(self, requests: AsyncIterable[Any]) -> None:
        self._given = requests
        self._requests: AsyncIterator[Any] | None = None

    def __aiter__(self) -> ReadableRequests:
        return self

    async def __anext__(self) -> Any:
        if self._requests is None:  # gRPC's begins to read when it is asked for, not when it is first read
            self._requests = aiter(self._given)
        return readable(await anext(self._requests))
