"""What a message from the other side must hold; a refusal names the field, what came and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

import numpy as np

from resonance.clients.errors import InvalidFieldError
from resonance.clients.results import Vector
from resonance.space.blocks import NORM_TOLERANCE, ROOT_BLOCKS
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES, TITLE_WIDTH
from resonance.v1 import embedding_pb2 as pb

#: Entries of a map; a title has a dozen signals, arcs and axes.
MAX_ENTRIES = 256
#: Points of an arc, shares of a title: one a segment, which is 97 days of 8 s.
MAX_POINTS = 1 << 20
#: Frames of one segment; the largest bucket is 16.
MAX_FRAMES = 64
MAX_NAME_CHARACTERS = 128


def float_vector(values: Sequence[float], field: str) -> Vector:
    """float32 [1788].

    Raises:
        InvalidFieldError: another width, or a number that is not finite.
    """
    if len(values) != TITLE_WIDTH:
        raise InvalidFieldError(field, f"{len(values):,} numbers", f"{TITLE_WIDTH:,}")
    vector = np.fromiter(values, np.float32, TITLE_WIDTH)
    finite = np.isfinite(vector)
    if not finite.all():
        at = int(np.argmin(finite))
        raise InvalidFieldError(f"{field}[{at}]", str(float(vector[at])), "a finite number")
    return vector


def unit_vector(values: Sequence[float], field: str) -> Vector:
    """float32 [1788] whose three blocks have norm 1/sqrt(3) each, so that the whole has norm 1.

    Raises:
        InvalidFieldError: another width, a number that is not finite, or another norm.
    """
    vector = float_vector(values, field)
    blocks = vector.reshape(len(MODALITIES), BLOCK_WIDTH)
    squares = np.einsum("bw,bw->b", blocks, blocks, dtype=np.float64)  # (3,)
    norms = np.sqrt(squares) * ROOT_BLOCKS
    worst = int(np.abs(norms - 1.0).argmax())
    if abs(norms[worst] - 1.0) > NORM_TOLERANCE:
        raise InvalidFieldError(
            field,
            f"norm {math.sqrt(squares.sum()):.6g}, of which block {MODALITIES[worst]} "
            f"{math.sqrt(squares[worst]):.6g}",
            f"norm 1 of three blocks of 1/sqrt(3) = {1 / ROOT_BLOCKS:.6g} each, within {NORM_TOLERANCE:g}",
        )
    return vector


def finite(value: float, field: str) -> float:
    """The number.

    Raises:
        InvalidFieldError: it is infinite or not a number.
    """
    if not math.isfinite(value):
        raise InvalidFieldError(field, str(value), "a finite number")
    return value


def fraction(value: float, field: str) -> float:
    """The number, in 0 to 1.

    Raises:
        InvalidFieldError: it lies outside.
    """
    if not 0.0 <= value <= 1.0:
        raise InvalidFieldError(field, str(value), "0 to 1")
    return value


def at_most(values: Sized, most: int, field: str) -> None:
    """Refuse more than `most` entries.

    Raises:
        InvalidFieldError: there are more.
    """
    if len(values) > most:
        raise InvalidFieldError(field, f"{len(values):,} entries", f"at most {most:,}")


def short_name(name: str, field: str) -> str:
    """The name, of 1 to 128 characters.

    Raises:
        InvalidFieldError: it is empty or longer.
    """
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidFieldError(
            field, f"a name of {len(name):,} characters", f"1 to {MAX_NAME_CHARACTERS} characters"
        )
    return name


def some_presence(present: pb.Presence, field: str) -> tuple[bool, bool, bool]:
    """Visual, audio, transcript.

    Raises:
        InvalidFieldError: none of them is there.
    """
    there = (present.visual, present.audio, present.transcript)
    if not any(there):
        raise InvalidFieldError(field, "none", f"one or more of {', '.join(MODALITIES)}")
    return there


def start_and_end(message: pb.Segment, field: str) -> tuple[float | None, float | None]:
    """Both times in seconds, or None twice for text without a clock.

    Raises:
        InvalidFieldError: one without the other, not finite, or the end before the start.
    """
    if message.HasField("start_s") != message.HasField("end_s"):
        alone = "start_s" if message.HasField("start_s") else "end_s"
        raise InvalidFieldError(field, f"{alone} alone", "start_s and end_s, or neither")
    if not message.HasField("start_s"):
        return None, None
    start_s = finite(message.start_s, f"{field}.start_s")
    end_s = finite(message.end_s, f"{field}.end_s")
    if end_s < start_s:
        raise InvalidFieldError(f"{field}.end_s", f"{end_s:g}", f"at least start_s, {start_s:g}")
    return start_s, end_s
