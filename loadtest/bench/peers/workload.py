"""The sentences and pictures that every contender gets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SENTENCES, IMAGES = 512, 32
#: Words a sentence: half of them between 12 and 28, as titles, queries and what is said in 8 s; some longer.
MEDIAN_WORDS, SPREAD, LEAST_WORDS, MOST_WORDS = 18, 0.6, 3, 120
IMAGE_PX = 224
SEED = 596
WORDS = """
    a an the of in on at to and or but with from under over after before her his their old young quiet last
    first lost harbour city winter summer night morning train letter house river mountain island ship
    keeper detective doctor teacher pilot singer brother sister mother father friend stranger neighbour
    returns leaves finds hides follows saves forgets remembers promises waits fights learns sings sails
    secret murder wedding trial storm war journey summer's village family orchestra championship expedition
    documentary comedy drama thriller romance about during years later against all odds never quite alone
    astronaut penguin dinosaur robot ghost recipe garden machine photograph map diary money museum
""".split()  # noqa: SIM905  a list of a hundred strings would fill a page

Images = npt.NDArray[np.uint8]


def sentences(count: int = SENTENCES) -> list[str]:
    """Distinct made-up sentences, the same in every run; no two alike, so that no cache answers."""
    rng = np.random.default_rng(SEED)
    lengths = np.exp(rng.normal(np.log(MEDIAN_WORDS), SPREAD, count)).round()
    lengths = np.clip(lengths, LEAST_WORDS, MOST_WORDS).astype(int)
    made = [" ".join(rng.choice(WORDS, length)).capitalize() + "." for length in lengths]
    return [f"{number} {text}" for number, text in enumerate(made)]


def images(count: int = IMAGES) -> Images:
    """Made-up RGB pictures uint8 [count, 224, 224, 3]: gradients under noise."""
    rng = np.random.default_rng(SEED)
    slope = np.linspace(0, 255, IMAGE_PX)
    plane = (slope[:, None] + slope[None, :]) / 2  # (H, W)
    phase = rng.uniform(0, 255, (count, 1, 1, 3))
    noise = rng.normal(0, 20, (count, IMAGE_PX, IMAGE_PX, 3))
    made: Images = ((plane[None, :, :, None] + phase + noise) % 256).astype(np.uint8)
    return made
