"""Pretrained encoders against the reference library, on checkpoints of the real architectures.

The weights are random and the sizes small; `test_real_size.py` has the published sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray

from resonance.clients.media.text import split_text
from resonance.export import contract
from resonance.export.architectures import ARCHITECTURES
from resonance.export.architectures.subwords import PROBES, served_tokenizer
from resonance.export.checkpoints import Checkpoint
from resonance.export.encoders import EncoderCard, ServedText, graph_card
from resonance.export.families import RECIPES, pretrained
from resonance.export.graphs.clap import ClapGraph
from resonance.export.graphs.pretrained_text import FixedLengthTextGraph
from resonance.export.graphs.pretrained_visual import PretrainedVisualGraph
from resonance.export.graphs.resample import Upsample
from resonance.export.onnx_export import cpu_session, export_graph, make_inputs
from resonance.export.reference import Row
from resonance.export.trt.build import onnx_runner
from resonance.export.trt.parity import compare
from resonance.export.trt.precision import write_network
from tests.export import random_checkpoints, references
from tests.export.test_trt import LOOKED_UP, troubles
from tests.lengths import long

CARDS = {card.name: card for card in vars(pretrained).values() if isinstance(card, EncoderCard)}
WINDOW = contract.WINDOW_SAMPLES
Folders = Callable[[str], Path]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A small checkpoint for each hub id that a card names, made when it is first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(checkpoint: str) -> Path:
        path = root / checkpoint.replace("/", "--")
        if not path.exists():
            random_checkpoints.MAKERS[checkpoint](path, random_checkpoints.SMALL)
        return path

    return folder


def prepared(card: EncoderCard, folder: Path) -> tuple[Any, ServedText | None]:
    """(graph card, tokens) of `card` with the checkpoint in `folder`."""
    architecture = ARCHITECTURES[card.architecture]
    return graph_card(card, architecture, Checkpoint(architecture.model, str(folder)))


def pictures(count: int) -> NDArray[np.uint8]:
    """Smooth fields with hard edges and noise, uint8 [count, 224, 224, 3]."""
    rng = np.random.default_rng(count)
    y, x = np.mgrid[0:224, 0:224]
    frames = np.empty((count, 224, 224, 3), np.uint8)
    for i in range(count):
        waves = 127 + 90 * np.sin(x[..., None] / rng.uniform(5, 40, 3) + y[..., None] / rng.uniform(5, 40, 3))
        waves[40 + 10 * i : 120, 60:150] = rng.integers(0, 256, 3)
        frames[i] = np.clip(waves + rng.normal(0, 12, waves.shape), 0, 255)
    return frames


def sound(seed: int, length: int) -> NDArray[np.float32]:
    """Tones that come and go over coloured noise, float32 [length] at 16 kHz."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / 16_000
    tones = sum(
        a * np.sin(2 * np.pi * f * t + p) * (np.sin(2 * np.pi * r * t) > 0)
        for a, f, p, r in zip(
            rng.uniform(0.02, 0.2, 5), rng.uniform(80, 6000, 5), rng.uniform(0, 6, 5), rng.uniform(0.3, 3, 5),
            strict=True,
        )
    )  # fmt: skip
    noise = np.convolve(rng.standard_normal(length), np.ones(4) / 4)[:length] * 0.02
    return np.asarray(tones + noise, dtype=np.float32)


