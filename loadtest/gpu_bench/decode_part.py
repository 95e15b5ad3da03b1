"""The part `decode`: frames a second by codec and decoder, every frame and keyframes alone.

A decoder is a small object (`Decoder`), so that one on the GPU is a class here and a line in `DECODERS`.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from resonance.loadtest.gpu_bench.dali_decode import DaliDecoder, NotSentError
from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.serving.launch import die_with_parent


class Decoder(Protocol):
    """Something that decodes whole files as fast as the machine allows."""

    name: str

    def missing(self) -> str:
        """Why it cannot run here, or an empty text."""
        ...

    def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
        """Frames decoded a second by everything there is of it; measured for about `seconds`.

        Raises `NotSentError` for a codec that the server does not give it either, and else whatever a
        codec that it does not know makes it raise.
        """
        ...

    def close(self) -> None:
        """Free what it holds; it can be used again."""
        ...


class PyAvDecoder:
    """FFmpeg on every core of this machine: a process a core, a thread a decoder."""

    name = "PyAV, all cores"

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def missing(self) -> str:
        """See `Decoder`."""
        return missing("av")

    def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
        """See `Decoder`."""
        from resonance.loadtest.gpu_bench.media import count_frames, wait_a_little

        if self.cores == 1:
            frames, took_s = count_frames(str(path), keyframes_only, seconds)
            return frames / took_s
        if self._pool is None:  # kept: to start processes takes longer than to measure
            # workers whose owner is killed would wait for ever, and hold the bench's output open
            self._pool = ProcessPoolExecutor(
                self.cores, multiprocessing.get_context("spawn"), die_with_parent
            )
            for warm in [self._pool.submit(wait_a_little) for _ in range(self.cores)]:
                warm.result()
        jobs = [
            self._pool.submit(count_frames, str(path), keyframes_only, seconds) for _ in range(self.cores)
        ]
        return sum(frames / took_s for frames, took_s in (job.result() for job in jobs))

    def close(self) -> None:
        """See `Decoder`."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


class OneThreadDecoder(PyAvDecoder):
    """The same on one core."""

    name = "PyAV, one core"

    def __init__(self) -> None:
        super().__init__(1)


DECODERS: tuple[Decoder, ...] = (DaliDecoder(), PyAvDecoder(), OneThreadDecoder())


def measure_decode(bench: Bench, folder: Path) -> None:
    """A row a codec and decoder; 1080p, procedural, a keyframe every 2 s."""
    result, quick = bench.result, bench.quick
    if reason := missing("av"):
        result.skip(f"everything: the films are made with PyAV, and {reason}")
        return
    from resonance.loadtest.gpu_bench.media import CODECS, made

    here = [d for d in DECODERS if not d.missing()]
    for decoder in DECODERS:
        if reason := decoder.missing():
            result.skip(f"{decoder.name}: {reason}")
    if quick:
        here = [OneThreadDecoder()]
    seconds = 0.1 if quick else 2.0
    for film in CODECS[:1] if quick else CODECS:
        if bench.deadline.passed(10):
            result.skip(f"{film.name}: out of time")
            continue
        spec = replace(film, width=320, height=180, loop_s=2) if quick else film
        path = made(spec, folder, whole=False, skip=result.skip, what=film.name)
        if path is None:
            continue
        for decoder in here:
            result.begin(f"{film.name}, {decoder.name}")
            row: dict[str, object] = {"codec": film.name, "decoder": decoder.name, "px": f"{spec.height}p"}
            for column, keyframes_only in (("frames_per_s", False), ("keyframes_per_s", True)):
                try:
                    row[column] = decoder.frames_per_s(path, keyframes_only=keyframes_only, seconds=seconds)
                except NotSentError as error:  # neither column of it
                    result.skip(f"{film.name}, {decoder.name}: {error}")
                    break
                except Exception as error:
                    result.error(f"{film.name}, {decoder.name}, {column}: {error}")
            else:
                if row.keys() & {"frames_per_s", "keyframes_per_s"}:
                    result.row(row)
    for decoder in here:
        decoder.close()
