"""Shapes that arcs are compared with: named ones and drawn ones, and what of a curve is its shape.

A curve is float64 [POINTS], heights at equal steps from the first moment to the last. Its shape is what is
left of it once its own middle and its own spread are taken out, see `shape_of`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from resonance.clients.errors import UsageError
from resonance.space.arcs import Arc, FloatArray, resample_to
from resonance.space.errors import ArcError

#: Heights of a curve. A film of two hours has 900 segments of 8 s: 64 keep what takes two minutes.
POINTS = 64
#: The named shapes, by their corners: (share of the time, height), straight between them.
SHAPES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "rise": ((0.0, 0.0), (1.0, 1.0)),
    "fall": ((0.0, 1.0), (1.0, 0.0)),
    "comeback": ((0.0, 1.0), (0.5, 0.0), (1.0, 1.0)),
    "peak": ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0)),
    "slow-burn": ((0.0, 0.0), (0.6, 0.0), (1.0, 1.0)),
    "early-shock": ((0.0, 1.0), (0.4, 0.0), (1.0, 0.0)),
    "waves": ((0.0, 0.0), (0.25, 1.0), (0.5, 0.0), (0.75, 1.0), (1.0, 0.0)),
    "steady": ((0.0, 0.5), (1.0, 0.5)),
}
#: Share of the largest height by which equal ones may differ: roundings of whoever wrote them.
_ROUNDING = 1e-12
#: Standard deviation over time, on the arcs' scale of 0 to 1, that is as likely noise as movement: about what
#: titles have that stay on one level, by what docs/arcs.md has measured.
HARDLY_MOVES = 0.05


def named_shape(name: str) -> FloatArray:
    """One of `SHAPES`, [POINTS].

    Raises:
        UsageError: no shape has that name.
    """
    if name not in SHAPES:
        raise UsageError(f"no shape is called '{name}'; known are {', '.join(SHAPES)}")
    shares, heights = zip(*SHAPES[name], strict=True)
    return shape_of(np.interp(np.linspace(0.0, 1.0, POINTS), shares, heights))


def drawn_shape(text: str) -> FloatArray:
    """The shape of a curve that a person drew, [POINTS].

    Args:
        text: values at equal steps as ``0,0.2,0.9``, or the path of a CSV file of time,value rows, the first
            of which may be a heading. Only relative heights and times count.

    Raises:
        UsageError: it is neither, or the file holds something else: which row, and what was expected.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return shape_of(_read_curve(Path(text)))
    return shape_of(_curve(range(len(values)), values, f"curve '{text}'"))


def shape_of(curves: FloatArray, *, hardly_moves: float = 0.0) -> FloatArray:
    """What of curves [..., POINTS] is their shape: mean 0, standard deviation s / sqrt(s^2 + hardly_moves^2).

    So a curve that moves keeps its relative heights and a spread near 1, while one that hardly moves stays
    near 0 instead of being blown up to whatever its noise resembles. A curve that does not move at all is 0
    everywhere.
    """
    centred = curves - curves.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    # the mean of equal numbers may be off by a rounding, which is no movement
    moves = spread > 1e-9
    scale = np.sqrt(spread**2 + hardly_moves**2)
    return np.asarray(np.divide(centred, scale, out=np.zeros_like(centred), where=moves))


def _read_curve(path: Path) -> FloatArray:
    expected = "expected numbers such as 0,0.2,0.9, or a CSV file of time,value rows"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(at, row) for at, row in enumerate(csv.reader(file), start=1) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"curve {path}: {error}; {expected}") from error
    points: list[tuple[float, float]] = []
    for at, row in rows:
        try:
            time, value = map(float, row)
        except ValueError as error:
            if (at, row) == rows[0]:
                continue  # a heading
            raise UsageError(f"curve {path}, row {at}: {','.join(row)!r}; expected time,value") from error
        points.append((time, value))
    return _curve([t for t, _ in points], [v for _, v in points], f"curve {path}")


def _curve(times: Sequence[float], values: Sequence[float], what: str) -> FloatArray:
    if len(values) < 2 or not np.isfinite(values).all():
        raise UsageError(f"{what}: {len(values)} values; expected at least 2, all finite")
    # whatever their unit: squares of large heights overflow, and small ones would be taken for roundings
    heights = np.asarray(values) / (float(np.abs(values).max()) or 1.0)
    heights -= heights.min()
    if heights.max() > _ROUNDING:
        heights /= heights.max()
    try:
        return resample_to(Arc.of(times, heights), POINTS).values
    except ArcError as error:
        raise UsageError(f"{what}: {error}") from error
