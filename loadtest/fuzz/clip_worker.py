"""A process that decodes mutated clips as the server's model does, and says what came of each."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import av

from resonance.loadtest.fuzz.clips import decode, make_clip
from resonance.loadtest.fuzz.kept import read_samples
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.tokens import NUMBERS, OTHERS
from resonance.space.descriptor import Descriptor

#: What is put into clips: they hold no names.
WORDS = (*OTHERS, *NUMBERS)


def main(arguments: Sequence[str]) -> None:
    """SAMPLES SPACE SEED FIRST STEP END; what is printed, see `resonance.loadtest.fuzz.supervise.Workers`."""
    samples, space = Path(arguments[0]), Path(arguments[1])
    seed, first, step, end = (int(value) for value in arguments[2:])
    av.logging.set_level(av.logging.PANIC)
    material = Material(tuple(read_samples(samples)), WORDS)
    geometry = Descriptor.load(space).frames
    for number in range(first, end, step):
        message = make_clip(material, seed=seed, number=number)
        started = time.monotonic()
        try:
            outcome = decode(message, geometry)
        except Exception as error:
            outcome = fault(error)
        say(number, time.monotonic() - started, outcome)
        if number % 1000 < step:
            say_memory()
    say_memory()


def fault(error: Exception) -> str:
    """An exception that nobody meant, and where it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"fault {type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"


def say(number: int, took_s: float, outcome: str) -> None:
    """A line on stdout."""
    sys.stdout.write(f"{number} {took_s * 1e3:.2f} {' '.join(outcome.split())}\n")
    sys.stdout.flush()


def say_memory() -> None:
    """How much memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    sys.stdout.write(f"largest {pages * os.sysconf('SC_PAGE_SIZE') // 1024}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
