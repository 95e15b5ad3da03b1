"""A reel as one MP4: H.264 and AAC, one size, one frame rate, one clock.

Time is counted in frames: a clip is a whole number of them, and a frame a whole number of samples of sound.
So picture and sound end together at every join, and nothing drifts however many clips there are.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from resonance.clients.discovery.reel_sound import Stereo, faded
from resonance.clients.errors import UsageError
from resonance.clients.media.types import ByteArray

SOUND_RATE_HZ, SOUND_BIT_RATE = 48_000, 192_000
#: Frame rates of which a frame is a whole number of samples.
FRAME_RATES = (24, 25, 30, 50, 60)
#: Most pixels of a side: H.264's levels end there.
MOST_PIXELS = 4096
#: Constant quality, near to what cannot be told from the source; keyframes every two seconds, to jump to.
_X264 = {"preset": "veryfast", "crf": "20"}
_KEYFRAME_EVERY_S = 2
#: Matrix coefficients of Rec. 709 in ITU-T H.273.
_REC_709 = 1


@dataclass(frozen=True, slots=True)
class ReelFormat:
    """Size in pixels and frame rate of a reel.

    Raises:
        UsageError: a size that is odd or out of bounds, a rate that is not among `FRAME_RATES`.
    """

    width: int = 1280
    height: int = 720
    fps: int = 30

    def __post_init__(self) -> None:
        if any(side % 2 or not 16 <= side <= MOST_PIXELS for side in (self.width, self.height)):
            raise UsageError(
                f"size {self.width}x{self.height}; expected even numbers from 16 to {MOST_PIXELS}"
            )
        if self.fps not in FRAME_RATES:
            raise UsageError(
                f"{self.fps} frames a second; expected one of {', '.join(map(str, FRAME_RATES))}"
            )

    @classmethod
    def parse(cls, size: str, fps: int) -> ReelFormat:
        """Of a size written as ``1280x720``. Errors: see the class."""
        width, _, height = size.partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise UsageError(f"size '{size}'; expected WIDTHxHEIGHT, such as 1280x720")
        return cls(int(width), int(height), fps)

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound while a frame stands."""
        return SOUND_RATE_HZ // self.fps

    def frames(self, seconds: float) -> int:
        """Frames of a clip of that length, at least 1; half a frame is dropped, not shown of what follows."""
        return max(int(np.ceil(seconds * self.fps - 0.5 - 1e-6)), 1)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """The pictures of a clip, encoded on their own: `frames` of them, the first a keyframe."""

    packets: tuple[Packet[Stream], ...]
    frames: int


@dataclass(frozen=True, slots=True)
class _Chapter:
    name: str
    first_frame: int
    frames: int


def at_frame_times(
    frames: Iterable[tuple[float, av.VideoFrame]], start_s: float, count: int, fps: int
) -> Iterator[av.VideoFrame]:
    """`count` frames at `fps` from frames (time_s, frame) that come in order, however far apart.

    Of each place in the reel the frame that stands in the middle of it is shown, so that times which a
    container rounded choose no neighbour. The last frame stands to the end; no frames give none.
    """
    coming = iter(frames)
    shown = next(coming, None)
    if shown is None:
        return
    following = next(coming, None)
    for place in range(count):
        middle_s = start_s + (place + 0.5) / fps
        while following is not None and following[0] <= middle_s:
            shown, following = following, next(coming, None)
        yield shown[1]


