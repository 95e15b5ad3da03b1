"""What a run leaves: tables on the screen, figures as JSON, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from resonance.loadtest.gateway.figures import environment, to_json
from resonance.loadtest.load import summary
from resonance.loadtest.load.material import Material
from resonance.loadtest.load.objectives import Judged, ShapeObjectives, Verdict, judge
from resonance.loadtest.load.plots import plot_ramp, plot_time
from resonance.loadtest.load.records import Phase
from resonance.loadtest.load.running import Run
from resonance.loadtest.load.servers import Growth
from resonance.loadtest.load.shapes import Shape
from resonance.loadtest.load.summary import Baseline, Calls, StepFigures

#: A machine on which other work takes more than this share is none to take figures on.
MOST_OTHERS = 0.1


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a run, and whether they are as they must be."""

    run: Run
    baseline: Baseline
    steps: list[StepFigures]
    judged: Judged
    kinds: dict[str, Calls]
    failures: dict[str, int]
    verdicts: list[Verdict]

    @classmethod
    def of(cls, run: Run, material: Material, objectives: ShapeObjectives) -> Report:
        """From what was recorded."""
        plan, sent = run.plan.steps(), run.sent
        loaded = sent.of(Phase.LOADED)
        baseline = Baseline(sent.of(Phase.UNLOADED))
        steps = summary.step_figures(sent, plan, baseline)
        knee = None
        if run.plan.shape is Shape.RAMP:
            knee = summary.knee([s.users for s in plan], [s.media_s_per_s for s in steps])
        judged_steps = _judged_steps(run.plan.shape, steps, knee)
        due = [
            each
            for step in judged_steps
            for each in loaded
            if step.step.counts_s <= each.due_s < step.step.end_s
        ]
        lengths_s = {title.name: title.media_s for title in material.titles if title.media_s}
        judged = Judged(
            everything=summary.calls(loaded, baseline),
            all_calls=summary.calls(due, baseline),
            calls=summary.by_group(due, baseline),
            media_s_per_s=max(s.media_s_per_s for s in judged_steps),
            unloaded_media_s_per_s=summary.unloaded_media_s_per_s(sent, lengths_s),
            knee=knee,
            growth=_growth(run),
            drift=summary.drift([each for each in loaded if each.group in summary.EMBEDDING], plan, baseline),
            tool=summary.tool(sent, judged_steps),
        )
        return cls(
            run=run,
            baseline=baseline,
            steps=steps,
            judged=judged,
            kinds=summary.by_kind(due, baseline),
            failures=summary.failures(sent),
            verdicts=judge(objectives, judged),
        )

    @property
    def held(self) -> bool:
        """Whether no objective was missed."""
        return all(each.held is not False for each in self.verdicts)

    def show(self, console: Console) -> None:
        """Tables."""
        console.print(self._steps_table())
        console.print(_calls_table("calls, of the judged steps", self.judged.calls))
        tool = self.judged.tool
        console.print(
            f"the tool: {tool.cpu_share:.0%} of its core, late {tool.late_p50_ms:.1f} ms p50, "
            f"{tool.late_p99_ms:.1f} ms p99; {tool.rate_share:.0%} of the {tool.rate_per_s:.0f} calls "
            "a second that it can make"
        )
        for reason in tool.limits:
            console.print(f"[bold red]the tool limited[/]: {reason}")
        if (others := self.others_most()) > MOST_OTHERS:
            console.print(
                f"[bold]other work took up to {others:.0%} of the machine[/]: its figures are no good"
            )
        for failure, count in self.failures.items():
            console.print(f"failed {count} times: {failure}", markup=False)
        table = Table("objective", "came", "expected", "", title="objectives", title_justify="left")
        for each in self.verdicts:
            mark = {True: "held", False: "[bold red]missed[/]", None: "not judged"}[each.held]
            table.add_row(each.objective, each.came, each.expected, mark)
        console.print(table)

    def others_most(self) -> float:
        """Largest share of all cores that other work took in a step; 0 where the servers are elsewhere."""
        return max(
            (cpu["others"] for each in self.steps if (cpu := self._cpu(each)) is not None), default=0.0
        )

    def write(self, folder: Path) -> None:
        """Figures and pictures into `folder`."""
        shape = self.run.plan.shape
        path = folder / f"{shape}.json"
        path.write_text(json.dumps(self._figures(), indent=1) + "\n", encoding="utf-8")
        if shape is Shape.RAMP:
            alone = self.judged.unloaded_media_s_per_s
            plot_ramp(self.steps, self.judged.knee, alone, folder / f"{shape}.png")
        began_s, servers = self.run.sent.tool["began_s"], self.run.servers
        looks = [] if servers is None else servers.looks
        plot_time(
            self.run.sent.of(Phase.LOADED),
            self.run.sent.media,
            self.baseline,
            [(look.sample.at_s - began_s, look) for look in looks if look.sample.at_s >= began_s],
            {} if servers is None else servers.names,
            folder / f"{shape}-time.png",
        )

    def _figures(self) -> dict[str, Any]:
        judged = self.judged
        return {
            "environment": environment(),
            "plan": asdict(self.run.plan),
            "held": self.held,
            "verdicts": [asdict(each) for each in self.verdicts],
            "others_most": self.others_most(),
            "knee_users": judged.knee,
            "unloaded_media_s_per_s": judged.unloaded_media_s_per_s,
            "unloaded_median_ms": {k: 1e3 * v for k, v in sorted(self.baseline.median_s.items())},
            "steps": [asdict(step) | {"cpu": self._cpu(step)} for step in self.steps],
            "groups": {name: asdict(each) for name, each in judged.calls.items()},
            "kinds": {name: asdict(each) for name, each in self.kinds.items()},
            "drift": judged.drift,
            "drift_by_group": self._drift_by_group(),
            "memory": [asdict(each) | {"growth": each.share} for each in judged.growth or ()],
            "tool": asdict(judged.tool) | {"measured": self.run.sent.tool},
            "failures": self.failures,
        }

    def _cpu(self, step: StepFigures) -> dict[str, float] | None:
        """Shares of all cores in a step."""
        if self.run.servers is None:
            return None
        began_s = self.run.sent.tool["began_s"]
        shares = self.run.servers.cpu(began_s + step.step.counts_s, began_s + step.step.end_s)
        return None if shares is None else to_json(shares)

    def _drift_by_group(self) -> dict[str, dict[int, float] | None]:
        """Last stretch over first, of each group."""
        loaded, plan = self.run.sent.of(Phase.LOADED), self.run.plan.steps()
        return {
            group: summary.drift([each for each in loaded if each.group == group], plan, self.baseline)
            for group in self.judged.calls
        }

    def _steps_table(self) -> Table:
        table = Table(
            *("step", "users", "media s/s", "calls/s", "refused", "failed", "p50, p99 over unloaded"),
            "CPU: gateway, readers, Triton, tool, others",
            title=str(self.run.plan.shape),
            title_justify="left",
        )
        for each in self.steps:
            times, cpu = each.all.latency.times, self._cpu(each)
            table.add_row(
                each.step.name + (" (knee)" if each.step.users == self.judged.knee else ""),
                str(each.step.users),
                f"{each.media_s_per_s:.1f}",
                f"{each.calls_per_s:.1f}",
                f"{each.all.refused_share:.1%}",
                str(each.all.failed),
                f"{times[50]:.2f}, {times[99]:.2f}" if times else "–",
                "–" if cpu is None else ", ".join(f"{value:.0%}" for value in cpu.values()),
            )
        return table


