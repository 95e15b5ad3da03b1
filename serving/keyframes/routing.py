"""Which keyframes DALI gets: of streams that NVDEC decodes as they are, and whole by their headers.

One broken packet fails the batch of all that are decoded with it, so what can be seen without decoding
is looked at first. What is turned down here goes to PyAV, which decides whether it holds a picture.
"""

from __future__ import annotations

from collections.abc import Collection

from resonance.clients.media.picture import FULL_RANGE, UNSPECIFIED
from resonance.clients.media.types import Clip
from resonance.serving.keyframes.colour import LUMA_WEIGHTS
from resonance.serving.keyframes.headers import keyframe_header
from resonance.serving.keyframes.units import Header

#: What every NVDEC decodes of the codecs sent there: 8 bits, 4:2:0. Hopper's has no 10-bit H.264.
PIXEL_FORMATS = frozenset(("yuv420p", "yuvj420p"))
#: Smallest (width, height) of NVDEC by codec, from the support matrix of NVIDIA's Video Codec SDK for Volta
#: and later, and largest: its own for MPEG-4 part 2; 4096 for the others, of which it knows some up to 8192,
#: for DALI holds several frames of a sample at once (see `remote`). All are even.
SIZES = {
    "h264": ((48, 16), (4096, 4096)),
    "hevc": ((144, 144), (4096, 4096)),
    "vp9": ((128, 128), (4096, 4096)),
    "vp8": ((48, 16), (4096, 4096)),
    "mpeg4": ((48, 16), (2032, 2032)),
    "mjpeg": ((64, 64), (4096, 4096)),
}
#: NVDEC's support matrix limits MPEG-4 part 2 in this, too.
MPEG4_MACROBLOCKS, _MACROBLOCK_PX = 8192, 16
#: DALI keeps a decoder under the size that is shown and looks for one under the size that is coded, so a
#: film that fills whole macroblocks gets the decoder of one that is cropped to less, or the other way
#: round. Cropped are 180, 270, 360, 540 and 1080 lines: what they are coded as is not sent. Of films
#: upright on a phone that holds for the width.
CODED_LINES = frozenset((192, 272, 368, 544, 1088))
_CROPPED = frozenset(("h264", "mpeg4"))  # coded in macroblocks of 16 pixels


def takes(clip: Clip, codecs: Collection[str]) -> bool:
    """Whether a stream such as `clip`'s may go to DALI, which here knows `codecs`.

    A clip whose sender did not say its pixel format does not.
    """
    if clip.codec not in codecs or clip.codec not in SIZES or clip.pixel_format not in PIXEL_FORMATS:
        return False
    if clip.colour_range == FULL_RANGE and clip.pixel_format == "yuv420p" and clip.codec != "vp9":
        return False  # NVDEC goes by the pictures' headers; VP9's alone state it without another format
    if clip.colour_matrix != UNSPECIFIED and clip.colour_matrix not in LUMA_WEIGHTS:
        return False
    width_px, height_px = clip.width_px, clip.height_px
    if width_px % 2 or height_px % 2:  # NVDEC's surfaces are even, and DALI writes blocks of 2x2 pixels
        return False
    if clip.codec in _CROPPED and CODED_LINES & {height_px, min(width_px, height_px)}:
        return False
    if clip.codec == "mpeg4" and _macroblocks(width_px) * _macroblocks(height_px) > MPEG4_MACROBLOCKS:
        return False
    smallest, largest = SIZES[clip.codec]
    return smallest[0] <= width_px <= largest[0] and smallest[1] <= height_px <= largest[1]


def whole_header(clip: Clip, data: bytes) -> Header | None:
    """The header of packet `data` where it has the frame of a keyframe that stands alone, of `clip`'s size.

    Raises:
        KeyError: a codec that is not among `SIZES`.
    """
    header = keyframe_header(clip.codec, clip.extradata, data)
    if header is None or (header.width_px, header.height_px) != (clip.width_px, clip.height_px):
        return None
    return header


def _macroblocks(length_px: int) -> int:
    return -(-length_px // _MACROBLOCK_PX)
