"""Resizing of pictures inside a graph: one matrix an axis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def reduction_matrix(size_in: int, size_out: int) -> Tensor:
    """Antialiased bilinear resampling of one axis as a matrix, float32 [size_out, size_in].

    The triangle filter is widened by the reduction and each row normalised, as in Pillow's BILINEAR.
    Computed in float64. As a matrix it gives the same numbers in every runtime; ONNX's antialiased
    Resize is not available in TensorRT.
    """
    scale = max(size_in / size_out, 1.0)
    centres = (np.arange(size_out, dtype=np.float64) + 0.5) * size_in / size_out  # (out,)
    taps = np.arange(size_in, dtype=np.float64) + 0.5  # (in,)
    weights = np.clip(1.0 - np.abs(taps[None, :] - centres[:, None]) / scale, 0.0, None)  # (out, in)
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32))


def bicubic_matrix(size_in: int, size_out: int) -> Tensor:
    """Antialiased bicubic resampling of one axis as a matrix, float32 [size_out, size_in].

    Keys' kernel with a = -0.5, widened by the reduction, rows normalised, as in Pillow's BICUBIC.
    """
    scale = max(size_in / size_out, 1.0)
    centres = (np.arange(size_out, dtype=np.float64) + 0.5) * size_in / size_out  # (out,)
    taps = np.arange(size_in, dtype=np.float64) + 0.5  # (in,)
    x = np.abs(taps[None, :] - centres[:, None]) / scale  # (out, in)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32))
