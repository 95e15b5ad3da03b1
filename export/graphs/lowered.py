"""A tower in half precision behind fp32: what stands around it keeps its digits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Lowered(nn.Module):
    """`encoder` in `dtype` behind fp32: floating inputs are cast on the way in, the output on the way out."""

    def __init__(self, encoder: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.dtype = encoder.to(dtype), dtype

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """As the encoder's; an output with `last_hidden_state` keeps its form."""
        out = self.encoder(*map(self._cast, args), **{k: self._cast(v) for k, v in kwargs.items()})
        if isinstance(out, Tensor):
            return out.float()
        out.last_hidden_state = out.last_hidden_state.float()
        return out

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.dtype) if x.is_floating_point() else x


def lowered(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`module` with its `encoder` in `dtype`, in place; without one (the fusion head) it stays fp32."""
    if dtype is not torch.float32 and hasattr(module, "encoder"):
        module.encoder = Lowered(module.encoder, dtype)
    return module
