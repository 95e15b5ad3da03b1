"""The parts `encoders` (eager and CUDA graphs) and `compiled` (torch.compile)."""

from __future__ import annotations

from collections.abc import Sequence

from resonance.loadtest.gpu_bench.encoders import Encoder
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.variants import compiled, graphed

#: Above this, launches are a small share of the work and a graph gains nothing.
LARGEST_GRAPHED = 64
#: Left for one encoder's compilation before it is begun.
COMPILE_S = 30.0


def measure_towers(bench: Bench, encoders: Sequence[Encoder]) -> None:
    """Each tower as it is, at every batch, and from a CUDA graph at the smaller ones.

    Before, the formula of its FLOPs is held against torch's counter: every share rests on it.
    """
    for encoder in encoders:
        counted = encoder.counted_flops()
        if abs(counted / encoder.flops - 1) > 0.01:
            bench.result.errors.append(
                f"{encoder.name}: {encoder.flops:,} FLOPs by formula, {counted:,} by torch's counter"
            )
            continue
        if bench.deadline.passed():
            bench.result.skipped.append(f"{encoder.name}: out of time")
            continue
        reference, module = bench.towers(encoder)
        for batch in encoder.batches:
            if bench.deadline.passed():
                bench.result.skipped.append(f"{encoder.name}, batch {batch}: out of time")
                continue
            bench.measure(encoder, "eager", module, batch, reference)
            if bench.device == "cuda" and batch <= LARGEST_GRAPHED:
                run = graphed(module, bench.place(encoder.inputs(batch, 0)))
                bench.measure(encoder, "CUDA graph", run, batch, reference)
    if bench.device != "cuda":
        bench.result.skipped.append("CUDA graphs: no NVIDIA GPU")


def measure_compiled(bench: Bench, encoders: Sequence[Encoder]) -> None:
    """Each tower compiled by layer, at its smallest batch (from a graph) and its largest ones."""
    for encoder in encoders[:1] if bench.quick else encoders:
        if bench.deadline.passed(0 if bench.quick else COMPILE_S):
            bench.result.skipped.append(f"{encoder.name}: out of time")
            continue
        reference, module = bench.towers(encoder)
        module = compiled(module)
        for batch in encoder.batches[-1:] if bench.quick else (encoder.batches[-1], encoder.batches[0]):
            if bench.deadline.passed():
                bench.result.skipped.append(f"{encoder.name}, batch {batch}: out of time")
                continue
            try:
                bench.measure(encoder, "compiled", module, batch, reference)
                if bench.device == "cuda" and batch <= LARGEST_GRAPHED:
                    run = graphed(module, bench.place(encoder.inputs(batch, 0)))
                    bench.measure(encoder, "compiled, CUDA graph", run, batch, reference)
            except Exception as error:  # the compiler's are of many kinds; the other towers go on
                bench.result.errors.append(f"{encoder.name}, compiled: {first_line(error)}")
                break
    if bench.quick:
        bench.result.skipped.append("other towers: --quick compiles one")


def first_line(error: Exception) -> str:
    """Kind and first line of an exception."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
