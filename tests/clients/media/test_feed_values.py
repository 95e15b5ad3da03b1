"""Frames and sound from the bytes of the wire."""

from __future__ import annotations

import numpy as np
import pytest

from resonance.clients.errors import InvalidFieldError
from resonance.clients.media.feed_values import frame_pixels, sound_samples


def test_a_frame_is_its_bytes_in_rows() -> None:
    pixels = frame_pixels(5, 2, bytes(range(30)))
    assert pixels.shape == (2, 5, 3)
    assert pixels[1, 0].tolist() == [15, 16, 17]
    assert not pixels.flags.writeable  # not copied


@pytest.mark.parametrize(
    ("width", "height", "size", "says"),
    [
        (0, 2, 0, "frame.width_px: 0; expected at least 1"),
        (2, 0, 0, "frame.height_px: 0; expected at least 1"),
        (5, 2, 29, "frame.rgb: 29 bytes; expected 30 = 2 x 5 x 3"),
        (5, 2, 32, "frame.rgb: 32 bytes"),  # rows padded to 16
        (1 << 31, 1 << 31, 0, "frame.rgb: 0 bytes"),
    ],
)
def test_a_frame_that_does_not_fit_its_data_is_refused(width: int, height: int, size: int, says: str) -> None:
    with pytest.raises(InvalidFieldError, match=says):
        frame_pixels(width, height, bytes(size))


def test_samples_of_both_formats() -> None:
    ints = np.array([[0, -32_768], [16_384, 32_767]], "<i2")
    np.testing.assert_allclose(sound_samples("s16le", 2, ints.tobytes()), [[0, -1], [0.5, 32_767 / 32_768]])
    floats = np.array([[0.25], [-0.5], [2.0]], "<f4")
    np.testing.assert_array_equal(sound_samples("f32le", 1, floats.tobytes()), floats)
    assert sound_samples("s16le", 2, b"").shape == (0, 2)


@pytest.mark.parametrize(
    ("sample_format", "channels", "size", "says"),
    [
        ("u8", 1, 4, "sound.format: u8; expected s16le or f32le"),
        ("s16le", 0, 4, "sound.channels: 0; expected 1 to 8"),
        ("s16le", 9, 18, "sound.channels: 9; expected 1 to 8"),
        ("s16le", 2, 6, "sound.data: 6 bytes; expected a multiple of 4 = 2 channels x 2 bytes"),
        ("f32le", 3, 16, "sound.data: 16 bytes; expected a multiple of 12"),
    ],
)
def test_sound_out_of_bounds_is_refused(sample_format: str, channels: int, size: int, says: str) -> None:
    with pytest.raises(InvalidFieldError, match=says):
        sound_samples(sample_format, channels, bytes(size))
