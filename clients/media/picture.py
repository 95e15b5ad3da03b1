"""Pictures to FRAMES: one geometry for stills, decoded stretches and the server's decoder alike."""

from __future__ import annotations

import warnings
from typing import BinaryIO

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from PIL import Image, ImageOps

from resonance.clients.errors import CorruptMediaError, MediaLimitError, NotMediaError, ResonanceError
from resonance.clients.media.heif import HEAD_BYTES, is_heic, open_heic
from resonance.clients.media.types import ByteArray, Frames
from resonance.space.descriptor import FrameGeometry

#: Still pictures are told by content; formats that can name other files or run code are not among them.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "AVIF")

Image.init()  # registers every format; those above are looked up by name

#: What decoding a still picture may be as slow as, in one step that tells nothing before its end. HEIC, the
#: slowest format, is over three times as fast on a core of its own; the rest is for a machine that is busy.
SLOWEST_PIXELS_PER_S = 2_000_000

#: Of Pillow's modes with more than 8 bits: integers, of 16 bits in all files but odd ones, and floats.
_WHITES = {"I": 0xFFFF, "F": 1}

#: An alpha that shows nothing of what is behind.
_OPAQUE = 255
_FILTERS = {"bilinear": Interpolation.BILINEAR, "bicubic": Interpolation.BICUBIC}
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
#: Untagged YUV of this height or more is taken as Rec. 709, below as Rec. 601, as players do.
HD_LINES = 720
#: Of the matrix coefficients of ITU-T H.273.
UNSPECIFIED, BT2020_CONSTANT_LUMINANCE = 2, 10
#: The range of samples that nothing is told of; 1 is 16 to 235 in 8 bits, 2 all of them.
UNKNOWN_RANGE, FULL_RANGE = 0, 2
#: Those that swscale converts from: RGB, and the matrices that `Colorspace` names. It refuses a frame with
#: another tag, however good its picture.
_CONVERTIBLE = frozenset((0, 1, 4, 5, 6, 7, 9))


class UnscalableError(ValueError):
    """A picture that swscale does not scale: under ten pixels wide or high and thousands long."""


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """What shows the frame upright: clockwise degrees, a multiple of 90, and whether to mirror it."""
    rotation_deg = round(-frame.rotation / 90) % 4 * 90
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return rotation_deg, False
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix), np.int32)[:5])
    if a * d >= b * c:
        return rotation_deg, False
    return (rotation_deg + 180) % 360, True  # FFmpeg tells the angle of the first row, here negated


def frame_to_rgb(
    frame: av.VideoFrame,
    geometry: FrameGeometry,
    rotation_deg: int,
    reformatter: VideoReformatter,
    *,
    mirrored: bool = False,
) -> ByteArray:
    """A decoded frame as uint8 RGB [height, width, 3] of `geometry`, over black where it is transparent.

    YUV is converted by the matrix and range the frame is tagged with. `rotation_deg` and `mirrored`: see
    `turned`. The sample aspect needs no step of its own: the whole picture is stretched to the
    geometry, whatever the shape of its samples.

    Raises:
        UnscalableError: the picture is too thin.
    """
    width, height = geometry.width, geometry.height
    if rotation_deg in (90, 270):
        width, height = height, width
    try:
        if any(component.is_alpha for component in frame.format.components):
            frame = _over_black(frame, reformatter)
        rgb = reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=_matrix(frame),
            dst_colorspace=Colorspace.DEFAULT,
            interpolation=_FILTERS[geometry.interpolation] | _EXACT,
            threads=1,
        )
    except av.error.ArgumentError as error:
        raise UnscalableError(
            f"a picture of {frame.width}x{frame.height} pixels cannot be scaled to {width}x{height}"
        ) from error
    return turned(np.asarray(rgb.to_ndarray(), np.uint8), rotation_deg, mirrored=mirrored)


