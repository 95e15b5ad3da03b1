"""Cuts and motion read off packet sizes, without decoding."""

from __future__ import annotations

from resonance.clients.media.types import StreamSignal


class PacketSignals:
    """Placeholder until the measured method lands."""

    def __init__(self, codec: str, frame_rate: float | None) -> None:
        pass

    def add(self, time_s: float, duration_s: float | None, size_bytes: int, is_keyframe: bool) -> None:
        pass

    def take(self, start_s: float, end_s: float) -> tuple[StreamSignal | None, StreamSignal | None]:
        return None, None
