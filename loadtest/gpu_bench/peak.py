"""The card's matrix rate: the best of large square products on random data, in this very run."""

from __future__ import annotations

import torch

from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.results import PartResult
from resonance.loadtest.gpu_bench.timing import seconds_a_call

SIZES = (4096, 8192, 16384)
QUICK_SIZES = (128, 256)


def measure_peak(bench: Bench) -> None:
    """TFLOP/s of C = A B for squares; 2 n³ FLOPs each. Random data: zeros run up to 13% faster.

    Measured before the towers and, when the bench has a rate already, after them: clocks and temperature
    may be other ones by then.
    """
    when = "after" if bench.matrix_tflops else "before"
    for size in QUICK_SIZES if bench.quick else SIZES:
        if bench.deadline.passed():
            bench.result.skip(f"{size}²: out of time")
            continue
        a, b = (torch.randn(size, size, device=bench.device, dtype=bench.dtype) for _ in range(2))
        out = torch.empty_like(a)

        def multiply(a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out) -> torch.Tensor:
            return torch.mm(a, b, out=out)

        seconds = seconds_a_call(multiply, bench.device, round_s=0.02 if bench.quick else 0.2)
        bench.result.row(
            {
                "matrix": f"{size}x{size}",
                "when": when,
                "dtype": str(bench.dtype).removeprefix("torch."),
                "ms": seconds * 1e3,
                "tflops": 2 * size**3 / seconds / 1e12,
            }
        )


def best_rate(result: PartResult) -> float:
    """The matrix rate in TFLOP/s; 0 where nothing was measured."""
    return max((float(row["tflops"]) for row in result.rows), default=0.0)
