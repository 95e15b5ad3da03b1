"""Eight bits on the CPU, where they change nothing: candidates in order, the first that holds is taken.

An artifact belongs to its space if its vectors equal those of fp32 to the card's cosine floor and if a
vector does not depend on what else is in the batch. Both are found by running the graph on reference
media; a construction that should hold and does not is refused, whatever the reason. The fusion head is
small and stays fp32.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from resonance.export import contract
from resonance.export.artifact import NOTE, ArtifactReport, Trial, compare_values, cosine
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.int8_graphs import blocks_graph, linears, rows_graph, save
from resonance.export.onnx_export import cpu_session, make_inputs
from resonance.export.onnx_files import replace_graph, save_graph, sha256_of, size_of
from resonance.export.reference import Arrays, Reference, Row
from resonance.export.staging import hidden_folder

FP32, ROWS, MIXED, BLOCKS = "fp32", "int8-rows", "int8-rows-mixed", "int8-blocks"
#: A row alone and the same row in a batch may differ by this much in any number (times the number's
#: magnitude above 1, for signals in hertz). fp32 itself differs by up to 1e-7.
INDEPENDENCE = 1e-5
BATCH = 6
#: Rows that tell which layers hurt most, and the shares of what the floor allows that a mix aims at: with
#: 0.8 it held at 0.9991 on the media that chose it, too near the floor for others.
PROBE_ROWS, MIXED_SHARES = 4, (0.6, 0.3)
#: Speed: rounds of one row through both graphs in turn, more of them while they are short.
WARM_UP_ROUNDS, ROUNDS, ENOUGH_S = 2, 12, 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to make a graph smaller. `build` may raise ValueError where there is nothing to make."""

    artifact: str
    build: Callable[[], onnx.ModelProto]


def quantise_family(
    card: FamilyCard,
    repository: Path,
    reference: Reference,
    *,
    on_graph: Callable[[ArtifactReport], None] = lambda report: None,
) -> list[ArtifactReport]:
    """Replace the fp32 encoders that an export left in `repository` by 8-bit ones that hold.

    Beside each encoder's model.onnx, artifact.json says which artifact it is and why; the file itself
    says it too. The fingerprint and the golden vectors stay those of fp32.
    """
    reports = []
    for graph in card.graphs:
        if graph.model not in contract.ENCODERS:
            continue
        path = repository / graph.model / "1" / "model.onnx"
        report = quantise_graph(graph, path, reference.rows.get(graph.model, []))
        _write_note(path, report, reference)
        reports.append(report)
        on_graph(report)
    return reports


def quantise_graph(
    card: GraphCard,
    path: Path,
    rows: Sequence[Row],
    candidates: Callable[[Path, GraphCard, Sequence[Row]], Iterator[Candidate]] | None = None,
) -> ArtifactReport:
    """Try candidates on the fp32 graph at `path`; the first that is accepted takes its place."""
    report = ArtifactReport(card.model, FP32, card.artifact_floor, len(rows), size_of(path))
    if not rows:
        report.note = "no reference media for this encoder"
        return report
    expected = [_run(cpu_session(path), row.inputs) for row in rows]
    with hidden_folder(path.parent) as folder:
        for candidate in (candidates or default_candidates)(path, card, rows):
            file = folder / "model.onnx"
            trial = _try(candidate, card, path, file, rows, expected)
            report.trials.append(trial)
            if not trial.refused:
                replace_graph(path, file)
                report.chosen = candidate.artifact
                break
    return report


def default_candidates(path: Path, card: GraphCard, rows: Sequence[Row]) -> Iterator[Candidate]:
    """Fastest first; each is made only when those before it have failed."""
    yield Candidate(ROWS, lambda: rows_graph(path))
    yield from mixed_candidates(path, card, rows)
    yield Candidate(BLOCKS, lambda: blocks_graph(path))


