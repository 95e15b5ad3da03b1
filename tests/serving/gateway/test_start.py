"""The first message, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from resonance.clients.errors import InvalidFieldError
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.start import read_start
from resonance.v1 import embedding_pb2 as pb

LIMITS = GatewayLimits(max_media_bytes=1000, max_subtitle_bytes=10)
SRT = pb.SubtitleFile(format="srt", data=b"1")


def start(**fields: Any) -> pb.EmbedMediaStart:
    return pb.EmbedMediaStart(**({"media_id": "film", "mode": pb.MODE_ENCODED} | fields))


def test_what_is_not_said_is_none() -> None:
    read = read_start(start(), LIMITS)
    assert (read.media_id, read.mode, read.live) == ("film", "encoded", False)
    assert (read.modalities, read.sampling, read.expected_fingerprint, read.idempotency_key) == (None,) * 4
    assert (read.rolling_every, read.size_bytes, read.subtitles) == (None,) * 3


def test_what_is_said_is_read() -> None:
    read = read_start(
        start(
            modalities=[pb.MODALITY_AUDIO],
            sampling=pb.SAMPLING_UNIFORM,
            expected_fingerprint="f" * 64,
            idempotency_key="k",
            live=True,
            size_bytes=7,
            subtitles=SRT,
        ),
        LIMITS,
    )
    assert read.modalities == frozenset({"audio"})
    assert (read.sampling, read.expected_fingerprint, read.idempotency_key) == ("uniform", "f" * 64, "k")
    assert (read.rolling_every, read.size_bytes, read.subtitles) == (8, 7, ("srt", b"1"))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"media_id": "x" * 513}, "start.media_id: 513 bytes; expected at most 512"),
        ({"idempotency_key": "x" * 257}, "start.idempotency_key: 257 bytes"),
        ({"mode": 0}, "start.mode: 0; expected one of MODE_ENCODED"),
        ({"mode": 99}, "start.mode: 99"),
        ({"modalities": [0]}, "start.modalities: 0"),
        ({"sampling": 9}, "start.sampling: 9"),
        ({"mode": pb.MODE_TEXT, "live": True}, "start.live: true with mode text"),
        ({"rolling_title_segments": 3}, "start.rolling_title_segments: set without live"),
        (
            {"expected_fingerprint": "1a06db3c10ce"},
            "start.expected_fingerprint: '1a06db3c10ce'; expected all 64",
        ),
        ({"size_bytes": 1001}, "start.size_bytes: 1,001; expected at most 1,000"),
        ({"mode": pb.MODE_FRAMES, "subtitles": SRT}, "start.subtitles: there with mode frames"),
        ({"mode": pb.MODE_SUBTITLES}, "start.subtitles: absent"),
        ({"mode": pb.MODE_SUBTITLES, "subtitles": SRT}, "start.subtitles.data: 1 bytes; expected none"),
        ({"subtitles": pb.SubtitleFile(format="srt")}, "start.subtitles.data: 0 bytes"),
        ({"subtitles": pb.SubtitleFile(format="doc", data=b"1")}, "start.subtitles.format: 'doc'"),
        ({"subtitles": pb.SubtitleFile(format="vtt", data=b"1" * 11)}, "start.subtitles.data: 11 bytes"),
    ],
)
def test_what_is_not_allowed_is_named(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        read_start(start(**fields), LIMITS)
    assert str(refused.value).startswith(wrong)
