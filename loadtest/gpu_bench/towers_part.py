"""The parts `encoders` (eager, CUDA graphs) and `compiled`, plain and with activations fused."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Sequence

from torch import nn

from resonance.export.cuda_toolkit import ToolkitError, check_python_header
from resonance.loadtest.gpu_bench.encoders import Encoder
from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.towers import fuse_activations
from resonance.loadtest.gpu_bench.variants import FlashAttention, Run, compiled, graphed

#: Above this, launches are a small share of the work and a graph gains nothing.
LARGEST_GRAPHED = 256
#: Left of a tower's time for one compilation before it is begun.
COMPILE_S = 15.0
#: What is compiled tuned, tower and way, most wanted first: each takes minutes, often the time is used up
#: after one. CLIP-L/14 has the highest bar, 70%, which plain cuBLASLt is least likely to reach. It goes with
#: its activation fused, for CLIP a SiLU after an ordinary product: a kernel of Triton's can take it in. For
#: SigLIP fused means GELU inside cuBLASLt's product, where nothing is left to tune: it goes plain.
TUNED = (("clip-l14", ", activation fused"), ("siglip-b16", ""))


def measure_towers(bench: Bench, encoders: Sequence[Encoder]) -> None:
    """Each tower as it is, at every batch, and from a CUDA graph at the smaller ones.

    All have the same share of the time, and begin with their most promising batch. Before, the formula of
    its FLOPs is held against torch's counter: every rate rests on it.
    """
    for place, encoder in enumerate(encoders):
        counted = encoder.flops
        with bench.going_on(f"{encoder.name}, counting"):  # the counter's own failures lose no row
            counted = encoder.counted_flops()
        if abs(counted / encoder.flops - 1) > 0.01:
            bench.result.error(
                f"{encoder.name}: {encoder.flops:,} FLOPs by formula, {counted:,} by torch's counter"
            )
            continue
        own = bench.share(len(encoders) - place)
        if own.deadline.passed():
            bench.result.skip(f"{encoder.name}: out of time")
            continue
        with bench.going_on(encoder.name):
            reference, module = bench.towers(encoder)
            both = list(ways(module))
            for batch in encoder.batches:
                for suffix, way in both:
                    names = "eager" + suffix, "CUDA graph" + suffix
                    measure_both(own, encoder, names, way, batch, reference)
            for suffix, way in both:
                if bench.device == "cuda" and encoder.bar:  # PyTorch itself takes cuDNN's attention on Hopper
                    flash, batch = FlashAttention(way), encoder.batches[0]
                    names = f"eager{suffix}, flash attention", f"CUDA graph{suffix}, flash attention"
                    measure_both(own, encoder, names, flash, batch, reference)
    if bench.device != "cuda":
        bench.result.skip("CUDA graphs: no NVIDIA GPU")


def measure_compiled(
    bench: Bench, encoders: Sequence[Encoder], *, max_autotune: bool, tuned_only: bool = False
) -> None:
    """Each tower compiled, with a bar at all its batches, with its activation fused first.

    A tower without a bar has its first batch alone: HTSAT's ten kinds of layer take minutes to compile. All
    have the same share of the time. With `max_autotune` those of `TUNED` are compiled once more, tuned, at
    their two most promising batches; with `tuned_only` nothing else is.
    """
    if reason := no_compiler(bench.device):
        bench.result.skip(f"everything: {reason}")
        return
    chosen = [] if tuned_only else encoders[:1] if bench.quick else encoders
    for place, encoder in enumerate(chosen):
        batches = encoder.batches if encoder.bar else encoder.batches[:1]
        _measure_compiled(bench.share(len(chosen) - place), encoder, batches)
    # after all others: tuning takes minutes, and no tower waits for another's
    for encoder, suffix in tuned_ways(encoders) if max_autotune or tuned_only else []:
        _measure_compiled(bench, encoder, encoder.batches[:2], tuned=suffix)
    if bench.quick:
        bench.result.skip("other towers: --quick compiles one")


def ways(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """`module` as it is, and where it has layers for it, with `fuse_activations`."""
    fused = copy.deepcopy(module)
    yield "", module
    if fuse_activations(fused):
        yield ", activation fused", fused


def no_compiler(device: str) -> str:
    """What torch.compile lacks on `device`, or an empty text."""
    if device == "cuda":
        if reason := missing("triton"):
            return f"the compiler makes its kernels with Triton, and {reason}"
        own = os.environ.get("CC")  # Triton compiles a launcher in C
        wanted = [own] if own else ["gcc", "clang"]
    else:
        wanted = [os.environ.get("CXX", "g++")]
    if not any(map(shutil.which, wanted)):
        return f"torch.compile needs {' or '.join(wanted)}, and none is here"
    try:
        check_python_header()
    except ToolkitError as error:
        return str(error)
    return ""


def tuned_ways(encoders: Sequence[Encoder]) -> list[tuple[Encoder, str]]:
    """What of `TUNED` is among `encoders`, in the order of `TUNED`."""
    known = {encoder.name: encoder for encoder in encoders}
    return [(known[name], suffix) for name, suffix in TUNED if name in known]


def _measure_compiled(
    bench: Bench, encoder: Encoder, batches: Sequence[int], *, tuned: str | None = None
) -> None:
    """Both ways of a tower, or tuned the one of that suffix."""
    end = "" if tuned is None else ", max-autotune"
    if _out_of_time(bench, f"{encoder.name}, compiled{end}"):
        return
    with bench.going_on(f"{encoder.name}, compiled{end}"):
        reference, module = bench.towers(encoder)
        wanted = [(suffix, way) for suffix, way in ways(module) if tuned in (None, suffix)]
        for batch in batches:
            for suffix, way in reversed(wanted):
                name = f"compiled{suffix}{end}"
                where = f"{encoder.name}, {name}, batch {batch}"
                if _out_of_time(bench, where):
                    continue
                with bench.going_on(where):  # the compiler's failures are of many kinds
                    run = compiled(way, max_autotune=tuned is not None)
                    measure_both(bench, encoder, (name, name + ", CUDA graph"), run, batch, reference)


def _out_of_time(bench: Bench, what: str) -> bool:
    """Whether no compilation may begin any more; then it is said."""
    if passed := bench.deadline.passed(0 if bench.quick else COMPILE_S):
        bench.result.skip(f"{what}: out of time")
    return passed


def measure_both(
    bench: Bench, encoder: Encoder, names: tuple[str, str], way: Run, batch: int, reference: nn.Module
) -> None:
    """`way` by itself and, on the GPU at the smaller batches, from a graph; `names` are of the two.

    Each fails alone: a plan that cuDNN has not at one batch, a capture that is refused or memory that is
    short there says nothing of the rows after it.
    """
    where = [f"{encoder.name}, {name}, batch {batch}" for name in names]
    if bench.deadline.passed():
        bench.result.skip(f"{where[0]}: out of time")
        return
    with bench.going_on(where[0]):
        bench.measure(encoder, names[0], way, batch, reference)
    if bench.device != "cuda" or batch > LARGEST_GRAPHED:
        return
    if bench.deadline.passed():
        bench.result.skip(f"{where[1]}: out of time")
        return
    with bench.going_on(where[1]):
        run = graphed(way, bench.place(encoder.inputs(batch, 0, bench.device)))
        bench.measure(encoder, names[1], run, batch, reference)
