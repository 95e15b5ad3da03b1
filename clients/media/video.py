"""The picture stream of a title, window by window: keyframe packets, or frames decoded in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet as AvPacket
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from resonance.clients.errors import MediaLimitError
from resonance.clients.media.container import choose_stream, discard_all_but, open_container, typed_errors
from resonance.clients.media.packet_signals import PacketSignals
from resonance.clients.media.source import MediaSource
from resonance.clients.media.stretch import StretchDecoder
from resonance.clients.media.types import (
    Clip,
    Frames,
    Limits,
    Packet,
    ReadTimes,
    SampledBy,
    StreamSignal,
)
from resonance.clients.media.windows import Windows
from resonance.space.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """What the picture stream gives for one window. `end_s` is where its last packet ends."""

    video: Clip | Frames | None
    sampled_by: SampledBy
    frame_times_s: tuple[float, ...]
    cut_rate_per_min: StreamSignal | None
    motion: StreamSignal | None
    end_s: float


@dataclass(slots=True)
class _Keyframe:
    time_s: float
    data: bytes


@dataclass(slots=True)
class _Pending:
    """A window that may still receive packets."""

    end_s: float
    #: For each part of the window, the keyframe nearest to its centre so far.
    nearest: dict[int, _Keyframe] = field(default_factory=dict)
    first: _Keyframe | None = None
    last: _Keyframe | None = None


class VideoReader:
    """Demuxes the picture stream and hands out its windows in order. Nothing is decoded for `keyframes`
    but windows without a keyframe within reach.

    Args:
        origin_s: the title's start on the container's clock.
        rotation_deg: clockwise, from the display matrix.
    """

    def __init__(
        self,
        source: MediaSource,
        descriptor: Descriptor,
        limits: Limits,
        times: ReadTimes,
        *,
        origin_s: float,
        rotation_deg: int,
        sampling: str,
    ) -> None:
        self._source, self._limits, self._times = source, limits, times
        self._sampling, self._uniform = descriptor.sampling, sampling == "uniform"
        self._windows = Windows(descriptor.segment.length_s)
        self._origin_s, self._rotation_deg = origin_s, rotation_deg
        self._stretch = StretchDecoder(
            source,
            descriptor.frames,
            limits,
            times,
            origin_s=origin_s,
            rotation_deg=rotation_deg,
        )

    def close(self) -> None:
        """Free the decoder's container."""
        self._stretch.close()

    def decode_window(self, index: int, keyframe_s: float | None = None) -> Frames | None:
        """Frames of window `index`, decoded in order; None where the stream has none there.

        `keyframe_s` is the last keyframe known before the window.
        """
        bucket = self._sampling.uniform_frames if self._uniform else self._sampling.keyframes_frames
        return self._stretch.frames(
            self._windows.centres_s(index, bucket),
            self._windows.start_s(index),
            self._windows.end_s(index),
            keyframe_s=keyframe_s,
        )

    def windows(self) -> Iterator[tuple[int, VideoWindow]]:
        """(index, window) in rising order, for windows in which the stream has packets.

        A window is complete once a packet of `borrow_within_s` past its end has been read: by then its
        reordered packets are there, and so is the keyframe it might borrow.
        """
        with self._source.open() as file:
            container = open_container(file, self._source.name, self._limits.stall_timeout_s)
            with container:
                yield from self._read(container)

    def _read(self, container: InputContainer) -> Iterator[tuple[int, VideoWindow]]:
        stream = choose_stream(container, "video")
        assert isinstance(stream, VideoStream)
        discard_all_but(container, stream)
        codec = stream.codec_context
        codec_name = codec.codec.canonical_name
        rate = float(stream.average_rate) if stream.average_rate else None
        signals = PacketSignals(codec_name, rate)
        pending: dict[int, _Pending] = {}
        before: _Keyframe | None = None  # the last keyframe of the windows handed out
        done = -1
        for packet, time_s, duration_s in self._packets(container, stream):
            signals.add(time_s, duration_s, packet.size, packet.is_keyframe)
            index = self._windows.index(time_s)
            if index <= done:
                continue  # too late: its window was handed out
            state = pending.setdefault(index, _Pending(end_s=time_s))
            state.end_s = max(state.end_s, time_s + (duration_s or 0.0))
            if packet.is_keyframe and not self._uniform:
                self._keep(state, index, time_s, packet)
            while pending and time_s >= self._windows.end_s(min(pending)) + self._sampling.borrow_within_s:
                done = min(pending)
                yield done, self._finish(done, pending, before, signals, codec_name, codec)
                before = pending.pop(done).last or before
        while pending:
            done = min(pending)
            yield done, self._finish(done, pending, before, signals, codec_name, codec)
            before = pending.pop(done).last or before

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[AvPacket, float, float | None]]:
        """Packets with their time and duration in seconds from the title's start."""
        base = float(stream.time_base) if stream.time_base else 0.0
        packets = container.demux(stream)
        while True:
            started = time.monotonic()
            try:
                with typed_errors(self._source.name):
                    packet = next(packets, None)
            finally:
                self._times.demux_s += time.monotonic() - started
                self._times.steps += 1
            if packet is None:
                return
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or not packet.size or packet.is_discard:
                continue
            duration_s = packet.duration * base if packet.duration else None
            yield packet, stamp * base - self._origin_s, duration_s

    def _keep(self, state: _Pending, index: int, time_s: float, packet: AvPacket) -> None:
        """Remember the keyframe where it is the nearest to a part's centre; copies only then."""
        centres = self._windows.centres_s(index, self._sampling.keyframes_frames)
        keyframe: _Keyframe | None = None
        for part, centre_s in enumerate(centres):
            held = state.nearest.get(part)
            if held is None or abs(time_s - centre_s) < abs(held.time_s - centre_s):
                keyframe = keyframe or _Keyframe(time_s, bytes(packet))
                state.nearest[part] = keyframe
        if keyframe is not None:
            state.first = state.first or keyframe
            state.last = keyframe

    def _finish(
        self,
        index: int,
        pending: dict[int, _Pending],
        before: _Keyframe | None,
        signals: PacketSignals,
        codec_name: str,
        codec: CodecContext,
    ) -> VideoWindow:
        state = pending[index]
        start_s, end_s = self._windows.start_s(index), self._windows.end_s(index)
        cut_rate, motion = signals.take(start_s, end_s)
        chosen = sorted({k.time_s: k for k in state.nearest.values()}.values(), key=lambda k: k.time_s)
        how = SampledBy.UNIFORM if self._uniform else SampledBy.KEYFRAMES
        if not chosen and not self._uniform:
            after = next((pending[i].first for i in sorted(pending) if i > index and pending[i].first), None)
            chosen = self._borrowed(before, after, start_s, end_s)
            how = SampledBy.BORROWED if chosen else SampledBy.DECODED
        video: Clip | Frames | None
        if chosen:
            assert isinstance(codec, VideoCodecContext)
            video = self._clip(chosen, start_s, codec_name, codec)
            times_s = tuple(k.time_s for k in chosen)
        else:
            video = self.decode_window(index, before.time_s if before else None)
            how = how if video is not None else SampledBy.NONE
            times_s = tuple(float(start_s + t) for t in video.times_s[video.mask]) if video else ()
        return VideoWindow(video, how, times_s, cut_rate, motion, state.end_s)

    def _borrowed(
        self, before: _Keyframe | None, after: _Keyframe | None, start_s: float, end_s: float
    ) -> list[_Keyframe]:
        """The keyframe outside the window nearest to it, if it lies within reach."""
        distances = [(start_s - before.time_s, before)] if before else []
        distances += [(after.time_s - end_s, after)] if after else []
        near = [(d, k) for d, k in distances if d <= self._sampling.borrow_within_s]
        return [min(near, key=lambda pair: pair[0])[1]] if near else []

    def _clip(
        self, chosen: list[_Keyframe], start_s: float, codec_name: str, codec: VideoCodecContext
    ) -> Clip:
        if codec.width * codec.height > self._limits.max_video_pixels:
            raise MediaLimitError(
                self._source.name,
                f"a video of {codec.width}x{codec.height} pixels",
                f"at most {self._limits.max_video_pixels:,} pixels a picture",
            )
        aspect = codec.sample_aspect_ratio
        return Clip(
            codec=codec_name,
            extradata=codec.extradata or b"",
            width_px=codec.width,
            height_px=codec.height,
            rotation_deg=self._rotation_deg,
            sample_aspect=(aspect.numerator, aspect.denominator) if aspect else (0, 0),
            packets=tuple(Packet(k.time_s - start_s, k.data) for k in chosen),
            frame_bucket=self._sampling.keyframes_frames,
        )
