"""A process that decodes mutated clips as the server's model does, and says what came of each."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from resonance.loadtest.fuzz.clips import decode, make_clip
from resonance.loadtest.fuzz.mutate import Material, Sample
from resonance.loadtest.fuzz.tokens import NUMBERS, OTHERS
from resonance.space.descriptor import Descriptor


def write_samples(samples: Sequence[Sample], path: Path) -> None:
    """Keep samples in a file, so that each process need not make them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for sample in samples:
            for part in (sample.name.encode(), sample.data):
                file.write(len(part).to_bytes(8, "little") + part)


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples in such a file."""
    data, at = path.read_bytes(), 0

    def part() -> bytes:
        nonlocal at
        start = at + 8
        at = start + int.from_bytes(data[at:start], "little")
        return data[start:at]

    while at < len(data):
        yield Sample(part().decode(), part())


def main(arguments: Sequence[str]) -> None:
    """SAMPLES SPACE SEED FIRST STEP END. A line ``NUMBER MILLISECONDS OUTCOME`` a clip, then ``rss KIB``."""
    samples, space = Path(arguments[0]), Path(arguments[1])
    seed, first, step, end = (int(value) for value in arguments[2:])
    av.logging.set_level(av.logging.PANIC)
    material = Material(tuple(read_samples(samples)), (*OTHERS, *NUMBERS))
    geometry = Descriptor.load(space).frames
    for number in range(first, end, step):
        message = make_clip(material, seed=seed, number=number)
        started = time.monotonic()
        try:
            outcome = decode(message, geometry)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"fault {type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
        took_ms = (time.monotonic() - started) * 1e3
        sys.stdout.write(f"{number} {took_ms:.2f} {' '.join(outcome.split())}\n")
        sys.stdout.flush()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    sys.stdout.write(f"rss {pages * os.sysconf('SC_PAGE_SIZE') // 1024}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
