"""Titles end to end over codecs, sizes and keyframe spacings: times real time for each core that works."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resonance.loadtest.bench.sdk_process import Report, SdkProcess
from resonance.loadtest.films import Film, film, loop, streamed
from resonance.serving.process import cpu_seconds
from resonance.serving.server import TritonServer

MINUTES = 4
ROUNDS = 3
#: Times real time a core is to reach with 720p H.264 and a keyframe every 2 s.
BAR = 50.0
WARM_UP_S = 8


@dataclass(frozen=True, slots=True)
class Case:
    """A film and how it is sampled; `bar` None where only the figure is told."""

    film: Film
    sampling: str = "keyframes"
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """Medians over the rounds of one case.

    `per_core`: seconds of media for each CPU second of client and server together; `wall`: for each second
    that passed, one title at a time. `lowest_per_core`: of the rounds. `client_share`: of the CPU time.
    `sampled_by` counts segments. `met` None where there is no bar.
    """

    film: str
    sampling: str
    mbit_per_s: float
    rounds: int
    per_core: float
    lowest_per_core: float
    wall: float
    client_share: float
    client_peak_mb: float
    segments: int
    sampled_by: dict[str, int]
    bar: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Run:
    """One order to the SDK, and what the server spent on it."""

    report: Report
    server_cpu_s: float

    @property
    def cpu_s(self) -> float:
        """Client and server together."""
        return self.report.cpu_s + self.server_cpu_s

    @property
    def per_core(self) -> float:
        """Seconds of media a CPU second."""
        return self.report.media_s / self.cpu_s


def cases(minutes: int = MINUTES) -> list[Case]:
    """What the documentation states."""
    films = [
        streamed("h264", 720, 2.0, minutes),
        streamed("h264", 720, 10.0, minutes),
        streamed("hevc", 720, 2.0, minutes),
        streamed("hevc", 720, 10.0, minutes),
        streamed("vp9", 720, 2.0, minutes),
        streamed("vp9", 720, 10.0, minutes),
        streamed("av1", 720, 2.0, minutes),
        streamed("av1", 720, 10.0, minutes),
        streamed("h264", 240, 2.0, minutes),
        streamed("h264", 1080, 2.0, minutes),
        streamed("h264", 2160, 2.0, minutes),
        # windows that no keyframe is near to are decoded by the client
        streamed("h264", 720, None, minutes),
        streamed("vp9", 720, None, minutes),
    ]
    barred = [Case(one, bar=BAR if one == films[0] else None) for one in films]
    return [*barred, Case(films[0], sampling="uniform")]


def measure_matrix(
    server: TritonServer, folder: Path, *, chosen: Sequence[Case] | None = None, rounds: int = ROUNDS
) -> list[MatrixRow]:
    """Every case in turn, `rounds` times over; films are made in `folder` where they are not there yet."""
    todo = list(chosen or cases())
    paths = [film(case.film, folder) for case in todo]
    runs: list[list[Run]] = [[] for _ in todo]
    with SdkProcess(server.grpc_address, warm_up_title(folder)) as sdk:
        for _ in range(rounds):
            for case, path, done in zip(todo, paths, runs, strict=True):
                done.append(run(server, sdk, [path], sampling=case.sampling))
    return [_row(case, path, done) for case, path, done in zip(todo, paths, runs, strict=True)]


def run(
    server: TritonServer,
    sdk: SdkProcess,
    paths: Sequence[Path],
    *,
    concurrent: int = 1,
    sampling: str = "keyframes",
) -> Run:
    """Embed `paths`; nothing else may ask `server` meanwhile."""
    before_s = cpu_seconds(server.pid)
    report = sdk.embed(paths, concurrent=concurrent, sampling=sampling)
    return Run(report, cpu_seconds(server.pid) - before_s)


def warm_up_title(folder: Path) -> Path:
    """One window of a small film."""
    return loop(replace(streamed("h264", 180), loop_s=WARM_UP_S), folder)


def _row(case: Case, path: Path, runs: Sequence[Run]) -> MatrixRow:
    last, per_core = runs[-1].report, statistics.median(r.per_core for r in runs)
    return MatrixRow(
        film=case.film.name,
        sampling=case.sampling,
        mbit_per_s=path.stat().st_size * 8 / 1e6 / case.film.duration_s,
        rounds=len(runs),
        per_core=per_core,
        lowest_per_core=min(r.per_core for r in runs),
        wall=statistics.median(r.report.media_s / r.report.wall_s for r in runs),
        client_share=statistics.median(r.report.cpu_s / r.cpu_s for r in runs),
        client_peak_mb=max(r.report.peak_mb for r in runs),
        segments=last.segments,
        sampled_by=last.sampled_by,
        bar=case.bar,
        met=None if case.bar is None else per_core >= case.bar,
    )
