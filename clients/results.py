"""What embedding gives back: segments while they complete, the title last.

What holds arrays is equal to itself alone, and hashed so; compare vectors with numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resonance.clients.media.types import Damage, SampledBy, StreamSignal
from resonance.space.descriptor import Descriptor

Vector = NDArray[np.float32]
SignalValue = float | StreamSignal | None


@dataclass(frozen=True, slots=True)
class SpaceRef:
    """Which space a vector belongs to; it travels with every result."""

    name: str
    fingerprint: str
    trained: bool

    @classmethod
    def of(cls, descriptor: Descriptor) -> SpaceRef:
        """That of a descriptor."""
        return cls(descriptor.name, descriptor.fingerprint, descriptor.trained)


@dataclass(frozen=True, slots=True)
class AxisValue:
    """Where a title lies on an axis: `value` in 0..1, from the end labelled `low` to that labelled `high`."""

    value: float
    low: str
    high: str


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One window of a title.

    Attributes:
        start_s, end_s: from the title's earliest stream start; None for text without a clock.
        present: which of visual, audio, transcript were there; the other blocks of `vector` are inferred.
        vector: float32 [1788], unit norm.
        signals: measured values by name, units in the names; None where they cannot be told.
        sampled_by: how the frames were really chosen; frame_times_s: their times in the title.
        salience: share of the segment in the title, known once the title is (they sum to 1).
        axes: values in 0..1 by axis of the space, of the present blocks alone.
    """

    index: int
    start_s: float | None
    end_s: float | None
    present: tuple[bool, bool, bool]
    vector: Vector
    signals: Mapping[str, SignalValue]
    sampled_by: SampledBy
    frame_times_s: tuple[float, ...]
    salience: float | None = None
    axes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, milliseconds of wall clock summed over threads and requests.

    demux and decode: reading on the client. queue: read segments waiting for a free place among those in
    flight. inference: requests at the server, transfer included. total: from first byte to title.
    """

    demux_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class MediaEmbedding:
    """A whole title.

    `title` is float32 [1788], unit norm; `arcs` maps a name, measured or an axis, to (time_s, value in
    0..1) points. `axes` is the whole title's value by axis; without calibrated axes in the space, empty.
    `rolling` marks a title of a live feed that goes on; it is of the feed's last segments. `damage` is what
    of the media could not be read; of a resumed title, what this run met of it.
    """

    media: str
    space: SpaceRef
    duration_s: float | None
    modalities: tuple[str, ...]
    title: Vector
    present: tuple[bool, bool, bool]
    segments: tuple[Segment, ...]
    arcs: Mapping[str, list[tuple[float, float]]]
    timing: Timing
    axes: Mapping[str, AxisValue] = field(default_factory=dict)
    rolling: bool = False
    damage: Damage = field(default_factory=Damage)


@dataclass(frozen=True, slots=True, eq=False)
class QueryEmbedding:
    """What a store is asked with.

    vector: float32 [1788], weights and sigmas applied, so that its dot product with a title's vector is the
    score; not of unit norm. unweighted: the same before the weights. present: modalities of the examples.
    """

    vector: Vector
    unweighted: Vector
    present: tuple[bool, bool, bool]
    space: SpaceRef
