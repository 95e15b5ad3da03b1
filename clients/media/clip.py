"""Clips: keyframe packets on the wire, and their decoding, each packet alone."""

from __future__ import annotations

import contextlib

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from resonance.clients.media.picture import (
    FULL_RANGE,
    UNSPECIFIED,
    UnscalableError,
    frame_to_rgb,
    pack_frames,
)
from resonance.clients.media.types import ByteArray, Clip, Frames, Packet
from resonance.space.descriptor import FrameGeometry
from resonance.v1 import clip_pb2

#: Part of the refusal of a clip whose packets yield no frame; clients then decode the stretch in order.
NO_FRAMES = "no packet of the clip yields a frame"

#: Decoders a clip may ask for. FFmpeg holds many more, for formats nobody streams; each is attack surface.
VIDEO_CODECS = frozenset(
    (
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "vvc",
        "mpeg4",
        "mpeg2video",
        "mpeg1video",
        "mjpeg",
        "theora",
        "h263",
        "flv1",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
        "msmpeg4v2",
        "msmpeg4v3",
        "prores",
        "dnxhd",
        "dvvideo",
        "ffv1",
        "png",
    )
)
#: FFmpeg's own decoder of that name needs a GPU.
DECODERS = {"av1": "libdav1d"}
MAX_PIXELS = 64 * 1024 * 1024
#: A year; keyframes stand in their segment or a few seconds beside it.
MAX_TIME_S = 366 * 86_400.0


class NoFramesError(ValueError):
    """The keyframe packets decode to nothing (intra refresh); the window must be decoded in order."""


def clip_to_bytes(clip: Clip) -> bytes:
    """The serialised resonance.v1.Clip."""
    message = clip_pb2.Clip(
        codec=clip.codec,
        extradata=clip.extradata,
        width_px=clip.width_px,
        height_px=clip.height_px,
        rotation_deg=clip.rotation_deg,
        sample_aspect_num=clip.sample_aspect[0],
        sample_aspect_den=clip.sample_aspect[1],
        packets=[clip_pb2.ClipPacket(time_s=p.time_s, data=p.data) for p in clip.packets],
        frame_bucket=clip.frame_bucket,
        pixel_format=clip.pixel_format,
        colour_matrix=clip.colour_matrix,
        colour_range=clip.colour_range,
        mirrored=clip.mirrored,
    )
    return message.SerializeToString()


def clip_from_bytes(data: bytes) -> Clip:
    """The clip of a serialised message.

    Raises:
        ValueError: not such a message, or its fields contradict each other.
    """
    message = clip_pb2.Clip()
    try:
        message.ParseFromString(data)
    except Exception as error:  # the protobuf runtimes raise different types
        raise ValueError(f"CLIP is not a resonance.v1.Clip ({error})") from error
    if not 1 <= message.frame_bucket <= 64:
        raise ValueError(f"CLIP.frame_bucket is {message.frame_bucket}; expected 1 to 64")
    if not 1 <= len(message.packets) <= message.frame_bucket:
        raise ValueError(
            f"CLIP.packets holds {len(message.packets)}; expected 1 to frame_bucket ({message.frame_bucket})"
        )
    for place, packet in enumerate(message.packets):
        if not abs(packet.time_s) <= MAX_TIME_S:  # holds for what is not a number, too
            raise ValueError(
                f"CLIP.packets[{place}].time_s is {packet.time_s}; "
                f"expected -{MAX_TIME_S:,.0f} to {MAX_TIME_S:,.0f}"
            )
    if message.rotation_deg not in (0, 90, 180, 270):
        raise ValueError(f"CLIP.rotation_deg is {message.rotation_deg}; expected 0, 90, 180 or 270")
    for name, came, most in (
        ("colour_matrix", message.colour_matrix, 255),
        ("colour_range", message.colour_range, FULL_RANGE),
    ):
        if came > most:
            raise ValueError(f"CLIP.{name} is {came}; expected 0 to {most}")
    return Clip(
        codec=message.codec,
        extradata=message.extradata,
        width_px=message.width_px,
        height_px=message.height_px,
        rotation_deg=message.rotation_deg,
        sample_aspect=(message.sample_aspect_num, message.sample_aspect_den),
        packets=tuple(Packet(p.time_s, p.data) for p in message.packets),
        frame_bucket=message.frame_bucket,
        pixel_format=message.pixel_format,
        colour_matrix=message.colour_matrix if message.pixel_format else UNSPECIFIED,
        colour_range=message.colour_range,
        mirrored=message.mirrored,
    )


