"""What the gateway allows, each with a default; `resonance gateway` has a flag for each."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

from resonance.serving.errors import GatewayConfigError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_MAY_BE_NONE = ("max_queued", "max_queued_queries")


def _limit(default: float, text: str) -> Any:
    """A field with the help of its flag."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """Bounds on what callers may ask for. What is over one is refused at once: what came, what is allowed.

    The text of each field says what it bounds; `resonance gateway --help` shows the same. Those whose default
    is 0 are chosen by the number of cores.
    """

    max_media_bytes: int = _limit(32 * GIB, "Size of an upload. Live feeds have no such bound.")
    max_media_s: float = _limit(24 * 3600.0, "Length of an upload. Live feeds have no such bound.")
    max_picture_pixels: int = _limit(128 * MIB, "Pixels of a still picture.")
    max_video_pixels: int = _limit(64 * MIB, "Pixels of a video's or an animation's frame.")
    max_subtitle_bytes: int = _limit(8 * MIB, "Subtitles sent along with a media.")
    max_query_bytes: int = _limit(12 * MIB, "All examples of a query together.")
    max_query_media_s: float = _limit(
        120.0,
        "Length of each sound or clip of a query, which holds one of few places; none is read for longer.",
    )
    max_query_text_bytes: int = _limit(
        64 * KIB, "One text of a query; a long one is split and costs seconds."
    )
    max_message_bytes: int = _limit(16 * MIB, "One message; gRPC refuses a larger one.")
    stall_timeout_s: float = _limit(
        8.0,
        "Longest time without progress in a media whose bytes are there; a still picture has half a second "
        "more for each million of its pixels.",
    )
    idle_timeout_s: float = _limit(
        120.0, "Longest time without a message of a caller who goes on sending, or with an answer not taken."
    )
    request_timeout_s: float = _limit(30.0, "One request to a model.")
    reader_memory_bytes: int = _limit(2 * GIB, "Memory of the process that reads an upload.")
    all_readers_memory_bytes: int = _limit(
        0, "Memory of all those processes together. [twice the one's a core]"
    )
    max_streams_per_caller: int = _limit(256, "Uploads and live feeds of one caller at a time.")
    max_live_feeds: int = _limit(512, "Live feeds at a time.")
    max_uploads: int = _limit(
        0, "Uploads that keep the gateway busy at a time; one that waits for its caller does not. [1 a core]"
    )
    max_queries: int = _limit(0, "Queries and fusions at a time. [1 a core]")
    max_queued: int = _limit(1, "Uploads that wait for a place.")
    max_queued_queries: int = _limit(8, "Queries and fusions that wait for a place.")
    queue_timeout_s: float = _limit(2.0, "How long one waits for a place.")
    max_segments_in_flight: int = _limit(0, "Segments at the models, of all calls together. [8 a core]")
    max_segments_per_stream: int = _limit(
        6, "Segments of one call that are read and not taken by the caller."
    )
    max_stored_segments: int = _limit(
        100_000, "Segments of earlier calls held for calls that go on, all together; 8 KB of memory each."
    )
    max_ahead_bytes: int = _limit(32 * MIB, "How far an upload may be ahead of what was read of it.")
    max_spool_bytes: int = _limit(128 * GIB, "Uploads on disk, all together.")

    def __post_init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        by_cores = {
            # those let in and those who wait share the machine: with more of them all are answered later, and
            # no more are answered (docs/gateway-load.md)
            "max_uploads": cores,
            "max_queries": cores,
            "max_segments_in_flight": 8 * cores,
            # an upload and a query of each core
            "all_readers_memory_bytes": 2 * cores * self.reader_memory_bytes,
        }
        for name, value in by_cores.items():
            if getattr(self, name) == 0:
                object.__setattr__(self, name, value)
        for bound in fields(self):
            value = getattr(self, bound.name)
            if value < 0 or (value == 0 and bound.name not in _MAY_BE_NONE):
                raise GatewayConfigError(f"{bound.name} is {value}; expected more than 0")
        if self.reader_memory_bytes > self.all_readers_memory_bytes:
            raise GatewayConfigError(
                f"reader_memory_bytes is {self.reader_memory_bytes:,}; expected at most "
                f"all_readers_memory_bytes, {self.all_readers_memory_bytes:,}"
            )
        if self.max_media_bytes > self.max_spool_bytes:
            raise GatewayConfigError(
                f"max_media_bytes is {self.max_media_bytes:,}; expected at most max_spool_bytes, "
                f"{self.max_spool_bytes:,}: uploads stay on disk while they are read"
            )
