"""The part `sealed`: mutated uploads in bulk, in processes sealed as those of the gateway are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from resonance.loadtest.fuzz.canary import Canary
from resonance.loadtest.fuzz.kept import read_samples
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.samples import word_samples
from resonance.loadtest.fuzz.supervise import Workers, run_workers
from resonance.loadtest.fuzz.tally import Tally
from resonance.loadtest.fuzz.tokens import dictionary
from resonance.loadtest.fuzz.uploads import make_upload


async def fuzz_sealed(
    tally: Tally,
    files: Path,
    space: Path,
    canary: Canary,
    *,
    seed: int,
    numbers: range,
    workers: int,
    tick: Callable[[], bool],
) -> None:
    """Read the uploads of `numbers`.

    Args:
        files: samples, written by `write_samples`. space: the space's descriptor.
        tick: called after each input; False ends the run.
    """
    words = dictionary(canary.path, canary.address)
    material, texts = Material(tuple(read_samples(files)), words), Material(tuple(word_samples()), words)
    kind = Workers(
        "resonance.loadtest.fuzz.sealed_worker",
        (str(files), str(space), canary.path, canary.address, str(seed)),
        lambda number: make_upload(material, texts, seed=seed, number=number).mutant.data,
        judge_read,
    )
    await run_workers(tally, kind, numbers, workers=workers, tick=tick)
    for touch in canary.touches():
        tally.find(numbers[-1], "touched", touch)


def judge_read(outcome: str) -> tuple[str, str]:
    """A crash while reading is contained by the process; one by SIGSYS was an attempt to get out of it.

    Decoding a clip is done by a model that all share, where a crash is never contained. See `Workers`.
    """
    if outcome.startswith("fault"):
        return "exception", "finding"
    if outcome.startswith("died"):
        contained = outcome.startswith("died reading SIG") and not outcome.endswith("SIGSYS")
        return outcome, "contained" if contained else "finding"
    return outcome, "fine"
