"""A space for the media readers' tests, and their ways of reading a title to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from resonance.clients.media.clip import decode_clip
from resonance.clients.media.reader import MediaReader, open_media
from resonance.clients.media.types import Clip, Frames, Limits, SegmentInput
from resonance.space.descriptor import (
    MODALITIES,
    SCHEMA_VERSION,
    Blocks,
    Descriptor,
    FrameGeometry,
    Fusion,
    Sampling,
    Segmenting,
    Sound,
    Transcript,
)

ReadAll = Callable[..., list[SegmentInput]]


def make_descriptor() -> Descriptor:
    """The geometry and sampling of design.md; encoders and signals play no part in reading."""
    return Descriptor(
        schema_version=SCHEMA_VERSION,
        name="test",
        trained=False,
        blocks=Blocks(width=596, order=MODALITIES),
        segment=Segmenting(length_s=8.0, min_tail_s=1.0, text_tokens=256),
        frames=FrameGeometry(224, 224, resize="stretch", interpolation="bilinear", colour_matrix="stream"),
        sampling=Sampling("keyframes", 1, 4, 16, uniform_fps=2.0, borrow_within_s=4.0),
        sound=Sound(16_000, 128_000, resampler="swresample", silence_dbfs=-70.0),
        transcript=Transcript(tokenizer="bytes", max_tokens=256, token_buckets=(64, 256)),
        fusion=Fusion(max_segments=1024, absent_blocks="inferred", pooling="attention"),
        encoders={},
        sigmas={query: dict.fromkeys(MODALITIES, 1.0) for query in MODALITIES},
        signals={},
    )


@pytest.fixture(scope="session")
def descriptor() -> Descriptor:
    """See `make_descriptor`."""
    return make_descriptor()


@pytest.fixture
def open_title(descriptor: Descriptor) -> Callable[..., MediaReader]:
    """`open_media` with the tests' space."""

    def opened(source: str | Path | bytes | BinaryIO, **options: Any) -> MediaReader:
        return open_media(source, descriptor, **options)

    return opened


@pytest.fixture
def read_all(open_title: Callable[..., MediaReader]) -> ReadAll:
    """All segments of a title."""

    def read(source: str | Path | bytes | BinaryIO, **options: Any) -> list[SegmentInput]:
        options.setdefault("limits", Limits())
        with open_title(source, **options) as reader:
            return list(reader.segments())

    return read


@pytest.fixture
def show(descriptor: Descriptor) -> Callable[[SegmentInput], Frames]:
    """A segment's frames, its clip decoded as the server decodes it."""

    def shown(segment: SegmentInput) -> Frames:
        assert segment.video is not None
        if isinstance(segment.video, Clip):
            return decode_clip(segment.video, descriptor.frames)
        return segment.video

    return shown
