"""`make bench-check`: what passes, what fails, how a change is accepted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resonance.loadtest.bench.__main__ import Part
from resonance.loadtest.bench.baseline import FOREIGN_LOSS, LOSS, Baseline, BaselineError, loss
from resonance.loadtest.bench.check import BASELINE, KEYFRAMES, Measured, bench_check, check, verdicts
from resonance.loadtest.exits import NOT_RUN

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"

Measure = Callable[[Collection[str] | None], Measured]


def attempts(*given: dict[str, list[float]]) -> tuple[Measure, list[Collection[str] | None]]:
    """A measurement that gives these rounds, one attempt after the other; and what it was asked for."""
    asked: list[Collection[str] | None] = []

    def measure(wanted: Collection[str] | None) -> Measured:
        asked.append(wanted)
        measured = Measured()
        for name, ratios in given[len(asked) - 1].items():
            measured.add(name, ratios)
        return measured

    return measure, asked


def test_less_than_the_limit_passes_at_once() -> None:
    measure, asked = attempts({"a": [1.1, 1.14, 1.2], "b": [0.5]})
    assert all(v.holds for v in check(measure, {"a": 1.0, "b": 1.0}))
    assert asked == [None]


def test_more_is_measured_again_and_all_rounds_count() -> None:
    measure, asked = attempts({"a": [1.0, 1.3, 1.4], "b": [1.0]}, {"a": [1.0, 1.0], "b": [9.0]})
    found = {v.name: v for v in check(measure, {"a": 1.0, "b": 1.0})}
    assert asked == [None, {"a"}]
    assert (found["a"].now, found["a"].rounds, found["a"].holds) == (1.0, 5, True)
    assert (found["b"].now, found["b"].rounds) == (1.0, 1)  # it held, so what came along does not count


def test_more_twice_fails() -> None:
    measure, _ = attempts({"a": [1.2]}, {"a": [1.2]})
    (found,) = check(measure, {"a": 1.0})
    assert not found.holds
    assert found.lost == pytest.approx(0.2)


def test_a_ratio_that_nobody_accepted_fails_and_one_that_is_gone_is_an_error() -> None:
    measure, asked = attempts({"new": [1.0]})
    (found,) = check(measure, {})
    assert not found.holds
    assert len(asked) == 1  # measuring it again would not help
    with pytest.raises(BaselineError, match="in the baseline: old"):
        verdicts(measured_of({"new": [1.0]}), {"old": 1.0})


def measured_of(pairs: dict[str, list[float]]) -> Measured:
    return Measured(pairs)


def test_what_is_accepted_stands_with_its_reason_and_what_was(tmp_path: Path) -> None:
    path, baseline = tmp_path / "baseline.json", Baseline.load(tmp_path / "baseline.json")
    baseline.accept("m", {"a": 1.0, "b": 2.0}, "first", "2026-01-01", "abc")
    baseline.accept("m", {"a": 1.5, "b": 2.0}, " slower, but exact ", "2026-01-02", "def")
    baseline.save(path)
    again = Baseline.load(path)
    assert again == baseline
    assert again.machines == {"m": {"a": 1.5, "b": 2.0}}
    last = again.history[-1]
    assert (last.reason, last.date, last.commit) == ("slower, but exact", "2026-01-02", "def")
    assert last.changed == {"a": (1.0, 1.5)}
    with pytest.raises(BaselineError, match="reason is empty"):
        baseline.accept("m", {"a": 2.0}, " ", "2026-01-03", "ghi")


def test_another_machine_is_held_to_the_worst_of_all() -> None:
    baseline = Baseline({"m": {"a": 1.0, "b": 2.0}, "n": {"a": 1.5, "b": 1.0}})
    assert baseline.of("m") == ({"a": 1.0, "b": 2.0}, LOSS)
    worst, limit = baseline.of("other")
    assert (worst, limit) == ({"a": 1.5, "b": 2.0}, FOREIGN_LOSS)
    for now, holds in ((2.7, True), (2.9, False)):
        found = verdicts(measured_of({"a": [1.5], "b": [now]}), worst, limit)
        assert [v.holds for v in found] == [True, holds]


def test_a_damaged_baseline_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text('{"machines": {}}')
    with pytest.raises(BaselineError, match=r"baseline.json: KeyError: 'history'"):
        Baseline.load(path)


@pytest.mark.parametrize(("content", "said"), [(None, "is not there"), ("[]", "TypeError")])
def test_without_a_baseline_it_fails_before_anything_is_measured(
    content: str | None, said: str, tmp_path: Path
) -> None:
    app, path = typer.Typer(), tmp_path / "baseline.json"
    app.command()(bench_check)
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["--baseline", str(path), "--repository", str(tmp_path / "none")])
    assert result.exit_code == NOT_RUN
    assert said in " ".join(result.output.split())


def test_loss() -> None:
    assert loss(1.15, 1.0) == pytest.approx(LOSS)
    assert loss(0.9, 1.0) < 0


def test_the_committed_baseline_says_why_it_is_so() -> None:
    baseline = Baseline.load(BASELINE)
    assert baseline.machines
    assert {one.machine for one in baseline.history} == set(baseline.machines)
    for name, ratios in baseline.machines.items():
        last = [one for one in baseline.history if one.machine == name]
        changed = {ratio: after for one in last for ratio, (_, after) in one.changed.items()}
        assert {ratio: changed[ratio] for ratio in ratios} == ratios


def test_the_document_has_the_committed_baseline() -> None:
    names = {
        "decoding, keyframes over all": KEYFRAMES,
        "pictures (16) to Triton": "visual_encoder, 16 frames, triton",
        "pictures through the gateway": "visual_encoder, 16 frames, gateway",
        "sound to Triton": "audio_encoder, 8 s, triton",
        "a sentence to Triton": "transcript_encoder, 66 tokens, triton",
        "the ensemble to Triton": "segment_embedding, 8 s of 720p H.264, triton",
        "the ensemble through the gateway": "segment_embedding, 8 s of 720p H.264, gateway",
    }
    committed = Baseline.load(BASELINE).machines["AMD EPYC (family 26, model 2), 2 cores"]
    rows = [line.split(" | ") for line in BENCHMARKS.read_text().splitlines() if line.startswith("| ")]
    told = {row[0].removeprefix("| "): row[1] for row in rows}
    assert set(names.values()) == set(committed)
    for row, name in names.items():
        assert told[row] == f"{committed[name]:.{len(told[row].partition('.')[2])}f}", row


def test_the_document_names_every_part() -> None:
    parts = BENCHMARKS.read_text().partition("with PART one of `")[2].partition("`")[0].split()
    assert parts == [part.value for part in Part]
