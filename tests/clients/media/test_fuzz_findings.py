"""What fuzzing found in the readers, each by a small input made here; see docs/fuzzing.md."""

from __future__ import annotations

import io
import time
import wave
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from resonance.clients.errors import CorruptMediaError, MediaLimitError
from resonance.clients.media.clip import clip_from_bytes, clip_to_bytes
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.reader import open_media
from resonance.clients.media.sound import LOUDEST
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Clip, Limits, Packet
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


@pytest.mark.parametrize(("name", "number"), [("colour_matrix", 256), ("colour_range", 3)])
def test_a_clip_of_colours_that_there_are_not_is_refused(name: str, number: int) -> None:
    clip = Clip("h264", b"", 16, 16, 0, (1, 1), (Packet(0.0, b"x"),), 1, "yuv420p")
    with pytest.raises(ValueError, match=rf"CLIP.{name} is {number}; expected 0 to {number - 1}"):
        clip_from_bytes(clip_to_bytes(replace(clip, **{name: number})))


@pytest.mark.parametrize("loudest", [3e38, -3e38, float("inf"), float("nan")])
def test_sound_beyond_all_bounds_reaches_the_models_bounded(descriptor: Descriptor, loudest: float) -> None:
    """Finite samples of 1e30 overflow in the encoder, which then failed as if the fault was the server's."""
    rate_hz = descriptor.sound.sample_rate_hz
    samples = np.sin(np.arange(2 * rate_hz) * 0.1).astype("<f4")
    samples[rate_hz : rate_hz + 500] = loudest
    head = b"fmt " + (16).to_bytes(4, "little") + (3).to_bytes(2, "little") + (1).to_bytes(2, "little")
    head += rate_hz.to_bytes(4, "little") + (4 * rate_hz).to_bytes(4, "little") + b"\x04\x00\x20\x00"
    body = head + b"data" + (4 * samples.size).to_bytes(4, "little") + samples.tobytes()
    data = b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body
    with open_media(data, descriptor, name="loud.wav") as reader:
        (segment,) = reader.segments()
    assert segment.pcm is not None
    assert np.isfinite(segment.pcm.samples).all()
    assert np.abs(segment.pcm.samples).max() <= LOUDEST
    assert np.abs(segment.pcm.samples[: rate_hz // 2]).max() == pytest.approx(1.0, abs=0.01)


def _sparse_sound(count: int, apart: int) -> bytes:
    """Matroska with packets of a tenth of a second, `apart` seconds apart."""
    made = io.BytesIO()
    with av.open(made, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000)
        stream.layout = "mono"
        for number in range(count):
            packet = av.Packet(b"\x00\x10" * 800)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = number * apart * 1000
            container.mux(packet)
    return made.getvalue()


def test_a_small_file_cannot_claim_years_that_have_to_be_walked_through(descriptor: Descriptor) -> None:
    """32 KB of sound whose packets lay hours apart kept a reader busy for half a minute."""
    data = _sparse_sound(3000, apart=3600)
    started = time.monotonic()
    limits = Limits(max_media_s=24 * 3600.0)
    with (
        open_media(data, descriptor, name="sparse", limits=limits) as reader,
        pytest.raises(MediaLimitError, match="sound or pictures after 86,400 s"),
    ):
        list(reader.segments())
    assert time.monotonic() - started < 2
    few = _sparse_sound(30, apart=3600)  # what is broken now and then is not the end
    with open_media(few, descriptor, name="few", limits=limits) as reader:
        assert len(list(reader.segments())) > 20


class _Rewritten(MediaSource):
    """A file that was written over after it was opened for the first times."""

    def __init__(self, first: bytes, then: bytes, opened: int) -> None:
        self._then, self._left = then, opened
        super().__init__(first, name="rewritten", limits=Limits())

    def open(self) -> BinaryIO:
        self._left -= 1
        return super().open() if self._left >= 0 else io.BytesIO(self._then)


def test_a_stream_that_is_gone_when_it_is_read_is_a_typed_error(descriptor: Descriptor) -> None:
    """Chunks of an upload may overlap: what was probed may not be there any more."""
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setparams((1, 2, 16_000, 16_000, "NONE", ""))
        sound.writeframes(bytes(32_000))
    pictures = io.BytesIO()
    with av.open(pictures, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(48, 32, "yuv420p")))
        container.mux(stream.encode(None))
    # opened for its size, to see whether it is a picture, to be probed, and only then to be read
    source = _Rewritten(made.getvalue(), pictures.getvalue(), opened=3)
    with (
        open_media(source, descriptor) as reader,
        pytest.raises(
            CorruptMediaError, match="no audio where there was one before; expected bytes that stay"
        ),
    ):
        list(reader.segments())
