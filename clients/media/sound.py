"""The sound of a title, window by window: any rate and layout to mono PCM, placed by presentation time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.filter import Graph
from numpy.typing import NDArray

from resonance.clients.media.packets import Title, opened_stream, read_packets
from resonance.clients.media.sample_clock import COUNTING_SAMPLES, SampleClock, take_any_block
from resonance.clients.media.types import FloatArray, Pcm
from resonance.space.descriptor import Sound

#: A frame this far from where the samples so far end is put where its own time says.
REANCHOR_S = 0.1
#: Full scale is 1. Float tracks hold more by mistake; squared and summed up this is far from float32's end.
LOUDEST = 2.0**20
#: Frames resampled in one go: calls cost more than samples here.
FRAMES_TOGETHER = 32
#: A last frame that jumps further ahead than this has no frame after it to vouch for it.
LAST_JUMP_S = 10.0
#: Broken packets in a row after which a track counts as undecodable from there on.
MAX_BROKEN_PACKETS = 500


@dataclass(frozen=True, slots=True)
class SoundWindow:
    """The samples of one window; `pcm` is None below the silence threshold. `end_s`: where they end."""

    pcm: Pcm | None
    end_s: float


class SoundReader:
    """Decodes and resamples the chosen track and hands out its windows in order.

    A resumed title's sound is decoded from its start all the same: decoders overlap and predict, the
    resampler holds a filter's length of samples, and a frame's place may follow from those before it. From
    the middle on it would be nearly the same sound, and not the same vectors.
    """

    def __init__(self, title: Title) -> None:
        self._title, self._times = title, title.times
        self._sound = title.descriptor.sound
        self._clock: SampleClock | None = None

    def windows(self) -> Iterator[tuple[int, SoundWindow]]:
        """(index, window) in rising order, for windows that hold samples.

        Raises:
            MediaError: the container cannot be read. Packets that do not decode are counted and left out.
        """
        filler = Filler(self._sound)
        for first, samples in self._blocks():
            yield from filler.put(first, samples)
        yield from filler.flush(whole=False)

    def _blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """(position of the first sample from the title's start, mono float32 [n]) in decoding order."""
        rate_hz = self._sound.sample_rate_hz
        resampler = Resampler(rate_hz)
        position: int | None = None  # of the next sample out of the resampler
        end = 0.0  # of the sound put into it
        for frame, placed in self._placed(rate_hz):
            started = time.monotonic()
            blocks = []
            if position is None or (placed is not None and abs(placed - end) > REANCHOR_S * rate_hz):
                if position is not None:
                    for block in resampler.flush():
                        blocks.append((position, block))
                        position += block.size
                position = placed or 0
                end = position
            end += _length(frame, rate_hz)
            for block in resampler.put(frame):
                blocks.append((position, block))
                position += block.size
            self._times.decode_s += time.monotonic() - started
            yield from blocks
        if position is not None:
            for block in resampler.flush():
                yield position, block
                position += block.size
        self._times.broken += resampler.broken

    def _placed(self, rate_hz: int) -> Iterator[tuple[av.AudioFrame, int | None]]:
        """Frames with the position their time gives them; None where it gives none, or a false one.

        A jump counts when the next frame goes on from there rather than from where the sound was: one
        broken timestamp must not throw the rest of the track out of place.
        """
        held: tuple[av.AudioFrame, int | None] | None = None
        end: float | None = None  # where the sound before the held frame ends, by the stamps believed so far
        for frame in self._frames():
            placed = self._position(frame, rate_hz)
            if held is not None:
                stamp = held[1]
                if stamp is not None and end is not None and placed is not None:
                    after = stamp + _length(held[0], rate_hz)
                    if abs(placed - end) < abs(placed - after) and abs(stamp - end) > REANCHOR_S * rate_hz:
                        stamp = None
                yield held[0], stamp
                start = stamp if stamp is not None else end
                end = None if start is None else start + _length(held[0], rate_hz)
            held = (frame, placed)
        if held is not None:
            stray = end is not None and held[1] is not None and held[1] - end > LAST_JUMP_S * rate_hz
            yield held[0], None if stray else held[1]

    def _position(self, frame: av.AudioFrame, rate_hz: int) -> int | None:
        time_s = self._clock.time_s(frame) if self._clock is not None else frame.time
        return None if time_s is None else round((time_s - self._title.origin_s) * rate_hz)

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Decoded frames; broken packets are counted and skipped."""
        with opened_stream(self._title, "audio", quick=True) as (container, stream):
            assert isinstance(stream, AudioStream)
            stream.codec_context.thread_count = 1
            if container.format.name in COUNTING_SAMPLES:
                self._clock = SampleClock()
                take_any_block(stream.codec_context)
            broken, decoded = 0, False
            base = float(stream.time_base) if stream.time_base else 0.0
            for packet in read_packets(self._title, container, stream):
                if packet.pts is not None:
                    end_s = self._title.time_s(packet.pts + (packet.duration or 0), base)
                    self._title.end.saw("audio", end_s)
                started = time.monotonic()
                try:
                    frames = cast("list[av.AudioFrame]", packet.decode())
                    if packet.size:  # the empty one at the end only asks for what is left
                        broken, decoded = 0, True
                except (av.error.FFmpegError, ValueError):
                    frames = []
                    broken += 1
                    self._times.broken += 1
                self._times.decode_s += time.monotonic() - started
                if broken >= MAX_BROKEN_PACKETS:
                    return
                yield from frames
            if decoded and broken == 1:
                self._times.broken -= 1  # a tag after the sound, such as ID3v1, is none of it


def _length(frame: av.AudioFrame, rate_hz: int) -> float:
    """Samples the frame gives once resampled; seldom a whole number."""
    return frame.samples * rate_hz / frame.sample_rate if frame.sample_rate else 0.0


class Resampler:
    """To mono float32 at `rate_hz`; a stream that changes rate or layout in the middle gets a fresh one.

    Channels are mixed with weights that sum to 1 (`rematrix_maxval`): FFmpeg's default for float output
    sums the power instead, so that the same sound in two channels would come out 3 dB louder than in one,
    and in 5.1 up to 11 dB and far above full scale. Channels in a number that has no layout count alike.

    Args:
        frames_together: frames put in before what is ready is taken out.
        block_samples: samples of a block; half a second by default.

    Attributes:
        broken: frames that could not be converted so far.
    """

    def __init__(
        self, rate_hz: int, *, frames_together: int = FRAMES_TOGETHER, block_samples: int | None = None
    ) -> None:
        self._rate_hz = rate_hz
        self._frames_together = frames_together
        self._block_samples = block_samples or rate_hz // 2
        self._graph: Graph | None = None
        self._kind: tuple[str, str, int] | None = None
        self._waiting = 0
        self.broken = 0

    def put(self, frame: av.AudioFrame) -> list[FloatArray]:
        """Blocks of samples [n] that are ready; a frame that cannot be converted gives none."""
        frame.pts = None  # frames are placed by the caller; no silence is to be put in here
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        blocks = [] if kind == self._kind else self.flush()
        try:
            if self._graph is None:
                self._graph, self._kind = self._built(*kind, frame.layout.nb_channels), kind
            self._graph.push(frame)
            self._waiting += 1
            if self._waiting < self._frames_together:
                return blocks
            self._waiting = 0
            return blocks + self._pulled(self._graph)
        except (av.error.FFmpegError, ValueError):
            self._graph = self._kind = None
            self.broken += 1
            return blocks

    def flush(self) -> list[FloatArray]:
        """What is left inside; a new stretch may follow."""
        graph, self._graph, self._kind, self._waiting = self._graph, None, None, 0
        if graph is None:
            return []
        try:
            graph.push(None)
            return self._pulled(graph)
        except (av.error.FFmpegError, ValueError):
            return []

    def _built(self, sample_format: str, layout: str, rate_hz: int, channels: int) -> Graph:
        try:
            return self._configured(sample_format, layout, rate_hz)
        except av.error.FFmpegError:  # the resampler knows no layout of so many channels
            alike = "+".join(f"{1 / channels}*c{channel}" for channel in range(channels))
            return self._configured(sample_format, layout, rate_hz, mix=f"mono|c0={alike}")

    def _configured(self, sample_format: str, layout: str, rate_hz: int, *, mix: str | None = None) -> Graph:
        graph = Graph()
        graph.threads = 1  # no filter here divides its work; by default a pool for every core would idle
        source = graph.add_abuffer(sample_rate=rate_hz, format=sample_format, layout=layout)
        convert = graph.add(
            "aresample",
            f"out_sample_rate={self._rate_hz}:out_sample_fmt=fltp:out_chlayout=mono:rematrix_maxval=1.0",
        )
        gather = graph.add("asetnsamples", f"nb_out_samples={self._block_samples}:pad=0")
        sink = graph.add("abuffersink")
        if mix is None:
            source.link_to(convert)
        else:
            pan = graph.add("pan", mix)
            source.link_to(pan)
            pan.link_to(convert)
        convert.link_to(gather)
        gather.link_to(sink)
        graph.configure()
        return graph

    @staticmethod
    def _pulled(graph: Graph) -> list[FloatArray]:
        blocks = []
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                blocks.append(_mono(cast("av.AudioFrame", graph.pull())))
        return blocks


class Filler:
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
                yield from self.flush(whole=True)
                self._index, self._samples = index, np.zeros(size, np.float32)
                self._first, self._end = offset, offset
            part = block[: size - offset]
            self._samples[offset : offset + part.size] = part
            self._end = max(self._end, offset + part.size)
            block, first = block[part.size :], first + part.size

    def flush(self, *, whole: bool) -> Iterator[tuple[int, SoundWindow]]:
        """The window under way; `whole` where later sound shows that it does not end the title."""
        if self._end > self._first:
            # float tracks may hold anything; a model must not see it, nor overflow over it
            np.nan_to_num(self._samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
            np.clip(self._samples, -LOUDEST, LOUDEST, out=self._samples)
            heard = self._samples[self._first : self._end].astype(np.float64)
            loud = _level_dbfs(heard) >= self._sound.silence_dbfs
            size = self._sound.window_samples
            end_s = (self._index * size + (size if whole else self._end)) / self._sound.sample_rate_hz
            yield self._index, SoundWindow(Pcm(self._samples, self._end) if loud else None, end_s)
        self._first = self._end = 0


def _level_dbfs(samples: NDArray[np.float64]) -> float:
    """RMS level; a sine of amplitude 1 reads -3.01."""
    mean_square = float(np.mean(samples * samples))
    return 10 * math.log10(mean_square) if mean_square > 0 else -math.inf


def _mono(frame: av.AudioFrame) -> FloatArray:
    return frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)  # (1, n) -> (n,)
