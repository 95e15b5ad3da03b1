"""The part `clips`: mutated clips through the decoder of the server's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resonance.loadtest.fuzz.clip_worker import WORDS
from resonance.loadtest.fuzz.clips import make_clip
from resonance.loadtest.fuzz.kept import read_samples
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.supervise import Workers, run_workers
from resonance.loadtest.fuzz.tally import Tally


async def fuzz_clips(
    tally: Tally,
    samples: Path,
    space: Path,
    *,
    seed: int,
    numbers: range,
    workers: int,
    tick: Callable[[], bool],
) -> None:
    """Decode the clips of `numbers`.

    Args:
        samples: written by `write_samples`. space: the space's descriptor.
        tick: called after each input; False ends the run.
    """
    material = Material(tuple(read_samples(samples)), WORDS)
    tally.figures["samples"] = len(material.samples)
    kind = Workers(
        "resonance.loadtest.fuzz.clip_worker",
        (str(samples), str(space), str(seed)),
        lambda number: make_clip(material, seed=seed, number=number),
        judge_clip,
    )
    await run_workers(tally, kind, numbers, workers=workers, tick=tick)


def judge_clip(outcome: str) -> tuple[str, str]:
    """Here a crash is never contained: the process belongs to all callers. See `Workers`."""
    return ("exception", "finding") if outcome.startswith("fault") else (outcome, "fine")