def mixed_candidates(path: Path, card: GraphCard, rows: Sequence[Row]) -> Iterator[Candidate]:
    """8 bits by row, the most harmful layers in fp32. A graph is run for every layer to find them out:
    seconds for a small text encoder, minutes for a tower of 86 million parameters."""
    harm = _harm(path, rows[:: max(1, len(rows) // PROBE_ROWS)][:PROBE_ROWS])
    for share in MIXED_SHARES:
        keep = _kept(harm, share * (1.0 - card.artifact_floor))
        if 0 < len(keep) < len(harm):
            yield Candidate(MIXED, lambda keep=keep: rows_graph(path, keep=keep))  # type: ignore[misc]


def _harm(path: Path, rows: Sequence[Row]) -> dict[str, float]:
    """For each linear layer, 1 - the worst cosine when it alone is quantised."""
    expected = [_run(cpu_session(path), row.inputs)[0] for row in rows]
    layers = [layer.node for layer in linears(onnx.load(path))]
    harm = {}
    for layer in layers:
        session = _session_of(rows_graph(path, keep=[other for other in layers if other != layer]))
        found = [_run(session, row.inputs)[0] for row in rows]
        harm[layer] = 1.0 - min(cosine(a, b) for a, b in zip(expected, found, strict=True))
    return harm


def _kept(harm: dict[str, float], budget: float) -> frozenset[str]:
    """The layers to leave in fp32: the most harmful, until what the others add up to is in budget."""
    total, kept = sum(harm.values()), set()
    for layer, share in sorted(harm.items(), key=lambda item: -item[1]):
        if total <= budget:
            break
        kept.add(layer)
        total -= share
    return frozenset(kept)


def _try(
    candidate: Candidate,
    card: GraphCard,
    path: Path,
    file: Path,
    rows: Sequence[Row],
    expected: Sequence[list[np.ndarray]],
) -> Trial:
    """Build a candidate into `file` and compare it with fp32 at `path`."""
    trial = Trial(candidate.artifact)
    try:
        model = candidate.build()
        save(model, file, candidate.artifact)
        session = cpu_session(file)
    except Exception as error:  # whatever the quantiser or the runtime raises, fp32 is still there
        trial.refused.append(f"cannot be made: {str(error).splitlines()[0]}")
        return trial
    trial.size_bytes = size_of(file)
    trial.layers = len(linears(onnx.load(path)))
    trial.fp32_layers = len(linears(model))
    alone = [_run(session, row.inputs) for row in rows]
    compare_values(trial, card, rows, expected, alone)
    _compare_batches(trial, card, session, rows, alone)
    if trial.size_bytes >= size_of(path):
        trial.refused.append("the file is not smaller")
    trial.speed = speed_ratio(cpu_session(path), session, rows)
    return trial


def _compare_batches(
    trial: Trial,
    card: GraphCard,
    session: onnxruntime.InferenceSession,
    rows: Sequence[Row],
    alone: Sequence[list[np.ndarray]],
) -> None:
    """Each row alone against itself in a batch of others of its shape and one of noise.

    The noise is a loud neighbour: a scale taken over the batch shows at once, even where the reference
    holds one row of a shape.
    """
    model = contract.model(card.model)
    shapes: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, row in enumerate(rows):
        shapes.setdefault(tuple(row.inputs[t.name].shape for t in model.inputs), []).append(i)
    worst = 0.0
    for members in shapes.values():
        first = rows[members[0]].inputs
        axes = {
            axis: first[t.name].shape[place]
            for t in model.inputs
            for place, axis in enumerate(t.axes, start=1)
            if isinstance(axis, str)
        }
        noise = make_inputs(model, batch=1, seed=len(members), axes=axes)
        for start in range(0, len(members), BATCH):
            together = members[start : start + BATCH]
            joined = [*(rows[i].inputs for i in together), noise]
            found = _run(session, {k: np.concatenate([one[k] for one in joined]) for k in noise})
            for place, i in enumerate(together):
                for a, b in zip(alone[i], found, strict=True):
                    apart = np.abs(a[0] - b[place]) / np.maximum(1.0, np.abs(a[0]))
                    worst = max(worst, float(apart.max()))
    trial.batch_max_abs = worst
    if not worst <= INDEPENDENCE:
        trial.refused.append(f"a row alone and in a batch differ by {worst:.1e} (at most {INDEPENDENCE:.0e})")


def speed_ratio(
    slow: onnxruntime.InferenceSession, fast: onnxruntime.InferenceSession, rows: Sequence[Row]
) -> float:
    """Time of `slow` over time of `fast`, the median of rounds in which both run the same row."""
    ratios: list[float] = []
    begun = time.perf_counter()
    while len(ratios) < WARM_UP_ROUNDS + ROUNDS or time.perf_counter() - begun < ENOUGH_S:
        inputs = rows[len(ratios) % len(rows)].inputs
        started = time.perf_counter()
        _run(slow, inputs)
        between = time.perf_counter()
        _run(fast, inputs)
        ratios.append((between - started) / (time.perf_counter() - between))
    return statistics.median(ratios[WARM_UP_ROUNDS:])


def _run(session: onnxruntime.InferenceSession, inputs: Arrays) -> list[np.ndarray]:
    return list(session.run(None, inputs))


def _session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        save_graph(model, path)
        return cpu_session(path)


def integer_unit() -> str:
    """What multiplies bytes on this processor: `amx`, `vnni` or `none`.

    Without either, onnxruntime adds products of bytes in 16 bits, which can saturate: an artifact
    accepted elsewhere is then to be made again on that processor.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    return next((name for mark, name in (("amx_int8", "amx"), ("vnni", "vnni")) if mark in flags), "none")


def _write_note(path: Path, report: ArtifactReport, reference: Reference) -> None:
    note = {
        "artifact": report.chosen,
        "sha256": sha256_of(path),
        "reference": reference.source,
        "integer_unit": integer_unit(),
        **asdict(report),
    }
    path.with_name(NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
