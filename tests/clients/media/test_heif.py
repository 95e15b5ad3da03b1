"""Photos in HEIC: libheif puts their tiles together; what is cut off or too large is told."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from resonance.clients.errors import CorruptMediaError, MediaLimitError, NotMediaError
from resonance.clients.media import heif, picture
from resonance.clients.media.heif import HEAD_BYTES, is_heic
from resonance.clients.media.types import Frames, SampledBy, SegmentInput
from tests.clients.media.heic import tiled_photo, whole_photo
from tests.clients.media.synthetic import read_number

ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
@pytest.mark.parametrize("photo", [whole_photo, tiled_photo])
def test_a_photo_in_heic_is_one_picture(
    read_all: ReadAll, show: Show, photo: Callable[[], bytes], brand: bytes
) -> None:
    data = photo().replace(b"ftypheic", b"ftyp" + brand)
    [segment] = read_all(data)
    assert segment.sampled_by == SampledBy.IMAGE
    pixels = show(segment).pixels[0]  # uint8 [224, 224, 3]
    if photo is whole_photo:
        assert read_number(pixels) == 0
        return
    quarters = [pixels[y : y + 112, x : x + 112] for y in (0, 112) for x in (0, 112)]
    assert [read_number(quarter) for quarter in quarters] == [0, 1, 2, 3]


@pytest.mark.parametrize("photo", [whole_photo, tiled_photo])
def test_a_photo_in_heic_that_is_cut_off_is_told(read_all: ReadAll, photo: Callable[[], bytes]) -> None:
    data = photo()
    for kept in (len(data) - 1, len(data) // 2):
        with pytest.raises(CorruptMediaError, match=rf"IMG_1.HEIC: a HEIC photo .*after {kept:,} bytes"):
            read_all(data[:kept], name="IMG_1.HEIC")


@pytest.mark.parametrize("behind", [b"\n" * 9, b"SEFT\0\0\0\x0c trailer of a phone", bytes(20)])
def test_bytes_behind_a_photo_in_heic_are_no_part_of_it(read_all: ReadAll, behind: bytes) -> None:
    assert len(read_all(tiled_photo() + behind)) == 1


def test_a_photo_in_tiles_that_libheif_does_not_open_is_never_taken_for_its_first_tile(
    read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "is_heic", lambda head: False)
    with pytest.raises(NotMediaError, match=r"IMG_1.HEIC: a HEIC \(HEIF\) photo in 4 tiles that cannot"):
        read_all(tiled_photo(), name="IMG_1.HEIC")


def test_a_photo_in_heic_of_too_many_bytes_is_refused(
    read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heif, "MOST_BYTES", 1000)
    with pytest.raises(MediaLimitError, match="a HEIC photo of over 1,000 bytes"):
        read_all(tiled_photo())


def test_avif_and_films_are_none() -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "AVIF")
    assert not is_heic(file.getvalue()[:HEAD_BYTES])
    assert not is_heic(b"\0\0\0\x1cftypisom\0\0\2\0isomiso2mp41")
    assert not is_heic(b"\0\0\0\x18ftypmsf1\0\0\0\0msf1heic")
    assert not is_heic(b"heic")
    assert is_heic(tiled_photo()[:HEAD_BYTES])
