"""A title's picture at a moment, as JPEG."""

from __future__ import annotations

import io
import time

from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

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

    Of a still picture, that picture. After `timeout_s` the picture decoded last counts.

    Raises:
        NothingToShowError: it has no picture. MediaError: it is away, or no longer media.
        ServerError, UsageError: its store's.
    """
    with open_uri(uri) as file:
        still = open_picture(file, uri)
        if still is not None:
            show(still, at_s, LIMITS.max_picture_pixels)
            return _jpeg(_still(still, uri, most_px))
    return _jpeg(_frame(uri, at_s, most_px, time.monotonic() + timeout_s))


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


def _frame(uri: str, at_s: float, most_px: int, deadline_s: float) -> ByteArray:
    with opened_container(UriSource(uri), LIMITS.stall_timeout_s) as container, typed_errors(uri):
        stream = choose_stream(container, "video")
        if not isinstance(stream, VideoStream):
            raise NothingToShowError(f"{uri} has no picture")
        check_size(stream, uri)
        start = origin_s(container)
        discard_all_but(container, stream)
        seek(container, stream, at_s)
        last = None
        for frame in decoded(container.demux(stream)):
            late = frame.time is not None and frame.time - start > at_s
            if last is None or not late:
                last = frame
            if late or time.monotonic() > deadline_s:
                break
        if last is None:
            raise CorruptMediaError(uri, "no picture that decodes", "a whole file")
        return upright(last, as_shown(last, stream, most_px), VideoReformatter())


def _jpeg(picture: ByteArray) -> bytes:
    """Of uint8 RGB [height, width, 3]."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return out.getvalue()
