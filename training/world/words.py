"""The transcript of a segment: the written melody, caption, name, and dialogue that fits tension and pace."""

from __future__ import annotations

import numpy as np

from resonance.training.world.factors import (
    PACES,
    SETTINGS,
    STEP_WORDS,
    SUBJECTS,
    TENSIONS,
    SegmentFactors,
)

#: Words of dialogue in 8 s, by pace.
DIALOGUE_WORDS = (2, 5, 9, 14, 20)
DIALOGUE = (
    ("rest", "warm", "easy", "breathe", "home", "soft"),
    ("smile", "maybe", "garden", "tea", "walk", "fine"),
    ("listen", "shadow", "wait", "odd", "doubt", "why"),
    ("hurry", "now", "door", "danger", "move", "quick"),
    ("run", "fire", "scream", "blood", "help", "stop"),
)
FILLER = ("the", "and", "we", "it", "is", "to", "you", "so", "then", "here", "a", "of")
#: Shares of segments whose text leaves a part out, as real captions do.
LEAVES_OUT = {"theme": 0.15, "mood": 0.5, "pace": 0.5}


def render_words(factors: SegmentFactors, rng: np.random.Generator, *, complete: bool = False) -> str:
    """Text of a segment, at most 256 bytes; `complete` leaves no part out."""

    def said(part: str) -> bool:
        return complete or rng.random() >= LEAVES_OUT[part]

    parts = []
    if said("theme"):
        parts.append("theme " + " ".join(STEP_WORDS[s] for s in factors.melody))
    frame = ("the {s} at the {p}", "a {s} in the {p}", "{p}: the {s}", "{s} near the {p}")[
        int(rng.integers(4))
    ]
    parts.append(frame.format(s=SUBJECTS[factors.subject], p=SETTINGS[factors.setting]))
    if said("mood"):
        parts.append(TENSIONS[factors.tension])
    if said("pace"):
        parts.append(PACES[factors.pace])
    parts.append(dialogue(factors, rng))
    return ". ".join(parts)[:254]


def dialogue(factors: SegmentFactors, rng: np.random.Generator) -> str:
    """Words at the pace's rate, about half of them of the tension's vocabulary."""
    count = max(2, round(DIALOGUE_WORDS[factors.pace] * rng.uniform(0.9, 1.1)))
    words = [str(rng.choice(DIALOGUE[factors.tension] if i % 2 == 0 else FILLER)) for i in range(count)]
    return " ".join(words)
