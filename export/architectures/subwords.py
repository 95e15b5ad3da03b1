"""The tokenizer that is served: the reference's ids, without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors
from transformers.convert_slow_tokenizer import SpmConverter
from transformers.utils import sentencepiece_model_pb2_new

from resonance.export.checkpoints import Checkpoint

#: Texts whose ids must equal the reference's before a tokenizer is served.
PROBES = (
    "At dawn the tide turned, and the whole harbour held its breath.",
    "  Two  spaces, a\ttab\nand a line;  (brackets) 'quotes' & 3.14 % of #tags_! ",
    "ÉCOLE straße naïve — “typography”…",
    "Чайки над водой. 犬も歩けば棒に当たる。 नमस्ते 안녕하세요 🙂",
    "a",
)


def served_tokenizer(
    checkpoint: Checkpoint, reference: Any, prefix: str = "", *, lowercase: bool = False
) -> Tokenizer:
    """A tokenizer without padding and truncation that gives the ids of `reference` for prefix + text.

    Args:
        reference: transformers' tokenizer of the checkpoint.
        prefix: becomes tokens of the template, so that truncation never cuts it.
        lowercase: the ids are those of the text in lower case.

    Raises:
        CheckpointError: it cannot be had as a tokenizer of the `tokenizers` library, or gives other ids.
    """
    backend = getattr(reference, "backend_tokenizer", None)
    if backend is None:
        if type(reference).__name__ != "SiglipTokenizer":
            raise checkpoint.unusable(f"has a {type(reference).__name__}, which has no fast form")
        backend = SiglipConverter(reference).converted()
    tokenizer = Tokenizer.from_str(backend.to_str())
    # some files carry the padding and the truncation of whoever saved them
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if lowercase:
        own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    if prefix:
        _prepend(tokenizer, prefix)
    for probe in PROBES:
        text = (prefix + probe).lower() if lowercase else prefix + probe
        expected = list(reference(text, truncation=False, padding=False)["input_ids"])
        found = tokenizer.encode(probe).ids
        if found != expected:
            raise checkpoint.unusable(
                f"has a tokenizer that would be served with other ids: {probe!r} gives {found[:12]}, "
                f"the reference {expected[:12]}"
            )
    return tokenizer


def _prepend(tokenizer: Tokenizer, prefix: str) -> None:
    """Put the tokens of `prefix` between the leading special tokens and the text."""
    body = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a").ids
    start = next(i for i in range(len(framed)) if framed[i : i + len(body)] == body)
    before, after = framed[:start], framed[start + len(body) :]
    words = tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids

    def piece(name: str, ids: list[int]) -> dict[str, Any]:
        return {"id": name, "ids": ids, "tokens": [tokenizer.id_to_token(i) for i in ids]}

    pieces = [piece("[before]", [*before, *words])]
    template = ["[before]", "$A"]
    if after:
        pieces.append(piece("[after]", after))
        template.append("[after]")
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=pieces)


class SiglipConverter(SpmConverter):
    """SigLIP's sentencepiece tokenizer, which transformers has in Python alone, as a fast one."""

    def __init__(self, original: Any) -> None:
        # The parent takes the message classes from the sentencepiece package, whose newest ask for a later
        # protobuf than the server's; transformers carries the same ones.
        self.original_tokenizer = original
        self.proto = sentencepiece_model_pb2_new.ModelProto()
        self.proto.ParseFromString(Path(original.vocab_file).read_bytes())

    def normalizer(self, proto: Any) -> normalizers.Normalizer:
        """Text is canonicalised first: lower case, no ASCII punctuation, single spaces."""
        steps = [
            *([normalizers.Lowercase()] if self.original_tokenizer.do_lower_case else []),
            normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
        return normalizers.Sequence([*steps, super().normalizer(proto)])

    def post_processor(self) -> processors.PostProcessor:
        """The end token closes every text."""
        end = self.original_tokenizer.eos_token
        return processors.TemplateProcessing(
            single=["$A", end], special_tokens=[(end, self.original_tokenizer.eos_token_id)]
        )
