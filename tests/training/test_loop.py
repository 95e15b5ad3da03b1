"""A run that was stopped and resumed ends at the same weights as one that was not."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resonance.training.loop import LoopSettings, Losses, ResumeError, learning_rate, spent_s, train
from tests.small_disk import disk_of

SETTINGS = LoopSettings(steps=12, learning_rate=0.05, warmup_steps=3, checkpoint_every=5, bf16=False)
CPU = torch.device("cpu")


class StoppedError(Exception):
    """Stands for a killed process."""


def run(
    folder: Path,
    *,
    stop_at: int | None = None,
    settings: LoopSettings = SETTINGS,
    made_of: Mapping[str, Any] | None = None,
    step_s: float = 0.0,
) -> nn.Linear:
    torch.manual_seed(1)
    layer = nn.Linear(4, 3)

    def losses(rng: np.random.Generator, step: int) -> Losses:
        if step == stop_at:
            raise StoppedError
        time.sleep(step_s)
        x = torch.from_numpy(rng.standard_normal((8, 4)).astype(np.float32))
        dropped = nn.functional.dropout(layer(x), 0.3)  # torch's own generator is part of the result
        loss = ((dropped - x[:, :3]) ** 2).mean()
        return {"loss": loss, "half": loss / 2}

    train({"layer": layer}, losses, settings, folder, title="test", device=CPU, made_of=made_of or {})
    return layer


def test_resuming_gives_the_same_weights_and_one_log(tmp_path: Path) -> None:
    straight = run(tmp_path / "a")
    with pytest.raises(StoppedError):
        run(tmp_path / "b", stop_at=8)
    resumed = run(tmp_path / "b")
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    logs = []
    for name in "ab":
        with (tmp_path / name / "losses.csv").open() as file:
            rows = list(csv.reader(file))
        assert [row[0] for row in rows[1:]] == [str(i) for i in range(12)]
        logs.append([row[2:] for row in rows])
    assert logs[0] == logs[1]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path, stop_at=0)
    assert torch.equal(first.weight, again.weight)


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ResumeError, match="remove the folder"):
        run(tmp_path, settings=LoopSettings(steps=13, learning_rate=0.05))


def test_what_a_checkpoint_was_made_of_is_held_to(tmp_path: Path) -> None:
    made_of = {"batch": 32, "frames": (1, 2), "pool": {"titles": 8, "seed": 1}}
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=8, made_of=made_of)
    other = {**made_of, "batch": 64, "pool": {"titles": 9, "seed": 1}}
    said = (
        r"checkpoint\.pt: it is of another run \(batch 32, now 64; pool\.titles 8, now 9\); remove the folder"
    )
    with pytest.raises(ResumeError, match=said):
        run(tmp_path, made_of=other)
    with pytest.raises(ResumeError, match=r"\(batch 32, now None; frames .*; pool\.titles 8, now None\)"):
        run(tmp_path)
    run(tmp_path, made_of=made_of)


def test_a_checkpoint_that_does_not_say_what_it_was_made_of_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    checkpoint = tmp_path / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["run"]
    torch.save(state, checkpoint)
    with pytest.raises(ResumeError, match=r"does not say what it was made of.* remove the folder"):
        run(tmp_path)


def test_the_log_is_there_whenever_a_resumed_run_is_killed(tmp_path: Path) -> None:
    """Its first step may take minutes, where a graph is compiled."""
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=8)
    seen = []

    def losses(rng: np.random.Generator, step: int) -> Losses:
        seen.append((tmp_path / "losses.csv").read_text().splitlines())
        raise StoppedError

    with pytest.raises(StoppedError):
        train({"layer": nn.Linear(4, 3)}, losses, SETTINGS, tmp_path, title="test", device=CPU)
    (rows,) = seen
    assert [row.partition(",")[0] for row in rows] == ["step", "0", "1", "2", "3", "4"]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    """And is an error of the system, of which the command tells in one line."""
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=8)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with disk_of(len(before) // 2), pytest.raises(OSError, match="File too large"):
        run(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "losses.csv"}


def test_what_a_killed_run_left_half_is_removed(tmp_path: Path) -> None:
    """As large as a checkpoint, and no other file takes its name."""
    (tmp_path / f".half-{'0' * 32}").write_bytes(b"half of")
    run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "losses.csv"}


def test_the_time_of_a_run_is_that_of_all_its_parts(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=8, step_s=0.05)  # goes on from step 5, so 7 more
    run(tmp_path, step_s=0.05)
    total_s = spent_s(tmp_path / "losses.csv")
    assert total_s >= 12 * 0.05 - 0.1
    run(tmp_path, stop_at=0)  # all is done already
    assert spent_s(tmp_path / "losses.csv") == total_s


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    layer = nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(
            {"layer": layer},
            lambda rng, step: {"loss": layer.weight.sum() * float("nan")},
            SETTINGS,
            tmp_path,
            title="test",
            device=CPU,
        )


def test_learning_rate_warms_up_and_ends_near_zero() -> None:
    rates = [learning_rate(SETTINGS, step) for step in range(SETTINGS.steps)]
    assert rates[0] < rates[1] < rates[2]
    assert rates[-1] < 0.1 * max(rates) < max(rates) <= SETTINGS.learning_rate
