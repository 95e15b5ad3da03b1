"""The DALI pipeline of `keyframe_decoder`: a file of one frame to a picture of the space's geometry.

The backend `resonance_dali` runs what is marked here, at its own batch size and with its own threads.
"""

import json
from pathlib import Path

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

SPACE = Path(__file__).resolve().parents[2] / "space_descriptor" / "1" / "space.json"
FILTERS = {"bilinear": types.DALIInterpType.INTERP_LINEAR, "bicubic": types.DALIInterpType.INTERP_CUBIC}


@autoserialize
@pipeline_def(batch_size=64, num_threads=4, device_id=0, prefetch_queue_depth=1)
def keyframes(device="mixed"):
    """ENCODED uint8 [n], COLOUR fp32 [3, 3] -> PICTURE uint8 [H, W, 3]."""
    geometry = json.loads(SPACE.read_text(encoding="utf-8"))["frames"]
    height, width = geometry["height"], geometry["width"]
    encoded = fn.external_source(name="ENCODED", device="cpu", dtype=types.UINT8, ndim=1)
    colour = fn.external_source(name="COLOUR", device="cpu", dtype=types.FLOAT, ndim=2)
    # pad_mode: without it an index that the file does not have gives a black frame and no error.
    frames = fn.decoders.video(encoded, device=device, frames=[0], pad_mode="none")  # (1, h, w, 3)
    scaled = fn.resize(
        frames,
        size=[height, width],
        interp_type=FILTERS[geometry["interpolation"]],
        antialias=True,
        dtype=types.FLOAT,
    )
    columns = fn.reshape(scaled, shape=[height * width, 3])
    corrected = fn.coord_transform(columns, M=colour)  # DALI knows Rec. 601 alone
    # Colours beyond what Rec. 601 can show came back clipped. What the clipped channel was lies between
    # what the correction makes of the clipped value and the end of the range: the middle is taken.
    dark = fn.cast(columns < 0.5, dtype=types.FLOAT)
    bright = fn.cast(columns > 254.5, dtype=types.FLOAT)
    likely = corrected * (1.0 - 0.5 * dark) + 0.5 * bright * (255.0 - corrected)
    saturated = fn.cast(likely, dtype=types.UINT8)  # rounds, and clips to 0..255
    return fn.reshape(saturated, shape=[height, width, 3], layout="HWC", name="PICTURE")
