"""A Whisper model made on the spot: the real architecture and file format, small, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import ctranslate2
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

_END = "<|endoftext|>"


def make_whisper(folder: Path, *, multilingual: bool = True) -> Path:
    """A folder that faster-whisper loads."""
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    times = [f"<|{at * 0.02:.2f}|>" for at in range(1501)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the boats come home to the harbour at night"], trainer)
    if multilingual:  # CTranslate2 knows such a model by the empty token, which OpenAI's English ones lack
        form = json.loads(tokenizer.to_str())
        form["model"]["vocab"][""] = len(form["model"]["vocab"])
        tokenizer = Tokenizer.from_str(json.dumps(form))
    special = [_END, "<|startoftranscript|>", *languages, *tasks, "<|notimestamps|>", *times]
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END, bos_token=_END, pad_token=_END, unk_token=_END
    )
    number = fast.convert_tokens_to_ids
    ids = {
        "decoder_start_token_id": number("<|startoftranscript|>"),
        "eos_token_id": number(_END),
        "pad_token_id": number(_END),
        "bos_token_id": number(_END),
    }
    torch.manual_seed(3)  # one that says something in every language it is told to
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(fast),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            init_std=0.3,  # with the usual 0.02 no token is much likelier than the next
            suppress_tokens=[],
            begin_suppress_tokens=[number(_END)],
            **ids,
        )
    )
    model.generation_config = GenerationConfig(
        lang_to_id={code: number(code) for code in languages},
        alignment_heads=[[0, 0]],
        suppress_tokens=[],
        begin_suppress_tokens=[number(_END)],
        **ids,
    )
    source = folder / "transformers"
    fast.save_pretrained(source)
    model.save_pretrained(source)
    WhisperFeatureExtractor().save_pretrained(source)
    converter = ctranslate2.converters.TransformersConverter(
        str(source), copy_files=["tokenizer.json", "preprocessor_config.json"]
    )
    return Path(converter.convert(str(folder / "ct2"), force=True))
