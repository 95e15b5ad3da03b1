# ruff: noqa: S106 (tokens of a vocabulary, not of a login)
"""Checkpoints of the real architectures with random weights, saved as a hub's folder would hold them.

`SMALL` sizes make them in a moment; `REAL` are the sizes of the published checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

#: What the small tokenizers are trained on; several scripts, punctuation, numbers.
CORPUS = (
    "At dawn the tide turned, and the whole harbour held its breath.",
    "query: passage: the two hundred ships left; gulls cried over the water!",
    "Чайки кричали над водой, и корабли ушли на рассвете.",
    "犬も歩けば棒に当たる。 नमस्ते दुनिया 안녕하세요 세계",
    "ÉCOLE straße naïve typography 3.14 % of tags and lines (brackets) quotes",
) * 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """Settings a model's config takes beside the defaults of its class, which are the published sizes."""

    vision: Mapping[str, Any]
    siglip_text: Mapping[str, Any]
    clip_text: Mapping[str, Any]
    clap_audio: Mapping[str, Any]
    clap_text: Mapping[str, Any]
    bert: Mapping[str, Any]
    xlm_roberta: Mapping[str, Any]
    clip_projection: int
    clap_projection: int


_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = Sizes(
    vision={**_TOWER, "patch_size": 32},
    siglip_text={**_TOWER, "projection_size": 32},
    clip_text={**_TOWER, "bos_token_id": 0, "eos_token_id": 1},
    clap_audio={
        "patch_embeds_hidden_size": 16,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "hidden_size": 128,
    },
    clap_text=_TOWER,
    bert=_TOWER,
    xlm_roberta=_TOWER,
    clip_projection=24,
    clap_projection=40,
)
REAL = Sizes(
    vision={},
    siglip_text={},
    clip_text={},
    clap_audio={},
    clap_text={},
    bert={"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6},
    xlm_roberta={},
    clip_projection=512,
    clap_projection=512,
)


def siglip(
    folder: Path, sizes: Sizes = SMALL, *, image_px: int = 224, resample: int = 3, gemma: bool = False
) -> Path:
    """SigLIP; with `gemma`, as the fixed-resolution SigLIP2 checkpoints are: a BPE tokenizer, padding 0."""
    tokenizer = gemma_tokenizer(folder) if gemma else siglip_tokenizer(folder)
    vocabulary = max(len(tokenizer), 300)
    model = _seeded(
        transformers.SiglipModel,
        transformers.SiglipConfig(
            vision_config={"patch_size": 16, **sizes.vision, "image_size": image_px},
            text_config={
                **sizes.siglip_text,
                "vocab_size": vocabulary if sizes is SMALL else (256_000 if gemma else 32_000),
                "max_position_embeddings": 64,
            },
        ),
    )
    model.save_pretrained(folder)
    processor = SiglipImageProcessorPil(size={"height": image_px, "width": image_px}, resample=resample)
    processor.save_pretrained(folder)
    return folder


def clip(folder: Path, sizes: Sizes = SMALL, *, image_px: int = 224, resize_px: int = 224) -> Path:
    """CLIP ViT-B/32 at REAL sizes."""
    config = transformers.CLIPConfig(
        vision_config={"patch_size": 32, **sizes.vision, "image_size": image_px},
        text_config={"vocab_size": 300, **sizes.clip_text},
        projection_dim=sizes.clip_projection,
    )
    _seeded(transformers.CLIPModel, config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": resize_px}, crop_size={"height": image_px, "width": image_px}
    ).save_pretrained(folder)
    return folder


def clap(folder: Path, sizes: Sizes = SMALL, *, fused: bool = False) -> Path:
    """CLAP; `fused` with the branch for longer sounds."""
    fusion = {"enable_fusion": True, "fusion_type": "aff_2d"} if fused else {}
    config = transformers.ClapConfig(
        audio_config={**sizes.clap_audio, **fusion},
        text_config={"vocab_size": 300, **sizes.clap_text},
        projection_dim=sizes.clap_projection,
    )
    model = _seeded(transformers.ClapModel, config)
    generator = torch.Generator().manual_seed(5)
    norm = model.audio_model.audio_encoder.batch_norm  # as after training: no identity
    norm.running_mean.copy_(torch.randn(norm.running_mean.shape, generator=generator) * 10 - 40)
    norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) * 300 + 50)
    model.save_pretrained(folder)
    truncation = "fusion" if fused else "rand_trunc"
    transformers.ClapFeatureExtractor(truncation=truncation).save_pretrained(folder)
    return folder


