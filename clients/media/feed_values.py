"""Values of a raw feed as they come over the wire: frames and sound from bytes, times, and their bounds."""

from __future__ import annotations

import math

import numpy as np

from resonance.clients.errors import InvalidFieldError
from resonance.clients.media.types import ByteArray, FloatArray

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
MAX_CHANNELS = 8
#: Bytes of a sample by format.
SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
#: Ten years; what lies beyond is a clock of another epoch, not a time in a feed.
MAX_TIME_S = 10 * 365 * 86_400.0
#: Times may fall back by this much, for rounding.
SAME_TIME_S = 1e-4


def frame_pixels(width_px: int, height_px: int, rgb: bytes) -> ByteArray:
    """uint8 RGB [height, width, 3] over the bytes of a picture, not copied.

    Args:
        rgb: 8 bits a channel, rows from top to bottom without padding.

    Raises:
        InvalidFieldError: a side is 0, or the bytes are more or fewer than height x width x 3.
    """
    for field, side in (("frame.width_px", width_px), ("frame.height_px", height_px)):
        if side < 1:
            raise InvalidFieldError(field, str(side), "at least 1")
    size_bytes = height_px * width_px * 3
    if len(rgb) != size_bytes:
        raise InvalidFieldError(
            "frame.rgb",
            f"{len(rgb):,} bytes",
            f"{size_bytes:,} = {height_px} x {width_px} x 3, without padding",
        )
    return np.frombuffer(rgb, np.uint8).reshape(height_px, width_px, 3)


def sound_samples(sample_format: str, channels: int, data: bytes) -> FloatArray:
    """float32 [n, channels], full scale 1, from interleaved samples.

    Args:
        sample_format: ``s16le`` or ``f32le``.

    Raises:
        InvalidFieldError: an unknown format, channels out of bounds, or bytes that are no whole number of
            samples of every channel.
    """
    sample_bytes = SAMPLE_BYTES.get(sample_format)
    if sample_bytes is None:
        raise InvalidFieldError("sound.format", sample_format, " or ".join(SAMPLE_BYTES))
    check_channels(channels)
    step_bytes = channels * sample_bytes
    if len(data) % step_bytes:
        raise InvalidFieldError(
            "sound.data",
            f"{len(data):,} bytes",
            f"a multiple of {step_bytes} = {channels} channels x {sample_bytes} bytes",
        )
    if sample_format == "s16le":
        samples = np.frombuffer(data, "<i2").astype(np.float32) * np.float32(1 / 32768)
    else:
        samples = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    return samples.reshape(-1, channels)


def check_channels(channels: int) -> None:
    """Refuse a count of channels out of bounds.

    Raises:
        InvalidFieldError: it is.
    """
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidFieldError("sound.channels", str(channels), f"1 to {MAX_CHANNELS}")


def check_rate(sample_rate_hz: int) -> None:
    """Refuse a sample rate out of bounds.

    Raises:
        InvalidFieldError: it is.
    """
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise InvalidFieldError(
            "sound.sample_rate_hz", f"{sample_rate_hz:,}", f"{MIN_RATE_HZ:,} to {MAX_RATE_HZ:,}"
        )


def check_time(field: str, time_s: float, *, after_s: float = 0.0, after: str = "the start") -> float:
    """The time, not before `after_s` (what happened then is named by `after`).

    Raises:
        InvalidFieldError: not a number, negative, before `after_s` by more than rounding, or beyond
            `MAX_TIME_S`.
    """
    if not math.isfinite(time_s) or time_s < 0 or time_s > MAX_TIME_S:
        raise InvalidFieldError(field, f"{time_s} s", f"0 to {MAX_TIME_S:,.0f} s from the start of the feed")
    if time_s < after_s - SAME_TIME_S:
        raise InvalidFieldError(field, f"{time_s:.6f} s", f"at least {after_s:.6f} s, {after}")
    return max(time_s, after_s)
