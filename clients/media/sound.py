"""The sound of a title, window by window: any rate and layout to mono PCM, placed by presentation time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from resonance.clients.media.container import choose_stream, discard_all_but, open_container, typed_errors
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import FloatArray, Limits, Pcm, ReadTimes
from resonance.space.descriptor import Descriptor, Sound

#: A frame this far from where the samples so far end is put where its own time says.
REANCHOR_S = 0.1
#: Broken packets in a row after which a track counts as undecodable from there on.
MAX_BROKEN_PACKETS = 500


@dataclass(frozen=True, slots=True)
class SoundWindow:
    """The samples of one window; `pcm` is None below the silence threshold. `end_s`: where they end."""

    pcm: Pcm | None
    end_s: float


class SoundReader:
    """Decodes and resamples the chosen track and hands out its windows in order.

    Args:
        origin_s: the title's start on the container's clock.
    """

    def __init__(
        self,
        source: MediaSource,
        descriptor: Descriptor,
        limits: Limits,
        times: ReadTimes,
        *,
        origin_s: float,
    ) -> None:
        self._source, self._limits, self._times = source, limits, times
        self._sound, self._origin_s = descriptor.sound, origin_s

    def windows(self) -> Iterator[tuple[int, SoundWindow]]:
        """(index, window) in rising order, for windows that hold samples."""
        filler = _Filler(self._sound)
        for first, samples in self._blocks():
            yield from filler.put(first, samples)
        yield from filler.flush()

    def _blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """(position of the first sample from the title's start, mono float32 [n]) in decoding order."""
        rate_hz = self._sound.sample_rate_hz
        resampler = _resampler(rate_hz)
        position: int | None = None
        for frame in self._frames():
            started = time.monotonic()
            placed = self._position(frame, rate_hz)
            if position is None or (placed is not None and abs(placed - position) > REANCHOR_S * rate_hz):
                if position is not None:
                    for block in _flushed(resampler):
                        yield position, block
                    resampler = _resampler(rate_hz)
                position = placed or 0
            frame.pts = None  # placed here; the resampler must not insert silence of its own
            try:
                blocks = [_mono(b) for b in resampler.resample(frame)]
            except (av.error.FFmpegError, ValueError):  # rate or layout changed in mid-stream
                resampler = _resampler(rate_hz)
                blocks = [_mono(b) for b in resampler.resample(frame)]
            self._times.decode_s += time.monotonic() - started
            for block in blocks:
                yield position, block
                position += block.size
        if position is not None:
            for block in _flushed(resampler):
                yield position, block

    def _position(self, frame: av.AudioFrame, rate_hz: int) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return round((float(frame.pts * frame.time_base) - self._origin_s) * rate_hz)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Decoded frames; broken packets are skipped."""
        with self._source.open() as file:
            container = open_container(file, self._source.name, self._limits.stall_timeout_s)
            with container:
                stream = choose_stream(container, "audio")
                assert isinstance(stream, AudioStream)
                discard_all_but(container, stream)
                stream.codec_context.thread_count = 1
                broken = 0
                packets = container.demux(stream)
                while broken < MAX_BROKEN_PACKETS:
                    started = time.monotonic()
                    with typed_errors(self._source.name):
                        packet = next(packets, None)
                    self._times.demux_s += time.monotonic() - started
                    self._times.steps += 1
                    if packet is None:
                        return
                    started = time.monotonic()
                    try:
                        frames = packet.decode()
                        broken = 0
                    except (av.error.FFmpegError, ValueError):
                        frames = []
                        broken += 1
                    self._times.decode_s += time.monotonic() - started
                    yield from frames


class _Filler:
    """Lays blocks of samples into windows; a gap is silence, an overlap overwrites."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._index = -1
        self._samples = np.zeros(0, np.float32)
        self._first = self._end = 0  # the window's samples that were really heard

    def put(self, first: int, block: FloatArray) -> Iterator[tuple[int, SoundWindow]]:
        """Add samples; gives every window they complete."""
        size = self._sound.window_samples
        if first < 0:
            block, first = block[-first:], 0
        while block.size:
            index, offset = divmod(first, size)
            if index < self._index:  # before what was handed out: a clock that ran back
                skip = min(self._index * size - first, block.size)
                block, first = block[skip:], first + skip
                continue
            if index > self._index:
                yield from self.flush()
                self._index, self._samples = index, np.zeros(size, np.float32)
                self._first, self._end = offset, offset
            part = block[: size - offset]
            self._samples[offset : offset + part.size] = part
            self._end = max(self._end, offset + part.size)
            block, first = block[part.size :], first + part.size

    def flush(self) -> Iterator[tuple[int, SoundWindow]]:
        """The window under way."""
        if self._end > self._first:
            heard = self._samples[self._first : self._end].astype(np.float64)
            loud = _level_dbfs(heard) >= self._sound.silence_dbfs
            end_s = (self._index * self._sound.window_samples + self._end) / self._sound.sample_rate_hz
            yield self._index, SoundWindow(Pcm(self._samples, self._end) if loud else None, end_s)
        self._first = self._end = 0


def _level_dbfs(samples: np.ndarray) -> float:
    """RMS level; a sine of amplitude 1 reads -3.01."""
    mean_square = float(np.mean(samples * samples))
    return 10 * math.log10(mean_square) if mean_square > 0 else -math.inf


def _resampler(rate_hz: int) -> AudioResampler:
    return AudioResampler(format="fltp", layout="mono", rate=rate_hz)


def _flushed(resampler: AudioResampler) -> list[FloatArray]:
    try:
        return [_mono(block) for block in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError):
        return []  # it never saw a frame


def _mono(frame: av.AudioFrame) -> FloatArray:
    samples = frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)  # (1, n) -> (n,)
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
