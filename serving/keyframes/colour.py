"""DALI turns YUV into RGB by Rec. 601, whatever the stream is tagged with; here is what puts it right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from resonance.clients.media.picture import HD_LINES, UNSPECIFIED

#: Weights of red and blue in luma by matrix coefficients of ITU-T H.273, table 4.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # Rec. 709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # Rec. 601, 625 lines
    6: (0.299, 0.114),  # Rec. 601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # Rec. 2020, not constant luminance
}
REC_601, REC_709 = 6, 1
#: Codecs that know no other matrix (RFC 6386, 9.2; JFIF 1.02), whatever a container says.
ALWAYS_601 = frozenset(("vp8", "mjpeg"))


def matrix_of(codec: str, tag: int, height_px: int) -> int:
    """The matrix that a stream of `tag` is to be read by; untagged ones as players take them."""
    if codec in ALWAYS_601:
        return REC_601
    if tag != UNSPECIFIED:
        return tag
    return REC_709 if height_px >= HD_LINES else REC_601


def correction(codec: str, tag: int, height_px: int) -> NDArray[np.float32]:
    """The matrix fp32 [3, 3] by which RGB columns made with Rec. 601 become those of the stream's own.

    The range of the samples cancels out: it scales luma and chroma alike in both.

    Raises:
        KeyError: a matrix that is not among `LUMA_WEIGHTS`.
    """
    theirs = _from_rgb(*LUMA_WEIGHTS[REC_601])
    own = _from_rgb(*LUMA_WEIGHTS[matrix_of(codec, tag, height_px)])
    return (np.linalg.inv(own) @ theirs).astype(np.float32)


def _from_rgb(red: float, blue: float) -> NDArray[np.float64]:
    """RGB to Y, Cb, Cr (H.273, 8.3: equations 38 to 40)."""
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    cr = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([luma, cb, cr])
