"""The served models as plain calls in this process: bare onnxruntime, and what stands around the graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from resonance.clients.media.clip import clip_from_bytes, decode_clip
from resonance.clients.segment import frames_tensors
from resonance.export import contract
from resonance.space.descriptor import Descriptor

Tensors = dict[str, npt.NDArray[Any]]

#: Threads of one run of a graph, as the server's backend sets them.
INTRA_OP_THREADS = 1
#: And what it leaves out, so that a faster graph hides no cost of serving.
DISABLED_OPTIMISERS = ["SkipLayerNormFusion"]
GRAPHS = (*contract.ENCODERS, "title_fusion")
#: The output of an ensemble's encoders that is a block of the vector, in the space's order.
BLOCK_OUTPUTS = ("VISUAL", "AUDIO", "TRANSCRIPT")


def session_of(path: Path) -> ort.InferenceSession:
    """As the server's backend makes it: one thread a run, no spinning; it may be called from many threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = INTRA_OP_THREADS
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
    )


class BareModels:
    """Graphs, tokenizer and decoder of an exported repository, without a server.

    Args:
        repository: filled by `resonance export`.
    """

    def __init__(self, repository: Path) -> None:
        self.descriptor = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
        self._sessions = {name: session_of(repository / name / "1" / "model.onnx") for name in GRAPHS}
        self._tokenizer = Tokenizer.from_file(
            str(repository / "transcript_tokenizer" / "1" / "tokenizer.json")
        )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.descriptor.transcript.max_tokens)

    def run(self, model: str, feeds: Tensors) -> Tensors:
        """What the served model or ensemble `model` answers to `feeds`, one item with a batch axis of 1."""
        if model == "transcript_embedding":
            return self.run("transcript_encoder", self.tokens(feeds["TEXT"].item()))
        if model == "segment_embedding":
            return self._segment(feeds)
        session = self._sessions[model]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    def title(self, model: str, feeds: Tensors) -> npt.NDArray[np.float32]:
        """The vector [1788] of a title of one segment, which is asked of `model`: as the gateway's call runs
        it, the segment is fused, and then the title of it."""
        answer = self.run(model, feeds)
        blocks = np.zeros((1, len(BLOCK_OUTPUTS), contract.BLOCK_WIDTH), np.float32)
        present = np.zeros((1, len(BLOCK_OUTPUTS)), np.bool_)
        for row, name in enumerate(BLOCK_OUTPUTS):
            if name in answer:
                blocks[0, row], present[0, row] = answer[name][0], True
        rows: Tensors = {"BLOCKS": blocks, "PRESENT": present, "TIMES": np.zeros(1, np.float32)}
        self.run("title_fusion", rows)
        title: npt.NDArray[np.float32] = self.run("title_fusion", rows)["TITLE"]
        return title

    def tokens(self, text: bytes) -> Tensors:
        """IDS and MASK int64 [1, L] of the served tokenizer, without its padding, which the backend trims."""
        ids = np.array([self._tokenizer.encode(text.decode()).ids], np.int64)
        return {"IDS": ids, "MASK": np.ones_like(ids)}

    def _segment(self, feeds: Tensors) -> Tensors:
        frames = decode_clip(clip_from_bytes(feeds["CLIP"].tobytes()), self.descriptor.frames)
        heard: Tensors = {"PCM": feeds["PCM"], "PCM_LENGTH": feeds["PCM_LENGTH"]}
        return {
            **self.run("visual_encoder", frames_tensors(frames)),
            **self.run("audio_encoder", heard),
            **self.run("transcript_embedding", {"TEXT": feeds["TEXT"]}),
        }
