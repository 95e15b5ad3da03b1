"""The clock of Ogg and FLAC, which counts samples: of a recording of several links, each has its own rate."""

from __future__ import annotations

import av
from av.audio.codeccontext import AudioCodecContext

#: FFmpeg's names of containers with such a clock.
COUNTING_SAMPLES = frozenset(("ogg", "flac"))
#: A header of FLAC tells the longest block in its third and fourth byte; the most there can be.
_HEADER_BYTES, _LONGEST_BLOCK = 34, b"\xff\xff"


def take_any_block(context: AudioCodecContext) -> None:
    """Let a decoder of FLAC take longer blocks than its header tells: a later link may have them."""
    told = context.extradata or b""
    if context.codec.canonical_name == "flac" and len(told) == _HEADER_BYTES:
        context.extradata = told[:2] + _LONGEST_BLOCK + told[4:]


class SampleClock:
    """Seconds of such a clock, through changes of the rate.

    FFmpeg goes on in the unit of the first link, and what is counted are samples of the present one.
    """

    def __init__(self) -> None:
        self._rate_hz = 0
        self._unit_s = 0.0  # of the clock, at that rate
        self._since, self._since_s = 0, 0.0  # when the rate changed last, by the clock and in seconds

    def time_s(self, frame: av.AudioFrame) -> float | None:
        """When the frame is heard; they come in order."""
        if frame.pts is None or not frame.time_base or not frame.sample_rate:
            return frame.time
        if not self._rate_hz:
            self._rate_hz, self._unit_s = frame.sample_rate, float(frame.time_base)
        elif frame.sample_rate != self._rate_hz:
            self._since_s, self._since = self._at_s(frame.pts), frame.pts
            self._unit_s *= self._rate_hz / frame.sample_rate
            self._rate_hz = frame.sample_rate
        return self._at_s(frame.pts)

    def _at_s(self, stamp: int) -> float:
        return self._since_s + (stamp - self._since) * self._unit_s