def _calls_table(title: str, calls: dict[str, Calls] | Any) -> Table:
    columns = ("call", "answered", "refused", "failed", "p50, p95, p99 ms", "over unloaded")
    table = Table(*columns, title=title, title_justify="left")
    for name, each in calls.items():
        ms, times = each.latency.ms, each.latency.times
        table.add_row(
            name,
            str(each.answered),
            str(each.refused),
            str(each.failed),
            ", ".join(f"{value:.1f}" for value in ms.values()) or "–",
            ", ".join(f"{value:.2f}" for value in times.values()) or "–",
        )
    return table


def _judged_steps(shape: Shape, steps: Sequence[StepFigures], knee: int | None) -> list[StepFigures]:
    """Of a ramp those up to its knee, of a spike all but the spike itself."""
    if shape is Shape.RAMP:
        return [each for each in steps if knee is None or each.step.users <= knee]
    if shape is Shape.SPIKE:
        return [each for each in steps if each.step.name != "spike"]
    return list(steps)


def _growth(run: Run) -> list[Growth] | None:
    """Of the servers' processes between the run's first stretch and its last."""
    if run.servers is None:
        return None
    began_s = run.sent.tool["began_s"]
    first, last = (
        (began_s + start_s, began_s + end_s) for start_s, end_s in summary.windows(run.plan.steps())
    )
    return run.servers.growth(first, last)
