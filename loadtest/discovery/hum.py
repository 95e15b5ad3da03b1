"""`python -m resonance.loadtest.discovery.hum`: a hum looked for by contour, by vector and by both.

Clips and hums are held-out ones of the procedural world (`hum_world`): other key, other timbre, and the clip
has ambience, a source, a pad and a beat beside its lead.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track

from resonance.clients.discovery.contours import Track
from resonance.clients.discovery.melody import MOST_OFF, MelodyIndex
from resonance.clients.discovery.pitch import HOP_S, contour
from resonance.clients.errors import UsageError
from resonance.clients.media.types import FloatArray
from resonance.export.families import tiny
from resonance.loadtest.discovery.hum_real import RealRecall, measure_real
from resonance.loadtest.discovery.hum_trackers import pyin_contour, yin_contour
from resonance.loadtest.discovery.hum_world import (
    AudioBlocks,
    HummedClips,
    as_float,
    at_tempo,
    hummed_clips,
)
from resonance.training.tiny import load_modules
from resonance.training.world.measure import recall
from resonance.training.world.oracle import expected_recall, rivals

TRACKERS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "yin": yin_contour,
    "pyin": pyin_contour,
    "salience (ours)": contour,
}
TEMPOS = (1.0, 0.75, 4 / 3)
MEDIA = Path("../shared/media")


class Part(StrEnum):
    """What is measured."""

    WORLD = "world"
    TRACKERS = "trackers"
    REAL = "real"


@dataclass(frozen=True, slots=True)
class Found:
    """How often a hum's own clip is among the first `k` of `clips`; chance is k / clips.

    query_ms: CPU time of a query against all of them.
    """

    way: str
    tempo: float
    clips: int
    hums: int
    recall_at_1: float
    recall_at_10: float
    query_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """A pitch tracker: CPU time of a clip of 8 s, the share of steps with a pitch, and what it finds."""

    tracker: str
    clip_ms: float
    voiced_share: float
    found: Found


def timed(
    work: Callable[[FloatArray], FloatArray], sounds: Iterable[np.ndarray], name: str
) -> tuple[list[FloatArray], float]:
    """What `work` makes of each sound, and its CPU time of one, ms."""
    made: list[FloatArray] = []
    spent_s = 0.0
    for sound in track(list(sounds), name):
        begun_s = time.process_time()
        made.append(work(sound))
        spent_s += time.process_time() - begun_s
    return made, 1e3 * spent_s / len(made)


def contour_scores(contours: Sequence[FloatArray], hums: Sequence[FloatArray]) -> tuple[torch.Tensor, float]:
    """Minus the semitones that each hum is off each clip, [Q, N]; and CPU time of a query, ms.

    A hum without a melody, and a clip that a hum cannot fit into, are as far off as can be.
    """
    index = MelodyIndex([Track(str(n), 0.0, line) for n, line in enumerate(contours)], HOP_S)
    off = torch.full((len(hums), len(contours)), MOST_OFF)
    begun_s = time.process_time()
    for row, hum in zip(off, hums, strict=True):
        try:
            found = index.distances(hum)
        except UsageError:
            continue
        row[torch.tensor([int(name) for name in found], dtype=torch.long)] = torch.tensor(
            list(found.values())
        ).float()
    return -off, 1e3 * (time.process_time() - begun_s) / len(hums)


def fused(cosines: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """Both [Q, N], each in units of its spread among clips that are not the hum's own."""
    others = ~torch.eye(*cosines.shape, dtype=torch.bool)
    return cosines / cosines[others].std() + fits / fits[others].std()


def found_by(way: str, tempo: float, scores: torch.Tensor, query_ms: float | None = None) -> Found:
    """Recall of each hum's own clip, which has its number."""
    own = np.arange(len(scores))
    return Found(
        way, tempo, scores.shape[1], len(own), recall(scores, own, 1), recall(scores, own, 10), query_ms
    )


def compared(clips: HummedClips, hums: int, tempos: Sequence[float]) -> Iterator[Found]:
    """Block, contour and both at each tempo, for the first `hums` hums among all clips; the block for all."""
    blocks = AudioBlocks(load_modules(tiny.WEIGHTS))
    heard = track(clips.clips, "blocks of clips")
    library = torch.cat([blocks.of_windows([as_float(clip)]) for clip in heard])
    lines = [contour(as_float(clip)) for clip in track(clips.clips, "contours of clips")]
    for tempo in tempos:
        asked = track(clips.hums[:hums], f"hums at tempo {tempo:.2f}")
        sung = [at_tempo(as_float(hum), tempo) for hum in asked]
        cosines = blocks.of_titles(sung) @ library.T
        fits, query_ms = contour_scores(lines, [contour(hum) for hum in sung])
        yield found_by("audio block", tempo, cosines)
        yield found_by("contour", tempo, fits, query_ms)
        yield found_by("both", tempo, fused(cosines, fits))
    everyone = torch.cat([blocks.of_titles([as_float(hum)]) for hum in track(clips.hums, "every hum")])
    yield found_by("audio block, every hum", 1.0, everyone @ library.T)


def trackers(clips: HummedClips) -> Iterator[Tracked]:
    """The same matcher over the contours of each tracker."""
    for name, follow in TRACKERS.items():
        follow(as_float(clips.clips[0]))  # compiled on first use
        lines, clip_ms = timed(follow, map(as_float, clips.clips), f"clips by {name}")
        sung, _ = timed(follow, map(as_float, clips.hums), f"hums by {name}")
        scores, _ = contour_scores(lines, sung)
        voiced = float(np.mean([np.isfinite(line).mean() for line in lines]))
        yield Tracked(name, clip_ms, voiced, found_by(name, 1.0, scores))


def main(
    parts: Annotated[list[Part], typer.Argument(metavar="PART...", help="What to measure.")],
    hums: Annotated[int, typer.Option(min=20, max=1001, help="Hums asked with, each at every tempo.")] = 150,
    tempo: Annotated[list[float] | None, typer.Option(help="Of the hums. [default: 1, 0.75, 1.333]")] = None,
    tracked: Annotated[int, typer.Option(min=20, max=1001, help="Clips and hums for the trackers.")] = 100,
    work: Annotated[Path, typer.Option(help="Where rendered sound goes.")] = Path("build/hum"),
    media: Annotated[Path, typer.Option(help="A folder of real media, with audio/ in it.")] = Path(
        "../shared/media"
    ),
) -> None:
    """Compare ways to look for a hum (world, real), and pitch trackers (trackers); a JSON object a row."""
    torch.set_num_threads(1)  # CPU time is told
    clips = hummed_clips(work, workers=len(os.sched_getaffinity(0)))
    steps = tuple(range(clips.melodies.shape[1]))
    print(json.dumps({"oracle_at_1": expected_recall(rivals(clips.melodies, steps), 1)}), flush=True)
    rows: list[Iterator[Found | Tracked | RealRecall]] = []
    if Part.WORLD in parts:
        rows.append(compared(clips, hums, tempo or TEMPOS))
    if Part.TRACKERS in parts:
        rows.append(trackers(clips.first(tracked)))
    if Part.REAL in parts:
        rows.append(measure_real(media, AudioBlocks(load_modules(tiny.WEIGHTS))))
    for row in chain(*rows):
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    typer.run(main)