def bert(folder: Path, sizes: Sizes = SMALL, *, multilingual: bool = False) -> Path:
    """A MiniLM-like sentence encoder; `multilingual` with XLM-R's tokenizer, as the small E5 is."""
    (xlm_roberta_tokenizer if multilingual else bert_tokenizer)(folder)
    vocabulary = 1000 if sizes is SMALL else (250_037 if multilingual else 30_522)
    config = transformers.BertConfig(vocab_size=vocabulary, **sizes.bert)
    _seeded(transformers.BertModel, config).save_pretrained(folder)
    return folder


def xlm_roberta(folder: Path, sizes: Sizes = SMALL) -> Path:
    """A multilingual sentence encoder as E5 base is: padding is 1, positions count from 2."""
    xlm_roberta_tokenizer(folder)
    config = transformers.XLMRobertaConfig(
        vocab_size=1000 if sizes is SMALL else 250_002,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **sizes.xlm_roberta,
    )
    _seeded(transformers.XLMRobertaModel, config).save_pretrained(folder)
    return folder


def bge_m3(folder: Path, sizes: Sizes = SMALL) -> Path:
    """XLM-R large with 8,192 positions: over 2 GB at its real size."""
    large = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    return xlm_roberta(folder, sizes if sizes is SMALL else replace(sizes, xlm_roberta=large))


def bert_tokenizer(folder: Path) -> None:
    """WordPiece, its file with padding and truncation as some published ones have."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


def xlm_roberta_tokenizer(folder: Path) -> None:
    """Unigram pieces; start 0, padding 1, end 2."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>"
    ).save_pretrained(folder)


def siglip_tokenizer(folder: Path) -> Any:
    """A small sentencepiece model behind transformers' SiglipTokenizer, saved to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder.parent / f"{folder.name}.txt"
    text.write_text("\n".join(line.lower() for line in CORPUS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spiece"), vocab_size=150, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.vocab").unlink()
    tokenizer = transformers.SiglipTokenizer(str(folder / "spiece.model"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def gemma_tokenizer(folder: Path) -> Any:
    """A byte-fallback BPE with an end token alone, padding 0: Gemma's, as SigLIP2's. It keeps case."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    alphabet = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=alphabet)
    trained.train_from_iterator(CORPUS, trainer)
    trained.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>",
        padding_side="right", model_max_length=64, model_input_names=["input_ids"],
    ).save_pretrained(folder)  # fmt: skip
    path = folder / "tokenizer_config.json"
    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return transformers.AutoTokenizer.from_pretrained(folder)


#: A maker for each kind of checkpoint that the registered cards name.
MAKERS: Mapping[str, Callable[[Path, Sizes], Path]] = {
    "google/siglip-base-patch16-224": siglip,
    "google/siglip2-base-patch16-224": lambda folder, sizes: siglip(folder, sizes, resample=2, gemma=True),
    "openai/clip-vit-base-patch32": clip,
    "laion/clap-htsat-unfused": clap,
    "laion/clap-htsat-fused": lambda folder, sizes: clap(folder, sizes, fused=True),
    "sentence-transformers/all-MiniLM-L6-v2": bert,
    "intfloat/multilingual-e5-small": lambda folder, sizes: bert(folder, sizes, multilingual=True),
    "intfloat/multilingual-e5-base": xlm_roberta,
    "BAAI/bge-m3": bge_m3,
}


def _seeded(model_class: Any, config: Any) -> Any:
    """A model of `config` with weights large enough that inputs matter to its outputs."""
    torch.manual_seed(7)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    return model
