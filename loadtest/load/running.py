"""One run: the process that sends, its progress, and the looks at the servers meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from resonance.loadtest.gateway.driving import progress_on
from resonance.loadtest.gateway.stack import stop
from resonance.loadtest.load.plan import Plan
from resonance.loadtest.load.records import Sent, read_file
from resonance.loadtest.load.servers import Servers


class GeneratorError(RuntimeError):
    """The process that sends did not come to its end; the message has its last line."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run. `servers` None where they are not on this machine."""

    plan: Plan
    sent: Sent
    servers: Servers | None


def run(plan: Plan, console: Console, server_pids: tuple[int, int] | None) -> Run:
    """Send as planned.

    Args:
        server_pids: of gateway and Triton; None where they are not on this machine.

    Raises:
        GeneratorError: it ended before its time.
    """
    log = Path(plan.journal).with_suffix(".log")
    command = [sys.executable, "-m", "resonance.loadtest.load.generator", plan.to_json()]
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("wb"))
        generator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        stack.callback(stop, generator, 10)
        servers = None
        if server_pids is not None:
            servers = stack.enter_context(Servers(*server_pids, generator.pid))
        _follow(generator, plan, console)
    if generator.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines() or ["it wrote nothing"]
        raise GeneratorError(
            f"the load on {plan.address} ended with {generator.returncode}: {said[-1]}; its log: {log}"
        )
    return Run(plan, read_file(Path(plan.journal)), servers)


def _follow(generator: subprocess.Popen[str], plan: Plan, console: Console) -> None:
    """Show what it says until it ends; in a log, which shows no bar, a line every half minute."""
    progress = progress_on(console)
    before_s = plan.unloaded_s + plan.feed_s + 12
    task = progress.add_task("starting", total=before_s + plan.seconds, note="")
    began_s, told_s = time.monotonic(), 0.0
    with progress:
        assert generator.stdout is not None
        for line in generator.stdout:
            said = json.loads(line)
            now_s = time.monotonic() - began_s
            note = _note(said)
            at_s = said.get("at_s")
            completed = min(now_s, before_s) if at_s is None else before_s + at_s
            progress.update(task, description=said["now"], completed=completed, note=note)
            if not console.is_terminal and note and now_s - told_s >= 30:
                told_s = now_s
                left_s = max(0.0, plan.seconds - at_s)
                console.print(f"{at_s:.0f} s, {left_s:.0f} s left: {note}")
        generator.wait()


def _note(said: dict[str, float]) -> str:
    if "users" not in said:
        return ""
    return (
        f"{said['users']} users, {said['media_s']} s of media, {said['answered']} answered, "
        f"{said['refused']} refused, {said['failed']} failed"
    )
