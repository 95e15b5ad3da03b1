"""The family `tiny`: compact encoders of our own, trained on a procedural world; they run anywhere.

The weights stand beside this file; docs/tiny.md is their model card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn

from resonance.export import contract
from resonance.export.cards import FamilyCard, GraphCard, Tolerance
from resonance.export.families import fusion_head
from resonance.export.families.description import describe_space
from resonance.export.graphs.compact import CompactSound, CompactText, CompactVision, Contour, Rhythm
from resonance.export.graphs.compact_audio import CompactAudioGraph
from resonance.export.graphs.compact_transcript import CompactTranscriptGraph
from resonance.export.graphs.compact_visual import CompactVisualGraph
from resonance.export.graphs.fusion import SHAPE
from resonance.export.weights import load_weights, seed_weights
from resonance.space.descriptor import BLOCK_WIDTH, Descriptor, Transcript

SEED = 596
#: What `make train-tiny` writes: the weights, and blocks of held-out segments to calibrate on.
WEIGHTS = Path(__file__).with_name("tiny.safetensors")
REFERENCE = Path(__file__).with_name("tiny.reference.npz")
#: Its text encoder knows few words, so the prompts of the default file mean little to it.
AXES = Path(__file__).with_name("tiny.axes.toml")
SOURCE = f"trained on the procedural world of this repository, seed {SEED}; docs/tiny.md"
LICENCE = "Apache-2.0"

HIDDEN = 128
HEADS = 4
MAX_TOKENS = 256
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]")
SAMPLE_RATE_HZ = 16_000

VISUAL_PREPROCESSING: dict[str, Any] = {"encoder_px": 96, "contrast_px": 17, "pixels": "-1..1"}
#: Decibels here are of band power, where a sine of full scale reads about +40. The floor 80 dB below it
#: hides the noise of codecs and of 16 bits; mean and range bring everyday sound to -1..1.
MEL: dict[str, Any] = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "window_samples": 400,
    "hop_samples": 160,
    "bands": 64,
    "low_hz": 20.0,
    "high_hz": 8000.0,
    "floor_db": -40.0,
    "mean_db": 0.0,
    "range_db": 40.0,
}
#: Five octaves from C3, in windows of 128 ms every 25 ms; a step is a quarter of a second.
CONTOUR: dict[str, Any] = {
    "lowest_hz": 130.81,
    "semitones": 60,
    "window_samples": 2048,
    "hop_samples": 400,
    "hops_a_step": 10,
    "reach": 11,
}
#: Swells of 0.125 to 8 a second, the rates a quarter of a hertz apart, in 32 groups of 2 bands.
RHYTHM: dict[str, Any] = {"groups": 32, "lowest_hz": 0.125, "highest_hz": 8.0, "at_once": 2}
TEXT: dict[str, Any] = {"ngrams": (3, 4, 5), "buckets": 4096}


def new_visual() -> CompactVisualGraph:
    """Convolutions and 3 transformer layers over 96 px."""
    size_px = VISUAL_PREPROCESSING["encoder_px"]
    encoder = CompactVision(
        hidden=HIDDEN,
        layers=3,
        heads=HEADS,
        size_px=size_px,
        contrast_px=VISUAL_PREPROCESSING["contrast_px"],
    )
    return CompactVisualGraph(
        encoder, hidden=HIDDEN, width=BLOCK_WIDTH, frame_px=contract.FRAME_PX, encoder_px=size_px
    )


def new_audio() -> CompactAudioGraph:
    """Convolutions and 3 transformer layers over 64 mel bands by 800 frames, the contour and the rhythm."""
    frames = contract.WINDOW_SAMPLES // MEL["hop_samples"]
    steps = contract.WINDOW_SAMPLES // (CONTOUR["hop_samples"] * CONTOUR["hops_a_step"])
    encoder = CompactSound(hidden=HIDDEN, layers=3, heads=HEADS, bands=MEL["bands"], frames=frames)
    contour = Contour(sample_rate_hz=SAMPLE_RATE_HZ, **CONTOUR)
    return CompactAudioGraph(
        encoder, contour, new_rhythm(), hidden=HIDDEN, width=BLOCK_WIDTH, contour_steps=steps, **MEL
    )


def new_rhythm() -> Rhythm:
    """Over the frames of the mel bands; nothing of it is learned."""
    return Rhythm(
        bands=MEL["bands"],
        frames=contract.WINDOW_SAMPLES // MEL["hop_samples"],
        frames_a_s=SAMPLE_RATE_HZ / MEL["hop_samples"],
        decades=MEL["range_db"] / 10.0,
        **RHYTHM,
    )


def new_transcript() -> CompactTranscriptGraph:
    """Hashed byte n-grams and 2 transformer layers over 256 bytes."""
    encoder = CompactText(
        hidden=HIDDEN,
        layers=2,
        heads=HEADS,
        ids=len(SPECIAL_TOKENS) + 256,
        max_tokens=MAX_TOKENS,
        **TEXT,
    )
    return CompactTranscriptGraph(encoder, hidden=HIDDEN, width=BLOCK_WIDTH)


#: Every graph of this family with random weights, as training starts from.
NEW: dict[str, Callable[[], nn.Module]] = {
    "visual_encoder": new_visual,
    "audio_encoder": new_audio,
    "transcript_encoder": new_transcript,
    "title_fusion": fusion_head.new_fusion,
}


def seeded(model: str) -> nn.Module:
    """The graph of `model` as training starts: seeded; the fusion head's corrections at zero."""
    if model == "title_fusion":
        return fusion_head.seeded_fusion(SEED)
    module = NEW[model]()
    seed_weights(module, SEED)
    return module.eval()


