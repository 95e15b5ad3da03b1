"""A small valid descriptor to vary."""

from __future__ import annotations

from typing import Any

from resonance.space.descriptor import (
    BLOCK_WIDTH,
    MODALITIES,
    Blocks,
    Descriptor,
    EncoderSource,
    FrameGeometry,
    Fusion,
    Sampling,
    Segmenting,
    SignalSpec,
    Sound,
    Transcript,
)


def make_descriptor(**changes: Any) -> Descriptor:
    """A valid descriptor, with `changes` to its fields."""
    fields: dict[str, Any] = {
        "schema_version": 1,
        "name": "test",
        "trained": False,
        "blocks": Blocks(BLOCK_WIDTH, MODALITIES),
        "segment": Segmenting(8.0, 1.0, 256),
        "frames": FrameGeometry(224, 224, "stretch", "bilinear", "stream"),
        "sampling": Sampling("keyframes", 1, 4, 16, 2.0, 4.0),
        "sound": Sound(16_000, 128_000, "libswresample", -70.0),
        "transcript": Transcript("bytes", 256, (32, 256)),
        "fusion": Fusion(1024, "mean", "attention"),
        "encoders": {"visual_encoder": EncoderSource("here", "Apache-2.0", "0" * 64, {"mean": [0.5]})},
        "sigmas": {q: dict.fromkeys(MODALITIES, 1.0) for q in MODALITIES},
        "signals": {"visual": (SignalSpec("brightness", "luma"),), "audio": ()},
    }
    return Descriptor(**{**fields, **changes})
