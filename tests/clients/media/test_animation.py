"""Animated pictures are read by the times of their frames."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from resonance.clients.errors import CorruptMediaError, MediaLimitError
from resonance.clients.ingest.errors import SourceUnavailableError
from resonance.clients.media.animation import show
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Frames, Limits, SampledBy, SegmentInput
from tests.clients.media.animations import FORMATS, animation
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import read_number

ReadAll = Callable[..., list[SegmentInput]]


def _numbers(segment: SegmentInput) -> list[int]:
    assert isinstance(segment.video, Frames)
    return [read_number(picture) for picture in segment.video.pixels[segment.video.mask]]


@pytest.mark.parametrize("form", FORMATS)
def test_every_frame_stands_at_its_time(open_title: Callable[..., MediaReader], form: str) -> None:
    with open_title(animation(form, [500, 1500, 6500, 9000, 300])) as reader:
        segments = list(reader.segments())
        assert reader.info.codecs == {"video": form.lower()}
    assert [(s.start_s, s.end_s) for s in segments] == [(0, 8), (8, 16), (16, 17.8)]
    assert all(s.sampled_by is SampledBy.UNIFORM for s in segments)
    assert [s.frame_times_s for s in segments] == [(0.0, 0.5, 2.0), (8.0, 8.5), (16.0, 17.5)]
    assert [_numbers(s) for s in segments] == [[0, 1, 2], [2, 3], [3, 4]]


@pytest.mark.parametrize("form", FORMATS)
def test_an_animation_that_still_grows_gives_the_same(read_all: ReadAll, form: str) -> None:
    data = animation(form, [100] * 120)
    source = GrowingSource("upload", lambda offset, size: data[offset : offset + size])
    source.add(0, len(data))
    source.end(len(data))
    assert_same(read_all(source), read_all(data))


def test_a_resumed_animation_goes_on_where_it_was(read_all: ReadAll) -> None:
    data = animation("GIF", [100] * 200)
    assert_same(read_all(data, first_index=1), read_all(data)[1:])


@pytest.mark.parametrize("form", FORMATS)
def test_one_frame_is_a_picture(read_all: ReadAll, form: str) -> None:
    [segment] = read_all(animation(form, [500]))
    assert (segment.sampled_by, segment.end_s) == (SampledBy.IMAGE, 0.0)
    assert _numbers(segment) == [0]


def test_a_frame_that_asks_for_no_time_is_shown_for_a_tenth_of_a_second(read_all: ReadAll) -> None:
    [segment] = read_all(animation("GIF", [0] * 10 + [10] * 10 + [20] * 10))
    assert segment.end_s == 2.2


def test_the_picture_for_those_who_show_no_animation_is_no_frame(read_all: ReadAll) -> None:
    [segment] = read_all(animation("PNG", [1000] * 3, default_image=True))
    assert _numbers(segment) == [1, 2]


class Broken(io.BytesIO):
    """A file of a store whose connection breaks where more than `left_bytes` are read."""

    def __init__(self, data: bytes, left_bytes: int) -> None:
        super().__init__(data)
        self._left_bytes = left_bytes

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(min(size, 4096) if size and size > 0 else size)
        if self.tell() > self._left_bytes:
            raise SourceUnavailableError("film.gif", "gone")
        return data


@pytest.mark.parametrize("form", ["GIF", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_store_that_breaks_off_is_no_end(read_all: ReadAll, form: str, share: float) -> None:
    data = animation(form, [100] * 200)
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        read_all(Broken(data, int(share * len(data))))


@pytest.mark.parametrize("form", FORMATS)
def test_a_time_shows_its_frame(form: str) -> None:
    for at_s, number in ((0.0, 0), (0.49, 0), (0.5, 1), (1.99, 1), (2.1, 2), (99.0, 3)):
        image = Image.open(io.BytesIO(animation(form, [500, 1500, 1000, 1000])))
        show(image, at_s, 1_000_000)
        assert read_number(np.asarray(image.convert("RGB"))) == number, at_s


def test_pages_are_no_frames(read_all: ReadAll) -> None:
    out = io.BytesIO()
    pages = [Image.new("RGB", (8, 8), (shade, shade, shade)) for shade in (0, 255)]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    [segment] = read_all(out.getvalue())
    assert segment.sampled_by is SampledBy.IMAGE


@pytest.mark.parametrize(("form", "broken"), [("GIF", 0), ("PNG", 1)])  # a GIF does not tell how many it has
def test_what_breaks_off_ends_there(open_title: Callable[..., MediaReader], form: str, broken: int) -> None:
    data = animation(form, [1000] * 20)
    with open_title(data[: len(data) // 2]) as reader:
        segments = list(reader.segments())
        assert reader.times.broken == broken
    last_s = segments[-1].end_s
    assert last_s is not None
    assert 8 <= last_s <= 12


def test_what_breaks_off_in_the_first_frame_is_refused(read_all: ReadAll) -> None:
    data = animation("PNG", [1000] * 2)
    with pytest.raises(CorruptMediaError, match="PNG picture that does not decode"):
        read_all(data[: data.index(b"IDAT") + 20])


def test_a_picture_for_others_without_a_frame_is_refused(read_all: ReadAll) -> None:
    data = animation("PNG", [1000] * 3, default_image=True)
    at = data.index(b"fcTL") - 4
    with pytest.raises(CorruptMediaError, match="an animation without a frame"):
        read_all(data[:at])


def test_limits_hold(read_all: ReadAll) -> None:
    data = animation("GIF", [1000] * 20)
    with pytest.raises(MediaLimitError, match="a picture of 64x48 pixels; expected at most 3,071"):
        read_all(data, limits=Limits(max_video_pixels=64 * 48 - 1))
    with pytest.raises(MediaLimitError, match="pictures after 10 s; expected a shorter title"):
        read_all(data, limits=Limits(max_media_s=10.0))


def test_a_picture_that_stands_for_days_stands_for_an_hour(read_all: ReadAll) -> None:
    segments = read_all(animation("PNG", [65_535_000, 1000]))
    assert len(segments) == 3600 / 8 + 1
    assert {tuple(_numbers(s)) for s in segments[:-1]} == {(0,)}
    assert _numbers(segments[-1]) == [1]


def test_transparent_frames_lie_over_black(read_all: ReadAll) -> None:
    clear = [Image.new("RGBA", (16, 16), (250, 250, 250, alpha)) for alpha in (0, 255)]
    out = io.BytesIO()
    clear[0].save(out, "PNG", save_all=True, append_images=clear[1:], duration=1000, disposal=1)
    [segment] = read_all(out.getvalue())
    assert isinstance(segment.video, Frames)
    levels = segment.video.pixels[segment.video.mask].astype(int).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [0, 250], atol=1)