def trained(model: str) -> nn.Module:
    """The graph of `model` with the committed weights.

    Raises:
        WeightsError: they cannot be read or do not fit.
    """
    module = NEW[model]()
    load_weights(module, WEIGHTS, model)
    return module.eval()


def build_tokenizer() -> Tokenizer:
    """One token a byte after NFC and folding of white space; ids 0..2 are padding, start and end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def describe(weights: Mapping[str, str]) -> Descriptor:
    """The descriptor of this space."""
    transcript = Transcript("byte-level, NFC, white space folded", MAX_TOKENS, (32, 64, 128, 256))
    return describe_space(
        TINY.name, TINY.graphs, weights, transcript=transcript, text_tokens=MAX_TOKENS, trained=True
    )


_EXACT = Tolerance(max_abs=1e-5, min_cosine=0.99999)
#: Signals carry units: hertz and decibels differ by more than unit vectors do.
_SIGNAL = Tolerance(max_abs=0.05, min_cosine=0.99999)


TINY = FamilyCard(
    name="tiny",
    summary="compact encoders of width 128 trained on a procedural world; runs anywhere",
    graphs=(
        GraphCard(
            "visual_encoder",
            partial(trained, "visual_encoder"),
            ("frames", "frame_mask", "frame_times"),
            VISUAL_PREPROCESSING,
            SOURCE,
            LICENCE,
            {"VISUAL": _EXACT, "VISUAL_SIGNALS": _SIGNAL},
        ),
        GraphCard(
            "audio_encoder",
            partial(trained, "audio_encoder"),
            ("pcm", "pcm_length"),
            {**MEL, "contour": CONTOUR, "rhythm": RHYTHM},
            SOURCE,
            LICENCE,
            {"AUDIO": _EXACT, "AUDIO_SIGNALS": _SIGNAL},
        ),
        GraphCard(
            "transcript_encoder",
            partial(trained, "transcript_encoder"),
            ("ids", "mask"),
            {"tokenizer": "byte-level", **TEXT},
            SOURCE,
            LICENCE,
            {"TRANSCRIPT": _EXACT},
            trimmed_by="MASK",
        ),
        GraphCard(
            "title_fusion",
            partial(trained, "title_fusion"),
            fusion_head.INPUTS,
            SHAPE,
            SOURCE,
            LICENCE,
            dict.fromkeys(fusion_head.OUTPUTS, _EXACT),
        ),
    ),
    tokenizer=build_tokenizer,
    describe=describe,
    reference=REFERENCE,
    axes=AXES,
)
