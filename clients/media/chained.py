"""Ogg of several links, one recording after the other, as radio is recorded."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from resonance.clients.errors import MediaError
from resonance.clients.media.container import RESYNC_BYTES, choose_stream, open_rest
from resonance.clients.media.source import Source

#: Of a page: how it begins, the bytes before its table of sizes, and the flag of a stream's first page.
_PAGE, _HEAD_BYTES, _FIRST = b"OggS", 27, 2
#: How often the demuxer is asked again without another packet; each time it looks through a page's length.
_MOST_BARREN = RESYNC_BYTES // 65_307


def demuxed(
    source: Source, container: InputContainer, stream: Stream, beside: Collection[Stream]
) -> Iterator[Packet[Stream]]:
    """The packets of streams of a container.

    FFmpeg's demuxer of Ogg gives up where Vorbis has another rate, or Opus other channels, than in the first
    link: there another one begins. Its stamps are in its own unit, a sample; see `SampleClock`. It gives up
    in a hole, too, but goes on from there when it is asked again.

    Raises:
        FFmpegError: the container breaks off.
    """
    begins_at = at = barren = 0
    packets = container.demux(stream, *beside)
    with ExitStack() as files:
        while True:
            try:
                for packet in packets:
                    at, barren = max(at, begins_at + (packet.pos or 0)), 0
                    yield packet
                return
            except av.error.InvalidDataError:
                barren += 1
                if container.format.name != "ogg" or barren > _MOST_BARREN:
                    raise
                packets = container.demux(stream, *beside)
            except av.error.PatchWelcomeError as gave_up:
                if container.format.name != "ogg" or stream.type != "audio":
                    raise
                file = files.enter_context(source.open())
                try:
                    begins_at = at = _next_link(file, at)
                    rest = open_rest(cast("BinaryIO", _Rest(file)), source.name)
                except (EOFError, MediaError):
                    raise gave_up from None
                following = choose_stream(rest, "audio")
                if following is None:
                    raise
                container, stream, beside = rest, following, ()
                packets = container.demux(stream)


def _next_link(file: BinaryIO, page_at: int) -> int:
    """Moves to the first page after that at `page_at` that begins a stream; where it lies.

    Raises:
        EOFError: there is none.
    """
    is_next = False
    while True:
        file.seek(page_at)
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not head.startswith(_PAGE):
            raise EOFError("no page of Ogg where one ends")
        if is_next and head[5] & _FIRST:
            file.seek(page_at)
            return page_at
        page_at, is_next = page_at + _HEAD_BYTES + head[-1] + sum(file.read(head[-1])), True


class _Rest(io.RawIOBase):
    """What follows in a file. It cannot seek: FFmpeg then looks for nothing at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)
