"""`make gpu-bench`: everything the GPU path promises, measured on this machine.

Needs PyTorch and, for the GPU's figures, an NVIDIA GPU. What else is missing is skipped, with its reason.
Exit code 0: measured; 1: a figure cannot be true, a parity is broken, or a part failed; 2: wrong use.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from resonance.loadtest.gpu_bench.aoti_part import measure_aoti
from resonance.loadtest.gpu_bench.decode_part import measure_decode
from resonance.loadtest.gpu_bench.encoders import QUICK, REAL
from resonance.loadtest.gpu_bench.end_to_end_part import measure_end_to_end
from resonance.loadtest.gpu_bench.latency_part import measure_latency
from resonance.loadtest.gpu_bench.machine import environment, gpu_state
from resonance.loadtest.gpu_bench.measure import MIN_COSINE, Bench
from resonance.loadtest.gpu_bench.peak import best_rate, measure_peak
from resonance.loadtest.gpu_bench.profile_part import measure_profile
from resonance.loadtest.gpu_bench.report import PartResult, Report, Row, plot, show
from resonance.loadtest.gpu_bench.tensorrt_part import measure_tensorrt
from resonance.loadtest.gpu_bench.timing import Deadline
from resonance.loadtest.gpu_bench.towers_part import measure_compiled, measure_towers

#: In the order they run: what the bars are about first, what takes longest to compile last.
PARTS = (
    "peak", "encoders", "compiled", "end_to_end", "latency", "decode", "aoti", "tensorrt", "profile",
)  # fmt: skip
NEED_PEAK = ("encoders", "compiled", "aoti", "tensorrt")


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen parts one after the other; the exit code."""
    args = _parse(arguments)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no NVIDIA GPU here; use --device cpu --quick", file=sys.stderr)
        return 2
    if device == "cpu" and not args.quick:
        print("towers at their real sizes take hours on a CPU; use --device cpu --quick", file=sys.stderr)
        return 2
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.backends.cudnn.allow_tf32 = False  # as where it serves: log-mel spectra do not survive it
    report = Report(args.out, environment(device))
    show("environment", [{"what": k, "value": v} for k, v in report.figures["environment"].items()])
    before = signal.signal(signal.SIGTERM, _interrupt)  # so that one who is cut off ends as with Ctrl-C
    try:
        _run_all(report, device, dtype, args)
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


def _run_all(report: Report, device: str, dtype: torch.dtype, args: argparse.Namespace) -> None:
    total, matrix_tflops = Deadline(args.total_seconds), 0.0
    wanted = [p for p in PARTS if p in args.parts or (p == "peak" and set(NEED_PEAK) & set(args.parts))]
    for part in wanted:
        deadline = Deadline(min(args.part_seconds, total.left()))
        result = PartResult()
        bench = Bench(device, dtype, args.quick, matrix_tflops, result, deadline)
        try:
            if total.passed(5):
                result.skipped.append("everything: the run's time is used up")
            else:
                _run(part, bench, args)
        except Exception:  # one part that fails must not take the others along
            result.errors.append(traceback.format_exc(limit=-3).strip().replace("\n", " | "))
        finally:
            result.seconds = deadline.seconds - deadline.left()
            report.add(part, result)
        if part == "peak":
            matrix_tflops = best_rate(result)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _run(part: str, bench: Bench, args: argparse.Namespace) -> None:
    """Measure `part` into `bench.result`, which keeps what it has where the part fails."""
    encoders = QUICK if bench.quick else [e for e in REAL if not args.encoders or e.name in args.encoders]
    tune, films = args.max_autotune, args.films
    steps: dict[str, Callable[[], None]] = {
        "peak": lambda: measure_peak(bench),
        "encoders": lambda: measure_towers(bench, encoders),
        "compiled": lambda: measure_compiled(bench, encoders, max_autotune=tune),
        "aoti": lambda: measure_aoti(bench, encoders, max_autotune=tune),
        "tensorrt": lambda: measure_tensorrt(bench, encoders),
        "profile": lambda: measure_profile(bench, max_autotune=tune),
        "decode": lambda: measure_decode(bench, films),
        "end_to_end": lambda: measure_end_to_end(bench, films),
        "latency": lambda: measure_latency(bench, films),
    }
    steps[part]()


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
            how = f"bounded by {row['bounded_by']}"
            found.append(_bar("hours an hour, keyframes", row["hours_per_hour"], row["bar"], how))
    for row in parts.get("latency", {}).get("rows", []):
        if "bar_ms" in row:
            met = row["p50_ms"] < row["bar_ms"]
            found.append({"bar": "one segment, p50 ms", "measured": row["p50_ms"], "wanted": f"< {row['bar_ms']:g}", "met": met, "how": row["film"]})  # fmt: skip # noqa: E501
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
    parser.add_argument("--part-seconds", type=float, default=150, help="at most, a part (default: 150)")
    parser.add_argument("--total-seconds", type=float, default=1500, help="at most, all (default: 1500)")
    parser.add_argument("--out", type=Path, default=Path("build/gpu_bench.json"), help="figures as JSON")
    parser.add_argument("--films", type=Path, default=Path("build/films"), help="where films are kept")
    return parser.parse_args(arguments)
