"""Where shots change, from decoded frames of a few seconds.

The detector is FFmpeg's own, the filter `scdet`: of two neighbouring frames the mean absolute difference, and
how much larger it is than the one before it; the smaller of both is the score, 0 to 100. So neither steady
motion nor noise alone is a cut. It comes with PyAV, which decodes here anyway. PySceneDetect's detectors find
about as many (docs/reel.md), and need OpenCV, of which nothing after version 4.11 runs beside numpy 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.reformatter import Interpolation, VideoReformatter

from resonance.clients.media.types import ByteArray

#: Size of the frames that are compared: enough to see a cut, too small for noise.
WIDTH, HEIGHT = 128, 72
#: Scores from here on are cuts, and a change that is undone by half within `FLASH_S` is a flash and none.
#: Both were chosen on other sequences than docs/reel.md has figures of.
THRESHOLD = 6.0
FLASH_S, UNDONE = 0.25, 0.5
_SCORE = "lavfi.scd.score"


@dataclass(frozen=True, slots=True)
class Shots:
    """What a stretch of video shows. boundaries_s: times of the first frames of shots, rising.

    first_s, last_s: times of the first and the last frame; None where there is no frame.
    """

    boundaries_s: tuple[float, ...]
    first_s: float | None
    last_s: float | None


def find_shots(frames: Iterable[tuple[float, av.VideoFrame]]) -> Shots:
    """The boundaries between frames (time_s, frame) that come in order. Blocks; of each frame 9 KB are kept.

    The first frame is no boundary: nothing is known of what was before.
    """
    reformatter = VideoReformatter()
    graph, source, sink = _graph()
    times_s: list[float] = []
    scores: list[float] = []
    pictures: list[ByteArray] = []
    for time_s, frame in frames:
        small = reformatter.reformat(
            frame, WIDTH, HEIGHT, "gray", interpolation=Interpolation.AREA, threads=1
        )
        small.pts, small.time_base = len(times_s), Fraction(1, 1000)
        times_s.append(time_s)
        pictures.append(np.asarray(small.to_ndarray(), np.uint8))
        source.push(small)
        scores += _pulled(sink)
    source.push(None)
    scores += _pulled(sink)
    del graph
    found: list[float] = []
    undone = 0  # the picture up to which a flash lasts
    for at, score in enumerate(scores):
        if at > undone and score >= THRESHOLD:
            undone = _flash_end(at, times_s, pictures)
            if undone == 0:
                found.append(times_s[at])
    return Shots(tuple(found), times_s[0] if times_s else None, times_s[-1] if times_s else None)


def _flash_end(at: int, times_s: Sequence[float], pictures: Sequence[ByteArray]) -> int:
    """The picture that looks again as before the change at `at`; 0 where that is no flash."""
    changed = _difference(pictures[at - 1], pictures[at])
    for after in range(at + 1, len(pictures)):
        if times_s[after] > times_s[at] + FLASH_S:
            return 0
        if _difference(pictures[at - 1], pictures[after]) < UNDONE * changed:
            return after
    return 0


def _difference(one: ByteArray, other: ByteArray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _graph() -> tuple[Graph, FilterContext, FilterContext]:
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer", f"video_size={WIDTH}x{HEIGHT}:pix_fmt=gray:time_base=1/1000:pixel_aspect=1/1"
    )
    detect = graph.add("scdet", "threshold=0")
    sink = graph.add("buffersink")
    source.link_to(detect)
    detect.link_to(sink)
    graph.configure()
    return graph, source, sink


def _pulled(sink: FilterContext) -> list[float]:
    scores = []
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            frame = cast("av.VideoFrame", sink.pull())
            scores.append(float(frame.metadata.get(_SCORE, 0.0)))
    return scores
