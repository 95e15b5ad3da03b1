"""Samples in a file, so that each worker process need not make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from resonance.loadtest.fuzz.mutate import Sample

_LENGTH_BYTES = 8


def write_samples(samples: Sequence[Sample], path: Path) -> None:
    """Name and data of each, after their lengths."""
    with path.open("wb") as file:
        for sample in samples:
            for part in (sample.name.encode(), sample.data):
                file.write(len(part).to_bytes(_LENGTH_BYTES, "little") + part)


def read_samples(path: Path) -> Iterator[Sample]:
    """What `write_samples` wrote."""
    data, at = path.read_bytes(), 0

    def part() -> bytes:
        nonlocal at
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        return data[start:at]

    while at < len(data):
        yield Sample(part().decode(), part())