def padded(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """`pcm` [n] in a window [128000] whose rest is noise, which must not be heard."""
    window = np.random.default_rng(0).standard_normal(WINDOW).astype(np.float32)
    window[: pcm.size] = pcm
    return window


# --- every card ---------------------------------------------------------------------------------------


def vectors(card: EncoderCard, folder: Path) -> tuple[np.ndarray, references.Rows, torch.nn.Linear]:
    """(ours [N, 596], the reference's [N, hidden], our projection) for the same inputs."""
    graph, text = prepared(card, folder)
    module = graph.build()
    reference = references.REFERENCES[card.architecture]
    with torch.inference_mode():
        if graph.model == "visual_encoder":
            frames = pictures(4)
            one_each = torch.tensor(frames).unsqueeze(1)  # (N, 1, H, W, 3)
            ours, _ = module(one_each, torch.ones((4, 1), dtype=torch.bool), torch.zeros((4, 1)))
            return ours.numpy(), reference(folder, card, frames), module.projection
        if graph.model == "audio_encoder":
            recordings = [sound(i, n) for i, n in enumerate((WINDOW, 100_000, 30_000, 1_000))]
            windows = torch.tensor(np.stack([padded(r) for r in recordings]))
            lengths = torch.tensor([[r.size] for r in recordings])
            heard = [module.upsample(torch.tensor(r[None])).numpy()[0].astype(float) for r in recordings]
            ours, _ = module(windows, lengths)
            return ours.numpy(), reference(folder, card, heard), module.projection
        assert text is not None
        ids, mask = served_rows(text, PROBES)
        return module(ids, mask).numpy(), reference(folder, card, PROBES), module.projection


def served_rows(text: ServedText, texts: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """IDS, MASK as the served tokenizer makes them: truncated, padded with zeros to a bucket."""
    text.tokenizer.enable_truncation(text.max_tokens)
    encodings = text.tokenizer.encode_batch(list(texts))
    text.tokenizer.no_truncation()
    length = next(b for b in text.token_buckets if b >= max(len(e.ids) for e in encodings))
    ids = torch.zeros((len(texts), length), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
        mask[row, : len(encoding.ids)] = 1
    return ids, mask


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda c: c.name)
def test_embeddings_equal_the_reference(card: EncoderCard, folders: Folders) -> None:
    ours, reference, projection = vectors(card, folders(card.checkpoint))
    matrix = projection.weight.detach().numpy().astype(np.float64)
    expected = references.unit_rows(reference @ matrix.T)
    cosines = (references.unit_rows(ours) * expected).sum(1)
    assert cosines.min() >= 0.9999
    assert cosines.min() >= 0.99999, "the stated bar is 0.9999, but arithmetic alone leaves more"
    spread = expected @ expected.T
    assert spread[~np.eye(len(spread), dtype=bool)].min() < 0.9999, "inputs must not all look alike"
    if matrix.shape[1] <= matrix.shape[0]:  # an isometry: cosines are the reference's own
        np.testing.assert_allclose(ours @ ours.T, reference @ reference.T, atol=2e-5)


def test_every_registered_card_has_a_parity_test_and_a_family() -> None:
    used = {card.name for family in pretrained.FAMILIES for card in family.encoders.values()}
    assert used == set(CARDS), "a card in a family must be a constant of its module, and the other way round"
    for card in CARDS.values():
        assert card.checkpoint in random_checkpoints.MAKERS, f"{card.name}: no checkpoint to test it with"
        assert card.architecture in references.REFERENCES, f"{card.name}: no reference to compare it with"
        assert card.licence
    assert set(references.REFERENCES) == set(ARCHITECTURES)
    assert set(RECIPES) == {family.name for family in pretrained.FAMILIES}
    for family in pretrained.FAMILIES:
        assert list(family.encoders) == ["visual_encoder", "audio_encoder", "transcript_encoder"]


#: One card for each way a graph can be built; those marked differ from one before them in little.
EXPORTED = (
    "siglip-base", "clip-base", "clap", pytest.param("clap-fused", marks=long), "minilm",
    pytest.param("e5-base", marks=long), "bge-m3", "siglip-base-text",
)  # fmt: skip


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graph_equals_torch_and_rows_do_not_see_each_other(
    name: str, folders: Folders, tmp_path: Path
) -> None:
    card = CARDS[name]
    graph, _ = prepared(card, folders(card.checkpoint))
    path = tmp_path / "model.onnx"
    export_graph(graph, path)  # raises where it differs
    model = contract.model(graph.model)
    session = cpu_session(path)
    inputs = make_inputs(model, batch=5, seed=9)
    together = session.run(None, inputs)
    for i in range(5):
        alone = session.run(None, {key: value[i : i + 1] for key, value in inputs.items()})
        for all_rows, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(all_rows[i], one[0], atol=1e-5 * max(1.0, np.abs(one).max()))
    # here, as the export is what takes the time: the graph that TensorRT gets belongs to the same space
    rows = [Row(str(seed), make_inputs(model, batch=1, seed=seed)) for seed in range(3)]
    network = tmp_path / "network.onnx"
    precision = write_network(graph.model, path, network, rows)
    assert precision.fp16_nodes > precision.nodes / 3
    assert compare(graph, onnx_runner(path), onnx_runner(network), rows, []).failures == []
    made = onnx.load(network, load_external_data=False)
    assert {node.op_type for node in made.graph.node} <= LOOKED_UP
    assert troubles(made) == []


# --- pictures -----------------------------------------------------------------------------------------


def _pixels(card: EncoderCard, folder: Path, frames: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
    module = prepared(card, folder)[0].build()
    assert isinstance(module, PretrainedVisualGraph)
    rgb = torch.tensor(frames).permute(0, 3, 1, 2).float()
    return module.pixels(rgb).numpy(), references.picture_tensor(folder, frames).numpy()


@pytest.mark.parametrize("name", ["siglip-base", "siglip2-base", "clip-base"])
def test_pixels_at_224_equal_the_image_processor(name: str, folders: Folders) -> None:
    ours, reference = _pixels(CARDS[name], folders(CARDS[name].checkpoint), pictures(3))
    np.testing.assert_allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("image_px", [128, 256, 384])
def test_pixels_at_other_sizes_are_within_two_grey_levels(
    image_px: int, resample: int, tmp_path: Path
) -> None:
    folder = random_checkpoints.siglip(tmp_path / "siglip", image_px=image_px, resample=resample)
    ours, reference = _pixels(CARDS["siglip-base"], folder, pictures(2))
    assert ours.shape[-2:] == (image_px, image_px)
    grey = np.abs(ours - reference) * 127.5  # std 0.5
    # Pillow computes in whole numbers of 1/2^22: where a value ties, one level for each of its two passes
    assert grey.max() < 2.01
    assert grey.mean() < 0.05


def test_a_processor_that_crops_is_followed(tmp_path: Path) -> None:
    folder = random_checkpoints.clip(tmp_path / "clip", image_px=192, resize_px=256)
    ours, reference = _pixels(CARDS["clip-base"], folder, pictures(2))
    std = 0.27
    assert (np.abs(ours - reference) * 255 * std).max() < 1.1


# --- sound --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clap", "clap-fused"])
@pytest.mark.parametrize("length", [WINDOW, 127_999, 80_000, 50_001, 1_000, 1])
def test_log_mel_equals_the_feature_extractor(name: str, length: int, folders: Folders) -> None:
    folder = folders(CARDS[name].checkpoint)
    module = prepared(CARDS[name], folder)[0].build()
    assert isinstance(module, ClapGraph)
    pcm = sound(3, length)
    with torch.inference_mode():
        ours = module.log_mel_db(module.clip(torch.tensor(padded(pcm)[None]), torch.tensor([[length]])))
        heard = module.upsample(torch.tensor(pcm[None])).numpy()[0]
    assert heard.size == 3 * length
    reference = references.log_mel(folder, heard.astype(np.float64))
    assert ours.shape == (1, 1, 1001, 64)
    error_db = np.abs(ours.numpy()[0, 0] - reference)
    assert error_db.mean() < 0.01


@pytest.mark.parametrize("name", ["clap", "clap-fused"])
def test_log_mel_of_a_loud_tone_over_digital_silence(name: str, folders: Folders) -> None:
    """The hardest sound: the reference resolves in float64 what float32 cannot, 130 dB under the tone."""
    folder = folders(CARDS[name].checkpoint)
    module = prepared(CARDS[name], folder)[0].build()
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(WINDOW) / 16_000)).astype(np.float32)
    with torch.inference_mode():
        ours = module.log_mel_db(module.clip(torch.tensor(tone[None]), torch.tensor([[WINDOW]])))
        heard = module.upsample(torch.tensor(tone[None])).numpy()[0]
    error_db = np.abs(ours.numpy()[0, 0] - references.log_mel(folder, heard.astype(np.float64)))
    assert error_db.mean() < 0.02


def test_a_length_of_zero_is_heard_as_silence(folders: Folders) -> None:
    module = prepared(CARDS["clap"], folders(CARDS["clap"].checkpoint))[0].build()
    with torch.inference_mode():
        clip = module.clip(torch.tensor(padded(sound(1, 10))[None]), torch.tensor([[0]]))
    assert float(clip.abs().max()) == 0


def test_upsampling_equals_the_ideal_and_leaves_no_image() -> None:
    rng = np.random.default_rng(4)
    spectrum = np.zeros(8001, complex)
    spectrum[100:7000] = rng.standard_normal(6900) + 1j * rng.standard_normal(6900)  # 100 Hz to 7 kHz
    pcm = np.fft.irfft(spectrum, 16_000)
    pcm = pcm / np.abs(pcm).max() * 0.5
    ideal = np.fft.irfft(np.pad(np.fft.rfft(pcm), (0, 16_000)), 48_000) * 3
    ours = Upsample(3)(torch.tensor(pcm[None], dtype=torch.float32)).numpy()[0].astype(np.float64)
    inner = slice(3000, -3000)  # the ideal one is periodic, ours knows silence outside
    error = ours[inner] - ideal[inner]
    assert 20 * np.log10(np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(ideal**2))) < -90
    power = np.abs(np.fft.rfft(ours[inner] * np.hanning(42_000))) ** 2
    image = power[round(9_000 * 42_000 / 48_000) :].max() / power.max()
    assert 10 * np.log10(image) < -100


