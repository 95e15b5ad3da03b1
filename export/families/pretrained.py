"""Families of pretrained encoders. One more encoder of a known architecture is one more card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tokenizers import Tokenizer

from resonance.export.architectures import ARCHITECTURES
from resonance.export.architectures.common import EXACT, SEED
from resonance.export.cards import FamilyCard, FamilyRecipe, GraphCard
from resonance.export.checkpoints import Checkpoint, CheckpointError
from resonance.export.encoders import EncoderCard, Pooling, graph_card
from resonance.export.families import fusion_head
from resonance.export.families.description import describe_space
from resonance.export.graphs.fusion import SHAPE
from resonance.space.descriptor import Descriptor, Transcript

APACHE, MIT = "Apache-2.0", "MIT"

SIGLIP_BASE = EncoderCard(
    "siglip-base", "siglip", "google/siglip-base-patch16-224", APACHE, shared_space="siglip-base"
)
SIGLIP_BASE_TEXT = EncoderCard(
    "siglip-base-text", "siglip-text", "google/siglip-base-patch16-224", APACHE,
    shared_space="siglip-base", max_tokens=64,
)  # fmt: skip
SIGLIP2_BASE = EncoderCard(
    "siglip2-base", "siglip", "google/siglip2-base-patch16-224", APACHE, shared_space="siglip2-base"
)
# Its checkpoint names Gemma's tokenizer, which keeps the case that the model never saw in training.
SIGLIP2_BASE_TEXT = EncoderCard(
    "siglip2-base-text", "siglip-text", "google/siglip2-base-patch16-224", APACHE,
    shared_space="siglip2-base", max_tokens=64, lowercase=True,
)  # fmt: skip
CLIP_BASE = EncoderCard("clip-base", "clip", "openai/clip-vit-base-patch32", MIT)
CLAP = EncoderCard("clap", "clap", "laion/clap-htsat-unfused", APACHE)
CLAP_FUSED = EncoderCard("clap-fused", "clap", "laion/clap-htsat-fused", APACHE)
MINILM = EncoderCard(
    "minilm", "sentences", "sentence-transformers/all-MiniLM-L6-v2", APACHE,
    pooling=Pooling.MEAN, max_tokens=256,
)  # fmt: skip
# Queries and titles pass through one tokenizer; "query: " is what E5 asks for where both sides are alike.
E5_SMALL = EncoderCard(
    "e5-small", "sentences", "intfloat/multilingual-e5-small", MIT,
    pooling=Pooling.MEAN, prefix="query: ", max_tokens=512,
)  # fmt: skip
E5_BASE = EncoderCard(
    "e5-base", "sentences", "intfloat/multilingual-e5-base", MIT,
    pooling=Pooling.MEAN, prefix="query: ", max_tokens=512,
)  # fmt: skip
BGE_M3 = EncoderCard(
    "bge-m3", "sentences", "BAAI/bge-m3", MIT, pooling=Pooling.CLS, max_tokens=512
)  # fmt: skip


FUSION = GraphCard(
    "title_fusion",
    partial(fusion_head.seeded_fusion, SEED),
    fusion_head.INPUTS,
    SHAPE,
    f"seeded weights of this repository, seed {SEED}, not trained",
    APACHE,
    dict.fromkeys(fusion_head.OUTPUTS, EXACT),
)


@dataclass(frozen=True, slots=True)
class PretrainedFamily:
    """One encoder a modality, and a fusion head of ours that is not trained yet."""

    name: str
    summary: str
    visual: EncoderCard
    audio: EncoderCard
    transcript: EncoderCard

    @property
    def encoders(self) -> Mapping[str, EncoderCard]:
        """Cards by the model they fill, in the contract's order."""
        cards = (self.visual, self.audio, self.transcript)
        return {ARCHITECTURES[card.architecture].model: card for card in cards}

    def recipe(self) -> FamilyRecipe:
        """The family before its checkpoints are chosen."""
        return FamilyRecipe(self.name, self.summary, tuple(self.encoders), self.resolve)

    def resolve(self, checkpoints: Mapping[str, str]) -> FamilyCard:
        """The family with `checkpoints` (by model) in the place of the cards' own.

        Raises:
            CheckpointError: one cannot be read, is of another architecture, or two towers of one space are
                not of one checkpoint.
        """
        graphs = []
        text = None
        towers: dict[str, Checkpoint] = {}  # of one space each, the first
        for model, card in self.encoders.items():
            checkpoint = Checkpoint(model, checkpoints.get(model, card.checkpoint))
            if card.shared_space:
                other = towers.setdefault(card.shared_space, checkpoint)
                if not checkpoint.is_that_of(other):
                    raise CheckpointError(
                        model,
                        checkpoint.location,
                        f"is another than '{other.location}' of {other.model}, and this family compares the "
                        "two towers of one",
                        f"name the same for both: --checkpoint {other.model}=… --checkpoint {model}=…",
                    )
            graph, served = graph_card(card, ARCHITECTURES[card.architecture], checkpoint)
            graphs.append(graph)
            text = served or text
        assert text is not None
        graphs.append(FUSION)
        served_text = text

        def tokenizer() -> Tokenizer:
            return Tokenizer.from_str(served_text.tokenizer.to_str())

        def describe(weights: Mapping[str, str]) -> Descriptor:
            transcript = Transcript(
                served_text.description, served_text.max_tokens, served_text.token_buckets
            )
            # Clients count bytes and two special tokens. Here there may be more of those, and a text
            # may begin with one token more, for the space before its first word.
            text_tokens = served_text.max_tokens - max(served_text.special_tokens - 2, 0) - 1
            return describe_space(self.name, graphs, weights, transcript=transcript, text_tokens=text_tokens)

        return FamilyCard(self.name, self.summary, tuple(graphs), tokenizer, describe)


FAMILIES = (
    PretrainedFamily(
        "siglip-clap-minilm",
        "SigLIP base, CLAP, MiniLM: English text, the lightest of the pretrained ones",
        SIGLIP_BASE, CLAP, MINILM,
    ),
    PretrainedFamily(
        "siglip2-clap-e5",
        "SigLIP2 base, CLAP, multilingual E5 small",
        SIGLIP2_BASE, CLAP, E5_SMALL,
    ),
    PretrainedFamily(
        "siglip2-clap-e5-base",
        "SigLIP2 base, CLAP for longer sounds, multilingual E5 base",
        SIGLIP2_BASE, CLAP_FUSED, E5_BASE,
    ),
    PretrainedFamily(
        "clip-clap-bge",
        "CLIP ViT-B/32, CLAP, BGE-M3: fast pictures, large multilingual text",
        CLIP_BASE, CLAP, BGE_M3,
    ),
    PretrainedFamily(
        "siglip-clap",
        "SigLIP base for pictures and text, aligned as trained; texts of 64 tokens",
        SIGLIP_BASE, CLAP, SIGLIP_BASE_TEXT,
    ),
    PretrainedFamily(
        "siglip2-clap",
        "SigLIP2 base for pictures and multilingual text, aligned as trained; texts of 64 tokens",
        SIGLIP2_BASE, CLAP, SIGLIP2_BASE_TEXT,
    ),
)  # fmt: skip
