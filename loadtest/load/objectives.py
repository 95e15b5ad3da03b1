"""What a run must hold: read from loadtest/slo.toml, and judged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resonance.loadtest.load.servers import Growth
from resonance.loadtest.load.shapes import Shape
from resonance.loadtest.load.summary import Calls, Tool

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: As work.GROUPS, which a test compares.
Group = Literal["upload", "query", "live", "slow_reader", "fuse", "status", "space", "health", "bad_file"]


class ObjectivesError(ValueError):
    """The file of objectives is not as it must be; the message names file and field."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CallObjectives(_Strict):
    """Of one call. `*_times_most`: over the same without load; `*_ms_most`: for a machine that is known."""

    p50_times_most: Positive | None = None
    p95_times_most: Positive | None = None
    p99_times_most: Positive | None = None
    p50_ms_most: Positive | None = None
    p95_ms_most: Positive | None = None
    p99_ms_most: Positive | None = None


class ShapeObjectives(_Strict):
    """Of one shape.

    Attributes:
        failed_share_most: of all calls of the run. refused_share_most: of those judged.
        media_times_least: seconds of media a second over what one caller alone gets, at the best
            judged step. media_s_per_s_least: the same for a machine that is known.
        rss_growth_most: of every server process, last stretch over first. p99_drift_most: of what embeds.
        knee: whether the ramp must reach it.
    """

    failed_share_most: Share
    refused_share_most: Share
    media_times_least: Positive | None = None
    media_s_per_s_least: Positive | None = None
    rss_growth_most: Share | None = None
    p99_drift_most: Positive | None = None
    knee: bool = False
    calls: dict[Group, CallObjectives] = {}


class Objectives(_Strict):
    """The whole file."""

    ramp: ShapeObjectives
    spike: ShapeObjectives
    soak: ShapeObjectives
    constant: ShapeObjectives

    def of(self, shape: Shape) -> ShapeObjectives:
        """Those of a shape."""
        found: ShapeObjectives = getattr(self, shape.value)
        return found


def read(path: Path) -> Objectives:
    """The objectives in a file.

    Raises:
        ObjectivesError: it cannot be read, is no TOML, or has a field that is not as it must be.
    """
    try:
        return Objectives.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ObjectivesError(f"{path}: {error.strerror}; name another file with --slo") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ObjectivesError(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in each['loc'])}: {each['msg']}, came {each['input']!r}"
            for each in error.errors()
        ]
        raise ObjectivesError("\n".join(lines)) from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """One objective: what came, what was expected; `held` None where it cannot be judged."""

    objective: str
    came: str
    expected: str
    held: bool | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What objectives are held against.

    Attributes:
        everything: all calls of the run. calls: those of the judged steps, by group; all_calls: all of them.
        growth: of the servers' processes; None where they are not on this machine.
        drift: quantiles of the last stretch over the first.
    """

    everything: Calls
    all_calls: Calls
    calls: Mapping[str, Calls]
    media_s_per_s: float
    unloaded_media_s_per_s: float
    knee: int | None
    growth: Sequence[Growth] | None
    drift: Mapping[int, float] | None
    tool: Tool


def judge(objectives: ShapeObjectives, run: Judged) -> list[Verdict]:
    """Every objective of a shape."""
    return list(_verdicts(objectives, run))


def _verdicts(objectives: ShapeObjectives, run: Judged) -> Iterator[Verdict]:
    total = run.everything.answered + run.everything.refused + run.everything.failed
    failed = run.everything.failed / total if total else 1.0
    yield _most("failed, share of all calls", failed, objectives.failed_share_most, ".4%")
    yield _most("refused, share", run.all_calls.refused_share, objectives.refused_share_most, ".2%")
    if objectives.media_times_least is not None:
        alone = run.unloaded_media_s_per_s
        times = run.media_s_per_s / alone if alone else 0.0
        yield _least("media, over one caller alone", times, objectives.media_times_least, ".2f")
    if objectives.media_s_per_s_least is not None:
        yield _least("media, s a second", run.media_s_per_s, objectives.media_s_per_s_least, ".1f")
    if objectives.knee:
        yield Verdict(
            "the knee", f"{run.knee} users" if run.knee else "not reached", "reached", run.knee is not None
        )
    for group, wanted in objectives.calls.items():
        yield from _latencies(group, wanted, run.calls.get(group))
    if objectives.p99_drift_most is not None:
        came = None if run.drift is None else run.drift[99]
        yield _most("p99 of all that embeds, last stretch over first", came, objectives.p99_drift_most, ".3f")
    if objectives.rss_growth_most is not None:
        yield from _memory(objectives.rss_growth_most, run.growth)
    limits = "; ".join(run.tool.limits)
    yield Verdict("what limits is not the tool", limits or "it did not", "it does not", not limits)


def _latencies(group: str, wanted: CallObjectives, came: Calls | None) -> Iterator[Verdict]:
    values: dict[str, Any] = wanted.model_dump(exclude_none=True)
    for name, most in values.items():
        quantile, unit = name.removesuffix("_most").split("_")
        found = None if came is None else getattr(came.latency, unit).get(int(quantile[1:]))
        label = f"{group} {quantile}" + (", over unloaded" if unit == "times" else ", ms")
        yield _most(label, found, most, ".2f" if unit == "times" else ".0f")


def _memory(most: float, growth: Sequence[Growth] | None) -> Iterator[Verdict]:
    if growth is None:
        yield Verdict("memory", "the servers are not on this machine", f"at most {most:+.1%}", None)
        return
    if not growth:
        yield Verdict("memory", "no process lived through the run", f"at most {most:+.1%}", held=False)
    for each in growth:
        yield _most(f"memory of {each.name}, growth", each.share, most, "+.2%")


def _most(objective: str, came: float | None, most: float, form: str) -> Verdict:
    if came is None:
        return Verdict(objective, "nothing was measured", f"at most {most:{form}}", held=False)
    return Verdict(objective, f"{came:{form}}", f"at most {most:{form}}", came <= most)


def _least(objective: str, came: float, least: float, form: str) -> Verdict:
    return Verdict(objective, f"{came:{form}}", f"at least {least:{form}}", came >= least)