# --- text ---------------------------------------------------------------------------------------------

TRANSCRIPTS = [c for c in CARDS.values() if ARCHITECTURES[c.architecture].model == "transcript_encoder"]


@pytest.mark.parametrize("card", TRANSCRIPTS, ids=lambda c: c.name)
def test_split_text_is_never_truncated(card: EncoderCard, folders: Folders) -> None:
    family = next(f for f in pretrained.FAMILIES if f.transcript is card)
    resolved = family.resolve({m: str(folders(c.checkpoint)) for m, c in family.encoders.items()})
    assert [g.model for g in resolved.graphs] == [m.name for m in contract.GRAPHS]
    descriptor = resolved.describe({g.model: "0" * 64 for g in resolved.graphs})
    tokenizer = resolved.tokenizer()
    rng = np.random.default_rng(1)
    scripts = ("the tide ", "犬も歩けば", "вода ", "नमस्ते ", "안녕 ", "🙂", "x!?;", "ﬁ²½ ", "\t")
    article = "".join(rng.choice(scripts, 3000))
    pieces = list(split_text(article, descriptor.segment.text_tokens))
    assert " ".join(pieces).split() != []
    assert max(len(tokenizer.encode(piece).ids) for piece in pieces) <= descriptor.transcript.max_tokens
    assert "".join("".join(pieces).split()) == "".join(article.split())


