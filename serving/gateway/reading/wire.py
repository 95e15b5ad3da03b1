"""Messages between the gateway and a reading process: a header in JSON, then raw parts.

    4 bytes: length of the header | 4 bytes: length of the body | header | body

All integers are big endian. The header names the kind and, as `parts`, the lengths of the pieces of the body.
The process reads hostile files and is not trusted: nothing that it sends is ever unpickled, and `checked.py`
looks at every value.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEAD = struct.Struct("!II")
MAX_HEADER_BYTES = 1 << 18
#: Largest body: four keyframes of 8K video, or sixteen pictures and sound.
MAX_BODY_BYTES = 96 * 1024 * 1024
#: Pieces of a body: a clip's packets and a few more.
MAX_PARTS = 80


class WireError(ValueError):
    """Not a message, or one that says what cannot be."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `fields`: the header; `parts`: pieces of the body."""

    fields: dict[str, Any]
    parts: tuple[memoryview, ...] = ()

    @property
    def kind(self) -> str:
        """What it is."""
        return str(self.fields.get("kind"))


def packed(kind: str, parts: Sequence[bytes | memoryview] = (), **fields: Any) -> list[bytes | memoryview]:
    """Buffers to be sent one after the other.

    Raises:
        WireError: larger than what is taken on the other side.
    """
    sizes = [len(part) for part in parts]
    header = json.dumps({"kind": kind, **fields, "parts": sizes}, separators=(",", ":")).encode()
    if len(header) > MAX_HEADER_BYTES or sum(sizes) > MAX_BODY_BYTES or len(sizes) > MAX_PARTS:
        raise WireError(f"a {kind} of {len(header):,} + {sum(sizes):,} bytes")
    return [HEAD.pack(len(header), sum(sizes)), header, *parts]


def lengths(head: bytes) -> tuple[int, int]:
    """(of the header, of the body). Raises WireError: over what is allowed."""
    header, body = HEAD.unpack(head)
    if header > MAX_HEADER_BYTES or body > MAX_BODY_BYTES:
        raise WireError(f"a message of {header:,} + {body:,} bytes")
    return header, body


def unpacked(header: bytes, body: bytes) -> Message:
    """The message. Raises WireError: it is none."""
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise WireError("a header that is not JSON") from error
    if not isinstance(fields, dict):
        raise WireError("a header that is no object")
    sizes = fields.pop("parts", None)
    if not isinstance(sizes, list) or len(sizes) > MAX_PARTS:
        raise WireError("a header without parts")
    if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) != len(body):
        raise WireError("parts that are not the body")
    view, parts = memoryview(body), []
    for size in sizes:
        parts.append(view[:size])
        view = view[size:]
    return Message(fields, tuple(parts))


def receive(connection: socket.socket) -> Message | None:
    """The next message, None at the end. Blocks."""
    head = _exactly(connection, HEAD.size)
    if head is None:
        return None
    header_bytes, body_bytes = lengths(head)
    header, body = _exactly(connection, header_bytes), _exactly(connection, body_bytes)
    return None if header is None or body is None else unpacked(header, body)


def _exactly(connection: socket.socket, size_bytes: int) -> bytes | None:
    data = bytearray()
    while len(data) < size_bytes:
        piece = connection.recv(min(size_bytes - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
