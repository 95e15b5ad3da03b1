"""Bytes in ranges (RFC 9110, section 14), for players that seek."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse

CHUNK_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte, both inside, that `Range` asks for; None for the whole.

    Several ranges, other units and what makes no sense are answered with the whole, as the RFC allows.

    Raises:
        ValueError: the range begins behind the end.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        if int(suffix) == 0 or size == 0:
            raise ValueError
        return max(size - int(suffix), 0), size - 1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise ValueError
    return int(first), min(int(last), size - 1) if last else size - 1


def ranged_bytes(data: bytes, content_type: str, header: str | None) -> Response:
    """What is in memory."""
    return ranged_file(io.BytesIO(data), len(data), content_type, header)


def ranged_file(file: BinaryIO, size: int, content_type: str, header: str | None) -> Response:
    """A file that is `size` bytes long and closed at the end; its reads may block."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=600"}
    try:
        part = parse_range(header, size)
    except ValueError:
        file.close()
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    first, last = part or (0, size - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(
        _read(file, first, last - first + 1),
        status_code=206 if part is not None else 200,
        media_type=content_type,
        headers=headers,
    )


async def _read(file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    # a thread of its own: a store that hangs must not take those that others wait for
    thread = ThreadPoolExecutor(1, thread_name_prefix="resonance-range")
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(thread, file.seek, first)
        while length > 0:
            chunk = await loop.run_in_executor(thread, file.read, min(CHUNK_BYTES, length))
            if not chunk:
                return
            length -= len(chunk)
            yield chunk
    finally:
        with contextlib.suppress(RuntimeError):
            thread.submit(file.close)
        thread.shutdown(wait=False)
