"""The part `profile`: the AOTI profile itself, export to runner, with the committed family `tiny`.

What `resonance export tiny --target aoti` compiles and what the backend `aoti` then runs, without a
server: packages on this device, judged against fp32, run by the backend's own runner at odd batches,
replayed from its CUDA graphs where there is a GPU.
"""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

import torch

from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import MIN_COSINE, Bench
from resonance.loadtest.gpu_bench.timing import seconds_a_call

#: Left for one graph's precisions before they are begun.
COMPILE_S = 60.0
BATCHES = (1, 3, 8, 5)
#: The order in which graphs are taken, most wanted first, for a time limit cuts the last ones.
ORDER = ("visual_encoder", "audio_encoder", "transcript_encoder", "title_fusion")


def measure_profile(bench: Bench, *, max_autotune: bool) -> None:
    """A row a graph and batch."""
    result, quick = bench.result, bench.quick
    needed = ("resonance.export.families.tiny", "resonance.export.onnx_export")
    reasons = [reason for reason in map(missing, needed) if reason]
    if reasons:
        result.skip(f"everything: {'; '.join(reasons)}")
        return
    from resonance.export.aoti_compile import AotiError, check_compiler
    from resonance.export.families.tiny import TINY

    try:
        check_compiler(bench.device)
    except AotiError as error:
        result.skip(f"everything: {error}")
        return
    for model in sorted((card.model for card in TINY.graphs), key=ORDER.index):
        if quick and model != "title_fusion":
            continue
        if bench.deadline.passed(0 if quick else COMPILE_S):
            result.skip(f"{model}: out of time")
            continue
        with bench.going_on(model), tempfile.TemporaryDirectory() as folder:
            _measure(bench, model, Path(folder), max_autotune)
    if quick:
        result.skip("the encoders: --quick compiles the fusion head alone")


def _measure(bench: Bench, name: str, folder: Path, max_autotune: bool) -> None:
    from resonance.export import aoti, contract
    from resonance.export.artifact import AOTI_PACKAGE, cosine
    from resonance.export.families.tiny import TINY
    from resonance.export.onnx_export import make_inputs
    from resonance.serving.backends.aoti.runner import Runner

    card = next(g for g in TINY.graphs if g.model == name)
    model = contract.model(name)
    result, device = bench.result, bench.device
    started = time.monotonic()
    report = aoti.package_graph(card, folder / AOTI_PACKAGE, [], device=device, autotune=max_autotune)
    aoti.write_note(folder / AOTI_PACKAGE, report, card, device=device, source="random inputs")
    place = "cuda:0" if device == "cuda" else "cpu"
    runner = Runner(str(folder / AOTI_PACKAGE), place, batched=model.max_batch_size > 0)
    compile_s = time.monotonic() - started
    for trial in report.trials:
        if trial.refused:
            result.skip(f"{name}, {trial.artifact}: {'; '.join(trial.refused)}")
    fp32 = card.build().eval()
    for batch in BATCHES:
        with bench.going_on(f"{name}, batch {batch}"):
            inputs = make_inputs(model, batch=batch, seed=int(time.time()))
            tensors = [torch.from_numpy(inputs[t.name]) for t in model.inputs]
            with torch.inference_mode():
                want = fp32(*tensors)
            want = want[0] if isinstance(want, tuple) else want
            there = [t.to(runner.device) for t in tensors]
            got = runner.run(there)[0].float().cpu()
            rows = zip(torch.atleast_2d(want).numpy(), torch.atleast_2d(got).numpy(), strict=True)
            worst = min(cosine(a, b) for a, b in rows)
            if not worst >= MIN_COSINE:
                result.error(f"{name}, batch {batch}: cosine {worst:.6f} (at least {MIN_COSINE})")
            run = functools.partial(runner.run, there)
            result.row(
                {
                    "graph": name,
                    "artifact": report.chosen,
                    "batch": batch,
                    "ms": seconds_a_call(run, device, round_s=0.02) * 1e3,
                    "cosine_fp32": worst,
                    "compile_and_checks_s": compile_s,
                }
            )
