"""The family `tiny`: the encoder classes of pretrained checkpoints at sizes that suit a laptop and CI.

Its weights come from a fixed seed: its vectors are reproducible and its space is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn

from resonance.export import contract
from resonance.export.cards import FamilyCard, GraphCard, Tolerance, register
from resonance.export.families.description import describe_space
from resonance.export.graphs.audio import AudioGraph
from resonance.export.graphs.fusion import FusionGraph
from resonance.export.graphs.transcript import TranscriptGraph
from resonance.export.graphs.visual import VisualGraph
from resonance.export.weights import seed_weights
from resonance.space.descriptor import BLOCK_WIDTH, Descriptor, Transcript

SEED = 596
SOURCE = f"seeded weights of this repository, seed {SEED}, not trained"
LICENCE = "Apache-2.0"

HIDDEN = 128
MAX_TOKENS = 256
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]")
SAMPLE_RATE_HZ = 16_000

VISUAL_PREPROCESSING: dict[str, Any] = {"encoder_px": 96, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
#: Decibels here are of band power, where a sine of full scale reads about +40. The floor 80 dB below it
#: hides the noise of codecs and of 16 bits; mean and range bring everyday sound to -1..1.
AUDIO_PREPROCESSING: dict[str, Any] = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "window_samples": 400,
    "hop_samples": 160,
    "bands": 64,
    "low_hz": 20.0,
    "high_hz": 8000.0,
    "patch": 16,
    "floor_db": -40.0,
    "mean_db": 0.0,
    "range_db": 40.0,
}
FUSION_SHAPE: dict[str, Any] = {"inner": 128, "heads": 4, "time_frequencies": 16}


def _ready(module: nn.Module, *, zero: tuple[str, ...] = ()) -> nn.Module:
    seed_weights(module, SEED, zero=zero)
    return module.eval()


def build_visual() -> nn.Module:
    """SigLIP's vision tower: 96 px, patch 16, width 128, 4 layers."""
    config = transformers.SiglipVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=VISUAL_PREPROCESSING["encoder_px"],
        patch_size=16,
    )
    encoder = transformers.SiglipVisionModel(config)
    graph = VisualGraph(
        encoder, hidden=HIDDEN, width=BLOCK_WIDTH, frame_px=contract.FRAME_PX, **VISUAL_PREPROCESSING
    )
    return _ready(graph)


def build_audio() -> nn.Module:
    """The Audio Spectrogram Transformer: 64 mel bands by 800 frames, patch 16, width 128, 4 layers."""
    p = AUDIO_PREPROCESSING
    config = transformers.ASTConfig(
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        patch_size=p["patch"],
        frequency_stride=p["patch"],
        time_stride=p["patch"],
        num_mel_bins=p["bands"],
        max_length=contract.WINDOW_SAMPLES // p["hop_samples"],
    )
    return _ready(AudioGraph(transformers.ASTModel(config), hidden=HIDDEN, width=BLOCK_WIDTH, **p))


def build_transcript() -> nn.Module:
    """BERT over bytes: 259 ids, width 128, 3 layers, 256 positions."""
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + 256,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        type_vocab_size=1,
    )
    encoder = transformers.BertModel(config, add_pooling_layer=False)
    return _ready(TranscriptGraph(encoder, hidden=HIDDEN, width=BLOCK_WIDTH))


def build_fusion() -> nn.Module:
    """The fusion head, its learned corrections at zero until it is trained."""
    return _ready(FusionGraph(width=BLOCK_WIDTH, **FUSION_SHAPE), zero=("infer", "correct"))


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
    return describe_space(TINY.name, TINY.graphs, weights, transcript=transcript, text_tokens=MAX_TOKENS)


_EXACT = Tolerance(max_abs=1e-5, min_cosine=0.99999)
#: Signals carry units: hertz and decibels differ by more than unit vectors do.
_SIGNAL = Tolerance(max_abs=0.05, min_cosine=0.99999)


TINY = register(
    FamilyCard(
        name="tiny",
        summary="SigLIP, AST and byte-level BERT towers of width 128; runs anywhere, not trained",
        graphs=(
            GraphCard(
                "visual_encoder",
                build_visual,
                ("frames", "frame_mask", "frame_times"),
                VISUAL_PREPROCESSING,
                SOURCE,
                LICENCE,
                {"VISUAL": _EXACT, "VISUAL_SIGNALS": _SIGNAL},
            ),
            GraphCard(
                "audio_encoder",
                build_audio,
                ("pcm", "pcm_length"),
                AUDIO_PREPROCESSING,
                SOURCE,
                LICENCE,
                {"AUDIO": _EXACT, "AUDIO_SIGNALS": _SIGNAL},
            ),
            GraphCard(
                "transcript_encoder",
                build_transcript,
                ("ids", "mask"),
                {"tokenizer": "byte-level", "pooling": "masked mean"},
                SOURCE,
                LICENCE,
                {"TRANSCRIPT": _EXACT},
            ),
            GraphCard(
                "title_fusion",
                build_fusion,
                ("blocks", "present", "times"),
                FUSION_SHAPE,
                SOURCE,
                LICENCE,
                dict.fromkeys(("TITLE", "SEGMENTS", "SALIENCE"), _EXACT),
            ),
        ),
        tokenizer=build_tokenizer,
        describe=describe,
    )
)
