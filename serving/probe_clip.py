"""The smallest media that decoding models accept: what readiness sends through them."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE_PX = 64
#: VP9 is what DALI decodes on the CPU and NVDEC on the GPU; of 128 pixels, NVDEC's least.
VP9_SIDE_PX = 128


@functools.cache
def probe_clip() -> bytes:
    """One grey 64x64 MPEG-4 picture as a serialised `resonance.v1.Clip`."""
    import av

    from resonance.v1.clip_pb2 import Clip, ClipPacket

    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width = encoder.height = SIDE_PX
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    grey = np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8)
    picture = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
    picture.pts = 0
    packets = [bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None))]
    return Clip(
        codec="mpeg4",
        extradata=encoder.extradata or b"",
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        packets=[ClipPacket(time_s=0.0, data=data) for data in packets if data],
        frame_bucket=4,
    ).SerializeToString()


@functools.cache
def probe_keyframe() -> npt.NDArray[Any]:
    """One grey VP9 keyframe in Matroska, padded, uint8 [n]: what the model `keyframe_decoder` takes."""
    import av

    from resonance.clients.media.types import Clip
    from resonance.serving.keyframes.containers import file_rows, keyframe_file

    encoder = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width = encoder.height = VP9_SIDE_PX
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    grey = np.full((VP9_SIDE_PX, VP9_SIDE_PX, 3), 128, np.uint8)
    picture = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
    picture.pts = 0
    data = next(bytes(p) for p in (*encoder.encode(picture), *encoder.encode(None)) if p.size)
    clip = Clip("vp9", b"", VP9_SIDE_PX, VP9_SIDE_PX, 0, (1, 1), (), frame_bucket=1)
    row: npt.NDArray[Any] = file_rows([keyframe_file(clip, data)])[0]
    return row
