"""Which keyframes DALI gets: of streams that NVDEC decodes as they are, and whole by the look of them.

One broken packet fails the batch of all that are decoded with it, so what can be seen without decoding
is looked at first. What is turned down here goes to PyAV, which decides whether it holds a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from resonance.clients.media.picture import UNSPECIFIED
from resonance.clients.media.types import Clip
from resonance.serving.keyframes.colour import LUMA_WEIGHTS

#: What every NVDEC decodes of the codecs sent there: 8 bits, 4:2:0. Hopper's has no 10-bit H.264.
PIXEL_FORMATS = frozenset(("yuv420p", "yuvj420p"))
#: Smallest and largest (width, height) of NVDEC by codec, from the support matrix of NVIDIA's Video Codec
#: SDK for Volta and later; Rec. H.264's own limit is higher.
SIZES = {
    "h264": ((48, 16), (4096, 4096)),
    "hevc": ((144, 144), (8192, 8192)),
    "vp9": ((128, 128), (8192, 8192)),
    "vp8": ((48, 16), (4096, 4096)),
    "mpeg4": ((48, 16), (2032, 2032)),
    "mjpeg": ((64, 64), (8192, 8192)),
}
_H264_SLICE, _H264_IDR = frozenset((1, 5)), 5
_HEVC_SLICE = range(32)
_HEVC_RANDOM_ACCESS = range(16, 22)


def takes(clip: Clip, codecs: Collection[str]) -> bool:
    """Whether a stream such as `clip`'s may go to DALI, which here knows `codecs`.

    A clip whose sender did not say its pixel format does not.
    """
    if clip.codec not in codecs or clip.codec not in SIZES or clip.pixel_format not in PIXEL_FORMATS:
        return False
    if clip.colour_matrix != UNSPECIFIED and clip.colour_matrix not in LUMA_WEIGHTS:
        return False
    smallest, largest = SIZES[clip.codec]
    return smallest[0] <= clip.width_px <= largest[0] and smallest[1] <= clip.height_px <= largest[1]


def looks_whole(clip: Clip, data: bytes) -> bool:
    """Whether packet `data` has the frame of a keyframe that stands alone, as far as its headers say."""
    return _LOOKS[clip.codec](clip.extradata, data)


def _h264(extradata: bytes, data: bytes) -> bool:
    """Every unit ends where it should and the slices are IDR: others may need what is not there."""
    units = list(_units(data, _length_bytes(extradata, 4)))
    kinds = [unit[0] & 0x1F for unit in units if unit]
    slices = [kind for kind in kinds if kind in _H264_SLICE]
    return bool(slices) and len(kinds) == len(units) and set(slices) == {_H264_IDR}


def _hevc(extradata: bytes, data: bytes) -> bool:
    units = list(_units(data, _length_bytes(extradata, 21)))
    kinds = [unit[0] >> 1 & 0x3F for unit in units if len(unit) > 1]
    slices = [kind for kind in kinds if kind in _HEVC_SLICE]
    return bool(slices) and len(kinds) == len(units) and all(k in _HEVC_RANDOM_ACCESS for k in slices)


def _vp9(extradata: bytes, data: bytes) -> bool:
    """Frame marker, profile 0, no repeated frame, a keyframe, and its sync code (VP9 bitstream, 6.2)."""
    return len(data) > 10 and data[0] & 0b1111_1100 == 0b1000_0000 and data[1:4] == b"\x49\x83\x42"


def _vp8(extradata: bytes, data: bytes) -> bool:
    """A keyframe whose first partition lies within the packet (RFC 6386, 9.1)."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return False
    return int.from_bytes(data[:3], "little") >> 5 <= len(data) - 10


def _mpeg4(extradata: bytes, data: bytes) -> bool:
    """It holds a picture (ISO/IEC 14496-2, 6.2.5), and the first is intra."""
    start = data.find(b"\x00\x00\x01\xb6")
    return 0 <= start < len(data) - 5 and data[start + 4] >> 6 == 0


def _mjpeg(extradata: bytes, data: bytes) -> bool:
    return data.startswith(b"\xff\xd8") and data.rstrip(b"\x00").endswith(b"\xff\xd9")


_LOOKS: dict[str, Callable[[bytes, bytes], bool]] = {
    "h264": _h264,
    "hevc": _hevc,
    "vp9": _vp9,
    "vp8": _vp8,
    "mpeg4": _mpeg4,
    "mjpeg": _mjpeg,
}


def _length_bytes(extradata: bytes, at: int) -> int:
    """Bytes of a unit's length where extradata is an avcC or hvcC record; 0 where units are found by
    start codes (ISO/IEC 14496-15, 5.3.3 and 8.3.3)."""
    return (extradata[at] & 3) + 1 if len(extradata) > at and extradata[0] == 1 else 0


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The first bytes of every NAL unit; an empty one where a unit reaches beyond the packet."""
    if not length_bytes:
        parts = data.split(b"\x00\x00\x01")
        yield from (part[:2] for part in parts[1:] if part)
        return
    at = 0
    while at < len(data):
        start = at + length_bytes
        size = int.from_bytes(data[at:start], "big")
        if not size or start + size > len(data):
            yield b""
            return
        yield data[start : start + 2]
        at = start + size
