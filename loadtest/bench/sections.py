"""What is shown of each part: the columns that name a row, its ratios with their bars, and what else.

A part is a list of rows in the JSON. A new one needs a `Section` here and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from resonance.loadtest.bench.peers.bars import BARS, Bar

Row = Mapping[str, Any]
Sense = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A column that holds a ratio.

    Attributes:
        bar: what it is held against: a number, the row's column that says so, or what tells it of a row; None
            from any of them: nothing.
        only: rows that the bar is for; the ratio is shown of all.
    """

    column: str
    heading: str
    sense: Sense = "at most"
    bar: float | str | Callable[[Row], float | None] | None = None
    only: Callable[[Row], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Section:
    """How a part is shown.

    Attributes:
        about: what was compared, in a few sentences.
        labels: columns that name a row.
        also: further columns and their headings.
        rows: which are shown.
        command: measures it; empty: the bench, with the part's name.
    """

    part: str
    title: str
    about: str
    labels: tuple[str, ...]
    ratios: tuple[Ratio, ...]
    also: tuple[tuple[str, str], ...] = ()
    rows: Callable[[Row], bool] = lambda _: True
    command: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One ratio of one row. `bar` and `met` None: it is only told."""

    part: str
    what: str
    ratio: str
    sense: Sense
    value: float
    bar: float | None
    met: bool | None


def _through(name: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["through"] == name)


def _peer_bar(row: Row) -> Bar | None:
    """What the comparison with peers asks of a row."""
    pair = (row["items"], row["ours"], row["contender"], row["concurrency"])
    return next((b for b in BARS if pair == (b.items, b.ours, b.contender, b.concurrency)), None)


def _peer_ratio(row: Row) -> float | None:
    bar = _peer_bar(row)
    return bar.ratio if bar else None


def _peer_p99(row: Row) -> float | None:
    bar = _peer_bar(row)
    return bar.p99_ratio if bar else None


SECTIONS = (
    Section(
        part="path",
        title="Encoders along the serving path",
        about=(
            "Bare onnxruntime in one process, Triton, and the gateway before Triton get the same items from "
            "as many callers, in rounds taken in turn, and are counted while every caller has one under way. "
            "The CPU is that of all the server's processes, an item, over that of the same work in one "
            "process; for the gateway that work includes reading and fusion. The client's CPU stands apart: "
            "it is spent on the same cores. The cosine with bare onnxruntime is checked in the same run, "
            "which fails below 0.999. "
            "`peers` is the family of `make bench-peers`: CLIP ViT-B/32 at its full size, whose weights are "
            "random: speed does not depend on them."
        ),
        labels=("family", "item", "through"),
        ratios=(
            Ratio("cpu_ratio", "server CPU, over bare", "at most", "bar", _through("triton")),
            Ratio("over_triton", "the same, gateway over Triton", "at most", "bar", _through("gateway")),
            Ratio("throughput_ratio", "items a second, over bare", "at least", "throughput_bar"),
        ),
        also=(
            ("client_ratio", "client CPU, over bare"),
            ("gateway_share", "of the server's CPU: gateway"),
            ("queue_share", "at Triton: queue"),
            ("input_share", "inputs"),
            ("infer_share", "computing"),
            ("output_share", "outputs"),
            ("outside_share", "of the caller's waiting: outside Triton"),
            ("requests_per_run", "requests a run"),
            ("cosine", "cosine"),
        ),
    ),
    Section(
        part="ffmpeg",
        title="Demuxing and decoding against the ffmpeg command",
        about=(
            "CPU of the command over ours on the same file, one thread each, the command's start-up taken "
            "off: above 1 this side is the faster. Both hand on pictures of the space's size."
        ),
        labels=("film", "wanted"),
        ratios=(Ratio("speed", "speed, over ffmpeg", "at least"),),
        also=(("lowest", "lowest round"), ("highest", "highest"), ("pictures", "pictures")),
    ),
    Section(
        part="decode",
        title="Keyframes alone against the whole film",
        about="CPU of decoding everything over that of decoding keyframes, with the scaling that each needs.",
        labels=("film",),
        ratios=(Ratio("gain", "whole over keyframes", "at least", "bar"),),
        also=(("lowest_gain", "lowest round"), ("decode_gain", "decoding alone")),
    ),
    Section(
        part="matrix",
        title="Titles end to end",
        about=(
            "Seconds of media for each CPU second of client and server together: times real time a core. "
            "How segments were sampled decides the cost: without keyframes within reach a stretch is decoded."
        ),
        labels=("film", "sampling"),
        ratios=(Ratio("per_core", "× real time a core", "at least", "bar"),),
        also=(("lowest_per_core", "lowest round"), ("client_share", "client's share of the CPU")),
    ),
    Section(
        part="stages",
        title="A title against the sum of its stages",
        about=(
            "A whole title over its stages, each measured alone on one thread: above 1 something waits, "
            "below it stages ran beside each other."
        ),
        labels=("film",),
        ratios=(
            Ratio("wall_ratio", "time, over the sum", "at most", "bar"),
            Ratio("cpu_ratio", "CPU, over the sum"),
        ),
        also=(
            ("demux_share", "demuxing"),
            ("sound_share", "sound"),
            ("decode_share", "decoding"),
            ("visual_encoder_share", "visual encoder"),
            ("audio_encoder_share", "audio encoder"),
            ("fusion_share", "fusion"),
        ),
    ),
    Section(
        part="lengths",
        title="Cost as titles grow longer",
        about="CPU of client and server for an hour of video, over the cheapest length's of the same round.",
        labels=("minutes",),
        ratios=(Ratio("cost", "cost, over the cheapest", "at most", "bar"),),
        also=(("lowest_cost", "lowest round"), ("highest_cost", "highest"), ("client_peak_mb", "client, MB")),
    ),
    Section(
        part="concurrency",
        title="Throughput as more titles come at once",
        about="Seconds of media a second over the best of the same round, read by the SDK or uploaded.",
        labels=("through", "concurrent"),
        ratios=(Ratio("of_best", "of the best", "at least", "bar"),),
        also=(("lowest_of_best", "lowest round"),),
    ),
    Section(
        part="films",
        title="Whole films with the command",
        about="Seconds of media a second, client and server on the same cores, one film at a time.",
        labels=("film", "sampling"),
        ratios=(Ratio("times_real_time", "× real time", "at least"),),
        also=(("with_start_up", "with the command's start"), ("client_peak_mb", "client, MB")),
    ),
    Section(
        part="peers",
        title="Beside other servers and libraries",
        about=(
            "The same weights and inputs, each contender in an environment of its own, rounds in turn: "
            "sentences through MiniLM, pictures through CLIP ViT-B/32. Above 1 ours does more items; "
            "the lowest cosine is that of the vectors of both."
        ),
        labels=("items", "ours", "contender", "concurrency"),
        ratios=(
            Ratio("ratio", "items a second, ours over theirs", "at least", _peer_ratio),
            Ratio("p99_ratio", "p99, ours over theirs", "at most", _peer_p99),
        ),
        also=(("worst_cosine", "lowest cosine"), ("rounds", "rounds")),
        rows=lambda row: bool(row["contender"] != row["ours"]),
        command="make bench-peers",
    ),
)


def lines(figures: Mapping[str, Any]) -> Iterator[Line]:
    """Every ratio of every part that was measured and has a section."""
    for section in SECTIONS:
        for row in figures.get(section.part, ()):
            if section.rows(row):
                yield from lines_of(section.part, section.labels, section.ratios, row)


def lines_of(part: str, labels: Sequence[str], ratios: Sequence[Ratio], row: Row) -> Iterator[Line]:
    """The ratios of one row, those that it has."""
    named = ((label, row[label]) for label in labels)
    what = ", ".join(value if isinstance(value, str) else f"{label} {value}" for label, value in named)
    for ratio in ratios:
        value = row[ratio.column]
        if value is None:
            continue
        bar = _bar(ratio, row) if ratio.only(row) else None
        met = None if bar is None else is_met(value, ratio.sense, bar)
        yield Line(part, what, ratio.heading, ratio.sense, value, bar, met)


def _bar(ratio: Ratio, row: Row) -> float | None:
    if callable(ratio.bar):
        return ratio.bar(row)
    found: float | None = row[ratio.bar] if isinstance(ratio.bar, str) else ratio.bar
    return found


def is_met(value: float, sense: Sense, bar: float) -> bool:
    """Whether a ratio is on the right side of its bar, or on it."""
    return value <= bar if sense == "at most" else value >= bar
