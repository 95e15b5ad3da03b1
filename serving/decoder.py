"""Which decoder the server's keyframes go through."""

from __future__ import annotations

from enum import StrEnum


class Decoder(StrEnum):
    """`pyav`: FFmpeg on the CPU. `dali`: NVIDIA DALI for what it knows, on the GPU's NVDEC; PyAV else."""

    PYAV = "pyav"
    DALI = "dali"


#: The model that runs DALI; it is loaded for that decoder alone.
DALI_MODEL = "keyframe_decoder"
#: Models that the server does without, for another stands in: PyAV for DALI.
SPARED_MODELS = frozenset((DALI_MODEL,))
#: How the model `video_decoder` is told, in its environment.
DECODER_VARIABLE = "RESONANCE_DECODER"
