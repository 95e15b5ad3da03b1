"""How far mutated uploads may go, and what must hold of every segment that reading them gives."""

from __future__ import annotations

from resonance.clients.media.types import SegmentInput
from resonance.serving.gateway.reading.limits import ReadLimits
from resonance.space.descriptor import Descriptor

MIB = 1 << 20
LIMITS = ReadLimits(
    max_media_bytes=64 * MIB,
    max_media_s=24 * 3600.0,
    max_picture_pixels=64 * MIB,
    max_video_pixels=16 * MIB,
    stall_timeout_s=5.0,
    memory_bytes=1024 * MIB,
    ahead_bytes=32 * MIB,
)
#: What is taken of one upload; a file may claim to last for days.
MOST_SEGMENTS = 12
#: Segments that are decoded again, as the gateway does where keyframes give no picture.
DECODED_AGAIN = 2


def check_segment(segment: SegmentInput, first_index: int, descriptor: Descriptor) -> None:
    """Raises AssertionError where a segment is not one that the pipeline may be given."""
    assert segment.index >= first_index, "a window before the first one wanted"
    assert segment.video is not None or segment.pcm is not None or segment.text, "a segment of nothing"
    if segment.pcm is not None:
        assert segment.pcm.samples.shape == (descriptor.sound.window_samples,), "sound of another length"
