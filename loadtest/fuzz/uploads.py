"""Mutated uploads: what is sent, in which pieces, and how it is to be read. Pure, of (seed, number) alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from resonance.loadtest.fuzz.mutate import CHANGES, Material, Mutant, Sample, make_mutant, random_of
from resonance.space.descriptor import MODALITIES

_CHUNK_BYTES = (97, 4096, 65_536, 1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """See `resonance.serving.gateway.reading.ReadRequest` for the fields that it has, too.

    chunks: (offset in bytes, data) in the order of sending.
    """

    mutant: Mutant
    mode: str
    sampling: str
    modalities: frozenset[str] | None
    first_index: int
    live: bool
    size_bytes: int | None
    subtitles: tuple[str, bytes] | None
    chunks: tuple[tuple[int, bytes], ...]

    @property
    def about(self) -> str:
        """How it was made, on one line."""
        steps = ", ".join(self.mutant.steps)
        return f"{self.mode}{' live' if self.live else ''}, {self.sampling}, {self.mutant.sample}: {steps}"


def make_upload(files: Material, words: Material, *, seed: int, number: int) -> Upload:
    """Upload `number` of the run `seed`.

    Args:
        files: containers and pictures. words: subtitles and texts.
    """
    random = random_of(seed, number, "upload")
    mode = random.choices(("encoded", "subtitles", "text"), (94, 4, 2))[0]
    mutant = make_mutant(files if mode == "encoded" else words, seed=seed, number=number)
    subtitles = None
    if mode == "subtitles":
        subtitles = (random.choice(("srt", "vtt")), b"")
    elif mode == "encoded" and random.random() < 0.05:
        subtitles = (random.choice(("srt", "vtt")), _changed(random.choice(words.samples), random, words))
    data = mutant.data
    live = mode == "encoded" and random.random() < 0.1
    known = not live and random.random() < 0.5
    modalities = None
    if random.random() < 0.1:
        modalities = frozenset(random.sample(MODALITIES, random.randint(1, 3)))
    return Upload(
        mutant=mutant,
        mode=mode,
        sampling="uniform" if random.random() < 0.15 else "keyframes",
        modalities=modalities,
        first_index=random.choice((1, 2, 100)) if random.random() < 0.1 else 0,
        live=live,
        size_bytes=len(data) if known else None,
        subtitles=subtitles,
        chunks=_chunks(data, random, ordered=not known),
    )


def _changed(sample: Sample, random: Random, material: Material) -> bytes:
    data = bytearray(sample.data)
    random.choice(CHANGES)[1](data, random, material)
    return bytes(data)


def _chunks(data: bytes, random: Random, *, ordered: bool) -> tuple[tuple[int, bytes], ...]:
    size = max(random.choice(_CHUNK_BYTES), len(data) // 64)
    chunks = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    if not ordered and random.random() < 0.3:
        random.shuffle(chunks)
    return tuple(chunks)
