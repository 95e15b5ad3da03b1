"""The measured signals of a segment, from the stream and from the signal models, under one set of names."""

from __future__ import annotations

from resonance.clients.media.types import SampledBy, SegmentInput, StreamSignal
from resonance.clients.results import SignalValue, Vector
from resonance.space.descriptor import Descriptor, SignalSpec

#: Where frames were taken evenly, their differences tell cuts and motion too: the F1 of cuts found from
#: two frames a second, whatever the codec (`resonance.loadtest.bench cuts`).
FRAME_DIFFERENCE_CONFIDENCE = 0.66
#: A mean luma change of half the range a second is as much motion as the scale tells.
FULL_MOTION_CHANGE_PER_S = 0.5


def segment_signals(
    given: SegmentInput, descriptor: Descriptor, visual: Vector | None, audio: Vector | None
) -> dict[str, SignalValue]:
    """All signals by name; None where a modality is absent or the stream cannot tell.

    visual float32 [Kv] and audio float32 [Ka] are in the order of the descriptor's `signals`.
    """
    seen = _named(descriptor.signals["visual"], visual)
    heard = _named(descriptor.signals["audio"], audio)
    cut_rate, motion = given.cut_rate_per_min, given.motion
    if given.sampled_by is SampledBy.UNIFORM:
        cut_rate = _surer(cut_rate, _from_frames(seen["frame_cut_rate_per_min"], 1.0))
        motion = _surer(motion, _from_frames(seen["frame_change_per_s"], 1.0 / FULL_MOTION_CHANGE_PER_S))
    return {
        "cut_rate_per_min": cut_rate,
        "motion": motion,
        "brightness": seen["brightness"],
        "colourfulness": seen["colourfulness"],
        **heard,
        "words_per_second": given.words_per_second,
    }


def signal_value(value: SignalValue) -> float | None:
    """The bare number of a signal."""
    return value.value if isinstance(value, StreamSignal) else value


def _named(specs: tuple[SignalSpec, ...], values: Vector | None) -> dict[str, float | None]:
    if values is None:
        return {spec.name: None for spec in specs}
    return {spec.name: float(value) for spec, value in zip(specs, values, strict=True)}


def _from_frames(value: float | None, scale: float) -> StreamSignal | None:
    if value is None or value < 0:  # the model's sign for fewer than two frames
        return None
    return StreamSignal(
        min(value * scale, 1.0) if scale != 1.0 else value, "frame-difference", FRAME_DIFFERENCE_CONFIDENCE
    )


def _surer(a: StreamSignal | None, b: StreamSignal | None) -> StreamSignal | None:
    return max((s for s in (a, b) if s is not None), key=lambda s: s.confidence, default=None)
