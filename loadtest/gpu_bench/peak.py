"""The card's matrix rate: the best of large square products on random data, in this very run."""

from __future__ import annotations

import torch

from resonance.loadtest.gpu_bench.report import PartResult
from resonance.loadtest.gpu_bench.timing import Deadline, seconds_a_call

SIZES = (4096, 8192, 16384)
QUICK_SIZES = (128, 256)
#: A rate this much above the matrix rate is noise of the clocks; beyond it something is counted wrongly.
TOLERATED = 1.05


def measure_peak(
    result: PartResult, device: str, dtype: torch.dtype, *, quick: bool, deadline: Deadline
) -> None:
    """Into `result`: TFLOP/s of C = A B for squares; 2 n³ FLOPs each.

    Random data: zeros run up to 13% faster.
    """
    for size in QUICK_SIZES if quick else SIZES:
        if deadline.passed():
            result.skipped.append(f"{size}²: out of time")
            continue
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)

        def multiply(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> torch.Tensor:
            return torch.mm(a, b, out=out)

        seconds = seconds_a_call(multiply, device, round_s=0.02 if quick else 0.2)
        result.rows.append(
            {
                "matrix": f"{size}x{size}",
                "dtype": str(dtype).removeprefix("torch."),
                "ms": seconds * 1e3,
                "tflops": 2 * size**3 / seconds / 1e12,
            }
        )


def best_rate(result: PartResult) -> float:
    """The matrix rate in TFLOP/s; 0 where nothing was measured."""
    return max((float(row["tflops"]) for row in result.rows), default=0.0)
