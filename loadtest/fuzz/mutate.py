"""Mutated files: pure, and made from (seed, number) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from resonance.loadtest.fuzz.structure import Element, Field, elements, repair

MAX_STEPS = 12
LONG_SHARE = 0.01
#: No mutant is longer: what is wanted is many, not large ones.
MAX_BYTES = 1 << 20
#: Of mutants of formats with checksums, those whose checksums are made right again.
REPAIRED_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Sample:
    """A file that mutants are made of."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file that nobody made on purpose. steps: what was done to `sample`, in order."""

    number: int
    sample: str
    steps: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Material:
    """What a mutation may take: samples, words of their formats, and long samples, taken now and then."""

    samples: Sequence[Sample]
    words: Sequence[bytes]
    long: Sequence[Sample] = ()


def random_of(seed: int, number: int, purpose: str = "") -> Random:
    """The source of chance of one input; of the same numbers always the same."""
    return Random(f"{seed}:{number}:{purpose}")


def make_mutant(material: Material, *, seed: int, number: int) -> Mutant:
    """Input `number` of the run `seed`."""
    random = random_of(seed, number)
    taken = material.long if material.long and random.random() < LONG_SHARE else material.samples
    sample = random.choice(taken)
    data = bytearray(sample.data)
    count = min(1 + int(random.expovariate(0.6)), MAX_STEPS)
    steps = []
    for _ in range(count):
        name, change = random.choices(CHANGES, WEIGHTS)[0]
        change(data, random, material)
        steps.append(name)
        del data[MAX_BYTES:]
    if random.random() < REPAIRED_SHARE:
        repair(data)
    return Mutant(number, sample.name, tuple(steps), bytes(data))


def _place(data: bytearray, random: Random) -> int:
    """A position, more often near the start, where formats say what they are."""
    if not data:
        return 0
    reach = min(len(data), random.choice((64, 512, 4096, len(data))))
    return random.randrange(reach)


def flip_bits(data: bytearray, random: Random, material: Material) -> None:
    """Turn 1 to 8 bits over."""
    for _ in range(random.randint(1, 8) if data else 0):
        data[_place(data, random)] ^= 1 << random.randrange(8)


def set_bytes(data: bytearray, random: Random, material: Material) -> None:
    """Put a short run of bytes by chance, or of one value, over what is there."""
    at, length = _place(data, random), random.choice((1, 2, 4, 8, 16, 64))
    value = random.choice((None, 0x00, 0xFF, 0x7F, 0x80))
    run = random.randbytes(length) if value is None else bytes((value,)) * length
    data[at : at + length] = run[: max(len(data) - at, 0)]


def set_length(data: bytearray, random: Random, material: Material) -> None:
    """Let an element say another length than it has."""
    found = elements(data)
    if not found:
        set_number(data, random, material)
        return
    field = random.choice(found).length
    field.write(data, _other(field, data, random))


def set_number(data: bytearray, random: Random, material: Material) -> None:
    """Another number of 16, 32 or 64 bits at a position that one could stand at."""
    size_bytes = random.choice((2, 4, 8))
    if len(data) < size_bytes:
        return
    at = min(_place(data, random), len(data) - size_bytes)
    if random.random() < 0.5:
        at -= at % 2
    field = Field(at, size_bytes, big=random.random() < 0.7)
    field.write(data, _other(field, data, random))


def _other(field: Field, data: bytearray, random: Random) -> int:
    now, most = field.read(data), (1 << 8 * field.size_bytes) - 1
    choices: tuple[Callable[[], int], ...] = (
        lambda: 0,
        lambda: 1,
        lambda: most,
        lambda: most >> 1,
        lambda: (most >> 1) + 1,
        lambda: now + random.choice((-8, -4, -2, -1, 1, 2, 4, 8)),
        lambda: now * 2,
        lambda: now // 2,
        lambda: len(data),
        lambda: len(data) - field.offset + random.randint(-9, 9),
        lambda: random.randrange(most + 1),
        lambda: random.randrange(256),
    )
    return max(random.choice(choices)(), 0)


def _element(data: bytearray, random: Random) -> tuple[int, int]:
    """[start, end) of an element, or of any stretch where the format is not known."""
    found: list[Element] = elements(data)
    if found:
        chosen = random.choice(found)
        return chosen.start, chosen.end
    start = _place(data, random)
    return start, min(start + random.choice((4, 16, 188, 1024)), len(data))


def remove(data: bytearray, random: Random, material: Material) -> None:
    """Take an element out."""
    start, end = _element(data, random)
    del data[start:end]


def duplicate(data: bytearray, random: Random, material: Material) -> None:
    """Repeat an element, after itself or elsewhere, once or many times."""
    start, end = _element(data, random)
    times = random.choice((1, 1, 2, 16, 200))
    copies = bytes(data[start:end]) * max(min(times, MAX_BYTES // max(end - start, 1)), 1)
    at = random.choice((end, _element(data, random)[0]))
    data[at:at] = copies


def insert(data: bytearray, random: Random, material: Material) -> None:
    """Put in bytes by chance, or nothing but zeros."""
    length = random.choice((1, 3, 8, 100, 5000))
    at = _place(data, random)
    data[at:at] = random.randbytes(length) if random.random() < 0.5 else bytes(length)


def put_word(data: bytearray, random: Random, material: Material) -> None:
    """Put a word of some format in, or over what is there."""
    word = random.choice(material.words)
    at = (
        _element(data, random)[0] + random.choice((0, 4, 8))
        if random.random() < 0.5
        else _place(data, random)
    )
    end = at if random.random() < 0.4 else at + len(word)
    data[at:end] = word


def splice(data: bytearray, random: Random, material: Material) -> None:
    """Go on as another sample."""
    other = bytearray(random.choice(material.samples).data)
    if random.random() < 0.5:
        at, start = _place(data, random), _place(other, random)
        data[at:] = other[start:]
    else:
        start, end = _element(other, random)
        at = _element(data, random)[0]
        data[at:at] = other[start:end]


def truncate(data: bytearray, random: Random, material: Material) -> None:
    """Break off, or lose the start."""
    at = random.randrange(len(data) + 1)
    if random.random() < 0.85:
        del data[at:]
    else:
        del data[: at // 4]


def swap(data: bytearray, random: Random, material: Material) -> None:
    """Let two elements change places."""
    first, second = sorted((_element(data, random), _element(data, random)))
    if first[1] <= second[0]:
        between = data[first[1] : second[0]]
        data[first[0] : second[1]] = data[second[0] : second[1]] + between + data[first[0] : first[1]]


Change = Callable[[bytearray, Random, Material], None]

#: What may happen to a file, and how often.
_TABLE: tuple[tuple[Change, float], ...] = (
    (flip_bits, 20),
    (set_bytes, 14),
    (set_length, 16),
    (set_number, 16),
    (remove, 6),
    (duplicate, 5),
    (insert, 5),
    (put_word, 9),
    (splice, 5),
    (truncate, 4),
    (swap, 3),
)
CHANGES: tuple[tuple[str, Change], ...] = tuple((change.__name__, change) for change, _ in _TABLE)
WEIGHTS: tuple[float, ...] = tuple(weight for _, weight in _TABLE)
