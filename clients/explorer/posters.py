"""A title's picture at a moment, as JPEG."""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass

from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from resonance.clients.discovery.reel_media import LEADS_S
from resonance.clients.errors import CorruptMediaError
from resonance.clients.explorer.errors import NothingToShowError
from resonance.clients.explorer.frames import as_shown, check_size, decoded, fitted, seek, upright
from resonance.clients.explorer.kinds import LIMITS, UriSource
from resonance.clients.ingest.opening import open_uri
from resonance.clients.media.animation import show
from resonance.clients.media.container import (
    choose_stream,
    discard_all_but,
    opened_container,
    origin_s,
    typed_errors,
)
from resonance.clients.media.picture import open_picture, read_picture
from resonance.clients.media.types import ByteArray
from resonance.space.descriptor import FrameGeometry

JPEG_QUALITY = 82
#: EXIF orientations that lie on their side.
_SIDEWAYS = frozenset((5, 6, 7, 8))
_ORIENTATION_TAG = 0x0112


def make_poster(uri: str, at_s: float, most_px: int, timeout_s: float) -> bytes:
    """JPEG of the picture at `at_s` seconds of the title, its longer side at most `most_px`. Blocks.

    Of a still picture, that picture. After `timeout_s` the picture decoded last counts, of an animation, too.

    Raises:
        NothingToShowError: it has no picture. MediaError: it is away, or no longer media.
        ServerError, UsageError: its store's.
    """
    deadline_s = time.monotonic() + timeout_s
    with open_uri(uri) as file:
        still = open_picture(file, uri)
        if still is not None:
            show(still, at_s, LIMITS.max_picture_pixels, deadline_s)
            return _jpeg(_still(still, uri, most_px))
    return _jpeg(_frame(uri, at_s, most_px, deadline_s))


def _still(image: Image.Image, name: str, most_px: int) -> ByteArray:
    width, height = image.size
    if image.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS:
        width, height = height, width
    geometry = FrameGeometry(
        *fitted(width, height, most_px), resize="stretch", interpolation="bicubic", colour_matrix="stream"
    )
    frames = read_picture(image, geometry, name=name, max_pixels=LIMITS.max_picture_pixels, bucket=1)
    picture: ByteArray = frames.pixels[0]  # (1, H, W, 3) -> (H, W, 3)
    return picture


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A picture, uint8 RGB [height, width, 3], or None where none decodes.

    late_s: how long after the wanted time it is; 0 or less: nothing between them was passed over.
    from_start: nothing before it was passed over.
    """

    picture: ByteArray | None
    late_s: float
    from_start: bool


def _frame(uri: str, at_s: float, most_px: int, deadline_s: float) -> ByteArray:
    found: list[_Found] = []
    for lead_s in LEADS_S:
        found.append(_found(uri, at_s, lead_s, most_px, deadline_s))
        if found[-1].from_start or found[-1].late_s <= 0 or time.monotonic() > deadline_s:
            break
    picture = min(found, key=lambda one: abs(one.late_s)).picture
    if picture is None:
        raise CorruptMediaError(uri, "no picture that decodes", "a whole file")
    return picture


def _found(uri: str, at_s: float, lead_s: float, most_px: int, deadline_s: float) -> _Found:
    """The last picture at or before `at_s`, else the first one after it, after a seek to `lead_s` before."""
    with opened_container(UriSource(uri), LIMITS.stall_timeout_s) as container, typed_errors(uri):
        stream = choose_stream(container, "video")
        if not isinstance(stream, VideoStream):
            raise NothingToShowError(f"{uri} has no picture")
        check_size(stream, uri)
        wanted_s = origin_s(container) + at_s
        discard_all_but(container, stream)
        from_start = not seek(container, stream, at_s, lead_s)
        last = None
        for frame in decoded(container.demux(stream)):
            late = frame.time is not None and frame.time > wanted_s
            if last is None or not late:
                last = frame
            if late or time.monotonic() > deadline_s:
                break
        if last is None:
            return _Found(None, math.inf, from_start)
        picture = upright(last, as_shown(last, stream, most_px), VideoReformatter())
        return _Found(picture, 0.0 if last.time is None else last.time - wanted_s, from_start)


def _jpeg(picture: ByteArray) -> bytes:
    """Of uint8 RGB [height, width, 3]."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return out.getvalue()
