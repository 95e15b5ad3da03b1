"""One keyframe, one Matroska file in memory: what DALI's video decoder takes.

Several keyframes in one file would be decoded one after the other by one decoder, and an open GOP
remuxed so came back with 3 of 8 frames and wrong times. A file of a single frame has no such state, and
its frame 0 is the only index there is to ask for. DALI hung on VP9 in AVI; Matroska is all it is given.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from resonance.clients.media.types import Clip

_VOID = 0xEC  # EBML's element for bytes to be skipped (RFC 8794, 11.3.3)
_VOID_HEAD_BYTES = 9  # its id, and a size in 8 bytes
_TICK = Fraction(1, 1000)
FEWEST_BYTES = 4096


def keyframe_file(clip: Clip, data: bytes) -> bytes:
    """A Matroska file that holds packet `data` of `clip`'s stream as its only frame.

    Raises:
        ValueError: FFmpeg's muxer refuses the packet or the stream's headers.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as container:
            stream = container.add_mux_stream(clip.codec, rate=25, width=clip.width_px, height=clip.height_px)
            if clip.extradata:
                stream.codec_context.extradata = clip.extradata
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, _TICK
            packet.pts = packet.dts = 0
            packet.is_keyframe = True
            container.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(f"a packet of {clip.codec} cannot be put into Matroska ({error})") from error
    return file.getvalue()


def file_rows(files: Sequence[bytes]) -> NDArray[np.uint8]:
    """Files as rows uint8 [N, n] of one length n, a power of two, so that requests often share a shape
    and Triton joins them. What is left of a row is a void element, which demuxers skip."""
    longest = max(len(f) for f in files) + _VOID_HEAD_BYTES
    length = max(FEWEST_BYTES, 1 << (longest - 1).bit_length())
    rows = np.zeros((len(files), length), np.uint8)
    for row, file in zip(rows, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
        left = length - len(file) - _VOID_HEAD_BYTES
        head = bytes([_VOID]) + (left | 1 << 56).to_bytes(8, "big")
        row[len(file) : len(file) + _VOID_HEAD_BYTES] = np.frombuffer(head, np.uint8)
    return rows
