"""The latent factors of a title and of its segments, their vocabulary, and what is held out.

Each factor shows in at least two modalities:

| factor | picture | sound | transcript |
|---|---|---|---|
| setting (16) | hue and texture of the background | band and rhythm of the ambience | caption |
| subject (32) | shape and marking | sound source and grouping | name |
| tension (5 levels) | light | harmony | dialogue |
| pace (5 levels) | cuts and streaks of motion | tempo | words a second |
| melody (7 steps) | - | contour of the lead | the contour, written |
| arc (6) | tension and pace over time | the same | the same |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SETTINGS = (
    "harbour", "forest", "desert", "market", "glacier", "temple", "railway", "meadow",
    "cavern", "factory", "rooftop", "marsh", "palace", "orchard", "canyon", "library",
)  # fmt: skip
SUBJECTS = (
    "falcon", "dancer", "robot", "whale", "lantern", "soldier", "violin", "fox",
    "chariot", "baker", "comet", "turtle", "pilot", "oracle", "kettle", "stallion",
    "puppet", "sailor", "beetle", "queen", "tractor", "ghost", "juggler", "raven",
    "compass", "gardener", "dragon", "clown", "hunter", "mirror", "wolf", "nurse",
)  # fmt: skip
#: Subjects s and s + SUBJECT_KINDS have one shape and one call; marking and grouping of the calls tell them.
SUBJECT_KINDS = 8
TENSIONS = ("serene", "gentle", "uneasy", "urgent", "frantic")
PACES = ("still", "slow", "steady", "brisk", "rapid")
ARCS = ("rise", "fall", "comeback", "peak", "slow burn", "early shock")
#: Steps of the melody in degrees of its scale, and the word each is written with.
STEP_WORDS = {-2: "fall", -1: "dips", 0: "hold", 1: "rise", 2: "leap"}
MELODY_STEPS = 7
#: A melody never leaves this many scale degrees around its first note.
MELODY_REACH = 5
GENRES = ("drama", "comedy", "thriller", "documentary", "romance", "fantasy")
LEVELS = 5


@dataclass(frozen=True, slots=True)
class SegmentFactors:
    """What a segment of 8 s is about; the levels are of this moment of the arc."""

    setting: int
    subject: int
    tension: int
    pace: int
    melody: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TitleFactors:
    """The latent factors of a title. `genre` is a tag: filed by hand, tied to nothing else."""

    setting: int
    subject: int
    melody: tuple[int, ...]
    arc: int
    tension_span: tuple[int, int]
    pace_span: tuple[int, int]
    genre: int

    def at(self, position: float) -> SegmentFactors:
        """The segment at `position` (0..1) of the title."""
        height = arc_height(self.arc, position)
        return SegmentFactors(
            self.setting,
            self.subject,
            _level(self.tension_span, height),
            _level(self.pace_span, height),
            self.melody,
        )


def _level(span: tuple[int, int], height: float) -> int:
    low, high = span
    return int(np.clip(round(low + (high - low) * height), 0, LEVELS - 1))


def arc_height(arc: int, position: float) -> float:
    """0..1 at `position` 0..1: the shape named by `ARCS[arc]`."""
    shapes = (
        position,
        1.0 - position,
        abs(2.0 * position - 1.0),
        1.0 - abs(2.0 * position - 1.0),
        max(0.0, (position - 0.6) / 0.4),
        max(0.0, 1.0 - position / 0.4),
    )
    return float(shapes[arc])


def is_held_out(setting: int, subject: int) -> bool:
    """Combinations of setting and subject that no training title has: every setting and subject is seen,
    one in eight of their pairs is not."""
    return (3 * setting + 5 * subject) % 8 == 0


def is_held_out_melody(melody: tuple[int, ...]) -> bool:
    """One melody in eight is kept out of training."""
    return sum((i + 1) * (step + 2) for i, step in enumerate(melody)) % 8 == 0


def draw_melody(rng: np.random.Generator, *, held_out: bool) -> tuple[int, ...]:
    """Steps that stay within reach, from the held-out melodies or from the others."""
    while True:
        steps = tuple(int(s) for s in rng.integers(-2, 3, MELODY_STEPS))
        heights = np.cumsum((0, *steps))
        within = np.abs(heights).max() <= MELODY_REACH
        if within and len(set(steps)) > 1 and is_held_out_melody(steps) == held_out:
            return steps


def _span(rng: np.random.Generator) -> tuple[int, int]:
    """Two levels at least 2 apart, so that an arc is heard and seen."""
    low = int(rng.integers(0, LEVELS - 2))
    return low, int(rng.integers(low + 2, LEVELS))


def draw_title(rng: np.random.Generator, *, held_out: bool) -> TitleFactors:
    """A title with independent factors; held-out ones have a combination and a melody never trained on."""
    while True:
        setting, subject = int(rng.integers(len(SETTINGS))), int(rng.integers(len(SUBJECTS)))
        if is_held_out(setting, subject) == held_out:
            break
    return TitleFactors(
        setting=setting,
        subject=subject,
        melody=draw_melody(rng, held_out=held_out),
        arc=int(rng.integers(len(ARCS))),
        tension_span=_span(rng),
        pace_span=_span(rng),
        genre=int(rng.integers(len(GENRES))),
    )
