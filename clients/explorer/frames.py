"""Pictures of a video in their time, as a browser would show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from resonance.clients.errors import MediaLimitError
from resonance.clients.explorer.kinds import LIMITS
from resonance.clients.media.container import origin_s
from resonance.clients.media.picture import frame_to_rgb, orientation
from resonance.clients.media.types import ByteArray
from resonance.space.descriptor import FrameGeometry

MAX_BROKEN_PACKETS = 200
#: Containers without an index, in which a seek may land between keyframes; so it aims this much earlier,
#: which is x264's longest distance between them at 25 pictures a second. Where it lands too late after all,
#: it is tried from further back.
_NO_INDEX, _EARLIER_S = frozenset(("mpegts", "mpeg")), 10.0


def seek(container: InputContainer, stream: Stream, time_s: float, lead_s: float = 0.0) -> bool:
    """To a keyframe at or before `lead_s` before `time_s` of a title; whether it moved.

    It stays at the container's start where that is meant, and where the container cannot seek.
    """
    assert stream.time_base is not None
    aim_s = time_s - lead_s - (_EARLIER_S if container.format.name in _NO_INDEX else 0.0)
    if aim_s <= 0:
        return False
    stamp = round((aim_s + origin_s(container)) / float(stream.time_base))
    try:
        container.seek(stamp, stream=stream, backward=True)
    except av.error.FFmpegError:
        return False
    return True


def check_size(stream: VideoStream, name: str) -> None:
    """Raises MediaLimitError: pictures larger than are decoded here."""
    codec = stream.codec_context
    if codec.width * codec.height > LIMITS.max_video_pixels:
        raise MediaLimitError(
            name,
            f"a video of {codec.width}x{codec.height} pixels",
            f"at most {LIMITS.max_video_pixels:,} pixels a picture",
        )


def decoded(packets: Iterator[Packet[VideoStream]]) -> Iterator[av.VideoFrame]:
    """Frames of packets; broken packets are passed over, up to `MAX_BROKEN_PACKETS` in a row."""
    broken = 0
    for packet in packets:
        try:
            yield from packet.decode()
            broken = 0
        except av.error.FFmpegError:
            broken += 1
            if broken >= MAX_BROKEN_PACKETS:
                return


def fitted(width: float, height: float, most_px: int) -> tuple[int, int]:
    """Even width and height of the same shape, the longer side at most `most_px`, neither under 2."""
    scale = min(1.0, most_px / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


@dataclass(frozen=True, slots=True)
class Shown:
    """Width and height in square pixels once upright, and what makes it so: see `orientation`."""

    width: int = 0
    height: int = 0
    rotation_deg: int = 0
    mirrored: bool = False


def as_shown(frame: av.VideoFrame, stream: VideoStream, most_px: int) -> Shown:
    """How a frame of the stream is shown, neither side longer than `most_px`."""
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    rotation_deg, mirrored = orientation(frame)
    width, height = frame.width * aspect, float(frame.height)
    if rotation_deg in (90, 270):
        width, height = height, width
    return Shown(*fitted(width, height, most_px), rotation_deg, mirrored)


def upright(frame: av.VideoFrame, how: Shown, reformatter: VideoReformatter) -> ByteArray:
    """The frame as uint8 RGB [height, width, 3]."""
    geometry = FrameGeometry(
        how.width, how.height, resize="stretch", interpolation="bilinear", colour_matrix="stream"
    )
    return frame_to_rgb(frame, geometry, how.rotation_deg, reformatter, mirrored=how.mirrored)
