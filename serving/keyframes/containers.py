"""One keyframe, one Matroska file in memory: what DALI's video decoder takes.

Several keyframes in one file would be decoded one after the other by one decoder, and an open GOP
remuxed so came back with 3 of 8 frames and wrong times. A file of a single frame has no such state, and
its frame 0 is the only index there is to ask for. DALI hung on VP9 in AVI; Matroska is all it is given.

The file is written here because PyAV's muxer takes headers from an opened stream or encoder only, and a
clip has neither. Element numbers are those of RFC 9559.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resonance.clients.media.types import Clip
from resonance.serving.keyframes.headers import keyframe_header
from resonance.serving.keyframes.units import Header

#: Matroska's codec ids by FFmpeg's names.
CODEC_IDS = {
    "h264": b"V_MPEG4/ISO/AVC",
    "hevc": b"V_MPEGH/ISO/HEVC",
    "vp9": b"V_VP9",
    "vp8": b"V_VP8",
    "mpeg4": b"V_MPEG4/ISO/ASP",
    "mjpeg": b"V_MJPEG",
}
#: FFmpeg's pixel format of samples from 0 to 255.
FULL_RANGE_FORMAT = "yuvj420p"
FEWEST_BYTES = 4096
_VOID = 0xEC  # EBML's element for bytes to be skipped (RFC 8794, 11.3.3)
_VOID_HEAD_BYTES = 9  # its id, and a size in 8 bytes
_FRAME_NS, _TICK_NS = 40_000_000, 1_000_000


def keyframe_file(clip: Clip, data: bytes, header: Header | None = None) -> bytes:
    """A Matroska file that holds packet `data` of `clip`'s stream as its only frame.

    H.264 and HEVC with start codes are put in as they are: FFmpeg's demuxer hands them on unchanged, and so
    does it with MPEG-4. Parameter sets that only the extradata have are put before such a packet.

    Args:
        header: of that packet, where the caller has read it already.

    Raises:
        KeyError: a codec that is not among `CODEC_IDS`.
    """
    header = header or keyframe_header(clip.codec, clip.extradata, data)
    if header is not None and header.wants_extradata:
        data = clip.extradata + data
    head = _element(
        0x1A45DFA3,  # EBML
        _number(0x4286, 1) + _number(0x42F7, 1) + _number(0x42F2, 4) + _number(0x42F3, 8),
        _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2),
    )
    info = _element(
        0x1549A966,
        _number(0x2AD7B1, _TICK_NS) + _element(0x4489, struct.pack(">d", _FRAME_NS / _TICK_NS)),
        _element(0x4D80, b"resonance") + _element(0x5741, b"resonance"),
    )
    video = _number(0xB0, clip.width_px) + _number(0xBA, clip.height_px)
    if clip.pixel_format == FULL_RANGE_FORMAT or (header is not None and header.full_range):
        video += _element(0x55B0, _number(0x55B9, 2))  # Colour, Range: full
    track = _element(
        0xAE,
        _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _number(0x23E383, _FRAME_NS),
        _element(0x86, CODEC_IDS[clip.codec]),
        _element(0x63A2, clip.extradata) if clip.extradata else b"",
        _element(0xE0, video),
    )
    block = b"\x81\x00\x00\x80" + data  # track 1, time 0, a keyframe
    cluster = _element(0x1F43B675, _number(0xE7, 0), _element(0xA3, block))
    return head + _element(0x18538067, info, _element(0x1654AE6B, track), cluster)


def file_rows(files: Sequence[bytes]) -> NDArray[np.uint8]:
    """Files as rows uint8 [N, n] of one length n, a power of two, so that requests often share a shape
    and Triton joins them. What is left of a row is a void element, which demuxers skip."""
    longest = max(len(f) for f in files) + _VOID_HEAD_BYTES
    length = max(FEWEST_BYTES, 1 << (longest - 1).bit_length())
    rows = np.zeros((len(files), length), np.uint8)
    for row, file in zip(rows, files, strict=True):
        row[: len(file)] = np.frombuffer(file, np.uint8)
        head = bytes([_VOID]) + _size(length - len(file) - _VOID_HEAD_BYTES)
        row[len(file) : len(file) + _VOID_HEAD_BYTES] = np.frombuffer(head, np.uint8)
    return rows


def _element(identifier: int, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + _size(len(payload)) + payload


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _size(length: int) -> bytes:
    """In 8 bytes, the longest form there is."""
    return (length | 1 << 56).to_bytes(8, "big")
