"""The smallest clip that the model `video_decoder` accepts: what readiness sends through it."""

from __future__ import annotations

import functools
from fractions import Fraction

SIDE_PX = 64


@functools.cache
def probe_clip() -> bytes:
    """One grey 64x64 MPEG-4 picture as a serialised `resonance.v1.Clip`."""
    import av
    import numpy as np

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
