"""Ogg and FLAC of several links: one recording after the other, as radio is recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.types import SegmentInput
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import sound

ReadAll = Callable[..., list[SegmentInput]]
SECONDS = 9


def _tone(pitch_hz: float, rate_hz: int, channels: int, codec: str, container: str) -> bytes:
    samples = 0.4 * np.sin(np.arange(SECONDS * rate_hz) * (2 * np.pi * pitch_hz / rate_hz))
    return sound(
        samples.astype(np.float32), rate_hz=rate_hz, channels=channels, codec=codec, container=container
    )


@pytest.mark.parametrize(
    ("codec", "container", "kinds", "off_s"),
    [
        ("flac", "ogg", ((16_000, 1), (48_000, 2), (16_000, 1)), 0.01),
        ("flac", "ogg", ((48_000, 2), (24_000, 1), (44_100, 2)), 0.01),
        ("flac", "flac", ((16_000, 1), (48_000, 2)), 1.0),  # FFmpeg finds no exact seam there
        ("vorbis", "ogg", ((44_100, 2), (48_000, 2), (22_050, 2)), 0.1),
        ("libopus", "ogg", ((48_000, 1), (48_000, 2), (48_000, 1)), 0.1),
    ],
)
def test_every_link_is_heard_where_the_one_before_ends(
    read_all: ReadAll, codec: str, container: str, kinds: tuple[tuple[int, int], ...], off_s: float
) -> None:
    pitches_hz = [400.0 * (number + 1) for number in range(len(kinds))]
    links = [_tone(p, *kind, codec, container) for p, kind in zip(pitches_hz, kinds, strict=True)]
    data = b"".join(links)
    segments = read_all(data)
    assert segments[-1].end_s == pytest.approx(SECONDS * len(kinds), abs=off_s)
    heard = np.concatenate([s.pcm.samples[: s.pcm.length] for s in segments if s.pcm])
    seconds = heard[: heard.size // 16_000 * 16_000].reshape(-1, 16_000)
    for number, samples in enumerate(seconds):
        link, into_s = divmod(number, SECONDS)
        if 1 <= into_s < SECONDS - 1:  # not where one passes into the next
            assert np.abs(np.fft.rfft(samples)).argmax() == pytest.approx(pitches_hz[link], abs=1)


@pytest.mark.parametrize("cut_at_bytes", [None, 20], ids=["whole", "cut off"])
def test_an_upload_is_read_alike(read_all: ReadAll, cut_at_bytes: int | None) -> None:
    links = [_tone(400.0, 48_000, channels, "libopus", "ogg") for channels in (1, 2, 1)]
    data = b"".join([*links[:2], links[2][:cut_at_bytes]])
    upload = GrowingSource("radio", lambda offset, size: data[offset : offset + size])
    upload.add(0, len(data))
    upload.end(len(data))
    segments = read_all(data)
    assert segments[-1].end_s == pytest.approx(SECONDS * (2 if cut_at_bytes else 3), abs=0.1)
    assert_same(read_all(upload), segments)
