"""Decoding a stretch of a stream in order, once, for windows that keyframes alone cannot show."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from resonance.clients.errors import MediaLimitError
from resonance.clients.media.counted_times import OrderedFrames, frame_stamps
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.packets import Title, opened_stream, read_packets
from resonance.clients.media.picture import frame_to_rgb, pack_frames
from resonance.clients.media.types import ByteArray, Frames

#: Broken packets in a row after which a stream counts as undecodable from there on.
MAX_BROKEN_PACKETS = 200
#: A seek pays only when it skips at least this much; nearer, decoding on is as cheap and keeps order.
SEEK_GAIN_S = 16.0
#: Decoders that really leave out frames no other frame needs (VP9's and AV1's decode them all the same).
SKIPPING_CODECS = frozenset(("h264", "hevc", "mpeg4", "mpeg2video"))
#: Presentation times of packets and frames are compared with this tolerance, for rounding.
SAME_TIME_S = 1e-4


class StretchDecoder:
    """Decodes forward from where it stands; seeks ahead only past a keyframe and at least `SEEK_GAIN_S`.

    In a source that still grows it never seeks, for the index may not be there, nor where `Title.restarted`
    is set, but reads packets without decoding them. Windows asked for in rising order decode no packet twice;
    an earlier window costs a seek back. Calls from several threads take turns. `packets_decoded` counts
    packets fed to the decoder.
    """

    def __init__(self, title: Title, rotation_deg: int, *, mirrored: bool = False) -> None:
        self._title, self._rotation_deg, self._mirrored = title, rotation_deg, mirrored
        self._opened = contextlib.ExitStack()
        self._container: InputContainer | None = None
        self._stream: VideoStream
        self._codec: VideoCodecContext
        self._frames: Iterator[tuple[float, av.VideoFrame]] = iter(())
        self._held: tuple[float, av.VideoFrame] | None = None  # decoded, belongs to a later window
        self._position_s = 0.0  # of the last frame decoded
        self._consumed_to_s = 0.0  # frames before this were handed out or passed over
        self._wanted_s: list[float] | None = None
        self._growing = isinstance(title.source, GrowingSource)
        self._start_s = 0.0  # of the first keyframe that is decoded
        self._skip_to_s: float | None = None  # packets before this keyframe are passed over
        self._fed_to_s = -math.inf  # the last packet by time that was decoded
        self._lock = threading.Lock()
        self._reformatter = VideoReformatter()
        self.packets_decoded = 0

    def close(self) -> None:
        """Free the container; a decoder that hangs in a read that never ends is left to its thread."""
        if self._lock.acquire(timeout=1.0):
            try:
                self._shut()
            finally:
                self._lock.release()

    def start_at(self, keyframe_s: float) -> None:
        """Packets before that keyframe are not decoded; for a decoder that was not asked for frames yet."""
        self._start_s = keyframe_s

    def _shut(self) -> None:
        self._frames, self._held, self._container = iter(()), None, None
        self._opened.close()

    def frames(
        self,
        targets_s: tuple[float, ...],
        start_s: float,
        end_s: float,
        *,
        keyframe_s: float | None = None,
        known_s: Collection[float] | None = None,
    ) -> Frames | None:
        """For each target the frame of [start_s, end_s) nearest in presentation time, each frame once.

        None where the stretch has no frame. `keyframe_s` is the last keyframe known at or before
        `start_s`: without it, or where the decoder stands past it, decoding goes on and never seeks ahead.
        `known_s`, the presentation times of all packets of the stretch, lets the decoder leave out frames
        that are neither wanted nor referred to; the choice is the same without it.

        Raises:
            MediaLimitError: the picture is larger than the limit. MediaError: the container broke.
        """
        with self._lock:
            started = time.monotonic()
            try:
                self._wanted_s = _nearest_times(targets_s, sorted(known_s)) if known_s else None
                self._go_to(start_s, keyframe_s)
                return self._pick(targets_s, start_s, end_s)
            finally:
                self._consumed_to_s = end_s
                self._title.times.decode_s += time.monotonic() - started

    def _pick(self, targets_s: tuple[float, ...], start_s: float, end_s: float) -> Frames | None:
        chosen: dict[float, ByteArray] = {}
        previous: tuple[float, av.VideoFrame] | None = None
        pending = 0  # targets before this one are settled

        def settle(found: tuple[float, av.VideoFrame]) -> None:
            if found[0] not in chosen:
                chosen[found[0]] = self._rgb(found[1])

        for time_s, frame in self._until(start_s, end_s):
            # a target at or before this frame is nearest to this frame or to the one before it
            while pending < len(targets_s) and targets_s[pending] <= time_s:
                settle(_nearer(previous, (time_s, frame), targets_s[pending]))
                pending += 1
            previous = (time_s, frame)
        if previous is not None and pending < len(targets_s):
            settle(previous)
        if not chosen:
            return None
        return pack_frames(list(chosen.values()), [time_s - start_s for time_s in chosen], len(targets_s))

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
        if not passed and not (skips and start_s - self._position_s > SEEK_GAIN_S):
            return
        if not self._growing and not self._title.restarted.is_set():
            self._seek(start_s)
        elif not passed:
            if keyframe_s is not None and keyframe_s > self._fed_to_s:
                self._skip_to_s, self._held = keyframe_s, None
        else:  # only a fresh start leads back
            self._shut()
            self._open()

    def _open(self) -> None:
        self._container, stream = self._opened.enter_context(opened_stream(self._title, "video"))
        assert isinstance(stream, VideoStream)
        self._stream, self._codec = stream, stream.codec_context
        self._codec.thread_count = (
            1  # measured: no slower a title, and windows of many titles share the cores
        )
        self._frames = _in_order(self._decode())
        self._position_s, self._fed_to_s = self._start_s, -math.inf
        self._skip_to_s = self._start_s if self._start_s > 0 else None

    def _seek(self, to_s: float) -> None:
        """To the last keyframe at or before `to_s`; where the container cannot, decoding goes on."""
        assert self._container is not None
        assert self._stream.time_base is not None
        self._held = None
        try:
            stamp = round((to_s + self._title.origin_s) / float(self._stream.time_base))
            self._container.seek(stamp, stream=self._stream, backward=True)
            self._codec.flush_buffers()
            self._frames = _in_order(self._decode())
        except av.error.FFmpegError:
            if to_s < self._consumed_to_s:  # only a fresh start leads back
                self._shut()
                self._open()

    def _decode(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames as they come with their time in seconds; broken packets are counted and skipped."""
        assert self._container is not None
        base = float(self._stream.time_base) if self._stream.time_base else 0.0
        stamps = frame_stamps(self._container, self._stream)
        skips = self._codec.codec.canonical_name in SKIPPING_CODECS and not isinstance(stamps, OrderedFrames)
        broken = 0
        for packet in read_packets(self._title, self._container, self._stream, first=False):
            if self._skip_to_s is not None and packet.size:
                if not self._lands(packet, base):
                    continue
                self._skip_to_s = None
                self._codec.flush_buffers()
                stamps.restart()
            self.packets_decoded += bool(packet.size)
            stamp_s = None if packet.pts is None else self._title.time_s(packet.pts, base)
            self._fed_to_s = max(self._fed_to_s, stamp_s or 0.0)
            if skips:
                self._codec.skip_frame = "DEFAULT" if self._wants(stamp_s) else "NONREF"
            stamps.fed(packet)
            try:
                frames = cast("list[av.VideoFrame]", packet.decode())
                broken = 0
            except av.error.FFmpegError:
                broken += 1
                self._title.times.broken += 1
                if broken >= MAX_BROKEN_PACKETS:
                    return
                continue
            for frame in frames:
                stamp = stamps.of(frame)
                if stamp is not None:
                    self._check_size(frame)
                    yield self._title.time_s(stamp, base), frame

    def _lands(self, packet: Packet[Stream], base: float) -> bool:
        """Whether the packet is a keyframe at or past where decoding shall go on."""
        assert self._skip_to_s is not None
        stamp = packet.pts if packet.pts is not None else packet.dts
        if not packet.is_keyframe or stamp is None:
            return False
        return self._title.time_s(stamp, base) >= self._skip_to_s - SAME_TIME_S

    def _wants(self, time_s: float | None) -> bool:
        if self._wanted_s is None or time_s is None:
            return True
        if time_s > self._wanted_s[-1] + SAME_TIME_S:
            return True  # read ahead for the next window, whose wishes are not known yet
        at = bisect_left(self._wanted_s, time_s - SAME_TIME_S)
        return at < len(self._wanted_s) and self._wanted_s[at] <= time_s + SAME_TIME_S

    def _check_size(self, frame: av.VideoFrame) -> None:
        most = self._title.limits.max_video_pixels
        if frame.width * frame.height > most:
            raise MediaLimitError(
                self._title.name,
                f"a video of {frame.width}x{frame.height} pixels",
                f"at most {most:,} pixels a picture",
            )

    def _rgb(self, frame: av.VideoFrame) -> ByteArray:
        return frame_to_rgb(
            frame,
            self._title.descriptor.frames,
            self._rotation_deg,
            self._reformatter,
            mirrored=self._mirrored,
        )


def _in_order(frames: Iterator[tuple[float, av.VideoFrame]]) -> Iterator[tuple[float, av.VideoFrame]]:
    """Without frames that claim to come later than the one after them: their timestamps are broken.

    A frame years ahead would otherwise be held for a window that never comes and hide all that follow.
    """
    held: tuple[float, av.VideoFrame] | None = None
    for item in frames:
        if held is not None and held[0] <= item[0]:
            yield held
        held = item
    if held is not None:
        yield held


def _nearer(
    previous: tuple[float, av.VideoFrame] | None, this: tuple[float, av.VideoFrame], target_s: float
) -> tuple[float, av.VideoFrame]:
    if previous is not None and target_s - previous[0] <= this[0] - target_s:
        return previous
    return this


def _nearest_times(targets_s: Sequence[float], known_s: Sequence[float]) -> list[float]:
    """For each target the nearest of the known times (ascending), the earlier of two as near."""
    nearest = set()
    for target_s in targets_s:
        at = bisect_left(known_s, target_s)
        around = known_s[max(at - 1, 0) : at + 1]
        nearest.add(min(around, key=lambda time_s: (abs(time_s - target_s), time_s)))
    return sorted(nearest)