def decode_clip(clip: Clip, geometry: FrameGeometry) -> Frames:
    """Decode each packet with a decoder that holds no state of another, and scale it to `geometry`.

    Raises:
        NoFramesError: not one packet yields a frame.
        ValueError: the codec is not among `VIDEO_CODECS`, or the picture is larger than `MAX_PIXELS`.
    """
    check_clip(clip)
    return pack_clip(clip, decode_packets(clip, geometry))


def check_clip(clip: Clip) -> None:
    """Refuse a clip before anything of it is decoded.

    Raises:
        ValueError: the codec is not among `VIDEO_CODECS`, or the picture is larger than `MAX_PIXELS`.
    """
    if clip.codec not in VIDEO_CODECS:
        raise ValueError(f"CLIP.codec is '{clip.codec}'; expected one of {', '.join(sorted(VIDEO_CODECS))}")
    if clip.width_px * clip.height_px > MAX_PIXELS:
        raise ValueError(f"CLIP is {clip.width_px}x{clip.height_px}; expected at most {MAX_PIXELS} pixels")


def decode_packets(clip: Clip, geometry: FrameGeometry) -> list[ByteArray | None]:
    """One entry a packet: the picture uint8 [H, W, 3], or None where the packet yields none to scale.

    Raises:
        ValueError: a picture is larger than `MAX_PIXELS`.
    """
    decoder = open_decoder(clip)
    reformatter = VideoReformatter()
    pictures: list[ByteArray | None] = []
    for packet in clip.packets:
        frame = _decode_alone(decoder, packet.data)
        if frame is not None and frame.width * frame.height > MAX_PIXELS:
            raise ValueError(
                f"CLIP decodes to {frame.width}x{frame.height}; expected at most {MAX_PIXELS} pixels"
            )
        picture = None
        if frame is not None:
            # decoding in order, which follows where there is none, tells the title's reader why
            with contextlib.suppress(UnscalableError):
                picture = frame_to_rgb(
                    frame, geometry, clip.rotation_deg, reformatter, mirrored=clip.mirrored
                )
        pictures.append(picture)
    return pictures


def pack_clip(clip: Clip, pictures: list[ByteArray | None]) -> Frames:
    """Pictures of `clip`'s packets (None: it yields none) as frames of its bucket.

    Raises:
        NoFramesError: there is no picture.
    """
    found = [(p, packet.time_s) for p, packet in zip(pictures, clip.packets, strict=True) if p is not None]
    if not found:
        raise NoFramesError(NO_FRAMES)
    return pack_frames([p for p, _ in found], [time_s for _, time_s in found], clip.frame_bucket)


def open_decoder(clip: Clip) -> VideoCodecContext:
    """A decoder of one thread for the clip's stream."""
    context = av.CodecContext.create(DECODERS.get(clip.codec, clip.codec), "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    if clip.extradata:
        context.extradata = clip.extradata
    if clip.width_px and clip.height_px:
        context.width, context.height = clip.width_px, clip.height_px
    # what the container alone states; where the pictures state it, too, the decoder goes by them
    context.colorspace, context.color_range = clip.colour_matrix, clip.colour_range
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


def _decode_alone(decoder: VideoCodecContext, data: bytes) -> av.VideoFrame | None:
    """The first frame of a packet, the decoder flushed before the next."""
    packet = av.Packet(data)
    packet.is_keyframe = True  # what is no keyframe is added to the picture before, by FFmpeg's PNG decoder
    try:
        frames = decoder.decode(packet)
        if not frames:
            frames = decoder.decode(None)
    except av.error.FFmpegError:
        frames = []
    decoder.flush_buffers()
    return frames[0] if frames else None


def frame_times_s(frames: Frames, start_s: float) -> tuple[float, ...]:
    """Times of the real frames in the title, in seconds."""
    return tuple(float(start_s + t) for t in frames.times_s[np.asarray(frames.mask)])
