"""Sigmas and axes of a trained family, measured over its reference set with its exported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from resonance.export.axes import AxesFileError, AxisPrompts
from resonance.export.onnx_export import cpu_session
from resonance.space.calibration import calibrate_axis, end_of_axis, sigmas
from resonance.space.descriptor import Axis, Descriptor
from resonance.space.errors import SpaceError
from resonance.space.reference import Reference


def calibrated(
    descriptor: Descriptor,
    reference: Reference,
    prompts: Sequence[AxisPrompts],
    *,
    repository: Path,
    tokenizer: Tokenizer,
) -> Descriptor:
    """`descriptor` with sigmas and axes; its fingerprint covers neither and stays.

    Raises:
        AxesFileError: a prompt is longer than the space's token limit, or two ends cannot be told apart.
    """
    encoder = _PromptEncoder(repository, tokenizer, descriptor.transcript.max_tokens)
    axes = {axis.name: _axis(axis, encoder, reference) for axis in prompts}
    return replace(descriptor, sigmas=sigmas(reference), axes=axes)


def _axis(axis: AxisPrompts, encoder: _PromptEncoder, reference: Reference) -> Axis:
    try:
        low, high = (end_of_axis(encoder.blocks(end, axis.where)) for end in (axis.low, axis.high))
        return calibrate_axis(low, high, reference, low_prompts=axis.low, high_prompts=axis.high)
    except SpaceError as error:
        raise AxesFileError(f"{axis.where}: {error}") from error


class _PromptEncoder:
    """The exported transcript encoder of `repository`."""

    def __init__(self, repository: Path, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._session = cpu_session(repository / "transcript_encoder" / "1" / "model.onnx")
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def blocks(self, prompts: Sequence[str], where: str) -> np.ndarray:
        """Unit blocks float32 [P, 596], one prompt at a time: none is padded."""
        return np.stack([self._block(prompt, where) for prompt in prompts])

    def _block(self, prompt: str, where: str) -> np.ndarray:
        ids = np.asarray(self._tokenizer.encode(prompt).ids, np.int64)[None]  # (1, L)
        if ids.shape[1] > self._max_tokens:
            raise AxesFileError(
                f"{where}: prompt '{prompt[:40]}…' has {ids.shape[1]} tokens; "
                f"expected at most {self._max_tokens}"
            )
        found = self._session.run(["TRANSCRIPT"], {"IDS": ids, "MASK": np.ones_like(ids)})
        return np.asarray(found[0][0])
