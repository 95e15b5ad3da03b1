"""What fuzzing found in the readers, each by a small input made here; see docs/fuzzing.md."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from resonance.clients.media.clip import clip_from_bytes, clip_to_bytes
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import Clip, Packet
from resonance.space.descriptor import Descriptor


@pytest.fixture
def grey() -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((32 * 3 // 2, 48), 128, np.uint8), format="yuv420p")


@pytest.mark.parametrize("matrix", range(20))
def test_a_frame_is_converted_whatever_matrix_its_tag_names(
    descriptor: Descriptor, grey: av.VideoFrame, matrix: int
) -> None:
    """swscale refuses frames with a reserved number; the server's decoder failed with INTERNAL for it."""
    expected = frame_to_rgb(grey, descriptor.frames, 0, VideoReformatter())
    grey.colorspace = matrix
    shown = frame_to_rgb(grey, descriptor.frames, 0, VideoReformatter())
    if matrix:  # 0 is RGB
        assert np.abs(shown.astype(int) - expected).max() <= 1  # grey is grey by every matrix


def test_bt2020_of_constant_luminance_is_not_taken_for_an_untagged_one(
    descriptor: Descriptor, grey: av.VideoFrame
) -> None:
    pixels = grey.to_ndarray()
    pixels[40:] = 200  # a colour, in which matrices differ
    shown = {}
    for matrix in (9, 10, 2):
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.colorspace = matrix
        shown[matrix] = frame_to_rgb(frame, descriptor.frames, 0, VideoReformatter())
    assert (shown[10] == shown[9]).all()
    assert (shown[10] != shown[2]).any()


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_clip_whose_packet_has_no_time_is_refused(time_s: float) -> None:
    """Such times went on to the encoder as they were."""
    clip = Clip("h264", b"", 16, 16, 0, (1, 1), (Packet(0.0, b"x"),), 1)
    assert clip_from_bytes(clip_to_bytes(clip)).packets == clip.packets
    hostile = replace(clip, packets=(Packet(time_s, b"x"),))
    with pytest.raises(ValueError, match=r"CLIP.packets\[0\].time_s is .*; expected"):
        clip_from_bytes(clip_to_bytes(hostile))
