"""Axes of a title: where its segments and the whole lie between pairs of prompts, as its space has them.

What a value means, and what it does not, stands in docs/axes.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resonance.clients.arcs import SMOOTHING_S
from resonance.clients.results import AxisValue, Segment, Vector
from resonance.space.arcs import Arc, smooth
from resonance.space.axes import AxisMeter
from resonance.space.descriptor import Axis


def segment_axes(meter: AxisMeter, vector: Vector, present: tuple[bool, bool, bool]) -> dict[str, float]:
    """Values in 0..1 by axis, of one segment's vector [1788]; only its present blocks count."""
    values = meter.values(vector, [*present])
    return {name: float(value) for name, value in zip(meter.names, values, strict=True)}


def axis_arcs(
    axes: Mapping[str, Axis], segments: Sequence[tuple[float, Mapping[str, float]]]
) -> dict[str, list[tuple[float, float]]]:
    """Arcs by axis as (time_s, value in 0..1) points, smoothed as the measured ones are.

    Args:
        segments: (time in the title in seconds, values by axis), times rising.

    Raises:
        ArcError: times do not rise.
    """
    times_s = [t for t, _ in segments]
    return {
        name: smooth(Arc.of(times_s, [values.get(name) for _, values in segments]), SMOOTHING_S).points()
        for name in axes
    }


def title_axes(axes: Mapping[str, Axis], segments: Sequence[Segment]) -> dict[str, AxisValue]:
    """Each axis over the whole title: the mean of its segments' values, weighted by their salience.

    It therefore lies between the lowest and the highest segment. The title vector is not read off the
    axis instead: the mean of many blocks lies nearer to the middle of its modality than any of them, and
    would be measured against a spread that was calibrated on segments.
    """
    weights = [segment.salience or 0.0 for segment in segments]
    total = sum(weights)
    found = {}
    for name, axis in axes.items():
        values = [segment.axes[name] for segment in segments]
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
        # rounding must not push a mean out of what it is a mean of
        found[name] = AxisValue(min(max(mean, min(values)), max(values)), axis.low[0], axis.high[0])
    return found
