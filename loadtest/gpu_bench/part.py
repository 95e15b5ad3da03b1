"""One part of the bench, and `main`, which measures it in a process of its own.

It is given a `Job` as JSON: what it finds goes into the journal line by line, from which the one who started
it takes it, however it ended (`child.py`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from resonance.loadtest.gpu_bench.aoti_part import measure_aoti
from resonance.loadtest.gpu_bench.decode_part import measure_decode
from resonance.loadtest.gpu_bench.encoders import QUICK, REAL
from resonance.loadtest.gpu_bench.end_to_end_part import measure_end_to_end
from resonance.loadtest.gpu_bench.latency_part import measure_latency
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.peak import measure_peak
from resonance.loadtest.gpu_bench.profile_part import measure_profile
from resonance.loadtest.gpu_bench.results import Journal, PartResult
from resonance.loadtest.gpu_bench.tensorrt_part import measure_tensorrt
from resonance.loadtest.gpu_bench.timing import Deadline
from resonance.loadtest.gpu_bench.towers_part import measure_compiled, measure_towers
from resonance.serving.backends.aoti.runner import device_lost, set_up_torch
from resonance.serving.launch import die_with_parent

#: In the order they run: what the bars are about first, what takes longest to compile last.
PARTS = (
    "peak", "encoders", "compiled", "end_to_end", "latency", "aoti", "tensorrt", "profile", "decode",
)  # fmt: skip
NEED_PEAK = ("encoders", "compiled", "aoti", "tensorrt")
#: The program's exit codes, besides 0.
CUT_OFF, LOST = 69, 70


@dataclass(frozen=True, slots=True)
class Job:
    """A part and everything that it depends on, as JSON can say it.

    Attributes:
        encoders: names of the towers; of none: all there are.
        tuned_only: of what is compiled only that.
        seconds: after which nothing new is begun.
        limit_s: after which it is ended, where it has a process of its own.
        begun_s: from when both are counted, by `time.monotonic`, which all processes of a machine share: a
            process of its own has to import torch first.
        matrix_tflops: of this run, 0 where it was not measured.
        journal, run: see `Journal`.
    """

    part: str
    device: str
    quick: bool
    encoders: tuple[str, ...]
    max_autotune: bool
    tuned_only: bool
    films: str
    seconds: float
    limit_s: float
    matrix_tflops: float
    journal: str
    run: str
    begun_s: float = field(default_factory=time.monotonic)

    def towers(self) -> tuple[str, ...]:
        """Names of the towers it measures, in their order."""
        every = QUICK if self.quick else REAL
        return tuple(e.name for e in every if not self.encoders or e.name in self.encoders)

    def notes(self) -> Journal:
        """Where it writes."""
        return Journal(Path(self.journal), self.run, self.part)


def measure(job: Job, result: PartResult) -> None:
    """Measure into `result`, in this process; what fails is one of its errors."""
    set_up_torch()
    dtype = torch.bfloat16 if job.device == "cuda" else torch.float32
    bench = Bench(job.device, dtype, job.quick, job.matrix_tflops, result, Deadline(job.seconds, job.begun_s))
    encoders = [e for e in (QUICK if job.quick else REAL) if e.name in job.towers()]
    tune, films = job.max_autotune, Path(job.films)
    steps: dict[str, Callable[[], None]] = {
        "peak": lambda: measure_peak(bench),
        "encoders": lambda: measure_towers(bench, encoders),
        "compiled": lambda: measure_compiled(bench, encoders, max_autotune=tune, tuned_only=job.tuned_only),
        "aoti": lambda: measure_aoti(bench, encoders, max_autotune=tune),
        "tensorrt": lambda: measure_tensorrt(bench, encoders),
        "profile": lambda: measure_profile(bench, max_autotune=tune),
        "decode": lambda: measure_decode(bench, films),
        "end_to_end": lambda: measure_end_to_end(bench, films),
        "latency": lambda: measure_latency(bench, films),
    }
    threads = torch.get_num_threads()
    if job.quick and job.device == "cpu":  # two threads wait for each other where a neighbour takes a core
        torch.set_num_threads(1)
    try:
        steps[job.part]()
    except Exception:  # one part that fails must not take the others along
        result.error(traceback.format_exc(limit=-3).strip().replace("\n", " | "))
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Measure one part; ends with the exit codes above."""
    die_with_parent()
    signal.signal(signal.SIGTERM, interrupt)
    wanted = json.loads(sys.argv[1])
    job = Job(**wanted | {"encoders": tuple(wanted["encoders"])})
    try:
        measure(job, PartResult(tell=job.notes().tell))
    except KeyboardInterrupt:
        raise SystemExit(CUT_OFF) from None
    sys.stdout.flush()
    # the journal has everything; an orderly end would wait for a hung decoder, and needs the device
    os._exit(LOST if device_lost(job.device) else 0)


def interrupt(_signal: int, _frame: object) -> None:
    """A signal's handler: end as with Ctrl-C."""
    raise KeyboardInterrupt
