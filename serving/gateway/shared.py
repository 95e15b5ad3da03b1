"""What all calls of one gateway share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from resonance.clients.errors import ResonanceError
from resonance.clients.media.types import SegmentInput
from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import Transport
from resonance.serving.gateway.admission import Admission
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.metrics import GatewayMetrics, Stage
from resonance.serving.gateway.reading import (
    MediaProcess,
    MemoryBudget,
    ReadLimits,
    ReadRequest,
    SpoolBudget,
)
from resonance.serving.gateway.running import RunningCalls
from resonance.serving.gateway.tracing import Tracing
from resonance.space.descriptor import MODALITIES, Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """See the module. `spool_folder`: where uploads are kept while they are read."""

    transport: Transport
    served: ServedSpace
    limits: GatewayLimits
    admission: Admission
    metrics: GatewayMetrics
    tracing: Tracing
    budget: SpoolBudget
    memory: MemoryBudget
    spool_folder: Path
    running: RunningCalls = field(default_factory=RunningCalls)

    def media_process(
        self,
        request: ReadRequest,
        descriptor: Descriptor,
        caller: str,
        *,
        max_media_s: float | None = None,
        on_given_up: Callable[[ResonanceError], None] = lambda error: None,
    ) -> MediaProcess:
        """A process that reads an upload of `caller`, within the gateway's limits.

        `max_media_s`: instead of theirs. `on_given_up`: see `MediaProcess`.
        """
        limits = self.limits
        read_limits = ReadLimits(
            max_media_bytes=None if request.live else limits.max_media_bytes,
            max_media_s=None if request.live else max_media_s or limits.max_media_s,
            max_picture_pixels=limits.max_picture_pixels,
            max_video_pixels=limits.max_video_pixels,
            stall_timeout_s=limits.stall_timeout_s,
            memory_bytes=limits.reader_memory_bytes,
            ahead_bytes=limits.max_ahead_bytes,
        )
        return MediaProcess(
            request,
            descriptor,
            read_limits,
            self.spool_folder,
            self.budget,
            caller=caller,
            memory=self.memory,
            on_killed=self.metrics.reader_killed,
            on_refused=self.metrics.call_refused,
            on_given_up=on_given_up,
        )

    @asynccontextmanager
    async def segment_place(self, given: SegmentInput) -> AsyncIterator[None]:
        """Held while a segment is embedded; times how long it waited and how long it took in all."""
        read_at = time.monotonic()
        span = self.tracing.span(
            "segment", index=given.index, sampled_by=str(given.sampled_by), modalities=_modalities(given)
        )
        with span:
            async with self.admission.segment():
                self.metrics.observe(Stage.QUEUE, time.monotonic() - read_at)
                yield
        self.metrics.observe(Stage.SEGMENT, time.monotonic() - read_at)


def _modalities(given: SegmentInput) -> str:
    """``visual+audio``: which of them the segment has."""
    there = (given.video is not None, given.pcm is not None, given.text is not None)
    return "+".join(name for name, has in zip(MODALITIES, there, strict=True) if has)
