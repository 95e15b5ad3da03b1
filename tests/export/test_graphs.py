"""Preprocessing inside the graphs against independent references, and what the fusion head promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from resonance.export.families import tiny
from resonance.export.graphs.fusion import SHAPE, FusionGraph
from resonance.export.graphs.resize import reduction_matrix
from resonance.export.graphs.signals import AudioSignals, VisualSignals
from resonance.export.graphs.spectrum import PowerSpectrum
from resonance.export.weights import seed_weights

RATE_HZ = 16_000
WINDOW = 128_000


def test_reduction_equals_pillows_antialiased_filter() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    matrix = reduction_matrix(224, 96).numpy().astype(np.float64)
    ours = np.einsum("oh,hwc,pw->opc", matrix, picture.astype(np.float64), matrix)
    pillow = np.asarray(
        Image.fromarray(picture).resize((96, 96), Image.Resampling.BILINEAR), dtype=np.float64
    )
    assert np.abs(ours - pillow).max() < 1.1  # Pillow rounds to whole grey levels twice


def test_power_spectrum_equals_numpys_fft() -> None:
    pcm = np.random.default_rng(1).standard_normal(4000)
    ours = PowerSpectrum(400, 160)(torch.tensor(pcm[None], dtype=torch.float32)).numpy()[0]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.concatenate([pcm, np.zeros(240)])
    frames = np.stack([padded[i * 160 : i * 160 + 400] for i in range(25)])
    reference = np.abs(np.fft.rfft(frames * hann)) ** 2
    assert ours.shape == reference.shape
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-3)


def test_log_mel_puts_a_tone_in_its_band() -> None:
    graph = tiny.new_audio()
    tone = np.sin(2 * np.pi * 1000 * np.arange(WINDOW) / RATE_HZ).astype(np.float32)
    with torch.inference_mode():
        mel = graph.features(torch.tensor(tone[None]), torch.tensor([[WINDOW]]))[0].numpy()[0]  # (800, 64)
    mel_edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 66)
    expected = np.argmin(np.abs(mel_edges[1:-1] - 2595 * np.log10(1 + 1000 / 700)))
    assert mel.shape == (800, 64)
    assert abs(int(mel.mean(0).argmax()) - int(expected)) <= 1


def test_sound_past_its_length_changes_nothing() -> None:
    graph = tiny.seeded("audio_encoder")
    rng = np.random.default_rng(2)
    pcm = rng.standard_normal((1, WINDOW)).astype(np.float32) * 0.1
    noisy = pcm.copy()
    noisy[:, 50_000:] = rng.standard_normal((1, WINDOW - 50_000))
    length = torch.tensor([[50_000]])
    with torch.inference_mode():
        for clean, dirty in zip(
            graph(torch.tensor(pcm), length), graph(torch.tensor(noisy), length), strict=True
        ):
            torch.testing.assert_close(clean, dirty)


def test_padded_frames_and_tokens_change_nothing() -> None:
    rng = np.random.default_rng(3)
    frames = torch.tensor(rng.integers(0, 256, (1, 4, 224, 224, 3), dtype=np.uint8))
    mask = torch.tensor([[True, True, False, False]])
    other = frames.clone()
    other[:, 2:] = 7
    times = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
    visual, transcript = tiny.seeded("visual_encoder"), tiny.seeded("transcript_encoder")
    ids = torch.tensor(rng.integers(3, 259, (1, 32)))
    used = torch.tensor([[1] * 20 + [0] * 12])
    padded = ids.clone()
    padded[:, 20:] = 5
    with torch.inference_mode():
        given = visual(frames, mask, times)
        for changed in (visual(other, mask, times), visual(frames[:, :2], mask[:, :2], times[:, :2])):
            for ours, theirs in zip(given, changed, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(transcript(ids, used), transcript(padded, used), atol=1e-6, rtol=0)


def test_a_melody_has_the_same_contour_in_every_key() -> None:
    contour = tiny.new_audio().contour
    notes = np.array([0, 4, 2, 7, 5, 9, 7, 0])

    def sung(semitones: np.ndarray) -> torch.Tensor:
        hz = np.repeat(698.46 * 2 ** (semitones / 12), WINDOW // 8)
        return torch.tensor(0.3 * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ), dtype=torch.float32)

    with torch.inference_mode():
        shapes = contour(torch.stack([sung(notes), sung(notes + 4), sung(notes - 3), sung(notes[::-1])]))
    flat = torch.nn.functional.normalize(shapes.flatten(1), dim=1)
    same, other = flat[0] @ flat[1:3].T, flat[0] @ flat[3]
    assert float(same.min()) > 0.95
    assert float(other) < 0.7


@pytest.mark.parametrize("rate_hz", [2.0, 5.0])
def test_a_rhythm_is_the_same_whenever_and_however_loud(rate_hz: float) -> None:
    """Swells in two bands; the others sound steadily."""
    rhythm = tiny.new_rhythm()
    seconds = torch.arange(800) / 100
    envelope = torch.full((4, 800, 64), 0.1)
    for row, (rate, late_s, gain) in enumerate(
        [(rate_hz, 0.0, 1.0), (rate_hz, 0.31, 1.0), (rate_hz, 0.0, 5.0), (1.5 * rate_hz, 0.0, 1.0)]
    ):
        swell = 0.5 + 0.4 * torch.sin(2 * torch.pi * rate * (seconds - late_s))
        envelope[row, :, 20:22] = swell[:, None]
        envelope[row] *= gain
    mel = torch.log(envelope) / rhythm.exponent
    told = rhythm(mel, torch.ones(4, 800, dtype=torch.bool))  # (4, rates, groups)
    assert told.shape == (4, 32, 32)
    torch.testing.assert_close(told[0].expand(2, -1, -1), told[1:3], atol=1e-3, rtol=0)
    # rates of 0.125 and 0.25 Hz make the first; bands 20 and 21 the group 10
    where = torch.nonzero(told[0] == told[0].max())
    assert where.tolist() == [[int((rate_hz / 0.125 - 1) // 2), 10]]
    # a swing of 0.4 beside a mean of (62 * 0.1 + 2 * 0.5) / 64: the square of half of it, at one rate
    swing = 0.4 / ((62 * 0.1 + 2 * 0.5) / 64)
    assert float(told[0].max()) == pytest.approx(float(np.log10(swing**2 / 4) + 3), abs=1e-3)
    assert float((told[3] - told[0]).abs().max()) > 2, "another rate"
    steady = told[0, :, torch.arange(32) != 10]
    torch.testing.assert_close(steady, torch.full_like(steady, float(np.log10(rhythm.QUIET) + 3)))


def test_a_rhythm_is_of_what_is_heard() -> None:
    rhythm = tiny.new_rhythm()
    mel = torch.randn(1, 800, 64, generator=torch.Generator().manual_seed(0)) * 0.2
    heard = torch.arange(800)[None] < 300
    other = torch.where(heard.unsqueeze(2), mel, 0.7)
    torch.testing.assert_close(rhythm(mel, heard), rhythm(other, heard))


@pytest.fixture(scope="module")
def fusion() -> FusionGraph:
    """The head with seeded corrections, as after training; the family's own start at zero."""
    head = FusionGraph(width=596, **SHAPE)
    seed_weights(head, 7)
    return head.eval()


