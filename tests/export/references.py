"""What the reference library makes of a checkpoint, by its own processors and its own forward pass.

Every function gives float64 unit rows, before our projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from resonance.export.encoders import EncoderCard, Pooling

Rows = NDArray[np.float64]


def unit_rows(x: Any) -> Rows:
    """Float64 [N, D], rows of norm 1."""
    rows = np.asarray(x, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def picture_tensor(folder: Path, frames: NDArray[np.uint8]) -> torch.Tensor:
    """The processor's tensor [N, 3, h, w] for uint8 frames [N, H, W, 3]."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels: torch.Tensor = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    return pixels


def pictures(folder: Path, card: EncoderCard, frames: NDArray[np.uint8]) -> Rows:
    """Vectors of frames uint8 [N, H, W, 3] in the space the checkpoint compares with text."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return unit_rows(model.get_image_features(pixel_values=picture_tensor(folder, frames)).pooler_output)


def log_mel(folder: Path, sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """The extractor's first channel [frames, bands] in dB for sound [n] at its own rate."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="np")["input_features"]
    return np.asarray(features[0, 0], dtype=np.float64)


def sounds(folder: Path, card: EncoderCard, recordings: Sequence[NDArray[np.float64]]) -> Rows:
    """Vectors of sounds [n] at the encoder's rate. No sound is taken for longer than a clip."""
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(list(recordings), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    longer = torch.zeros((len(recordings), 1), dtype=torch.bool)
    with torch.inference_mode():
        found = model.get_audio_features(input_features=features["input_features"].float(), is_longer=longer)
    return unit_rows(found.pooler_output)


def sentences(folder: Path, card: EncoderCard, texts: Sequence[str]) -> Rows:
    """Vectors of texts: mean over the attention mask, or the first token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = tokenizer(
        [card.prefix + text for text in texts], padding=True, truncation=True, max_length=card.max_tokens,
        return_tensors="pt",
    )  # fmt: skip
    rows.pop("token_type_ids", None)
    with torch.inference_mode():
        states = model(**rows).last_hidden_state
    if card.pooling is Pooling.CLS:
        return unit_rows(states[:, 0])
    mask = rows["attention_mask"].unsqueeze(-1)
    return unit_rows((states * mask).sum(1) / mask.sum(1))


def siglip_sentences(folder: Path, card: EncoderCard, texts: Sequence[str]) -> Rows:
    """Vectors of texts as SigLIP's documentation computes them: rows of 64, no mask; see `lowercase`."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.SiglipModel.from_pretrained(folder).eval()
    rows = tokenizer(
        [text.lower() if card.lowercase else text for text in texts],
        padding="max_length", truncation=True, max_length=card.max_tokens, return_tensors="pt",
    )  # fmt: skip
    with torch.inference_mode():
        return unit_rows(model.get_text_features(input_ids=rows["input_ids"]).pooler_output)


#: The reference of each architecture; one without cannot be registered (see test_pretrained.py).
REFERENCES: Mapping[str, Callable[[Path, EncoderCard, Any], Rows]] = {
    "siglip": pictures,
    "clip": pictures,
    "clap": sounds,
    "sentences": sentences,
    "siglip-text": siglip_sentences,
}
