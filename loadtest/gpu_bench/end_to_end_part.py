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
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path

import numpy as np
import torch

from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.nvdec import KeyframePictures
from resonance.loadtest.gpu_bench.pipeline import Pipeline
from resonance.loadtest.gpu_bench.timing import StageClock, synchronise
from resonance.serving.launch import die_with_parent

#: Segments a worker reads in one go, and stretches in flight for each worker.
SEGMENTS, IN_FLIGHT = 4, 2
#: Frames a segment.
FRAMES = {"keyframes": 4, "uniform": 16}
#: Hours of 1080p H.264 a GPU-hour that `keyframes` is to reach.
BAR = 1000.0
PYAV = "PyAV, all cores but one"  # which feeds the device
#: For a run of a decoder on the device, and to begin with for the making of it.
PATIENCE_S = 60.0
CPU_STAGES = ("demux", "decode", "scale", "sound")


def measure_end_to_end(bench: Bench, folder: Path) -> None:
    """A row a sampling: segments decoded beforehand (what the device alone could do), then whole films.

    The bar is for a film as it is streamed; an easy one is measured beside it. Last, keyframes that DALI
    decodes on the GPU.
    """
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
    from resonance.loadtest.gpu_bench.media import EASY_FILM, FILM, LABELS, QUICK_FILM, made

    film = QUICK_FILM if quick else FILM
    path = made(film, folder, whole=True, skip=result.skip, what="films")
    if path is None:
        return
    easy = () if quick else ((EASY_FILM, "keyframes"),)
    workers = 1 if quick else max(1, len(os.sched_getaffinity(0)) - 1)  # this process has the other core
    seconds = 0.5 if quick else 15.0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), die_with_parent) as pool:
        for shown, sampling in ((film, "keyframes"), (film, "uniform"), *easy):
            name = f"{LABELS[shown]}, {sampling}"
            # the easy film leaves its time to keyframes decoded on the device, which are wanted more
            if deadline.passed((2 if shown is film else 5) * seconds):
                result.skip(f"{name}: out of time")
                continue
            file = made(shown, folder, whole=True, skip=result.skip, what=name)
            if file is None:
                continue
            with bench.going_on(name):
                row = run_decoded_here(pool, workers, pipeline, file, shown.duration_s, sampling, seconds)
                if (shown, sampling, bench.device) == (FILM, "keyframes", "cuda"):
                    row["bar"] = BAR
                result.row({"film": LABELS[shown], "sampling": sampling, "decoder": PYAV, **row})
        # last, for a decoder that hangs takes the rest of the part along
        decoder = KeyframePictures()
        if reason := "no NVIDIA GPU" if bench.device != "cuda" else decoder.missing():
            result.skip(f"keyframes, {decoder.name}: {reason}")
            return
        if deadline.passed(2 * seconds):
            result.skip(f"keyframes, {decoder.name}: out of time")
            return
        with bench.going_on(f"keyframes, {decoder.name}"):
            row = run_decoded_there(pool, workers, pipeline, decoder, path, film.duration_s, seconds)
            what = {"film": LABELS[film], "sampling": "keyframes", "decoder": decoder.name}
            result.row({**what, **row, "bar": BAR})


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
        **{f"device_{name}_s_per_h": spent_s / hours for name, spent_s in device_s.items()},
    }


