"""What a keyframe's own headers say of its size, and whether a decoder alone will make a picture of it.

DALI takes the size from the file's header and NVDEC from the stream. Where they differ DALI reads outside
of NVDEC's surface, and where NVDEC's parser emits no picture DALI returns memory that nobody wrote. So
every keyframe is read here first, and what cannot be read for certain has no header: it goes to PyAV.
"""

from __future__ import annotations

from collections.abc import Callable

from resonance.serving.keyframes.avc import avc_header
from resonance.serving.keyframes.bits import Bits, MalformedError, need
from resonance.serving.keyframes.hevc import hevc_header
from resonance.serving.keyframes.units import Header

_VOP = b"\x00\x00\x01\xb6"
_VOLS = range(0x20, 0x30)  # start codes of a video object layer (ISO/IEC 14496-2, table 6-3)
_RECTANGULAR, _STATIC_SPRITE, _GMC = 0, 1, 2
_VBV_BITS = 79
_NO_SEGMENT = range(0xD0, 0xDB)  # markers of JPEG without a length, and the one after which samples come
_OTHER_SYNTAX = (14, 15, 18)  # object types: studio profiles and fine granularity have VOLs of their own


def keyframe_header(codec: str, extradata: bytes, data: bytes) -> Header | None:
    """The header of packet `data` of a stream of `codec`, FFmpeg's name.

    None: not a keyframe that stands alone and is shown, of 8 bits 4:2:0, or not for certain.

    Raises:
        KeyError: a codec that is not among `READERS`.
    """
    read = READERS[codec]
    try:
        return read(extradata, data)
    except MalformedError:
        return None


def _vp9(extradata: bytes, data: bytes) -> Header:
    """A shown keyframe of profile 0 (VP9 bitstream specification, 6.2)."""
    bits = Bits(data)
    need(bits.u(6) == 0b10_00_0_0, "no keyframe of profile 0")  # marker, profile, not repeated, a keyframe
    need(bits.flag(), "a frame that is not shown")
    bits.flag()
    need(bits.u(24) == 0x498342, "no sync code")
    need(bits.u(3) != 7, "RGB, which profile 0 does not have")
    full_range = bits.flag()
    width_px, height_px = bits.u(16) + 1, bits.u(16) + 1
    # FFmpeg shows the frame as it is; what NVDEC takes for the display area then is not known.
    need(not bits.flag(), "a size to show that is not the frame's")
    return Header(width_px, height_px, full_range)


def _vp8(extradata: bytes, data: bytes) -> Header:
    """A shown keyframe whose first partition lies within the packet (RFC 6386, 9.1)."""
    need(len(data) > 10, f"{len(data)} bytes; expected more than the 10 of a header")
    tag = int.from_bytes(data[:3], "little")
    need(not tag & 1 and tag >> 1 & 7 <= 3 and bool(tag >> 4 & 1), "no shown keyframe of version 0 to 3")
    need(data[3:6] == b"\x9d\x01\x2a", "no start code")
    need(tag >> 5 <= len(data) - 10, "a partition beyond the packet")
    across, down = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    need(not across >> 14 and not down >> 14, "a picture to be scaled up, which FFmpeg does not do")
    return Header(across, down)


def _mpeg4(extradata: bytes, data: bytes) -> Header:
    """An intra VOP that is coded, after a VOL, which may stand in the extradata (ISO/IEC 14496-2, 6.2.3)."""
    start = data.find(_VOP)
    need(start >= 0, "no VOP")
    own = _vols(data[:start])
    vols = own or _vols(extradata)
    need(len(set(vols)) == 1, f"{len(set(vols))} different VOLs; expected one")
    width_px, height_px, time_bits = vols[0]
    bits = Bits(data[start + len(_VOP) : start + 64])
    need(bits.u(2) == 0, "a first VOP that is not intra")
    while bits.flag():
        pass
    bits.marker()
    bits.u(time_bits)
    bits.marker()
    need(bits.flag(), "a VOP that is not coded")
    return Header(width_px, height_px, wants_extradata=not own)


def _vols(data: bytes) -> list[tuple[int, int, int]]:
    """Width, height and bits of a time increment of every video object layer in `data`."""
    parts = data.split(b"\x00\x00\x01")[1:]
    return [_vol(part[1:]) for part in parts if part and part[0] in _VOLS]


def _vol(body: bytes) -> tuple[int, int, int]:
    """6.2.3, VideoObjectLayer()."""
    bits = Bits(body)
    bits.flag()
    kind = bits.u(8)
    need(kind not in _OTHER_SYNTAX, f"a video object of type {kind}")
    version = 1
    if bits.flag():
        version = bits.u(4)
        bits.u(3)
    if bits.u(4) == 15:  # the pixels' aspect ratio, in full
        bits.u(16)
    if bits.flag():
        need(bits.u(2) == 1, "a chroma format that is not 4:2:0")
        bits.flag()
        if bits.flag():
            bits.u(_VBV_BITS)
    need(bits.u(2) == _RECTANGULAR, "a shape that is not rectangular")
    bits.marker()
    ticks = bits.u(16)
    need(ticks > 0, "a second of 0 ticks")
    time_bits = max(1, (ticks - 1).bit_length())
    bits.marker()
    if bits.flag():
        bits.u(time_bits)
    bits.marker()
    width_px = bits.u(13)
    bits.marker()
    height_px = bits.u(13)
    bits.marker()
    bits.u(2)  # interlaced, overlapped motion compensation
    sprite = bits.u(1 if version == 1 else 2)
    need(sprite in (0, _GMC) if version != 1 else not sprite, f"a sprite of kind {sprite}")
    if sprite == _GMC:
        bits.u(9)
    need(not bits.flag(), "samples that are not of 8 bits")
    return width_px, height_px, time_bits


def _mjpeg(extradata: bytes, data: bytes) -> Header:
    """One picture of 8 bits and three components (ITU-T T.81, B.2.2), from its first marker to its last."""
    need(data[:2] == b"\xff\xd8" and data.rstrip(b"\x00").endswith(b"\xff\xd9"), "no whole JPEG")
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # markers may be preceded by any number of these
            at += 1
        need(data[at : at + 1] == b"\xff" and at + 4 <= len(data), f"no marker at byte {at}")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        need(
            marker >= 0xC0 and marker not in _NO_SEGMENT and length >= 2, f"marker {marker:#x} of {length} B"
        )
        if marker in (0xC0, 0xC1, 0xC2):
            bits = Bits(data[at + 4 : at + 2 + length])
            need(bits.u(8) == 8, "samples that are not of 8 bits")
            height_px, width_px = bits.u(16), bits.u(16)
            need(bits.u(8) == 3, "other than three components")
            return Header(width_px, height_px)
        at += 2 + length


READERS: dict[str, Callable[[bytes, bytes], Header]] = {
    "h264": avc_header,
    "hevc": hevc_header,
    "vp9": _vp9,
    "vp8": _vp8,
    "mpeg4": _mpeg4,
    "mjpeg": _mjpeg,
}
