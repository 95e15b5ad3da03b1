"""What a container holds, read before its streams are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from resonance.clients.errors import MediaError, MediaLimitError, NotMediaError
from resonance.clients.media.container import (
    STATING,
    choose_stream,
    left_out,
    opened_container,
    origin_s,
    typed_errors,
)
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.packets import Known, VideoFacts
from resonance.clients.media.picture import orientation
from resonance.clients.media.source import Source
from resonance.clients.media.stated_end import length_s, stated_end_s
from resonance.clients.media.types import Limits, MediaInfo

#: No decoder has this name.
NO_DECODER = "none"


@dataclass(frozen=True, slots=True)
class Probed:
    """kinds: of streams that are read here; origin_s: earliest start on the container's clock.

    rotation_deg, mirrored: see `orientation`.
    known: what lets the container be opened again for less; None where it has to be looked at again.
    stated_end_s: of pictures and sound, see `stated_end_s`.
    """

    info: MediaInfo
    origin_s: float
    kinds: frozenset[str]
    rotation_deg: int
    mirrored: bool = False
    known: Known | None = None
    stated_end_s: float | None = None


def probe(source: Source, limits: Limits) -> Probed:
    """Open the container and look at its streams and the first picture.

    Raises:
        MediaError: by kind.
    """
    with opened_container(source, limits.stall_timeout_s) as container:
        found = {kind: choose_stream(container, kind) for kind in ("video", "audio", "subtitle")}
        streams = {kind: stream for kind, stream in found.items() if stream is not None}
        _refuse_tiles(container, streams.get("video"), source.name)
        video = streams.get("video")
        known = None
        if container.format.name == STATING and not isinstance(source, GrowingSource):
            sound = streams.get("audio")
            known = Known(
                only_decoder=sound.codec_context.name if sound is not None else NO_DECODER,
                video=VideoFacts.of(video) if isinstance(video, VideoStream) else None,
            )
        turned = (0, False) if video is None else _orientation(container, video, source.name, limits)
        began_s = origin_s(container)
        info = MediaInfo(
            name=source.name,
            container=container.format.name,
            duration_s=length_s(container, began_s),
            codecs={kind: s.codec_context.codec.canonical_name for kind, s in streams.items()},
            left_out=left_out(container),
        )
        timed = [stream for kind, stream in streams.items() if kind != "subtitle"]
        stated_s = stated_end_s(container, timed, began_s)
        return Probed(info, began_s, frozenset(streams), *turned, known, stated_s)


def _refuse_tiles(container: InputContainer, chosen: Stream | None, name: str) -> None:
    """A photo in HEIC that libheif would not open is a grid of tiles, which FFmpeg gives as a stream each; a
    thumbnail or a map of depths may be beside them.

    Raises:
        NotMediaError: it is one.
    """
    tiles = [s for s in container.streams.video if s.disposition & Disposition.dependent]
    whole = chosen is not None and chosen.disposition & Disposition.default
    if container.format.name == STATING and tiles and not whole:
        raise NotMediaError(
            name,
            f"a HEIC (HEIF) photo in {len(tiles)} tiles that cannot be put together",
            "a whole one, or the photo as JPEG, PNG, WebP or AVIF",
        )


def _orientation(container: InputContainer, stream: Stream, name: str, limits: Limits) -> tuple[int, bool]:
    """That of the first frame that decodes.

    Raises:
        MediaLimitError: the pictures are larger than the limit; nothing is decoded then.
    """
    codec = stream.codec_context
    assert isinstance(codec, VideoCodecContext)
    if codec.width * codec.height > limits.max_video_pixels:
        raise MediaLimitError(
            name,
            f"a video of {codec.width}x{codec.height} pixels",
            f"at most {limits.max_video_pixels:,} pixels a picture",
        )
    codec.thread_count = 1
    # the first picture comes out before those that may refer to it are decoded
    codec.flags |= Flags.low_delay
    with contextlib.suppress(av.error.FFmpegError, MediaError, IndexError), typed_errors(name):
        for attempt, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    return orientation(frame)
            if attempt > _ORIENTATION_PACKETS:
                break
    return 0, False


#: Packets tried for a first frame before the picture is taken as upright.
_ORIENTATION_PACKETS = 64
