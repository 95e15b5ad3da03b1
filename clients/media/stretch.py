"""Decoding a stretch of a stream in order, once, for windows that keyframes alone cannot show."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from resonance.clients.errors import MediaLimitError
from resonance.clients.media.container import choose_stream, discard_all_but, open_container, typed_errors
from resonance.clients.media.picture import frame_to_rgb, pack_frames
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import ByteArray, Frames, Limits, ReadTimes
from resonance.space.descriptor import FrameGeometry

#: Broken packets in a row after which a stream counts as undecodable from there on.
MAX_BROKEN_PACKETS = 200
#: A seek pays only when it skips at least this much; nearer, decoding on is as cheap and keeps order.
SEEK_GAIN_S = 16.0


class StretchDecoder:
    """Decodes forward from where it stands; seeks ahead only past a keyframe and at least `SEEK_GAIN_S`.

    Windows asked for in rising order decode no packet twice; an earlier window costs a seek back. Calls
    from several threads take turns. `packets_decoded` counts packets fed to the decoder.
    """

    def __init__(
        self,
        source: MediaSource,
        geometry: FrameGeometry,
        limits: Limits,
        times: ReadTimes,
        *,
        origin_s: float,
        rotation_deg: int,
    ) -> None:
        self._source, self._geometry = source, geometry
        self._limits, self._times = limits, times
        self._origin_s, self._rotation_deg = origin_s, rotation_deg
        self._file: BinaryIO | None = None
        self._container: InputContainer | None = None
        self._frames: Iterator[tuple[float, av.VideoFrame]] = iter(())
        self._held: tuple[float, av.VideoFrame] | None = None  # decoded, belongs to a later window
        self._position_s = 0.0  # of the last frame decoded
        self._consumed_to_s = 0.0  # frames before this were handed out or passed over
        self._lock = threading.Lock()
        self._reformatter = VideoReformatter()
        self.packets_decoded = 0

    def close(self) -> None:
        """Free the container; decoding again opens it anew."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        if self._container is not None:
            self._frames = iter(())
            self._container.close()
            self._container = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def frames(
        self,
        targets_s: tuple[float, ...],
        start_s: float,
        end_s: float,
        *,
        keyframe_s: float | None = None,
    ) -> Frames | None:
        """For each target the frame of [start_s, end_s) nearest in presentation time, each frame once.

        None where the stretch has no frame. `keyframe_s` is the last keyframe known at or before
        `start_s`: without it, or where the decoder stands past it, decoding goes on and never seeks ahead.

        Raises:
            MediaLimitError: the picture is larger than the limit. MediaError: the container broke.
        """
        with self._lock:
            started = time.monotonic()
            try:
                self._go_to(start_s, keyframe_s)
                return self._pick(targets_s, start_s, end_s)
            finally:
                self._consumed_to_s = end_s
                self._times.decode_s += time.monotonic() - started

    def _pick(self, targets_s: tuple[float, ...], start_s: float, end_s: float) -> Frames | None:
        best: list[tuple[float, ByteArray] | None] = [None] * len(targets_s)
        previous: tuple[float, av.VideoFrame] | None = None
        pending = 0  # targets before this one are settled
        for time_s, frame in self._until(start_s, end_s):
            # targets at or before this frame are nearest to this frame or to the one before it
            while pending < len(targets_s) and targets_s[pending] <= time_s:
                near = _nearer(previous, (time_s, frame), targets_s[pending])
                best[pending] = (near[0], self._rgb(near[1]))
                pending += 1
            previous = (time_s, frame)
        while previous is not None and pending < len(targets_s):
            best[pending] = (previous[0], self._rgb(previous[1]))
            pending += 1
        distinct = {found[0]: found[1] for found in best if found is not None}
        if not distinct:
            return None
        return pack_frames(list(distinct.values()), [time_s - start_s for time_s in distinct], len(targets_s))

    def _until(self, start_s: float, end_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames of the window; the first one after it is held for the next window."""
        while True:
            item = self._held or next(self._frames, None)
            self._held = None
            if item is None:
                return
            self._position_s = item[0]
            if item[0] >= end_s:
                self._held = item
                return
            if item[0] >= start_s:
                yield item

    def _go_to(self, start_s: float, keyframe_s: float | None) -> None:
        if self._container is None:
            self._open()
        passed = start_s < self._consumed_to_s
        skips = keyframe_s is not None and keyframe_s > self._position_s
        if passed or (skips and start_s - self._position_s > SEEK_GAIN_S):
            self._seek(start_s)

    def _open(self) -> None:
        self._file = self._source.open()
        self._container = open_container(self._file, self._source.name, self._limits.stall_timeout_s)
        stream = choose_stream(self._container, "video")
        assert isinstance(stream, VideoStream)
        discard_all_but(self._container, stream)
        stream.codec_context.thread_count = 1
        self._stream = stream
        self._frames = self._decode()

    def _seek(self, to_s: float) -> None:
        """To the last keyframe at or before `to_s`; where the container cannot, decoding goes on."""
        assert self._container is not None
        assert self._stream.time_base is not None
        self._held = None
        try:
            stamp = round((to_s + self._origin_s) / float(self._stream.time_base))
            self._container.seek(stamp, stream=self._stream, backward=True)
            self._stream.codec_context.flush_buffers()
            self._frames = self._decode()
        except av.error.FFmpegError:
            if to_s < self._consumed_to_s:  # only a fresh start leads back
                self._shut()
                self._open()

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames in presentation order with their time in seconds; broken packets are skipped."""
        assert self._container is not None
        base = float(self._stream.time_base) if self._stream.time_base else 0.0
        broken = 0
        packets = self._container.demux(self._stream)
        while broken < MAX_BROKEN_PACKETS:
            with typed_errors(self._source.name):
                packet = next(packets, None)
            if packet is None:
                return
            self.packets_decoded += bool(packet.size)
            self._times.steps += 1
            try:
                frames = packet.decode()
                broken = 0
            except av.error.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is not None:
                    self._check_size(frame)
                    yield stamp * base - self._origin_s, frame

    def _check_size(self, frame: av.VideoFrame) -> None:
        if frame.width * frame.height > self._limits.max_video_pixels:
            raise MediaLimitError(
                self._source.name,
                f"a video of {frame.width}x{frame.height} pixels",
                f"at most {self._limits.max_video_pixels:,} pixels a picture",
            )

    def _rgb(self, frame: av.VideoFrame) -> ByteArray:
        return frame_to_rgb(frame, self._geometry, self._rotation_deg, self._reformatter)


def _nearer(
    previous: tuple[float, av.VideoFrame] | None, this: tuple[float, av.VideoFrame], target_s: float
) -> tuple[float, av.VideoFrame]:
    if previous is not None and target_s - previous[0] <= this[0] - target_s:
        return previous
    return this
