"""Clocks, power and temperature of the GPU while a part runs, as nvidia-smi reads them twice a second.

A rate says little where it is not known whether the GPU ran at its full clock: under load, its power limit
and its temperature lower it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.loadtest.gpu_bench.child import end
from resonance.loadtest.gpu_bench.results import PartResult, Row
from resonance.serving import launch

QUERY = ("timestamp", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "utilization.gpu")
PERIOD_MS = 500
#: Per cent of its period in which a sample saw a kernel run: below, the clock is that of a GPU at rest.
UNDER_LOAD = 50.0
#: From the request to end to SIGKILL.
GRACE_S = 2.0


@contextmanager
def sampled(path: Path, part: str, result: PartResult) -> Iterator[None]:
    """Samples of the first GPU added to the CSV `path` while `part` runs inside, below a line with its name;
    what they say into `result`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        result.skip("clocks: nvidia-smi is not here")
        yield
        return
    query = (program, "-i", "0", f"--query-gpu={','.join(QUERY)}", "--format=csv", "-lms", str(PERIOD_MS))
    # ends with this process, however that ends: it would write for ever
    command = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *query]
    path.parent.mkdir(parents=True, exist_ok=True)
    # one file for all parts: where a machine is lent, a handful of files may come back from it
    with path.open("ab") as file:
        file.write(f"# {part}\n".encode())
        file.flush()
        begun = file.tell()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        end(process, GRACE_S)
        lines = path.read_bytes()[begun:].decode(errors="replace").splitlines()
        result.clocks.append({"file": path.name, "under": part, **under_load(lines)})


def under_load(lines: Iterable[str]) -> Row:
    """Of nvidia-smi's lines the median and the lowest clock of the multiprocessors while kernels ran."""
    samples = [found for line in lines if (found := _sample(line))]
    clocks = [sm_mhz for sm_mhz, busy in samples if busy >= UNDER_LOAD]
    counts = {"samples": len(samples), "under_load": len(clocks)}
    if not clocks:
        return counts
    return {"sm_mhz_median": statistics.median(clocks), "sm_mhz_lowest": min(clocks), **counts}


def _sample(line: str) -> tuple[float, float] | None:
    """(clock in MHz, per cent busy) of a line; None for a header, or what the GPU does not tell."""
    fields = dict(zip(QUERY, line.split(","), strict=False))
    try:
        sm_mhz, busy = (float(fields[name].split()[0]) for name in ("clocks.sm", "utilization.gpu"))
    except (KeyError, ValueError, IndexError):
        return None
    return sm_mhz, busy
