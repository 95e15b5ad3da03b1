"""A bench and a job of it in small form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.part import Job
from resonance.loadtest.gpu_bench.results import PartResult
from resonance.loadtest.gpu_bench.timing import Deadline


def bench(matrix_tflops: float) -> Bench:
    return Bench("cpu", torch.float32, True, matrix_tflops, PartResult(), Deadline(60))


def quick_job(tmp_path: Path, part: str, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "device": "cpu",
        "quick": True,
        "encoders": (),
        "max_autotune": False,
        "tuned_only": False,
        "limit_s": 60.0,
        "films": str(tmp_path),
        "seconds": 60.0,
        "matrix_tflops": 0.0,
        "journal": str(tmp_path / "rows.jsonl"),
        "run": "now",
    }
    return Job(part, **fields | changes)
