"""Animated pictures: GIF, APNG, WebP and AVIF whose frames are shown one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from PIL import Image

from resonance.clients.errors import CorruptMediaError, MediaLimitError, ResonanceError
from resonance.clients.media.feed_pictures import FeedPictures
from resonance.clients.media.packets import Title
from resonance.clients.media.picture import open_picture, read_frame
from resonance.clients.media.standing import MOST_STANDING_S
from resonance.clients.media.types import ByteArray
from resonance.clients.media.video import VideoWindow

#: Formats whose further pictures are frames; those of a TIFF are pages, and of an icon sizes.
FORMATS = frozenset(("GIF", "PNG", "WEBP", "AVIF"))
#: A frame that asks for no longer than the one is shown for the other, as browsers do.
TOO_SHORT_MS, INSTEAD_MS = 10, 100


def is_animation(image: Image.Image) -> bool:
    """Whether there is more than one frame; only headers are read.

    Raises:
        ResonanceError: the source's.
    """
    if image.format not in FORMATS:
        return False
    try:
        return bool(image.is_animated)  # type: ignore[attr-defined]
    except ResonanceError:  # of the source, whose connection broke
        raise
    except Exception:  # on what is damaged Pillow's parsers raise whatever they stumble over
        return False


def show(image: Image.Image, at_s: float, max_pixels: int, deadline_s: float = math.inf) -> None:
    """Move an animation to the frame that is shown at `at_s`; the last one where it is over, or breaks off.

    After `deadline_s`, of the monotonic clock, it stays where it is: each frame is made of those before it.
    Nothing is done with another picture, nor where frames have more than `max_pixels`: `read_frame` refuses
    them.

    Raises:
        ResonanceError: the source's.
    """
    if not is_animation(image) or image.width * image.height > max_pixels:
        return
    number, ends_ms = _first(image), 0
    try:
        while True:
            image.seek(number)
            image.load()  # before, a WebP does not know how long it lasts
            ends_ms += _lasts_ms(image)
            if at_s * 1000 < ends_ms or time.monotonic() > deadline_s:
                return
            number += 1
    except ResonanceError:
        raise
    except Exception:  # at the end EOFError; for the others see `is_animation`
        return


def _first(image: Image.Image) -> int:
    """A picture before the first frame is for those who cannot show an APNG."""
    return int(getattr(image, "default_image", False))


def _lasts_ms(image: Image.Image) -> int:
    """How long the frame at which `image` stands is shown."""
    asked_ms = round(image.info.get("duration", 0))
    return asked_ms if asked_ms > TOO_SHORT_MS else INSTEAD_MS


class AnimationReader:
    """Decodes an animation once, in order, and hands out its windows as `uniform` sampling has them."""

    def __init__(self, title: Title) -> None:
        self._title = title

    def windows(self) -> Iterator[tuple[int, VideoWindow]]:
        """(index, window) in rising order. A frame is in every window in which it is shown.

        Raises:
            MediaLimitError: a frame of too many pixels, or shown too late.
            CorruptMediaError: the first frame cannot be decoded. One that cannot later on ends the title.
            ResonanceError: the source's.
        """
        pictures, end_s = FeedPictures(self._title.descriptor), 0.0
        for start_s, end_s, picture in self._frames():
            for time_s in self._appearances(start_s, end_s):
                if (done := pictures.put(time_s, picture)) is not None:
                    yield done
        if (last := pictures.close_before(self._title.windows.index(end_s) + 1, end_s)) is not None:
            yield last

    def _appearances(self, start_s: float, end_s: float) -> Iterator[float]:
        """When a frame is first shown, and where windows begin while it is."""
        windows = self._title.windows
        yield start_s
        index = windows.index(start_s) + 1
        while windows.start_s(index) < min(end_s, start_s + MOST_STANDING_S):
            yield windows.start_s(index)
            index += 1

    def _frames(self) -> Iterator[tuple[float, float, ByteArray]]:
        """(start, end, picture uint8 RGB [H, W, 3] of the space's geometry)."""
        title, at_ms = self._title, 0
        with title.source.open() as file:
            image = open_picture(file, title.name)
            if image is None:  # uploads may be written over, files replaced
                raise CorruptMediaError(title.name, "no picture any more", "bytes that stay as they are")
            number = first = _first(image)
            while not title.stopping.is_set():
                started = time.monotonic()
                picture = self._frame(image, number, first)
                if picture is None:
                    return
                start_s, at_ms = at_ms / 1000, at_ms + _lasts_ms(image)
                self._check_time(start_s)
                number += 1
                title.times.steps += 1
                title.times.decode_s += time.monotonic() - started
                yield start_s, at_ms / 1000, picture

    def _frame(self, image: Image.Image, number: int, first: int) -> ByteArray | None:
        """That frame; None behind the last one, and where it does not decode."""
        title = self._title
        try:
            image.seek(number)
            return read_frame(
                image,
                title.descriptor.frames,
                name=title.name,
                max_pixels=title.limits.max_video_pixels,
            )
        except CorruptMediaError as error:
            # who watches over memory has to hear of it
            if number == first or isinstance(error.__cause__, MemoryError):
                raise
            title.times.broken += 1
        except ResonanceError:  # a limit's, or the source's
            raise
        except Exception as error:  # at the end EOFError; for the others see `is_animation`
            if number == first or isinstance(error, MemoryError):
                raise CorruptMediaError(
                    title.name, "an animation without a frame", "a whole picture"
                ) from error
            title.times.broken += not isinstance(error, EOFError)
        return None

    def _check_time(self, time_s: float) -> None:
        most_s = self._title.limits.max_media_s
        if most_s is not None and time_s > most_s:
            raise MediaLimitError(self._title.name, f"pictures after {most_s:,.0f} s", "a shorter title")