def run_decoded_there(
    pool: Executor,
    workers: int,
    pipeline: Pipeline,
    decoder: KeyframePictures,
    path: Path,
    duration_s: int,
    seconds: float,
) -> dict[str, object]:
    """Keyframes that the workers only choose: `decoder` decodes them, and pictures stay there.

    One thread decodes a run's pictures while the ones before become vectors.
    """
    from resonance.loadtest.gpu_bench.media import KEYFRAMES, RATE_HZ, SEGMENT_S, Stretch, read_stretch

    last = duration_s // SEGMENT_S - SEGMENTS
    firsts = itertools.cycle(range(0, max(1, last), SEGMENTS))
    stretches = max(1, decoder.rows // (SEGMENTS * KEYFRAMES))  # that a run of the decoder takes
    segments = stretches * SEGMENTS
    # before the decoder's thread works on the device, which would break the capture
    fixed = pipeline.fixed(segments, KEYFRAMES, SEGMENT_S * RATE_HZ)
    cpu = Counter[str]()

    def submit() -> Future[Stretch]:
        return pool.submit(read_stretch, str(path), next(firsts), SEGMENTS, "encoded")

    def decode(read: list[Stretch]) -> tuple[torch.Tensor, np.ndarray, float]:
        begun = time.perf_counter()
        pictures = decoder.pictures([file for stretch in read for file in stretch.files])
        took_s = time.perf_counter() - begun
        return pictures, np.concatenate([stretch.pcm for stretch in read]), took_s

    def embed(pictures: torch.Tensor, pcm: np.ndarray) -> torch.Tensor:
        if pictures.is_cuda:
            # made on the decoder's stream, whose next pictures may not take its place yet
            pictures.record_stream(torch.cuda.current_stream())
        clips = pictures.unflatten(0, (segments, KEYFRAMES))  # (S, T, 224, 224, 3)
        return fixed.run(clips, pcm, pipeline.ids(segments), clock)

    thread = ThreadPoolExecutor(1)
    try:
        for warm in [submit() for _ in range(workers)]:
            read = warm.result()
        thread.submit(decoder.check, read.files).result(PATIENCE_S)
        clock = StageClock(pipeline.device)
        embed(*thread.submit(decode, [read] * stretches).result(PATIENCE_S)[:2])
        synchronise(pipeline.device)
        clock, done, waited_s, decoding_s, out = StageClock(pipeline.device), 0, 0.0, 0.0, None
        running = [submit() for _ in range(max(IN_FLIGHT * workers, 2 * stretches))]

        def next_run() -> Future[tuple[torch.Tensor, np.ndarray, float]]:
            nonlocal waited_s
            asked = time.perf_counter()
            found = [running.pop(0).result() for _ in range(stretches)]
            waited_s += time.perf_counter() - asked
            running.extend(submit() for _ in range(stretches))
            for stretch in found:
                cpu.update(stretch.seconds)
            return thread.submit(decode, found)

        started = time.perf_counter()
        decoding = next_run()
        while time.perf_counter() - started < seconds or out is None:
            coming, decoding = decoding, next_run()
            pictures, pcm, took_s = coming.result(PATIENCE_S)
            out = embed(pictures, pcm)
            done, decoding_s = done + segments, decoding_s + took_s
        device_s = clock.read()
        wall_s = time.perf_counter() - started
        decoding.result(PATIENCE_S)  # nothing of it is counted
        for job in running:
            job.cancel()
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
    if not bool(torch.isfinite(out).all()):
        raise RuntimeError(f"keyframes, {decoder.name}: vectors are not finite")
    decoder_busy = decoding_s / wall_s
    bounds = {
        "reading on the CPU": waited_s / wall_s,
        "decoding on the device": decoder_busy,
        "the device and its feeding": sum(device_s.values()) / wall_s,
    }
    bound = {
        "fed_by": fixed.fed_by,
        "decoder_busy": decoder_busy,
        "waiting_for_read": waited_s / wall_s,
        "bounded_by": max(bounds, key=lambda name: bounds[name]),
    }
    return _row(done * SEGMENT_S / 3600, done * KEYFRAMES, wall_s, workers, cpu, device_s, bound)


def run_decoded_here(
    pool: Executor,
    workers: int,
    pipeline: Pipeline,
    path: Path,
    duration_s: int,
    sampling: str,
    seconds: float,
) -> dict[str, object]:
    """Feed the device for `seconds` after every worker has begun and the device is warm.

    Workers that begin together end together, and a stretch may take them seconds: the clock runs from the end
    of one round of theirs to the end of another, for of a round that it cuts all or nothing would count.
    """
    from resonance.loadtest.gpu_bench.media import RATE_HZ, SEGMENT_S, Stretch, read_stretch

    last = duration_s // SEGMENT_S - SEGMENTS
    firsts = itertools.cycle(range(0, max(1, last), SEGMENTS))

    def submit() -> Future[Stretch]:
        return pool.submit(read_stretch, str(path), next(firsts), SEGMENTS, sampling)

    fixed = pipeline.fixed(SEGMENTS, FRAMES[sampling], SEGMENT_S * RATE_HZ)
    for warm in [submit() for _ in range(workers)]:
        stretch = warm.result()
        fixed.run(stretch.frames, stretch.pcm, pipeline.ids(SEGMENTS), StageClock(pipeline.device))
    clock, cpu, stretches, decoded, waited_s = StageClock(pipeline.device), Counter[str](), 0, 0, 0.0
    running = {submit() for _ in range(IN_FLIGHT * workers)}
    finished: set[Future[Stretch]] = set()

    def next_stretch() -> Stretch:
        nonlocal finished, running, waited_s
        if not finished:
            asked = time.perf_counter()
            finished, running = wait_for(running, return_when=FIRST_COMPLETED)
            waited_s += time.perf_counter() - asked
            running |= {submit() for _ in finished}
        return finished.pop().result()

    for _ in range(workers):  # a round that is not counted
        next_stretch()
    started, waited_s = time.perf_counter(), 0.0
    while time.perf_counter() - started < seconds or stretches % workers:
        stretch = next_stretch()
        out = fixed.run(stretch.frames, stretch.pcm, pipeline.ids(SEGMENTS), clock)
        cpu.update(stretch.seconds)
        stretches, decoded = stretches + 1, decoded + stretch.decoded
    device_s = clock.read()
    wall_s = time.perf_counter() - started
    for job in running:
        job.cancel()
    if not bool(torch.isfinite(out).all()):
        raise RuntimeError(f"{sampling}: vectors are not finite")
    waiting = waited_s / wall_s
    bound = {
        "fed_by": fixed.fed_by,
        "waiting_for_decoded": waiting,
        "bounded_by": "decoding on the CPU" if waiting > 0.2 else "the device and its feeding",
    }
    hours = stretches * SEGMENTS * SEGMENT_S / 3600
    return _row(hours, decoded, wall_s, workers, cpu, device_s, bound)


def _row(
    hours: float,
    decoded: int,
    wall_s: float,
    workers: int,
    cpu: Mapping[str, float],
    device_s: Mapping[str, float],
    bound: Mapping[str, object],
) -> dict[str, object]:
    """Of `hours` of film in `wall_s`: rates, how busy who was, and what bounds it."""
    return {
        "hours_per_hour": hours * 3600 / wall_s,
        "frames_decoded_per_s": decoded / wall_s,
        "workers": workers,
        "workers_busy": sum(cpu.values()) / wall_s / workers,
        # with the gaps in which it waits for its next kernel to be launched
        "device_busy": sum(device_s.values()) / wall_s,
        **bound,
        # seconds of one core, or of the device, for an hour of film
        **{f"cpu_{name}_s_per_h": cpu[name] / hours for name in CPU_STAGES},
        **{f"device_{name}_s_per_h": spent_s / hours for name, spent_s in device_s.items()},
    }
