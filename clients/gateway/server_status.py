"""What a gateway says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resonance.v1 import embedding_pb2 as pb


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model, by its last synthetic inference. `serving`: None where it was not asked yet."""

    name: str
    serving: bool | None
    reason: str
    checked_s_ago: float


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What the server does now; see GetStatusResponse in proto/resonance/v1/embedding.proto."""

    fingerprint: str
    space_name: str
    models: tuple[ModelReport, ...]
    uploads: int
    live_feeds: int
    queries: int
    queued: int
    segments_in_flight: int
    spooled_bytes: int
    segments_per_s: float
    media_s_per_s: float
    refused: Mapping[str, int]
    abandoned: int
    uptime_s: float
    max_uploads: int


_SERVING = {pb.MODEL_STATE_SERVING: True, pb.MODEL_STATE_NOT_SERVING: False}


def status_from_message(message: pb.GetStatusResponse) -> ServerStatus:
    """The answer of GetStatus; models and refusals by name."""
    models = sorted(message.models, key=lambda m: m.name)
    return ServerStatus(
        fingerprint=message.fingerprint,
        space_name=message.space_name,
        models=tuple(ModelReport(m.name, _SERVING.get(m.state), m.reason, m.checked_s_ago) for m in models),
        uploads=message.uploads,
        live_feeds=message.live_feeds,
        queries=message.queries,
        queued=message.queued,
        segments_in_flight=message.segments_in_flight,
        spooled_bytes=message.spooled_bytes,
        segments_per_s=message.segments_per_s,
        media_s_per_s=message.media_s_per_s,
        refused=dict(sorted(message.refused.items())),
        abandoned=message.abandoned,
        uptime_s=message.uptime_s,
        max_uploads=message.max_uploads,
    )