def test_siglips_tokenizer_made_fast_equals_its_own_on_any_text(folders: Folders) -> None:
    folder = folders(CARDS["siglip-base-text"].checkpoint)
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    reference = checkpoint.tokenizer()
    served = served_tokenizer(checkpoint, reference)
    rng = np.random.default_rng(0)
    pieces = (
        "the ", "Harbour", "  ", "\t", "\n", ".", ",!?", "É", "ß", "İ", "Σ", "ﬁ", "½", "犬", "नमस्ते", "안녕",
        "🙂", "’", "\u00a0", "\u3000", "e\u0301", "7", "ﷺ", "▁", "_", "\u200b", "\ufeff",
    )  # fmt: skip
    for _ in range(500):
        text = "".join(rng.choice(pieces, rng.integers(0, 12)))
        assert served.encode(text).ids == reference(text)["input_ids"], repr(text)


def test_siglip2_reads_lower_case_as_it_was_trained(folders: Folders) -> None:
    card = CARDS["siglip2-base-text"]
    folder = folders(card.checkpoint)
    _, text = prepared(card, folder)
    assert text is not None
    own = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(own).__name__ == "GemmaTokenizer"
    reference = transformers.models.siglip2.Siglip2Tokenizer.from_pretrained(folder)
    for cased in ("The Harbour", "ÉCOLE straße", "Чайки НАД водой", *PROBES):
        assert own(cased)["input_ids"] != own(cased.lower())["input_ids"] or cased == cased.lower()
        ids = text.tokenizer.encode(cased).ids
        assert ids == reference(cased, padding=False)["input_ids"] == own(cased.lower())["input_ids"]
    assert text.tokenizer.encode("The Harbour").ids == text.tokenizer.encode("the harbour").ids


@pytest.mark.parametrize("card", TRANSCRIPTS, ids=lambda c: c.name)
def test_long_text_keeps_prefix_and_end_token(card: EncoderCard, folders: Folders) -> None:
    _, text = prepared(card, folders(card.checkpoint))
    assert text is not None
    short = text.tokenizer.encode("a").ids
    tokenizer = text.tokenizer
    tokenizer.enable_truncation(text.max_tokens)
    row = tokenizer.encode("the tide turned " * 600).ids
    assert len(row) == text.max_tokens == text.token_buckets[-1]
    assert row[-1] == short[-1]
    leading = len(tokenizer.encode("").ids) - 1
    assert row[:leading] == tokenizer.encode("").ids[:leading]


@pytest.mark.parametrize("pad_left", [False, True])
def test_siglip_rows_are_padded_where_they_were_in_training(pad_left: bool) -> None:
    graph = FixedLengthTextGraph(
        torch.nn.Identity(), hidden=4, width=4, length=6, pad_id=9, pad_left=pad_left
    )
    ids = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    left = [[9, 9, 9, 1, 2, 3], [9, 9, 9, 9, 9, 4], [9, 9, 5, 6, 7, 8]]
    right = [[1, 2, 3, 9, 9, 9], [4, 9, 9, 9, 9, 9], [5, 6, 7, 8, 9, 9]]
    assert graph.row(ids, mask).tolist() == (left if pad_left else right)


def test_what_stands_in_padded_tokens_is_never_read(folders: Folders) -> None:
    for card in TRANSCRIPTS:
        module = prepared(card, folders(card.checkpoint))[0].build()
        ids = torch.tensor(np.random.default_rng(2).integers(5, 140, (1, 32)))
        mask = torch.tensor([[1] * 20 + [0] * 12])
        other = ids.clone()
        other[:, 20:] = 7
        with torch.inference_mode():
            torch.testing.assert_close(module(ids, mask), module(other, mask), atol=1e-6, rtol=0)
            torch.testing.assert_close(
                module(ids, mask), module(ids[:, :20], mask[:, :20]), atol=1e-6, rtol=0
            )