class ClipEncoder:
    """Puts pictures of any size into the middle of the reel's, on black, and encodes them."""

    def __init__(self, form: ReelFormat) -> None:
        self._form = form
        self._reformatter = VideoReformatter()

    def encode(self, pictures: Iterable[ByteArray]) -> EncodedClip:
        """Pictures uint8 RGB [h, w, 3], none larger than the reel; one object in a row is converted once."""
        context = av.CodecContext.create("libx264", "w")
        _configure(context, self._form)
        context.options = dict(_X264)
        packets: list[Packet[Stream]] = []
        count = 0
        last: ByteArray | None = None
        frame: av.VideoFrame | None = None
        for count, picture in enumerate(pictures, start=1):
            if picture is not last or frame is None:
                last, frame = picture, self._framed(picture)
            frame.pts, frame.time_base = count - 1, Fraction(1, self._form.fps)
            packets += context.encode(frame)
        packets += context.encode(None)
        return EncodedClip(tuple(packets), count)

    def _framed(self, picture: ByteArray) -> av.VideoFrame:
        canvas = np.zeros((self._form.height, self._form.width, 3), np.uint8)
        height, width = picture.shape[:2]
        top, left = (self._form.height - height) // 2, (self._form.width - width) // 2
        canvas[top : top + height, left : left + width] = picture
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(canvas, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.colorspace, frame.color_range = _REC_709, ColorRange.MPEG
        frame.color_primaries, frame.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return frame


class ReelWriter:
    """Writes a reel clip by clip. Use it as a context manager: left without `finish`, no file is left.

    Args:
        path: of the MP4. It is written under another name in the same folder, and renamed at the end.
        title: what players show as its name.

    Attributes:
        frames: written so far.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(self, path: Path, form: ReelFormat, title: str) -> None:
        self.frames = 0
        self._path, self._form = path, form
        self._chapters: list[_Chapter] = []
        self._unfinished = temporary_beside(path)
        try:
            self._container = av.open(
                str(self._unfinished), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._container.metadata["title"] = title
            video = self._container.add_stream("libx264", rate=self._form.fps, options=dict(_X264))
            sound = self._container.add_stream("aac", rate=SOUND_RATE_HZ, layout="stereo")
            assert isinstance(video, VideoStream)
            assert isinstance(sound, AudioStream)
            # this encoder only says what the stream is; the clips' own, set up alike, fill it
            _configure(video.codec_context, self._form)
            sound.bit_rate = SOUND_BIT_RATE
            self._video, self._sound = video, sound
            self._container.start_encoding()
        except BaseException:
            self._unfinished.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / self._form.fps

    def add(self, clip: EncodedClip, sound: Stereo | None, name: str) -> None:
        """Append a clip; `sound` float32 [2, frames * samples_per_frame], None for silence. Fades its ends.

        Raises:
            ValueError: sound of another length than the pictures.
        """
        samples = clip.frames * self._form.samples_per_frame
        if sound is None:
            sound = np.zeros((2, samples), np.float32)
        if sound.shape != (2, samples):
            raise ValueError(
                f"sound of shape {sound.shape} for {clip.frames} frames; expected (2, {samples})"
            )
        base = Fraction(1, self._form.fps)
        for packet in clip.packets:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts + self.frames, packet.dts + self.frames
            packet.time_base, packet.duration, packet.stream = base, 1, self._video
            self._container.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(faded(sound, SOUND_RATE_HZ)), format="fltp", layout="stereo"
        )
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts, frame.time_base = self.frames * self._form.samples_per_frame, Fraction(1, SOUND_RATE_HZ)
        self._container.mux(self._sound.encode(frame))
        self._chapters.append(_Chapter(name, self.frames, clip.frames))
        self.frames += clip.frames

    def finish(self) -> None:
        """Complete the file, chapters too, and put it where it belongs.

        Raises:
            ValueError: there is no clip.
        """
        if not self._chapters:
            raise ValueError("a reel without clips; expected at least one")
        self._container.mux(self._sound.encode(None))
        base = Fraction(1, self._form.fps)
        self._container.set_chapters(
            [
                {
                    "id": number,
                    "start": chapter.first_frame,
                    "end": chapter.first_frame + chapter.frames,
                    "time_base": base,
                    "metadata": {"title": chapter.name},
                }
                for number, chapter in enumerate(self._chapters)
            ]
        )
        self._container.close()
        put_in_place(self._unfinished, self._path)

    def abandon(self) -> None:
        """Leave nothing of what is not finished."""
        if not self._unfinished.exists():
            return
        try:
            self._container.close()
        finally:
            self._unfinished.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, to be renamed to it.

    Raises:
        UsageError: the folder cannot be written to.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".unfinished", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; expected a folder that can be written to") from error
    os.close(descriptor)
    return Path(name)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Rename a complete file; it is on disk before it has its name."""
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    umask = os.umask(0)
    os.umask(umask)
    unfinished.chmod(0o666 & ~umask)  # temporary files are for their owner alone
    unfinished.replace(path)


def _configure(context: VideoCodecContext, form: ReelFormat) -> None:
    context.width, context.height, context.pix_fmt = form.width, form.height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, form.fps), Fraction(form.fps)
    context.gop_size = _KEYFRAME_EVERY_S * form.fps
    context.color_range, context.colorspace = ColorRange.MPEG, _REC_709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.sample_aspect_ratio = Fraction(1)
    context.flags |= av.codec.context.Flags.global_header
