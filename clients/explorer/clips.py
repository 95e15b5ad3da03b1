"""A stretch of a title as H.264 and AAC in MP4, for browsers that cannot play its file."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from resonance.clients.discovery.reel_media import LEADS_S
from resonance.clients.errors import CorruptMediaError, MediaStalledError
from resonance.clients.explorer.errors import NothingToShowError
from resonance.clients.explorer.frames import (
    MAX_BROKEN_PACKETS,
    Shown,
    as_shown,
    check_size,
    seek,
    upright,
)
from resonance.clients.explorer.kinds import LIMITS, UriSource
from resonance.clients.media.container import choose_stream, opened_container, origin_s, typed_errors

LONGER_SIDE_PX = 640
SOUND_RATE_HZ = 48_000
#: Speed matters, for somebody waits, and the clip is looked at once.
_X264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}
_CLOCK = Fraction(1, 90_000)


@dataclass(slots=True)
class _Writer:
    """Streams are added once the first picture tells a size; sound before it is held.

    `standing`: the last picture before the clip, which stands until its first one.
    `lacks_first`: no picture is known that stands when the clip begins.
    """

    out: OutputContainer
    source_video: VideoStream | None
    has_sound: bool
    video: VideoStream | None = None
    audio: AudioStream | None = None
    shown: Shown = field(default_factory=Shown)
    last_pts: int = -1
    samples: int = 0
    standing: av.VideoFrame | None = None
    lacks_first: bool = field(init=False)
    held: list[av.AudioFrame] = field(default_factory=list)
    reformatter: VideoReformatter = field(default_factory=VideoReformatter)
    resampler: AudioResampler = field(
        default_factory=lambda: AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE_HZ)
    )

    def __post_init__(self) -> None:
        self.lacks_first = self.source_video is not None

    def add_picture(self, frame: av.VideoFrame, time_s: float) -> None:
        """A picture at `time_s` of the clip, its first one after that which stands."""
        if time_s < -0.001:  # times are rounded
            self.standing, self.lacks_first = frame, False
            return
        if self.video is None and time_s <= 0.001:
            self.lacks_first = False
        standing, self.standing = self.standing, None
        if standing is not None and time_s > 0.001:
            self.add_picture(standing, 0.0)
        if self.video is None:
            assert self.source_video is not None
            self.shown = as_shown(frame, self.source_video, LONGER_SIDE_PX)
            self.video = self.out.add_stream("libx264", rate=30, options=_X264)
            self.video.width, self.video.height = self.shown.width, self.shown.height
            self.video.pix_fmt = "yuv420p"
            self.video.codec_context.time_base = _CLOCK
            self.start_sound()
        picture = av.VideoFrame.from_ndarray(upright(frame, self.shown, self.reformatter), format="rgb24")
        picture.pts, picture.time_base = round(max(time_s, 0.0) / _CLOCK), _CLOCK
        if picture.pts > self.last_pts:  # times that stand still or run back are broken
            self.last_pts = picture.pts
            self.out.mux(self.video.encode(picture))

    def start_sound(self) -> None:
        """From here on sound is written."""
        if self.has_sound:
            self.audio = self.out.add_stream("aac", rate=SOUND_RATE_HZ, layout="stereo")
            for frame in self.held:
                self._write(frame)
            self.held.clear()

    def add_sound(self, frame: av.AudioFrame, time_s: float) -> None:
        """Sound that starts at `time_s` of the clip; what follows is taken to follow without a gap."""
        for ready in self.resampler.resample(frame):
            if self.samples == 0:
                self.samples = round(max(time_s, 0.0) * SOUND_RATE_HZ)
            ready.pts, ready.time_base = self.samples, Fraction(1, SOUND_RATE_HZ)
            self.samples += ready.samples
            if self.audio is None:
                self.held.append(ready)
            else:
                self._write(ready)

    def _write(self, frame: av.AudioFrame) -> None:
        assert self.audio is not None
        self.out.mux(self.audio.encode(frame))

    def finish(self, *, is_cut: bool) -> bool:
        """Flush; whether anything was written. What was cut off before the clip began is no part of it."""
        if self.standing is not None and not is_cut:
            self.add_picture(self.standing, 0.0)
        if self.video is None:
            self.start_sound()
        for stream in (self.video, self.audio):
            if stream is not None:
                self.out.mux(stream.encode(None))
        return self.last_pts >= 0 or self.samples > 0


def make_clip(uri: str, at_s: float, length_s: float, timeout_s: float) -> bytes:
    """MP4 of at most `length_s` seconds of the title from `at_s` on. Blocks.

    After `timeout_s` what was made by then is the clip.

    Raises:
        NothingToShowError: nothing in it plays. MediaStalledError: nothing was made by then.
        MediaError: it is away, or no longer media.
        ServerError, UsageError: its store's.
    """
    deadline_s = time.monotonic() + timeout_s
    late: list[bytes] = []
    for lead_s in LEADS_S:
        tried = _clip(uri, at_s, length_s, lead_s, deadline_s)
        # one that begins late and is whole otherwise tells more than the first moments of another try
        if tried.data is not None and not tried.is_late and not (late and tried.is_cut):
            return tried.data
        late += [tried.data] if tried.data is not None else []
        if tried.is_cut or not tried.is_late:
            break
    if late:
        return late[0]
    if tried.is_cut:
        came = f"nothing decoded from {at_s:.1f} s on in {timeout_s:g} s"
        raise MediaStalledError(uri, came, "a time that is decoded sooner")
    raise CorruptMediaError(uri, f"nothing that decodes from {at_s:.1f} s on", "a time in the title")


@dataclass(frozen=True, slots=True)
class _Tried:
    """A clip; `data` is None where nothing is in it.

    `is_late`: the seek passed over the picture that it begins with. `is_cut`: the time was up before its end.
    """

    data: bytes | None
    is_late: bool
    is_cut: bool


def _clip(uri: str, at_s: float, length_s: float, lead_s: float, deadline_s: float) -> _Tried:
    """The clip after a seek to `lead_s` before it."""
    is_cut = False
    data = io.BytesIO()
    with opened_container(UriSource(uri), LIMITS.stall_timeout_s) as container, typed_errors(uri):
        video, sound = choose_stream(container, "video"), choose_stream(container, "audio")
        if isinstance(video, VideoStream):
            check_size(video, uri)
        chosen = [stream for stream in (video, sound) if stream is not None]
        if not chosen:
            raise NothingToShowError(f"{uri} has nothing that plays")
        with av.open(data, "w", format="mp4") as out:
            picture = video if isinstance(video, VideoStream) else None
            writer = _Writer(out, picture, has_sound=sound is not None)
            moved = seek(container, chosen[0], at_s, lead_s)
            first_s, open_streams, broken = origin_s(container) + at_s, {s.index for s in chosen}, 0
            for packet in container.demux(chosen):
                if not open_streams or broken > MAX_BROKEN_PACKETS:
                    break
                if is_cut := time.monotonic() > deadline_s:
                    break
                if packet.stream.index not in open_streams:
                    continue
                try:
                    frames = cast("list[av.VideoFrame | av.AudioFrame]", packet.decode())
                    broken = 0
                except av.error.FFmpegError:
                    broken += 1
                    continue
                for frame in frames:
                    if not _add(writer, frame, first_s, length_s):
                        open_streams.discard(packet.stream.index)
            is_there = writer.finish(is_cut=is_cut)
    return _Tried(data.getvalue() if is_there else None, moved and writer.lacks_first, is_cut)


def _add(writer: _Writer, frame: av.VideoFrame | av.AudioFrame, first_s: float, length_s: float) -> bool:
    """Add what belongs to the clip; False once its end is passed."""
    if frame.time is None:
        return True
    time_s = frame.time - first_s
    if time_s >= length_s:
        return False
    if isinstance(frame, av.AudioFrame):
        if time_s + frame.samples / frame.sample_rate > 0:
            writer.add_sound(frame, time_s)
    else:
        writer.add_picture(frame, time_s)
    return True
