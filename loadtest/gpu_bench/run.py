"""`make gpu-bench`: everything the GPU path promises, measured on this machine.

Needs PyTorch and, for the GPU's figures, an NVIDIA GPU. What else is missing is skipped, with its reason.
Exit code 0: measured; 1: a figure cannot be true, a parity is broken, or a part failed; 2: wrong use.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from resonance.loadtest.gpu_bench.child import GRACE_S, measure_apart
from resonance.loadtest.gpu_bench.clocks import sampled
from resonance.loadtest.gpu_bench.encoders import REAL
from resonance.loadtest.gpu_bench.machine import environment, gpu_state
from resonance.loadtest.gpu_bench.measure import MIN_COSINE
from resonance.loadtest.gpu_bench.part import NEED_PEAK, PARTS, Job, interrupt, measure
from resonance.loadtest.gpu_bench.peak import best_rate
from resonance.loadtest.gpu_bench.report import Report, plot, show
from resonance.loadtest.gpu_bench.results import PartResult, Row
from resonance.loadtest.gpu_bench.timing import Deadline

#: Beside the figures: every row as it is measured.
ROWS = "rows.jsonl"
#: Left at the end for the tables, the figures and the plot, whose package is imported only then.
CLOSING_S = 15.0
#: Left before that for the matrix rate's second measurement, in a process that imports torch first.
PEAK_AGAIN_S = 30.0
#: How long a part with a process of its own may be at what it had begun, such as a compilation that is tuned,
#: after its time; where the run ends before, nothing new is begun so long before it.
OVERRUN_S, LAST_S = 240.0, 10.0


def main(arguments: list[str] | None = None, *, begun_s: float | None = None) -> int:
    """Run the chosen parts one after the other; the exit code.

    `begun_s`: what `time.monotonic` said when the process began, by default now; its time runs from then.
    """
    begun_s = time.monotonic() if begun_s is None else begun_s
    args = _parse(arguments)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no NVIDIA GPU here; use --device cpu --quick", file=sys.stderr)
        return 2
    if device == "cpu" and not args.quick:
        print("towers at their real sizes take hours on a CPU; use --device cpu --quick", file=sys.stderr)
        return 2
    report = Report(args.out, environment(device))
    show("environment", [{"what": k, "value": v} for k, v in report.figures["environment"].items()])
    before = signal.signal(signal.SIGTERM, interrupt)  # so that one who is cut off ends as with Ctrl-C
    try:
        _run_all(report, device, args, begun_s)
    except KeyboardInterrupt:
        report.figures["errors"].append("cut off: what was not measured by then is missing")
    finally:
        signal.signal(signal.SIGTERM, before)
    report.figures["environment"]["after"] = gpu_state()
    report.figures["bars"] = bars(report.figures["parts"])
    report.write()
    if report.figures["bars"]:
        show("bars", report.figures["bars"])
    print(plot(report.figures, args.out.with_suffix(".png")))
    print(f"figures: {args.out}")
    for error in report.errors():
        print(f"ERROR: {error}", file=sys.stderr)
    return 1 if report.errors() else 0


def allowed(part_s: float, left_s: float) -> tuple[float, float]:
    """Of a part: after how many seconds it begins nothing new, and after how many it is ended.

    It has `part_s`, and `left_s` are left to the end of its process, by force or not.
    """
    end_s = left_s - GRACE_S
    seconds = min(part_s, end_s - LAST_S)
    return seconds, min(seconds + OVERRUN_S, end_s)


def _run_all(report: Report, device: str, args: argparse.Namespace, begun_s: float) -> None:
    total, matrix_tflops = Deadline(args.total_seconds - CLOSING_S, begun_s), 0.0
    # a part may crash, be killed for memory, or break the GPU's context, which no later part survives
    apart = device == "cuda" if args.apart is None else args.apart
    run = measure_apart if apart else measure
    wanted = [p for p in PARTS if p in args.parts or (p == "peak" and set(NEED_PEAK) & set(args.parts))]
    again_s = PEAK_AGAIN_S if set(NEED_PEAK) & set(wanted) and not args.quick else 0.0

    def job(part: str, part_s: float, left_s: float) -> Job:
        return Job(
            part, device, args.quick, tuple(args.encoders), args.max_autotune, args.tuned_only,
            str(args.films), *allowed(part_s, left_s), matrix_tflops,
            str(args.out.with_name(ROWS)), report.figures["environment"]["date"],
        )  # fmt: skip

    def watched(name: str, result: PartResult) -> AbstractContextManager[None]:
        file = args.out.with_name(f"{args.out.stem}-clocks.csv")
        return sampled(file, name, result) if device == "cuda" else nullcontext()

    peak = PartResult()
    for part in wanted:
        todo, began_s = job(part, args.part_seconds, total.left() - again_s), time.monotonic()
        result = PartResult(tell=todo.notes().tell)
        try:
            if todo.seconds <= 0:
                result.skip("everything: the run's time is used up")
            else:
                with watched(part, result):
                    run(todo, result)
        finally:
            result.seconds = time.monotonic() - began_s
            report.add(part, result)
        if part == "peak":
            peak, matrix_tflops = result, best_rate(result)
    if matrix_tflops and set(NEED_PEAK) & set(wanted):
        todo = job("peak", total.left(), total.left())
        if todo.seconds <= 0:
            peak.skip("after the towers: the run's time is used up")
            report.add("peak", peak)
            return
        try:
            with watched("peak-after", peak):
                run(todo, peak)
        finally:
            _share_anew(report, peak, matrix_tflops)


def _share_anew(report: Report, peak: PartResult, before: float) -> None:
    """Shares of the higher of the two matrix rates: the lower one would flatter what was measured."""
    after = max((row["tflops"] for row in peak.rows if row["when"] == "after"), default=0.0)
    best = max(before, after)
    for name in NEED_PEAK:
        for row in report.figures["parts"].get(name, {}).get("rows", []):
            if row.get("of_matrix_rate") is not None:
                row["of_matrix_rate"] = row["tflops"] / best
    report.figures["matrix_tflops"] = {"before": before, "after": after, "of": best}
    report.add("peak", peak)
    print(f"  figures and bars below are shares of {best:,.4g} TFLOP/s; the tables above, of {before:,.4g}")


def bars(parts: dict[str, dict[str, list[Row]]]) -> list[Row]:
    """What was promised beside the best that was measured; empty where no bar was measured."""
    found: list[Row] = []
    rates = [
        row
        for name in NEED_PEAK
        for row in parts.get(name, {}).get("rows", [])
        if row.get("of_matrix_rate") is not None and row["cosine_fp32"] >= MIN_COSINE
    ]
    for encoder in REAL:
        best = max(
            (r for r in rates if r["encoder"] == encoder.name),
            key=lambda r: r["of_matrix_rate"],
            default=None,
        )
        if best is not None and encoder.bar:
            how = f"{best['variant']}, batch {best['batch']}"
            found.append(_bar(f"{encoder.name}, share of the matrix rate", best["of_matrix_rate"], encoder.bar, how))  # fmt: skip # noqa: E501
    for row in parts.get("end_to_end", {}).get("rows", []):
        if "bar" in row:
            how = f"{row['decoder']}, bounded by {row['bounded_by']}"
            found.append(_bar("hours an hour, keyframes", row["hours_per_hour"], row["bar"], how))
    for row in parts.get("latency", {}).get("rows", []):
        if "bar_ms" in row:
            met = row["p50_ms"] < row["bar_ms"]
            found.append({"bar": "one segment, p50 ms", "measured": row["p50_ms"], "wanted": f"< {row['bar_ms']:g}", "met": met, "how": f"{row['film']}, {row['decoder']}"})  # fmt: skip # noqa: E501
    return found


def _bar(name: str, measured: float, least: float, how: str) -> Row:
    return {
        "bar": name,
        "measured": measured,
        "wanted": f">= {least:g}",
        "met": measured >= least,
        "how": how,
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m resonance.loadtest.gpu_bench", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"what to measure, of: {', '.join(PARTS)} (default: everything)")  # fmt: skip
    parser.add_argument("--encoders", nargs="+", choices=[e.name for e in REAL], default=[], metavar="NAME",
                        help=f"towers to measure, of: {', '.join(e.name for e in REAL)} (default: all)")  # fmt: skip # noqa: E501
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: the GPU where there is one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    parser.add_argument("--max-autotune", action="store_true",
                        help="let the compiler time kernels of its own; minutes a tower")  # fmt: skip
    parser.add_argument("--tuned-only", action="store_true", help="of `compiled` only what that tunes")
    parser.add_argument("--part-seconds", type=float, default=150, help="at most, a part (default: 150)")
    parser.add_argument("--total-seconds", type=float, default=1500,
                        help="at most, all, with its start and its end (default: 1500)")  # fmt: skip
    parser.add_argument("--apart", action=argparse.BooleanOptionalAction,
                        help="each part in a process of its own (default: on the GPU)")  # fmt: skip
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/gpu_bench.json"),
        help="figures as JSON; beside it rows.jsonl, every row as it is measured",
    )
    parser.add_argument("--films", type=Path, default=Path("build/films"), help="where films are kept")
    return parser.parse_args(arguments)
