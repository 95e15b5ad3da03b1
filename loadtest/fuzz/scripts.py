"""Good calls of every RPC, small and cheap, that the fuzzer makes bad ones of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from resonance.loadtest.fuzz.mutate import Sample
from resonance.loadtest.fuzz.samples import SRT, TEXT, VTT
from resonance.v1 import embedding_pb2 as pb

SERVICE = "/resonance.v1.EmbeddingService/"
EMBED_MEDIA = f"{SERVICE}EmbedMedia"
EMBED_QUERY = f"{SERVICE}EmbedQuery"
FUSE_TITLE = f"{SERVICE}FuseTitle"
GET_SPACE = f"{SERVICE}GetSpace"
GET_STATUS = f"{SERVICE}GetStatus"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
CHUNK_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Script:
    """A call: its messages in order. weight: how often bad ones are made of it, dear ones seldom."""

    name: str
    method: str
    messages: tuple[Message, ...]
    weight: float


def make_scripts(
    media: Mapping[str, Sample], stored: Sequence[pb.Segment], fingerprint: str
) -> tuple[Script, ...]:
    """All scripts.

    Args:
        media: good files by name: "film", "sound", "picture".
        stored: segments that the server answered for "film".
    """
    start = pb.EmbedMediaStart
    given = pb.StoredSegments(segments=stored, fingerprint=fingerprint)
    film, sound, picture = (media[name].data for name in ("film", "sound", "picture"))
    text = pb.QueryPart(text="a storm at night", weight=2.0)
    weights = pb.Weights(visual=1.0, audio=0.5, transcript=2.0)
    return (
        Script("space", GET_SPACE, (pb.GetSpaceRequest(),), 4),
        Script("status", GET_STATUS, (pb.GetStatusRequest(),), 4),
        Script(
            "health",
            HEALTH_CHECK,
            (health_pb2.HealthCheckRequest(service="resonance.v1.EmbeddingService"),),
            4,
        ),
        Script("watch", HEALTH_WATCH, (health_pb2.HealthCheckRequest(),), 1),
        Script(
            "query text",
            EMBED_QUERY,
            (pb.EmbedQueryRequest(query_id="q", parts=[text], weights=weights),),
            12,
        ),
        Script(
            "query mix",
            EMBED_QUERY,
            (
                pb.EmbedQueryRequest(
                    query_id="q",
                    parts=[text, pb.QueryPart(image=picture), pb.QueryPart(sound=sound)],
                    weights=weights,
                    expected_fingerprint=fingerprint,
                ),
            ),
            2,
        ),
        Script("query video", EMBED_QUERY, (pb.EmbedQueryRequest(parts=[pb.QueryPart(video=film)]),), 1),
        Script(
            "fuse",
            FUSE_TITLE,
            (pb.FuseTitleRequest(media_id="title", segments=stored, fingerprint=fingerprint),),
            16,
        ),
        _media("file", start(media_id="f", mode=pb.MODE_ENCODED), *_chunks(film), weight=3),
        _media(
            "file of known size",
            start(media_id="f", mode=pb.MODE_ENCODED, size_bytes=len(film), idempotency_key="k"),
            *reversed(_chunks(film)),
            weight=3,
        ),
        _media(
            "resumed file",
            start(media_id="f", mode=pb.MODE_ENCODED, expected_fingerprint=fingerprint),
            given,
            *_chunks(film),
            weight=4,
        ),
        _media("still", start(media_id="p", mode=pb.MODE_ENCODED), *_chunks(picture), weight=2),
        _media(
            "sound and subtitles",
            start(
                media_id="s", mode=pb.MODE_ENCODED, subtitles=pb.SubtitleFile(format="srt", data=SRT.encode())
            ),
            *_chunks(sound),
            weight=2,
        ),
        _media("live file", start(media_id="l", mode=pb.MODE_ENCODED, live=True), *_chunks(film), weight=2),
        _media("text", start(media_id="t", mode=pb.MODE_TEXT), *_chunks(TEXT.encode()), weight=3),
        _media(
            "subtitles",
            start(media_id="w", mode=pb.MODE_SUBTITLES, subtitles=pb.SubtitleFile(format="vtt")),
            *_chunks(VTT.encode()),
            weight=3,
        ),
        _media("feed", start(media_id="r", mode=pb.MODE_FRAMES), *_feed(10), weight=10),
        _media(
            "live feed",
            start(media_id="r", mode=pb.MODE_FRAMES, live=True, rolling_title_segments=1),
            *_feed(20),
            weight=6,
        ),
        _media(
            "resumed feed",
            start(media_id="r", mode=pb.MODE_FRAMES, modalities=[pb.MODALITY_VISUAL, pb.MODALITY_TRANSCRIPT]),
            given,
            *(m for m in _feed(20) if not isinstance(m, pb.Sound)),
            weight=6,
        ),
    )


def _media(name: str, *messages: Message, weight: float) -> Script:
    fields = {
        pb.EmbedMediaStart: "start",
        pb.StoredSegments: "stored",
        pb.Chunk: "chunk",
        pb.Frame: "frame",
        pb.Sound: "sound",
        pb.Cue: "cue",
        pb.Mark: "mark",
    }
    requests = [pb.EmbedMediaRequest() for _ in messages]
    for request, message in zip(requests, messages, strict=True):
        getattr(request, fields[type(message)]).CopyFrom(message)
    return Script(name, EMBED_MEDIA, tuple(requests), weight)


def _chunks(data: bytes) -> list[pb.Chunk]:
    return [
        pb.Chunk(offset_bytes=at, data=data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)
    ]


def _feed(seconds: int) -> list[Message]:
    """Small frames, a tone and words, as they happen."""
    hertz = 8_000
    tone = (9_000 * np.sin(np.arange(hertz) * 0.3)).astype("<i2").tobytes()
    messages: list[Message] = []
    for second in range(seconds):
        level = bytes([20 * second % 256]) * (16 * 16 * 3)
        messages.append(pb.Frame(time_s=second, width_px=16, height_px=16, rgb=level))
        messages.append(
            pb.Sound(
                time_s=second, sample_rate_hz=hertz, channels=1, format=pb.SAMPLE_FORMAT_S16LE, data=tone
            )
        )
        if second % 4 == 0:
            messages.append(pb.Cue(start_s=second, end_s=second + 2, text="waves"))
        if second % 5 == 0:
            messages.append(pb.Mark(modality=pb.MODALITY_TRANSCRIPT, time_s=second))
    return messages
