"""Sound lands where its presentation time says, at 16 kHz, and silence is absence."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from resonance.clients.errors import CorruptMediaError, MediaError, NoModalityError
from resonance.clients.media.reader import MediaReader
from resonance.clients.media.types import SegmentInput
from tests.clients.media.synthetic import AUDIO_TAG, sound, with_flv_time

ReadAll = Callable[..., list[SegmentInput]]
RATE_HZ = 16_000


def _tone(seconds: float, rate_hz: int, hertz: float = 1000.0, level: float = 0.5) -> NDArray[np.float32]:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def _bursts(seconds: float, rate_hz: int, at_s: tuple[float, ...]) -> NDArray[np.float32]:
    """Faint noise with a burst of 50 ms at each of `at_s`."""
    samples = np.random.default_rng(1).normal(0, 0.003, round(seconds * rate_hz)).astype(np.float32)
    for start_s in at_s:
        first = round(start_s * rate_hz)
        samples[first : first + rate_hz // 20] = _tone(0.05, rate_hz)
    return samples


def _onsets(segments: list[SegmentInput]) -> list[float]:
    """Where bursts begin, in seconds of the title."""
    found = []
    for segment in segments:
        assert segment.start_s is not None
        if segment.pcm is None:
            continue
        loud = np.abs(segment.pcm.samples) > 0.15
        steps = np.flatnonzero(loud)
        starts = steps[np.insert(np.diff(steps) > RATE_HZ // 10, 0, True)] if steps.size else []
        found += [segment.start_s + s / RATE_HZ for s in starts]
    return found


CODECS = [
    ("pcm_s16le", "wav", 44_100, 2),
    ("pcm_s16le", "wav", 8_000, 1),
    ("flac", "flac", 48_000, 2),
    ("aac", "mp4", 44_100, 2),
    ("aac", "mpegts", 48_000, 6),
    ("libmp3lame", "mp3", 44_100, 2),
    ("libopus", "ogg", 48_000, 1),
    ("alac", "mov", 44_100, 2),
]


@pytest.mark.parametrize(("codec", "container", "rate_hz", "channels"), CODECS, ids=lambda v: str(v))
def test_bursts_are_heard_at_their_times(
    read_all: ReadAll, codec: str, container: str, rate_hz: int, channels: int
) -> None:
    at_s = (0.5, 6.0, 9.25, 17.0)
    data = sound(
        _bursts(19.5, rate_hz, at_s), rate_hz=rate_hz, codec=codec, container=container, channels=channels
    )
    segments = read_all(data)
    assert [s.index for s in segments] == [0, 1, 2]
    onsets = _onsets(segments)
    # MPEG-TS and Ogg start with the encoder's delay and carry no edit list to take it off again
    slack_s = 0.03 if container == "mpegts" else 0.008
    assert onsets == pytest.approx(at_s, abs=slack_s)
    lengths = [s.pcm.length for s in segments if s.pcm]
    assert lengths[:2] == [128_000, 128_000]
    assert lengths[2] == pytest.approx(3.5 * RATE_HZ, abs=0.1 * RATE_HZ)
    last = segments[2].pcm
    assert last is not None
    assert not last.samples[last.length :].any()
    assert segments[2].end_s == pytest.approx(16 + last.length / RATE_HZ)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_tone_keeps_pitch_and_level(read_all: ReadAll, channels: int) -> None:
    segments = read_all(sound(_tone(8.0, 44_100), rate_hz=44_100, channels=channels))
    pcm = segments[0].pcm
    assert pcm is not None
    heard = pcm.samples[1000:-1000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(heard.size)))
    assert np.fft.rfftfreq(heard.size, 1 / RATE_HZ)[spectrum.argmax()] == pytest.approx(1000, abs=1)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize(("level", "there"), [(10 ** (-60 / 20), True), (10 ** (-80 / 20), False)])
def test_sound_below_the_threshold_is_absent(read_all: ReadAll, level: float, there: bool) -> None:
    tone = _tone(8.0, RATE_HZ, level=level * np.sqrt(2))
    data = sound(tone, rate_hz=RATE_HZ, codec="flac", container="flac")
    if there:
        assert read_all(data)[0].pcm is not None
    else:
        with pytest.raises(NoModalityError, match="-70 dBFS"):
            read_all(data)


def test_channels_in_opposite_phase_are_silence_and_told_to_be_so_in_mono(read_all: ReadAll) -> None:
    tone = (_tone(8.0, RATE_HZ, level=0.1) * 32_767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.stack([tone, -tone], axis=1).tobytes())
    with pytest.raises(NoModalityError, match="no sound above -70 dBFS in mono"):
        read_all(out.getvalue())


def test_a_gap_of_an_hour_is_silence_without_windows(read_all: ReadAll) -> None:
    samples = _bursts(16.0, RATE_HZ, (1.0, 9.0))
    data = sound(samples, rate_hz=RATE_HZ, codec="flac", container="matroska", gaps={100: 3600.0})
    segments = read_all(data)
    assert len(segments) <= 4
    assert segments[0].index == 0
    assert segments[-1].index in (450, 451)
    assert _onsets(segments) == pytest.approx((1.0, 3609.0), abs=0.005)


def test_a_small_gap_moves_what_follows(read_all: ReadAll) -> None:
    samples = _bursts(12.0, RATE_HZ, (1.0, 9.0))
    data = sound(samples, rate_hz=RATE_HZ, codec="flac", container="matroska", gaps={64: 0.75})
    assert _onsets(read_all(data)) == pytest.approx((1.0, 9.75), abs=0.005)


def test_one_broken_timestamp_moves_nothing(read_all: ReadAll) -> None:
    samples = _bursts(20.0, 44_100, (1.0, 9.0, 17.0))
    data = sound(samples, rate_hz=44_100, codec="libmp3lame", container="flv", channels=2)
    right = read_all(data)
    for claims_s in (20 * 86_400.0, 2.0):
        broken = read_all(with_flv_time(data, AUDIO_TAG, 200, claims_s))
        assert [s.index for s in broken] == [0, 1, 2]
        assert _onsets(broken) == pytest.approx(_onsets(right), abs=0.03)


def test_packets_that_do_not_decode_are_left_out_and_counted(
    open_title: Callable[..., MediaReader],
) -> None:
    data = bytearray(sound(_tone(20.0, 44_100), rate_hz=44_100, codec="aac", container="mp4"))
    with av.open(io.BytesIO(bytes(data))) as file:
        places = [(p.pos, p.size) for p in file.demux(audio=0) if p.size]
    rng = np.random.default_rng(3)
    for pos, size in places[200:230]:
        assert pos is not None
        data[pos : pos + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    with open_title(bytes(data)) as reader:
        segments = list(reader.segments())
        assert reader.times.broken > 0
    assert [s.index for s in segments] == [0, 1, 2]
    assert segments[2].pcm is not None
    assert segments[2].pcm.length == pytest.approx(4 * RATE_HZ, abs=0.1 * RATE_HZ)  # nothing moved up


def test_a_track_of_broken_packets_alone_is_a_typed_error(read_all: ReadAll) -> None:
    data = bytearray(sound(_tone(4.0, 44_100), rate_hz=44_100, codec="aac", container="mp4"))
    with av.open(io.BytesIO(bytes(data))) as file:
        places = [(p.pos, p.size) for p in file.demux(audio=0) if p.size]
    for pos, size in places:
        assert pos is not None
        data[pos : pos + size] = b"\xff" * size
    with pytest.raises(MediaError):
        read_all(bytes(data))


def test_samples_that_are_no_numbers_never_reach_a_model(read_all: ReadAll) -> None:
    samples = _tone(10.0, RATE_HZ)
    samples[5000:5010] = np.nan
    samples[9000] = np.inf
    segments = read_all(sound(samples, rate_hz=RATE_HZ, codec="pcm_f32le"))
    assert len(segments) == 2
    assert all(s.pcm is not None and np.isfinite(s.pcm.samples).all() for s in segments)


def _wav(samples: NDArray[np.int16]) -> bytes:
    """Samples [n, channels] at 16 kHz."""
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())
    return output.getvalue()


@pytest.mark.parametrize("channels", [9, 32])
def test_channels_that_have_no_layout_count_alike(read_all: ReadAll, channels: int) -> None:
    tone = (_tone(2, RATE_HZ) * 32767).astype(np.int16)
    for loud in (1, channels):
        samples = np.zeros((tone.size, channels), np.int16)
        samples[:, :loud] = tone[:, None]
        [segment] = read_all(_wav(samples))
        assert segment.pcm is not None
        assert np.abs(segment.pcm.samples).max() == pytest.approx(0.5 * loud / channels, abs=1e-3)


#: CAF's numbers of layouts: sides before back, and of a film's C L R Ls Rs LFE.
SIDES_FIRST, CENTRE_FIRST = (128 << 16) | 8, (124 << 16) | 6


@pytest.mark.parametrize("layout", [SIDES_FIRST, CENTRE_FIRST])
def test_channels_in_an_order_of_their_own_are_mixed(read_all: ReadAll, layout: int) -> None:
    tone = _tone(9, 48_000)
    data = sound(tone, rate_hz=48_000, codec="pcm_f32le", container="caf", channels=layout & 0xFF)
    at = data.index(b"chan") + 12
    data = data[:at] + layout.to_bytes(4, "big") + bytes(8) + data[at + 12 :]
    for _ in range(3):  # PyAV freed what was FFmpeg's, and the process ended sooner or later
        segments = read_all(data)
        assert [s.end_s for s in segments] == [8.0, 9.0]
        for segment in segments:
            assert segment.pcm is not None
            heard = segment.pcm.samples[200 : segment.pcm.length - 200]
            assert np.abs(heard).max() == pytest.approx(0.5, abs=5e-3)


def test_channels_that_cannot_be_mixed_are_broken_and_no_silence(read_all: ReadAll) -> None:
    with pytest.raises(CorruptMediaError, match="not one packet that can be used"):
        read_all(_wav(np.full((2000, 100), 1000, np.int16)))