def _over_black(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
    """The frame itself where it is opaque, else in RGB: what transparent pixels hide is not shown.

    Before it is scaled, or colours that are hidden would run into those beside them.
    """
    shown = reformatter.reformat(
        frame,
        format="rgba",
        src_colorspace=_matrix(frame),
        dst_colorspace=Colorspace.DEFAULT,
        interpolation=Interpolation.BILINEAR | _EXACT,
        threads=1,
    )
    rgba = Image.fromarray(shown.to_ndarray())
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == _OPAQUE:
        return frame
    black = Image.new("RGB", rgba.size)
    black.paste(rgba.convert("RGB"), mask=alpha)
    return av.VideoFrame.from_ndarray(np.asarray(black), format="rgb24")


def turned(picture: ByteArray, rotation_deg: int, *, mirrored: bool = False) -> ByteArray:
    """A picture uint8 [H, W, 3], left and right exchanged where `mirrored`, then turned clockwise."""
    picture = picture[:, ::-1] if mirrored else picture
    return np.ascontiguousarray(np.rot90(picture, k=-rotation_deg // 90), np.uint8)  # it turns the other way


def _matrix(frame: av.VideoFrame) -> int | None:
    if frame.format.name.startswith(("rgb", "bgr", "gbr", "gray", "pal", "argb", "abgr")):
        return None
    if frame.colorspace in _CONVERTIBLE:
        return None  # the frame's own tag is used
    if frame.colorspace == BT2020_CONSTANT_LUMINANCE:
        return Colorspace.BT2020  # the nearest that there is
    # not tagged, or by a number that is reserved or hardly ever meant: players look at the height, too
    return Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601


def pack_frames(pictures: list[ByteArray], times_s: list[float], bucket: int) -> Frames:
    """Pad to the bucket: pixels uint8 [bucket, H, W, 3], mask and times [bucket]."""
    pixels = np.zeros((bucket, *pictures[0].shape), np.uint8)
    mask = np.zeros(bucket, np.bool_)
    times = np.zeros(bucket, np.float32)
    for row, (picture, time_s) in enumerate(zip(pictures[:bucket], times_s[:bucket], strict=True)):
        pixels[row], mask[row], times[row] = picture, True, time_s
    return Frames(pixels, mask, times)


def open_picture(file: BinaryIO, name: str) -> Image.Image | None:
    """The still picture in `file`, header read only; None where it is none.

    Raises:
        MediaLimitError: Pillow's own guard against decompression bombs; a HEIC photo of too many bytes.
        CorruptMediaError: a HEIC photo that is cut off. ResonanceError: the source's.
    """
    try:
        with warnings.catch_warnings():  # pixels are counted in `read_picture`
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            head = file.read(HEAD_BYTES)
            file.seek(0)
            return open_heic(file, name) if is_heic(head) else Image.open(file, formats=PICTURE_FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaLimitError(name, "a picture of too many pixels", f"fewer ({error})") from error
    except ResonanceError:  # of the source, whose connection broke
        raise
    except Exception:  # on hostile bytes Pillow's parsers raise whatever they stumble over
        return None


def picture_timeout_s(pixels: int, stall_timeout_s: float) -> float:
    """How long reading a still picture of that many pixels may take before it has stalled."""
    return stall_timeout_s + pixels / SLOWEST_PIXELS_PER_S


def read_picture(
    image: Image.Image, geometry: FrameGeometry, *, name: str, max_pixels: int, bucket: int
) -> Frames:
    """The first frame of `image`; see `read_frame`."""
    return pack_frames([read_frame(image, geometry, name=name, max_pixels=max_pixels)], [0.0], bucket)


def read_frame(image: Image.Image, geometry: FrameGeometry, *, name: str, max_pixels: int) -> ByteArray:
    """The frame at which `image` stands, upright (EXIF), over black where it is transparent.

    Returns: uint8 RGB [height, width, 3] of `geometry`.

    Raises:
        MediaLimitError: more than `max_pixels`; checked before anything is decoded.
        NotMediaError: samples of which nobody knows what is white.
        CorruptMediaError: the pixels cannot be decoded, or scaled. ResonanceError: the source's.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise MediaLimitError(name, f"a picture of {width}x{height} pixels", f"at most {max_pixels:,} pixels")
    try:
        image.draft("RGB", (geometry.width * 2, geometry.height * 2))  # JPEG: decode near the size needed
        rgb = np.asarray(_to_rgb(ImageOps.exif_transpose(image), name), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        return frame_to_rgb(frame, geometry, 0, VideoReformatter())
    except ResonanceError:  # see `open_picture`
        raise
    except Exception as error:  # see `open_picture`
        said = " ".join(str(error).split()) or type(error).__name__
        raise CorruptMediaError(
            name, f"a {image.format} picture that does not decode ({said})", "a whole picture"
        ) from error


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _WHITES or image.mode.startswith("I;16"):
        white, samples = _WHITES.get(image.mode, 0xFFFF), np.asarray(image, dtype=np.float64)
        least, most = samples.min(), samples.max()
        if not 0 <= least <= most <= white:  # nor where one is no number
            raise NotMediaError(
                name,
                f"a picture of samples from {least:g} to {most:g}",
                f"8 bits, or 0 for black to {white} for white",
            )
        return Image.fromarray((samples * 255 / white).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")
