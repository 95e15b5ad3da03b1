"""One geometry for stills and frames: antialiased like Pillow's, colours by the stream's own tags."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from resonance.clients.errors import CorruptMediaError, MediaLimitError, MediaStalledError, NotMediaError
from resonance.clients.media import reader
from resonance.clients.media.clip import NoFramesError, clip_from_bytes, clip_to_bytes, decode_clip
from resonance.clients.media.picture import frame_to_rgb, read_picture
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import Clip, Frames, Limits, SampledBy, SegmentInput
from resonance.space.descriptor import Descriptor, FrameGeometry
from tests.clients.media.synthetic import even_times, film, numbered_picture, read_number, with_display_matrix

ReadAll = Callable[..., list[SegmentInput]]
Show = Callable[[SegmentInput], Frames]


def _photo(width: int, height: int) -> NDArray[np.uint8]:
    """Soft shapes and fine texture, uint8 RGB [height, width, 3]."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height))
    fine = rng.normal(0, 20, (height, width, 3))
    return np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)


def _png(array: NDArray[np.uint8], **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="PNG", **options)
    return out.getvalue()


@pytest.mark.parametrize("size", [(1280, 720), (318, 238), (97, 1001), (224, 224), (40, 30)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_agrees_with_pillows_antialiased_filter(size: tuple[int, int], interpolation: str) -> None:
    photo = _photo(*size)
    geometry = FrameGeometry(224, 224, resize="stretch", interpolation=interpolation, colour_matrix="stream")
    ours = frame_to_rgb(av.VideoFrame.from_ndarray(photo, format="rgb24"), geometry, 0, VideoReformatter())
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    pillow = np.asarray(Image.fromarray(photo).resize((224, 224), filters[interpolation]))
    assert ours.shape == (224, 224, 3)
    difference = np.abs(ours.astype(int) - pillow.astype(int))
    # FFmpeg's cubic is softer (b=0, c=0.6) than Pillow's (a=-0.5)
    assert difference.mean() < (1.0 if interpolation == "bilinear" else 1.6)


@pytest.mark.parametrize(("size", "stalls"), [((2000, 1000), False), ((200, 100), True)])
def test_decoding_a_still_picture_may_take_as_long_as_its_pixels_need(
    read_all: ReadAll, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], stalls: bool
) -> None:
    def slow(*args: Any, **options: Any) -> Frames:
        time.sleep(0.5)  # as libheif, which says nothing before it is done
        return read_picture(*args, **options)

    monkeypatch.setattr(reader, "read_picture", slow)
    data, limits = _png(np.zeros((size[1], size[0], 3), np.uint8)), Limits(stall_timeout_s=0.2)
    if stalls:
        with pytest.raises(MediaStalledError, match=r"IMG_1: no answer for 0\.21 s"):
            read_all(data, limits=limits, name="IMG_1")
    else:
        assert len(read_all(data, limits=limits)) == 1


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_rotation(read_all: ReadAll, show: Show, rotation_deg: int) -> None:
    data = film([0.0, 0.5, 1.0], rotation_deg=rotation_deg, size=(160, 96), gop=1)
    [segment] = read_all(data)
    assert isinstance(segment.video, Clip)
    assert segment.video.rotation_deg == rotation_deg
    upright = np.rot90(numbered_picture(2, 160, 96), k=-rotation_deg // 90)
    frames = show(segment)
    got = frames.pixels[frames.mask][-1]  # of 2, whose one bright block lies on no axis
    assert read_number(got) == read_number(upright)
    [decoded] = read_all(data, sampling="uniform")
    assert isinstance(decoded.video, Frames)
    numbers = [
        read_number(np.rot90(p, k=rotation_deg // 90)) for p in decoded.video.pixels[decoded.video.mask]
    ]
    assert numbers[0] in (0, 1)


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
@pytest.mark.parametrize(
    ("matrix", "as_shown"),
    [
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    ],
)
def test_mirrored_pictures_are_shown_as_players_show_them(
    read_all: ReadAll,
    show: Show,
    matrix: tuple[int, int, int, int],
    as_shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    sampling: str,
) -> None:
    written = film([0.0, 1.0, 2.0], gop=1, size=(160, 96))
    [segment] = read_all(with_display_matrix(written, *matrix), sampling=sampling)
    frames = show(segment)
    last = frames.pixels[frames.mask][-1]  # of 2, whose one bright block lies on no axis
    assert read_number(last) == read_number(as_shown(numbered_picture(2, 160, 96)))


def test_the_rotated_phone_clip(read_all: ReadAll, show: Show, media: Path) -> None:
    path = media / "video" / "animals_dog_by_fireplace_vfr.mp4"
    [segment] = read_all(path)
    assert isinstance(segment.video, Clip)
    assert segment.video.rotation_deg == 180
    with av.open(str(path)) as file:
        first = next(file.decode(video=0)).to_image().resize((224, 224), Image.Resampling.BILINEAR)
    turned = np.asarray(first.rotate(180)).astype(int)
    assert np.abs(show(segment).pixels[0].astype(int) - turned).mean() < 8


def _tagged(matrix: int, full_range: bool, height: int = 96, codec: str = "libx264") -> bytes:
    """A film of one red-brown colour, its YUV values those of `matrix` and range, and tagged so."""
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 2: (0.299, 0.114)}[matrix]
    r, g, b = (c / 255 for c in COLOUR)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / 2 / (1 - kb), (r - y) / 2 / (1 - kr)
    scale, low, chroma = (255, 0, 255) if full_range else (219, 16, 224)
    planes = round(y * scale + low), round(cb * chroma + 128), round(cr * chroma + 128)
    width = 128
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"qp": "1"} if codec == "libx264" else {}
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        for i in range(5):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, value in zip(frame.planes, planes, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full_range else 1, i
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


COLOUR = (180, 60, 40)
REC709, REC601, UNTAGGED = 1, 5, 2


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [REC709, REC601, UNTAGGED])
def test_colours_follow_the_streams_tags(
    read_all: ReadAll, show: Show, matrix: int, full_range: bool
) -> None:
    [segment] = read_all(_tagged(matrix, full_range))
    assert show(segment).pixels[0].reshape(-1, 3).mean(axis=0) == pytest.approx(COLOUR, abs=3)
    [decoded] = read_all(_tagged(matrix, full_range), sampling="uniform")
    assert show(decoded).pixels[0].reshape(-1, 3).mean(axis=0) == pytest.approx(COLOUR, abs=3)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [REC709, REC601])
@pytest.mark.parametrize("codec", ["mpeg4", "ffv1"])
def test_colours_follow_tags_that_stand_in_the_container_alone(
    read_all: ReadAll, show: Show, descriptor: Descriptor, codec: str, matrix: int, full_range: bool
) -> None:
    data = _tagged(matrix, full_range, codec=codec)
    [segment], [decoded] = read_all(data), read_all(data, sampling="uniform")
    assert isinstance(segment.video, Clip)
    sent = decode_clip(clip_from_bytes(clip_to_bytes(segment.video)), descriptor.frames)
    for frames in (sent, show(decoded)):
        assert frames.pixels[0].reshape(-1, 3).mean(axis=0) == pytest.approx(COLOUR, abs=4)


def test_untagged_high_definition_is_rec_709(read_all: ReadAll, show: Show) -> None:
    [tagged] = read_all(_tagged(REC709, False, height=720))
    [untagged] = read_all(_tagged(UNTAGGED, False, height=720))
    assert show(tagged).pixels[0].reshape(-1, 3).mean(axis=0) == pytest.approx(COLOUR, abs=3)
    shown = show(untagged).pixels[0].reshape(-1, 3).mean(axis=0)
    assert np.abs(shown - COLOUR).max() > 5  # its values are those of Rec. 601; taken as 709 it looks other


def test_the_full_range_file(read_all: ReadAll, show: Show, media: Path) -> None:
    path = media / "odd" / "streams_bt709_full_range.mp4"
    [segment] = read_all(path)
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        planes = [
            np.frombuffer(bytes(p), np.uint8).reshape(p.height, p.line_size)[:, : p.width].astype(float)
            for p in frame.planes
        ]
    y, cb, cr = (p.mean() for p in planes)
    red = y + 1.5748 * (cr - 128)
    green = y - 0.1873 * (cb - 128) - 0.4681 * (cr - 128)
    blue = y + 1.8556 * (cb - 128)
    got = show(segment).pixels[0].reshape(-1, 3).mean(axis=0)
    assert got == pytest.approx((red, green, blue), abs=2.5)  # mean over clipped pixels: not quite linear


def _mean(segments: list[SegmentInput]) -> NDArray[np.float64]:
    [segment] = segments
    assert isinstance(segment.video, Frames)
    assert segment.sampled_by == SampledBy.IMAGE
    assert segment.video.pixels.shape == (1, 224, 224, 3)
    return np.asarray(segment.video.pixels[0].reshape(-1, 3).mean(axis=0))


def test_modes_of_stills(read_all: ReadAll) -> None:
    flat = np.full((60, 80, 3), COLOUR, np.uint8)
    assert _mean(read_all(_png(flat))) == pytest.approx(COLOUR, abs=1)
    half = np.dstack([flat, np.full((60, 80), 128, np.uint8)])
    assert _mean(read_all(_png(half))) == pytest.approx(np.array(COLOUR) * 128 / 255, abs=1.5)  # over black
    sixteen = (np.full((60, 80), 100, np.uint16) * 257).astype(np.uint16)
    out = io.BytesIO()
    Image.fromarray(sixteen).save(out, format="PNG")
    assert _mean(read_all(out.getvalue())) == pytest.approx((100, 100, 100), abs=1)
    out = io.BytesIO()
    Image.fromarray(flat).convert("CMYK").save(out, format="JPEG", quality=95)
    assert _mean(read_all(out.getvalue())) == pytest.approx(COLOUR, abs=6)
    out = io.BytesIO()
    pages = [Image.fromarray(np.full((20, 20, 3), v, np.uint8)) for v in (30, 200)]
    pages[0].save(out, format="TIFF", save_all=True, append_images=pages[1:])
    assert _mean(read_all(out.getvalue())) == pytest.approx((30, 30, 30), abs=3)  # the first page


def _tiff(samples: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(samples).save(out, format="TIFF")
    return out.getvalue()


@pytest.mark.parametrize(("kind", "white"), [(np.float32, 1.0), (np.int32, 65_535), (np.uint16, 65_535)])
def test_samples_of_more_than_8_bits(read_all: ReadAll, kind: type[Any], white: float) -> None:
    rows = np.linspace(0, white, 256)[:, None].repeat(32, axis=1).astype(kind)
    [segment] = read_all(_tiff(rows))
    assert isinstance(segment.video, Frames)
    column = segment.video.pixels[0][:, 112, 0].astype(float)
    assert column == pytest.approx(np.linspace(0, 255, len(column)), abs=2)


@pytest.mark.parametrize(
    "samples",
    [np.float32([[0, 255]]), np.float32([[0, np.nan]]), np.float32([[-1, 1]]), np.int32([[0, 1 << 20]])],
)
def test_samples_of_which_nobody_knows_what_is_white_are_refused(
    read_all: ReadAll, samples: NDArray[Any]
) -> None:
    with pytest.raises(NotMediaError, match=r"a picture of samples from .*; expected 8 bits, or 0"):
        read_all(_tiff(samples.repeat(40, axis=0).repeat(40, axis=1)))


def _clear_film(codec: str, container: str, form: str, alpha: int) -> bytes:
    """A second, green on the left; on the right red of that alpha."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, :32], rgba[:, 32:] = (0, 200, 0, 255), (255, 0, 0, alpha)
    output = io.BytesIO()
    with av.open(output, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, form
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=form)
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return output.getvalue()


@pytest.mark.parametrize("sampling", ["keyframes", "uniform"])
@pytest.mark.parametrize(
    ("codec", "container", "form"),
    [("prores_ks", "mov", "yuva444p10le"), ("png", "mov", "rgba"), ("ffv1", "matroska", "yuva420p")],
)
def test_what_transparent_pixels_of_a_film_hide_is_not_shown(
    read_all: ReadAll, show: Show, codec: str, container: str, form: str, sampling: str
) -> None:
    """Over black, as it is in still pictures."""
    for alpha, red in ((0, 0), (128, 128), (255, 255)):
        [segment] = read_all(_clear_film(codec, container, form, alpha), sampling=sampling)
        picture = show(segment).pixels[0].astype(int)
        assert np.abs(picture[112, 40] - (0, 200, 0)).max() <= 4
        assert np.abs(picture[112, 180] - (red, 0, 0)).max() <= 4


def test_exif_orientation(read_all: ReadAll) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    picture = numbered_picture(0b1011, 160, 96)
    Image.fromarray(picture).save(out, format="JPEG", exif=exif, quality=95)
    [segment] = read_all(out.getvalue())
    assert isinstance(segment.video, Frames)
    assert read_number(segment.video.pixels[0]) == read_number(np.rot90(picture, k=-1))


def test_caps_are_checked_before_pixels_are_decoded(read_all: ReadAll) -> None:
    still = _png(np.zeros((500, 400, 3), np.uint8))
    with pytest.raises(MediaLimitError, match=r"400x500.*expected at most 100,000"):
        read_all(still, limits=Limits(max_picture_pixels=100_000))
    movie = film(even_times(2), size=(640, 480))
    for sampling in ("keyframes", "uniform"):
        with pytest.raises(MediaLimitError, match="640x480"):
            read_all(movie, limits=Limits(max_video_pixels=100_000), sampling=sampling)


def test_a_clip_that_lies_about_its_size_is_refused(
    read_all: ReadAll, descriptor: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from resonance.clients.media import clip as clip_module

    [segment] = read_all(film(even_times(2), size=(640, 480)))
    assert isinstance(segment.video, Clip)
    monkeypatch.setattr(clip_module, "MAX_PIXELS", 100_000)
    with pytest.raises(ValueError, match="640x480"):
        decode_clip(segment.video, descriptor.frames)
    with pytest.raises(ValueError):  # noqa: PT011  no frame, or too large a one: never a picture
        decode_clip(replace(segment.video, width_px=16, height_px=16, extradata=b""), descriptor.frames)
    with pytest.raises(ValueError, match=r"codec is 'hdr_pq'"):
        decode_clip(replace(segment.video, codec="hdr_pq"), descriptor.frames)


def test_half_a_picture_is_a_typed_error(read_all: ReadAll) -> None:
    with pytest.raises(CorruptMediaError, match="PNG picture that does not decode"):
        read_all(_png(_photo(300, 300))[:20_000])


def _thin(width: int, height: int) -> bytes:
    return _png(np.full((height, width, 3), (200, 10, 10), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(1, 20_400), (30_000, 1), (8, 2_000_000)])
def test_a_picture_too_thin_to_be_scaled_is_refused_by_name(
    read_all: ReadAll, width: int, height: int
) -> None:
    with pytest.raises(CorruptMediaError, match=r"thin\.png: a PNG picture"):
        read_all(_thin(width, height), name="thin.png")


def test_a_video_too_thin_to_be_scaled_is_refused_by_name(
    read_all: ReadAll, open_title: Callable[..., MediaReader], show: Show
) -> None:
    says, film = r"thin\.mov: .*1x20400 pixels cannot be scaled", _thin_film(1, 20_400)
    with pytest.raises(CorruptMediaError, match=says):
        read_all(film, sampling="uniform", name="thin.mov")
    with open_title(film, sampling="keyframes", name="thin.mov") as reader:
        segment = next(reader.segments())
        with pytest.raises(NoFramesError):  # to the server the clip has no picture; decoding in order follows
            show(segment)
        with pytest.raises(CorruptMediaError, match=says):
            reader.decode_segment(segment)


def _thin_film(width: int, height: int) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as file:
        stream: Any = file.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()
