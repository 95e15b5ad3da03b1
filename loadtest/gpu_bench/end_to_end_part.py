"""The part `end_to_end`: hours of film an hour, from a file to segment vectors, and where the time goes.

Processes on every core read, decode and scale; this process feeds the device as they come in. What the
numbers say is bounded by whichever is slower, and the row names it. In process, without Triton and gRPC.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import numpy as np
import torch

from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.orphans import end_with_parent
from resonance.loadtest.gpu_bench.pipeline import Pipeline
from resonance.loadtest.gpu_bench.timing import StageClock, synchronise

#: Segments a worker reads in one go, and stretches in flight for each worker.
SEGMENTS, IN_FLIGHT = 4, 2
#: Frames a segment.
FRAMES = {"keyframes": 4, "uniform": 16}
#: Hours of 1080p H.264 a GPU-hour that `keyframes` is to reach.
BAR = 1000.0
CPU_STAGES, DEVICE_STAGES = (
    ("demux", "decode", "scale", "sound"),
    ("copy", "visual", "sound", "text", "fusion"),
)


def measure_end_to_end(bench: Bench, folder: Path) -> None:
    """A row a sampling: segments decoded beforehand (what the device alone could do), then whole films."""
    result, deadline, quick = bench.result, bench.deadline, bench.quick
    pipeline = Pipeline.build(bench.device, bench.dtype, quick=quick, note=result.skip)
    for sampling, count in FRAMES.items():
        if deadline.passed():
            result.skip(f"decoded beforehand, {sampling}: out of time")
            continue
        with bench.going_on(f"decoded beforehand, {sampling}"):
            row = _device_alone(pipeline, count, segments=2 if quick else 32, seconds=0.2 if quick else 4.0)
            result.row({"film": "decoded beforehand", "sampling": sampling, **row})
    result.skip("tokenising: rows of random tokens stand for the words")
    if reason := missing("av"):
        result.skip(f"films: {reason}")
        return
    from resonance.loadtest.gpu_bench.media import FILM, QUICK_FILM, made

    film = QUICK_FILM if quick else FILM
    path = made(film, folder, whole=True, skip=result.skip, what="films")
    if path is None:
        return
    workers = 1 if quick else len(os.sched_getaffinity(0))
    seconds = 0.5 if quick else 15.0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        for sampling in ("keyframes", "uniform"):
            if deadline.passed(2 * seconds):
                result.skip(f"{sampling}: out of time")
                continue
            with bench.going_on(sampling):
                row = _run(pool, workers, pipeline, path, film.duration_s, sampling, seconds)
                if sampling == "keyframes" and bench.device == "cuda":
                    row["bar"] = BAR
                result.row({"film": f"{film.height}p H.264", "sampling": sampling, **row})


def _device_alone(pipeline: Pipeline, count: int, *, segments: int, seconds: float) -> dict[str, object]:
    """Random frames and sound from the host's memory, in batches of `segments`, one after the other."""
    rng = np.random.default_rng()
    frames = rng.integers(0, 256, (segments, count, 224, 224, 3), dtype=np.uint8)
    pcm = (0.1 * rng.standard_normal((segments, 128_000))).astype(np.float32)
    ids = pipeline.ids(segments)
    for _ in range(2):
        pipeline.vectors(frames, pcm, ids, StageClock(pipeline.device))
    synchronise(pipeline.device)
    clock, done, started = StageClock(pipeline.device), 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        out = pipeline.vectors(frames, pcm, ids, clock)
        done += segments
        # keep the host a batch ahead at most, or the clock would stop long before the device
        synchronise(pipeline.device)
    device_s, wall_s = clock.read(), time.perf_counter() - started
    if not bool(torch.isfinite(out).all()):
        raise RuntimeError("vectors are not finite")
    hours = done * 8 / 3600
    return {
        "hours_per_hour": hours * 3600 / wall_s,
        "bounded_by": "the device and its feeding",
        "device_busy": sum(device_s.values()) / wall_s,
        **{f"device_{name}_s_per_h": device_s.get(name, 0.0) / hours for name in DEVICE_STAGES},
    }


def _run(
    pool: ProcessPoolExecutor,
    workers: int,
    pipeline: Pipeline,
    path: Path,
    duration_s: int,
    sampling: str,
    seconds: float,
) -> dict[str, object]:
    """Feed the device for `seconds` after every worker has begun and the device is warm."""
    from resonance.loadtest.gpu_bench.media import SEGMENT_S, Stretch, read_stretch

    last = duration_s // SEGMENT_S - SEGMENTS
    firsts = itertools.cycle(range(0, max(1, last), SEGMENTS))

    def submit() -> Future[Stretch]:
        return pool.submit(read_stretch, str(path), next(firsts), SEGMENTS, sampling)

    for warm in [submit() for _ in range(workers)]:
        stretch = warm.result()
        pipeline.vectors(stretch.frames, stretch.pcm, pipeline.ids(SEGMENTS), StageClock(pipeline.device))
    clock, cpu, done, decoded, waited_s = StageClock(pipeline.device), Counter[str](), 0, 0, 0.0
    running = {submit() for _ in range(IN_FLIGHT * workers)}
    wait(running, return_when=FIRST_COMPLETED)  # from here on workers are full, and at the end they still are
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or not done:
        asked = time.perf_counter()
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        waited_s += time.perf_counter() - asked
        for job in finished:
            running.add(submit())
            stretch = job.result()
            out = pipeline.vectors(stretch.frames, stretch.pcm, pipeline.ids(SEGMENTS), clock)
            cpu.update(stretch.seconds)
            done, decoded = done + SEGMENTS, decoded + stretch.decoded
    device_s = clock.read()
    wall_s = time.perf_counter() - started
    for job in running:
        job.cancel()
    if not bool(torch.isfinite(out).all()):
        raise RuntimeError(f"{sampling}: vectors are not finite")
    hours = done * SEGMENT_S / 3600
    waiting = waited_s / wall_s
    return {
        "hours_per_hour": hours * 3600 / wall_s,
        "frames_decoded_per_s": decoded / wall_s,
        "workers": workers,
        "workers_busy": sum(cpu.values()) / wall_s / workers,
        # with the gaps in which it waits for its next kernel to be launched
        "device_busy": sum(device_s.values()) / wall_s,
        "waiting_for_decoded": waiting,
        "bounded_by": "decoding on the CPU" if waiting > 0.2 else "the device and its feeding",
        # seconds of one core, or of the device, for an hour of film
        **{f"cpu_{name}_s_per_h": cpu[name] / hours for name in CPU_STAGES},
        **{f"device_{name}_s_per_h": device_s.get(name, 0.0) / hours for name in DEVICE_STAGES},
    }
