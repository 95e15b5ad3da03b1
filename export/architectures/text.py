"""Sentence encoders (BERT, RoBERTa, XLM-R) and SigLIP's text tower."""

from __future__ import annotations

import json

import transformers
from tokenizers import Tokenizer
from torch import Tensor, nn

from resonance.export.architectures.common import EXACT, check_type, own_projection
from resonance.export.architectures.own_layers import check_own_layers, check_own_text
from resonance.export.architectures.subwords import served_tokenizer
from resonance.export.checkpoints import Checkpoint
from resonance.export.encoders import Architecture, EncoderCard, Pooling, Prepared, ServedText
from resonance.export.graphs.pretrained_text import FixedLengthTextGraph, PooledTextGraph
from resonance.space.descriptor import BLOCK_WIDTH
from resonance.space.plain import canonical_sha256

_SHORTEST_BUCKET = 32
#: Types that number positions from pad_token_id + 1.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta")


class SiglipSentences(nn.Module):
    """IDS int64 [B, length] -> [B, hidden]: the vector SigLIP compares with pictures."""

    def __init__(self, model: transformers.SiglipModel) -> None:
        super().__init__()
        self.text_model = model.text_model

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        return self.text_model(input_ids=ids).pooler_output


def token_buckets(max_tokens: int) -> tuple[int, ...]:
    """Powers of two from 32, then `max_tokens`."""
    buckets = []
    size = _SHORTEST_BUCKET
    while size < max_tokens:
        buckets.append(size)
        size *= 2
    return (*buckets, max_tokens)


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Of the tokenizer's canonical JSON: other tokens are another space."""
    return canonical_sha256(json.loads(tokenizer.to_str()))


def _prepare_sentences(card: EncoderCard, checkpoint: Checkpoint) -> Prepared:
    if card.pooling is None:
        raise ValueError(f"card '{card.name}' says no pooling")
    config = checkpoint.config()
    check_type(checkpoint, config, ("bert", *_OFFSET_POSITIONS))
    check_own_layers(card, checkpoint)
    reference = checkpoint.tokenizer()
    tokenizer = served_tokenizer(checkpoint, reference, card.prefix, lowercase=card.lowercase)
    check_own_text(card, checkpoint, tokenizer)
    _check_ids(checkpoint, tokenizer, config.vocab_size)
    pad_id = int(config.pad_token_id or 0)
    positions = config.max_position_embeddings
    if config.model_type in _OFFSET_POSITIONS:
        positions -= pad_id + 1
    if card.max_tokens > positions:
        raise checkpoint.unusable(f"has {positions} positions, card '{card.name}' wants {card.max_tokens}")
    text = ServedText(
        tokenizer,
        _described(tokenizer, card.prefix),
        card.max_tokens,
        token_buckets(card.max_tokens),
        tokenizer.num_special_tokens_to_add(is_pair=False),
    )
    first_token = card.pooling is Pooling.CLS

    def build() -> nn.Module:
        encoder = checkpoint.weights(transformers.AutoModel, add_pooling_layer=False)
        graph = PooledTextGraph(
            encoder, hidden=config.hidden_size, width=BLOCK_WIDTH, first_token=first_token, pad_id=pad_id
        )
        return own_projection(graph, card)

    preprocessing = {
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "prefix": card.prefix,
        "pooling": str(card.pooling),
        "pad_id": pad_id,
    }
    return Prepared(build, preprocessing, text)


def _prepare_siglip(card: EncoderCard, checkpoint: Checkpoint) -> Prepared:
    config = checkpoint.config()
    check_type(checkpoint, config, ("siglip",))
    reference = checkpoint.tokenizer()
    tokenizer = served_tokenizer(checkpoint, reference, card.prefix, lowercase=card.lowercase)
    tower = config.text_config
    _check_ids(checkpoint, tokenizer, tower.vocab_size)
    length, hidden = tower.max_position_embeddings, tower.projection_size
    if card.max_tokens != length:
        raise checkpoint.unusable(
            f"was trained on rows of {length} tokens, card '{card.name}' says {card.max_tokens}"
        )
    pad_id, pad_left = int(reference.pad_token_id), reference.padding_side == "left"
    text = ServedText(
        tokenizer,
        _described(tokenizer, card.prefix),
        length,
        (length,),  # a shorter row costs as much: the graph pads it
        tokenizer.num_special_tokens_to_add(is_pair=False),
    )

    def build() -> nn.Module:
        encoder = SiglipSentences(checkpoint.weights(transformers.SiglipModel))
        graph = FixedLengthTextGraph(
            encoder, hidden=hidden, width=BLOCK_WIDTH, length=length, pad_id=pad_id, pad_left=pad_left
        )
        return own_projection(graph, card)

    preprocessing = {
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "prefix": card.prefix,
        "pooling": "last position of a padded row",
        "length": length,
        "pad_id": pad_id,
        "pad_left": pad_left,
    }
    return Prepared(build, preprocessing, text)


def _check_ids(checkpoint: Checkpoint, tokenizer: Tokenizer, rows: int) -> None:
    """Refuse a tokenizer whose ids reach beyond the encoder's table of so many rows.

    Raises:
        CheckpointError: they do.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise checkpoint.unusable(
            f"has a tokenizer whose ids reach {largest:,} and embeddings of {rows:,} tokens: they are not of "
            "one model"
        )


def _described(tokenizer: Tokenizer, prefix: str) -> str:
    kind = f"{type(tokenizer.model).__name__}, {tokenizer.get_vocab_size()} tokens"
    return f"{kind}, prefix '{prefix}'" if prefix else kind


SENTENCES = Architecture(
    "transcript_encoder", ("ids", "mask"), _prepare_sentences, {"TRANSCRIPT": EXACT}, trimmed_by="MASK"
)
SIGLIP_TEXT = Architecture("transcript_encoder", ("ids", "mask"), _prepare_siglip, {"TRANSCRIPT": EXACT})
