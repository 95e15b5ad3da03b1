"""Errors of what is sent name it in the words of the proto: callers in other languages know no others."""

from __future__ import annotations

from typing import Any

import pytest

import resonance.v1.embedding_pb2 as pb
from resonance.clients.errors import InvalidFieldError
from resonance.serving.gateway.intake import FeedIntake, FileIntake

NOTHING_BEHIND: Any = None
RAW = "expected frame, sound, cue or mark, with this mode"


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (pb.EmbedMediaRequest(), f"message: nothing; {RAW}"),
        (pb.EmbedMediaRequest(chunk=pb.Chunk(data=b"1")), f"message: chunk; {RAW}"),
        (
            pb.EmbedMediaRequest(sound=pb.Sound(sample_rate_hz=8000, channels=1, data=b"12")),
            "sound.format: 0; expected SAMPLE_FORMAT_S16LE or SAMPLE_FORMAT_F32LE",
        ),
        (
            pb.EmbedMediaRequest(frame=pb.Frame(width_px=2, height_px=2, rgb=b"1" * 16)),
            "frame.rgb: 16 bytes; expected 12 = 2 x 2 x 3, without padding",
        ),
    ],
)
async def test_what_is_wrong_in_a_feed_is_named(message: pb.EmbedMediaRequest, wrong: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await FeedIntake(NOTHING_BEHIND).take(message)
    assert str(refused.value) == wrong


async def test_what_is_no_chunk_of_a_file_is_named() -> None:
    for message, came in ((pb.EmbedMediaRequest(), "nothing"), (pb.EmbedMediaRequest(cue=pb.Cue()), "cue")):
        with pytest.raises(InvalidFieldError) as refused:
            await FileIntake(NOTHING_BEHIND).take(message)
        assert str(refused.value) == f"message: {came}; expected chunk, with this mode"
