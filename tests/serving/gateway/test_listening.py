"""What a connection may hold, from a caller who speaks HTTP/2 as no library would."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter

from resonance.serving.gateway.listening import MAX_CALLS_PER_CONNECTION
from tests.serving.gateway.door import open_door

DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
BEYOND = 50


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str) -> bytes:
    """Of a gRPC call, each written out."""
    pairs = {
        ":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost", "te": "trailers",
        "content-type": "application/grpc",
    }  # fmt: skip
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in pairs.items()
    )


async def test_a_connection_that_takes_no_answer_holds_so_many_calls() -> None:
    calls = MAX_CALLS_PER_CONNECTION + BEYOND
    async with open_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))
        for stream in range(1, 2 * calls, 2):
            writer.write(frame(HEADERS, END_HEADERS, stream, headers("/grpc.health.v1.Health/Check")))
            writer.write(frame(DATA, END_STREAM, stream, bytes(5)))  # an empty message
        came: Counter[int] = Counter()
        while came[HEADERS] + came[RST_STREAM] < calls:
            head = await asyncio.wait_for(reader.readexactly(9), 10)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            came[head[3]] += 1
        writer.close()
    assert (came[HEADERS], came[DATA], came[RST_STREAM]) == (MAX_CALLS_PER_CONNECTION, 0, BEYOND)
