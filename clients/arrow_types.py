"""Arrow types of results, which files and stores share."""

from __future__ import annotations

import pyarrow as pa

from resonance.space.descriptor import MODALITIES, TITLE_WIDTH

VECTOR = pa.list_(pa.float32(), TITLE_WIDTH)
PRESENT = pa.struct([(m, pa.bool_()) for m in MODALITIES])
SIGNAL = pa.struct([("value", pa.float64()), ("method", pa.string()), ("confidence", pa.float64())])
AXIS = pa.struct([("value", pa.float64()), ("low", pa.string()), ("high", pa.string())])
DAMAGE = pa.struct(
    [
        ("unreadable_packets", pa.int64()),
        ("missing_s", pa.float64()),
        ("late_frames", pa.int64()),
        ("late_sound_s", pa.float64()),
        ("late_cues", pa.int64()),
    ]
)
