"""The model `space_descriptor`: no input, SPACE is the text of space.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from resonance.serving.models.common import answer_each, descriptor_beside


class TritonPythonModel:
    """Says which space this server embeds into."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read and validate the descriptor once."""
        self._space = np.array([descriptor_beside(args).to_json().encode()], dtype=np.object_)

    def execute(self, requests: list[Any]) -> list[Any]:
        """SPACE bytes [1] for each request."""
        return answer_each(
            requests, lambda request: [pb_utils.Tensor("SPACE", self._space)], "space_descriptor"
        )