def _rows(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    blocks: NDArray[np.float64] = rng.standard_normal((n, 3, 596))
    blocks /= np.linalg.norm(blocks, axis=-1, keepdims=True)
    present = rng.random((n, 3)) < 0.6
    present[:, 0] |= ~present.any(1)
    return torch.tensor(blocks, dtype=torch.float32), torch.tensor(present), torch.arange(n) * 8.0


def test_a_segment_depends_on_its_own_row_alone(fusion: FusionGraph) -> None:
    blocks, present, times = _rows(9, 1)
    with torch.inference_mode():
        _, together, _ = fusion(blocks, present, times)
        for i in range(9):
            _, alone, _ = fusion(blocks[i : i + 1], present[i : i + 1], times[i : i + 1])
            torch.testing.assert_close(together[i], alone[0], atol=1e-6, rtol=0)


def test_title_and_segments_are_unit_and_present_blocks_pass_unchanged(fusion: FusionGraph) -> None:
    blocks, present, times = _rows(12, 2)
    with torch.inference_mode():
        title, segments, salience = fusion(blocks, present, times)
    assert title.shape == (1788,)
    torch.testing.assert_close(title.norm(), torch.tensor(1.0))
    torch.testing.assert_close(segments.norm(dim=-1), torch.ones(12))
    torch.testing.assert_close(salience.sum(), torch.tensor(1.0))
    parts = segments.unflatten(-1, (3, 596)) * 3**0.5
    torch.testing.assert_close(parts[present], blocks[present], atol=1e-6, rtol=0)


def test_absent_input_values_are_never_read(fusion: FusionGraph) -> None:
    blocks, present, times = _rows(6, 3)
    garbage = torch.where(present.unsqueeze(-1), blocks, torch.full_like(blocks, 1e3))
    with torch.inference_mode():
        for clean, dirty in zip(fusion(blocks, present, times), fusion(garbage, present, times), strict=True):
            torch.testing.assert_close(clean, dirty)


def test_order_matters(fusion: FusionGraph) -> None:
    blocks, present, times = _rows(8, 4)
    with torch.inference_mode():
        forward, _, _ = fusion(blocks, present, times)
        backward, _, _ = fusion(blocks.flip(0), present.flip(0), times)
    assert float(forward @ backward) < 0.9999


def test_untrained_inference_is_the_normalised_mean() -> None:
    head = tiny.seeded("title_fusion")
    blocks, _, times = _rows(4, 5)
    present = torch.tensor([[True, True, False]] * 4)
    with torch.inference_mode():
        _, segments, _ = head(blocks, present, times)
    mean = blocks[:, 0] + blocks[:, 1]
    mean = mean / mean.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(segments[:, 1192:] * 3**0.5, mean, atol=1e-6, rtol=0)


def test_loudness_of_a_full_scale_sine_is_minus_three_decibels_and_its_centroid_is_its_pitch() -> None:
    signals = AudioSignals(RATE_HZ)
    tone = np.sin(2 * np.pi * 2000 * np.arange(WINDOW) / RATE_HZ).astype(np.float32)
    half = tone.copy()
    half[WINDOW // 2 :] = 0
    pcm = torch.tensor(np.stack([tone, tone * 0.1, half]))
    loudness, centroid, _ = signals(pcm, torch.tensor([[WINDOW], [WINDOW], [WINDOW // 2]])).T.numpy()
    np.testing.assert_allclose(loudness, [-3.01, -23.01, -3.01], atol=0.02)
    np.testing.assert_allclose(centroid, 2000, atol=10)


@pytest.mark.parametrize("clicks_per_s", [1, 2, 4])
def test_onset_rate_counts_clicks(clicks_per_s: int) -> None:
    signals = AudioSignals(RATE_HZ)
    rng = np.random.default_rng(0)
    pcm = rng.standard_normal(WINDOW).astype(np.float32) * 1e-3
    for start in range(4000, WINDOW - 2000, RATE_HZ // clicks_per_s):
        burst = rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
        pcm[start : start + 1600] += 0.3 * burst.astype(np.float32)
    rate = float(signals(torch.tensor(pcm[None]), torch.tensor([[WINDOW]]))[0, 2])
    assert rate == pytest.approx(clicks_per_s, rel=0.15)


def test_visual_signals_know_grey_from_colour_and_a_cut_from_none() -> None:
    frames = np.zeros((3, 4, 224, 224, 3), np.uint8)
    frames[0] = 128  # grey, still
    frames[1, :, :112, :, 0] = 255  # red over blue, still
    frames[1, :, 112:, :, 2] = 255
    frames[2, 2:] = 255  # black, then white: one cut
    mask = np.ones((3, 4), bool)
    times = np.tile(np.array([1, 3, 5, 7], np.float32), (3, 1))
    rgb = torch.tensor(frames).flatten(0, 1).permute(0, 3, 1, 2).float()
    out = VisualSignals()(rgb, torch.tensor(mask), torch.tensor(times)).numpy()
    brightness, colour, change, cuts = out.T
    assert brightness[0] == pytest.approx(128 / 255, abs=1e-3)
    assert colour[0] == pytest.approx(0, abs=1e-3)
    assert colour[1] > 100
    assert (change[0], cuts[0]) == (0, 0)
    assert cuts[2] == pytest.approx(10)  # one cut in 6 s
    assert change[2] == pytest.approx(1 / 6, abs=1e-3)


def test_motion_of_a_single_frame_is_unknown() -> None:
    rgb = torch.zeros((4, 3, 224, 224))
    mask = torch.tensor([[True, False, False, False]])
    out = VisualSignals()(rgb, mask, torch.zeros((1, 4)))[0]
    assert out[2:].tolist() == [-1, -1]
