"""The pictures of a reel: one size, one frame rate, encoded clip by clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from resonance.clients.discovery.reel_sound import SOUND_RATE_HZ
from resonance.clients.errors import UsageError
from resonance.clients.media.types import ByteArray

#: Frame rates of which a frame is a whole number of samples.
FRAME_RATES = (24, 25, 30, 50, 60)
#: Most pixels of a side: H.264's levels end there.
MOST_PIXELS = 4096
#: Constant quality, near to what cannot be told from the source; keyframes every two seconds, to jump to.
X264 = {"preset": "veryfast", "crf": "20"}
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
class Shape:
    """How pictures are to be shown: samples of shape `sample_aspect`; for the others see `orientation`."""

    rotation_deg: int = 0
    sample_aspect: float = 1.0
    mirrored: bool = False

    def fitted(self, width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
        """Width and height, even, of a coded picture shown as large as it fits into a box."""
        shown_width, shown_height = width * self.sample_aspect, float(height)
        if self.rotation_deg in (90, 270):
            shown_width, shown_height = shown_height, shown_width
        scale = min(box_width / shown_width, box_height / shown_height)
        return _even(shown_width * scale, box_width), _even(shown_height * scale, box_height)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """The pictures of a clip, encoded on their own: `frames` of them, the first a keyframe."""

    packets: tuple[Packet[Stream], ...]
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
        configure(context, self._form)
        context.options = dict(X264)
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


def configure(context: VideoCodecContext, form: ReelFormat) -> None:
    """Set up an encoder of a reel's pictures, all alike, so that one stream holds what they make."""
    context.width, context.height, context.pix_fmt = form.width, form.height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, form.fps), Fraction(form.fps)
    context.gop_size = _KEYFRAME_EVERY_S * form.fps
    context.color_range, context.colorspace = ColorRange.MPEG, _REC_709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    context.sample_aspect_ratio = Fraction(1)
    context.flags |= av.codec.context.Flags.global_header


def _even(length: float, most: int) -> int:
    return min(max(round(length / 2) * 2, 2), most)
