"""One training loop: AdamW, warm-up and cosine, checkpoints that resume to the same result, progress."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from resonance.clients.new_files import whole_file

Losses = dict[str, Tensor]
#: (rng of this step, step) -> named losses, the first of which is minimised.
Step = Callable[[np.random.Generator, int], Losses]
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How long and how fast to learn. `bf16` computes in bfloat16 where the device has it."""

    steps: int
    learning_rate: float
    warmup_steps: int = 50
    weight_decay: float = 0.05
    max_norm: float = 1.0
    seed: int = 596
    bf16: bool = True
    checkpoint_every: int = 100


class Watch(Protocol):
    """Looks at modules that are being trained. What it has seen goes into the checkpoints."""

    def look(self, step: int, steps: int) -> None:
        """Before each step, and at `steps` once all are done; after a resume the same step may come again."""

    def finish(self) -> None:
        """Once all steps are done and saved: here weights may be put back."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and lists of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class DivergedError(FloatingPointError):
    """A loss is not finite; the message says which and when."""


class ResumeError(RuntimeError):
    """A checkpoint belongs to another run; the message names what differs."""


def learning_rate(settings: LoopSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to 0 at the last step."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return settings.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / settings.steps))


def bf16_available(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 here."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@contextmanager
def precision(device: torch.device, *, bf16: bool) -> Iterator[None]:
    """Autocast to bfloat16 where asked for and available, else float32."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and bf16_available(device)):
        yield


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    modules: dict[str, nn.Module],
    step_losses: Step,
    settings: LoopSettings,
    folder: Path,
    *,
    title: str,
    device: torch.device,
    made_of: Mapping[str, Any] = NOTHING_MORE,
    watch: Watch | None = None,
) -> Path:
    """Run all steps, from the checkpoint in `folder` where there is one; return the log of losses. What a run
    that was killed left half in `folder` is removed: it has one run.

    Data are drawn from a generator seeded by (seed, step), so that a run that was stopped and resumed
    sees the same batches as one that was not, and ends at the same weights.

    Args:
        made_of: what else than `settings` decides the result, as JSON can say it: a checkpoint of a run
            that was made of other things is refused.
        watch: is shown the modules; `made_of` has to say what it is about.

    Raises:
        ResumeError: the checkpoint was written with other settings, or by a run that was made of others.
        DivergedError: a loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = nn.ModuleDict(modules).to(device).train()
    optimizer = torch.optim.AdamW(_groups(model, settings), lr=settings.learning_rate, betas=(0.9, 0.98))
    log_path, checkpoint = folder / "losses.csv", folder / "checkpoint.pt"
    run = json.dumps({"loop": asdict(settings), **made_of}, sort_keys=True)
    first = _resume(checkpoint, run, model, optimizer, watch)
    for half in folder.glob(".half-*"):
        half.unlink(missing_ok=True)
    with Progress(
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("", total=settings.steps, completed=first, loss="-")
        with _log(log_path, keep_below=first) as log:
            for step in range(first, settings.steps):
                if watch is not None:
                    watch.look(step, settings.steps)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, step)
                torch.manual_seed(settings.seed + step)
                rng = np.random.Generator(np.random.PCG64([settings.seed, step]))
                with precision(device, bf16=settings.bf16):
                    losses = step_losses(rng, step)
                total = next(iter(losses.values()))
                if not torch.isfinite(total):
                    raise DivergedError(
                        f"{title}: the loss is {float(total.detach())} at step {step}; expected a finite "
                        f"one. Lower the weights of its terms; losses until then: {log_path}"
                    )
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
                optimizer.step()
                log(step, {name: float(value.detach()) for name, value in losses.items()})
                progress.update(task, advance=1, loss=f"{float(total.detach()):.3f}")
                if (step + 1) % settings.checkpoint_every == 0:
                    _save(checkpoint, run, model, optimizer, step + 1, watch)
    if watch is not None:
        watch.look(settings.steps, settings.steps)
    _save(checkpoint, run, model, optimizer, settings.steps, watch)
    if watch is not None:
        watch.finish()
    model.eval()
    return log_path


def _groups(model: nn.Module, settings: LoopSettings) -> list[dict[str, object]]:
    """Matrices decay; norms, biases, tables of positions and temperatures do not."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _resume(
    path: Path, run: str, model: nn.Module, optimizer: torch.optim.Optimizer, watch: Watch | None
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if "run" not in state:
        raise ResumeError(
            f"{path}: it does not say what it was made of, as those of earlier versions; expected one that "
            "does: remove the folder to begin anew"
        )
    if state["run"] != run:
        before, now = (_flat(json.loads(text)) for text in (state["run"], run))
        names = [name for name in sorted({**before, **now}) if before.get(name) != now.get(name)]
        differing = "; ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
        raise ResumeError(f"{path}: it is of another run ({differing}); remove the folder to begin anew")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if watch is not None:
        watch.load_state_dict(state["watch"])
    return int(state["step"])


def _flat(facts: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """{"loop": {"steps": 12}} as {"loop.steps": 12}."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        found |= _flat(value, f"{within}{name}.") if isinstance(value, dict) else {within + name: value}
    return found


def _save(
    path: Path,
    run: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    watch: Watch | None,
) -> None:
    data = io.BytesIO()  # torch's own writing of files does not say that a disk is full
    torch.save(
        {
            "run": run,
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "watch": None if watch is None else watch.state_dict(),
        },
        data,
    )
    with whole_file(path) as half:  # a run that is cut off leaves the last whole checkpoint
        half.write_bytes(data.getbuffer())


@contextmanager
def _log(path: Path, *, keep_below: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A CSV of losses a step. Rows of steps that will be run again are dropped; the time of the others
    counts."""
    kept = []
    if path.exists() and keep_below:
        with path.open(newline="") as file:
            kept = [row for row in csv.reader(file) if row[0] == "step" or int(row[0]) < keep_below]
    started_s = time.monotonic() - (_elapsed_s(kept[-1]) if kept else 0.0)
    with whole_file(path) as half, half.open("w", newline="") as file:
        csv.writer(file).writerows(kept)  # at once: a run that is killed in its first step loses none
    with path.open("a", newline="") as file:
        writer = csv.writer(file)

        def write(step: int, losses: dict[str, float]) -> None:
            if step == 0:
                writer.writerow(["step", "elapsed_s", *losses])
            elapsed_s = time.monotonic() - started_s
            writer.writerow([step, f"{elapsed_s:.1f}", *(f"{v:.6g}" for v in losses.values())])
            file.flush()

        yield write


def spent_s(log: Path) -> float:
    """Seconds that the steps of a log took, in all the runs that wrote it."""
    with log.open(newline="") as file:
        return max(map(_elapsed_s, csv.reader(file)), default=0.0)


def _elapsed_s(row: list[str]) -> float:
    return 0.0 if row[0] == "step" else float(row[1])
