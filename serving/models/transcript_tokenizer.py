"""The model `transcript_tokenizer`: TEXT bytes [B, 1] -> IDS, MASK int64 [B, L], L a bucket of the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

from resonance.serving.models.common import answer_each, descriptor_beside


class TritonPythonModel:
    """Counts and numbers tokens exactly as the encoder was made for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load tokenizer.json of this version; truncate at the space's limit."""
        self._transcript = descriptor_beside(args).transcript
        self._cut_texts = 0
        path = Path(args["model_repository"], args["model_version"], "tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()  # a file may carry padding of its own; MASK must not count it
        self._tokenizer.enable_truncation(self._transcript.max_tokens)

    def execute(self, requests: list[Any]) -> list[Any]:
        """See the module."""
        return answer_each(requests, self._tokens, "transcript_tokenizer")

    def _tokens(self, request: Any) -> list[Any]:
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)  # (B,)
        try:
            encodings = self._tokenizer.encode_batch([text.decode("utf-8") for text in texts])
        except UnicodeDecodeError as error:
            raise ValueError(f"TEXT is not UTF-8 ({error}); expected UTF-8 bytes") from error
        self._count_cut(sum(bool(encoding.overflowing) for encoding in encodings))
        longest = max(len(encoding.ids) for encoding in encodings)
        length = self._transcript.padded_length(longest)
        ids = np.zeros((len(encodings), length), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        return [pb_utils.Tensor("IDS", ids), pb_utils.Tensor("MASK", mask)]

    def _count_cut(self, cut: int) -> None:
        """Say that texts were cut, at the first and then whenever their number has doubled."""
        before, self._cut_texts = self._cut_texts, self._cut_texts + cut
        if self._cut_texts.bit_length() > before.bit_length():
            pb_utils.Logger.log_warn(
                f"transcript_tokenizer: {self._cut_texts} texts so far were longer than "
                f"{self._transcript.max_tokens} tokens and lost their ends"
            )
