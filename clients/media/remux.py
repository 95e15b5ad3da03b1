"""What an address on the network sends, as one stream of bytes: repacked, not decoded."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from resonance.clients.errors import NotMediaError
from resonance.clients.media.joined_clock import JoinedClock

#: Kinds of addresses; playlists (HLS) are found behind http.
SCHEMES = ("rtsp", "rtmp", "rtmps", "http", "https", "udp", "tcp")
#: What FFmpeg may open for one, also where a playlist names others: no files of this machine.
_PROTOCOLS = ",".join((*SCHEMES, "rtp", "tls", "crypto", "httpproxy"))
#: Longest wait for the sender: until it is known what it sends, and for each packet.
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 20.0, 30.0
#: Codecs that MPEG-TS carries; others go in Matroska, which as a live stream takes no AAC out of MPEG-TS.
_IN_MPEG_TS = {
    *("h264", "hevc", "mpeg2video", "mpeg4"),
    *("aac", "mp3", "mp2", "ac3", "eac3", "opus"),
}
#: A cluster of Matroska is sent when it is whole.
CLUSTER_MS = 500


def is_address(source: object) -> bool:
    """Whether it names something on the network, such as ``rtsp://camera/1``."""
    return isinstance(source, str) and "://" in source


def told_address(url: str) -> str:
    """An address as results, errors and logs may have it: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Remuxed:
    """The pictures and the sound at `url`, as they come, to be read from `pipe`. Close it in the end.

    They are in MPEG-TS, or in Matroska where one of them cannot be.

    Attributes:
        fault: once `pipe` has ended, what the stream ended with before its end.

    Args:
        name: for errors, see `told_address`.

    Raises:
        NotMediaError: another kind of address, no answer, or neither pictures nor sound. Blocks until then.
    """

    def __init__(self, url: str, name: str) -> None:
        self.fault: NotMediaError | None = None
        self._name = name
        scheme = urlsplit(url).scheme.lower()
        if scheme not in SCHEMES:
            raise NotMediaError(name, f"an address of '{scheme}'", " or ".join(f"{s}://" for s in SCHEMES))
        options = {"protocol_whitelist": _PROTOCOLS, "rtsp_transport": "tcp"}
        try:
            self._input = av.open(url, options=options, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
        except _FAULTS as error:
            came = f"it cannot be opened ({_said(error)})"
            raise NotMediaError(name, came, "an address that sends media") from error
        streams = [s for s in self._input.streams if s.type in ("video", "audio") and s.codec_context]
        if not streams:
            self._input.close()
            raise NotMediaError(name, "neither pictures nor sound", "an address that sends some of them")
        reading, writing = os.pipe()
        self.pipe: BinaryIO = os.fdopen(reading, "rb")
        sent = os.fdopen(writing, "wb", buffering=0)
        writer = threading.Thread(
            target=self._write, args=(sent, streams), name="resonance-remux", daemon=True
        )
        writer.start()

    def close(self) -> None:
        """Who writes is told by its next write, and ends."""
        self.pipe.close()

    def _write(self, pipe: BinaryIO, streams: list[Stream]) -> None:
        with pipe, self._input:
            try:
                with _opened(pipe, streams) as target:
                    _repack(self._input, target, streams)
            except _FAULTS as error:
                if not self.pipe.closed:
                    came = f"it broke off ({_said(error)})"
                    self.fault = NotMediaError(self._name, came, "a stream that goes on")


_FAULTS = (av.FFmpegError, OSError, ValueError)


def _opened(pipe: BinaryIO, streams: list[Stream]) -> OutputContainer:
    if {s.codec_context.name for s in streams} <= _IN_MPEG_TS:
        return av.open(pipe, "w", format="mpegts")
    return av.open(pipe, "w", format="matroska", options={"live": "1", "cluster_time_limit": str(CLUSTER_MS)})


def _repack(source: InputContainer, target: OutputContainer, streams: list[Stream]) -> None:
    """Packets of `streams` as they come, on clocks that go on where they begin anew, as where a sender was
    started again; those without a time, or behind the one before, are left out."""
    written = {s.index: target.add_stream_from_template(s, opaque=True) for s in streams}
    clocks = {s.index: JoinedClock(s.time_base, lambda: None) for s in streams}
    last_dts: dict[int, int] = {}
    for arrived in source.demux(streams):
        for packet in clocks[arrived.stream_index].put(arrived):
            if packet.dts is None or packet.dts <= last_dts.get(packet.stream_index, packet.dts - 1):
                continue
            last_dts[packet.stream_index] = packet.dts
            packet.stream = written[packet.stream_index]
            target.mux(packet)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
