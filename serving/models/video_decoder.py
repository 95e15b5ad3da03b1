"""The model `video_decoder` on the CPU: CLIP uint8 [1, n] -> FRAMES, FRAME_MASK, FRAME_TIMES by PyAV."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from resonance.clients.media.clip import clip_from_bytes, decode_clip
from resonance.serving.models.common import answer_each, descriptor_beside


class TritonPythonModel:
    """Decodes the keyframes of a clip, each alone, and scales them to the space's geometry."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the geometry of the space."""
        self._geometry = descriptor_beside(args).frames

    def execute(self, requests: list[Any]) -> list[Any]:
        """See the module. A clip that yields no frame is refused: its window must be decoded in order."""
        return answer_each(requests, self._frames, "video_decoder")

    def _frames(self, request: Any) -> list[Any]:
        clips = pb_utils.get_input_tensor_by_name(request, "CLIP").as_numpy()  # (B, n)
        if clips.shape[0] != 1:
            raise ValueError(f"CLIP has batch {clips.shape[0]}; expected 1, clips differ in length")
        frames = decode_clip(clip_from_bytes(clips[0].tobytes()), self._geometry)
        return [
            pb_utils.Tensor("FRAMES", np.ascontiguousarray(frames.pixels[None])),
            pb_utils.Tensor("FRAME_MASK", frames.mask[None]),
            pb_utils.Tensor("FRAME_TIMES", frames.times_s[None].astype(np.float32)),
        ]
