"""The part `aoti`: each tower as an AOTInductor package, plain and from CUDA graphs.

Packages are compiled in processes of their own, several at a time: a compilation is one thread of Python
for half a minute. So this module is also a program: ``python -m …aoti_part ENCODER FILE DEVICE DTYPE …``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from resonance.export.cuda_toolkit import ToolkitError, use_toolkit
from resonance.loadtest.gpu_bench.attention import warm
from resonance.loadtest.gpu_bench.encoders import Encoder, encoder
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.towers_part import measure_both
from resonance.loadtest.gpu_bench.variants import compile_package, load_package
from resonance.serving.launch import die_with_parent

#: Cores a compilation keeps busy, with the compiler's own workers.
CORES_A_JOB = 3
#: Left of the part for measuring what was compiled.
MEASURING_S = 30.0
#: Named here, so that a fixed batch is measured for one tower beside its dynamic one.
FIXED = "siglip-b16"
#: Begins what a compiling process has to say beside its errors.
NOTE = "note: "


def measure_aoti(bench: Bench, encoders: Sequence[Encoder], *, max_autotune: bool) -> None:
    """Compile, load and measure; a package that is not ready in time is named and left out."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        bench.result.skip(f"everything: AOTInductor needs a C++ compiler and '{compiler}' is not here")
        return
    if bench.device == "cuda":
        try:
            use_toolkit()  # for the compilations, which are children of this process
        except ToolkitError as error:
            bench.result.skip(f"everything: {error}")
            return
    chosen = [e for e in encoders if e.name == "quick-bert"] if bench.quick else list(encoders)
    # each tower's dynamic batch, and straight after its own the fixed one, or it would never be its turn
    wanted = [(e, dynamic) for e in chosen for dynamic in (True, False) if dynamic or e.name == FIXED]
    with tempfile.TemporaryDirectory() as folder:
        files = _compile(bench, wanted, Path(folder), max_autotune)
        for (tower, dynamic), file in zip(wanted, files, strict=True):
            if file is not None:
                with bench.going_on(f"{tower.name}, {_name(dynamic)}"):
                    _measure(bench, tower, file, dynamic=dynamic)
    if bench.quick:
        bench.result.skip("other towers: --quick compiles one")


def _compile(
    bench: Bench, wanted: Sequence[tuple[Encoder, bool]], folder: Path, max_autotune: bool
) -> list[Path | None]:
    """Files of the packages in the order wanted, None for one that failed or was not ready in time."""
    cores = len(os.sched_getaffinity(0))
    # tuned in parallel, kernels would be timed while others run
    slots = 1 if max_autotune else max(1, cores // CORES_A_JOB)
    waiting = list(range(len(wanted)))
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    files: list[Path | None] = [None] * len(wanted)
    reserve_s = 0.0 if bench.quick else MEASURING_S
    while waiting or running:
        while waiting and len(running) < slots and not bench.deadline.passed(reserve_s):
            i = waiting.pop(0)
            running[i] = (_start(bench, *wanted[i], folder / f"{i}.pt2", max_autotune), time.monotonic())
        if bench.deadline.passed(reserve_s):
            break
        for i, (job, started) in list(running.items()):
            code = job.poll()
            if code is None:
                continue
            del running[i]
            if code == 0:
                files[i] = folder / f"{i}.pt2"
                notes = _notes(folder / f"{i}.log")
                for note in notes:
                    bench.result.skip(f"{_name(wanted[i][1])}: {note}")
                bench.result.row(
                    {
                        "encoder": wanted[i][0].name,
                        "variant": _name(wanted[i][1]) + ": compile",
                        "compile_s": time.monotonic() - started,
                        "package_mb": files[i].stat().st_size / 1e6,  # type: ignore[union-attr]
                        "attention": "; ".join(notes) or "PyTorch's choice",
                    }
                )
            else:
                log = (folder / f"{i}.log").read_text(encoding="utf-8", errors="replace")
                reason = " ".join(log.split())[-500:] or f"exit code {code}"
                bench.result.error(f"{wanted[i][0].name}, {_name(wanted[i][1])}: {reason}")
        time.sleep(0.1)
    for i, (job, _) in running.items():
        job.kill()
        job.wait()
        waiting.append(i)
    for i in waiting:
        bench.result.skip(f"{wanted[i][0].name}, {_name(wanted[i][1])}: out of time")
    return files


def _notes(log: Path) -> list[str]:
    """What the process that compiled said of its attention."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)]


def _start(
    bench: Bench, tower: Encoder, dynamic: bool, file: Path, max_autotune: bool
) -> subprocess.Popen[bytes]:
    dtype = str(bench.dtype).removeprefix("torch.")
    flags = [*([] if dynamic else ["--fixed"]), *(["--max-autotune"] if max_autotune else [])]
    command = [sys.executable, "-W", "ignore", "-m", __name__, tower.name, str(file), bench.device, dtype]
    with file.with_suffix(".log").open("wb") as log:
        workers = {"TORCHINDUCTOR_COMPILE_THREADS": str(CORES_A_JOB)}  # by default as many as there are cores
        return subprocess.Popen(
            [*command, *flags], stdout=subprocess.DEVNULL, stderr=log, env=os.environ | workers
        )


def _measure(bench: Bench, tower: Encoder, file: Path, *, dynamic: bool) -> None:
    reference, run = tower.build(bench.device), load_package(file, bench.device)
    for batch in tower.batches if dynamic else tower.batches[:1]:
        names = _name(dynamic), f"{_name(dynamic)}, CUDA graph"
        measure_both(bench, tower, names, run, batch, reference)


def _name(dynamic: bool) -> str:
    return "AOTI" if dynamic else "AOTI, fixed batch"


def main() -> None:
    """Compile one package."""
    parser = argparse.ArgumentParser()
    parser.add_argument("encoder")
    parser.add_argument("file", type=Path)
    parser.add_argument("device")
    parser.add_argument("dtype")
    parser.add_argument("--fixed", action="store_true")
    parser.add_argument("--max-autotune", action="store_true")
    args = parser.parse_args()
    die_with_parent()
    tower, dtype = encoder(args.encoder), getattr(torch, args.dtype)
    module = tower.build(args.device).to(dtype)
    # the tuner's timings are for the batch it is traced at
    example = tower.inputs(tower.batches[0] if args.fixed else tower.largest, 0, args.device)
    example = example.to(dtype) if example.is_floating_point() else example

    def note(text: str) -> None:
        print(NOTE + text, file=sys.stderr)

    def compile_it() -> None:
        compile_package(
            module, example, tower.largest, args.file, dynamic=not args.fixed, max_autotune=args.max_autotune
        )

    with torch.inference_mode():  # a package keeps the attention that it was traced with
        warm(lambda: module(example), args.device, tower.name, note)
    warm(compile_it, args.device, f"{tower.name}, compiling", note)


if __name__ == "__main__":
    main()
