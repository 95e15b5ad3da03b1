"""A whole family into a model repository: graphs, tokenizer, descriptor, golden inputs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE, NOTE
from resonance.export.axes import read_axes
from resonance.export.calibrate import calibrated
from resonance.export.cards import FamilyCard, GraphReport
from resonance.export.golden import write_golden
from resonance.export.onnx_export import export_graph
from resonance.space.descriptor import Descriptor
from resonance.space.reference import Reference

#: What an export makes stale: files made of a graph's fp32 ONNX, and what is told of them.
DERIVED = (
    *(NOTE, AOTI_PACKAGE, AOTI_NOTE),
    *("model.tensorrt.onnx", "model.tensorrt.onnx.data", "model.plan", "plan.json"),
)


def export_family(
    card: FamilyCard,
    repository: Path,
    *,
    axes: Path | None = None,
    on_graph: Callable[[GraphReport], None] = lambda report: None,
) -> tuple[Descriptor, list[GraphReport]]:
    """Export every graph of `card` into `repository` and describe the space they make.

    space.json is removed first and written last: a repository with a descriptor is whole. `axes`,
    by default the card's own, is read in any case, and used where the card has a reference set.

    Raises:
        ExportError: a graph failed its checks.
        AxesFileError, CalibrationError: the axes or the reference set are unusable.
    """
    prompts = read_axes(axes or card.axes)
    reference = None if card.reference is None else Reference.load(card.reference)
    folder = repository / "space_descriptor" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor_path = folder / "space.json"
    descriptor_path.unlink(missing_ok=True)

    reports = []
    for graph in card.graphs:
        forget_derived(repository / graph.model / "1")
        with _quiet_exporter():
            report = export_graph(graph, repository / graph.model / "1" / "model.onnx")
        reports.append(report)
        on_graph(report)

    descriptor = card.describe({r.model: r.weights_sha256 for r in reports})
    tokenizer = card.tokenizer()
    tokenizer_path = repository / "transcript_tokenizer" / "1" / "tokenizer.json"
    tokenizer_path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(tokenizer_path))
    if reference is not None:
        descriptor = calibrated(descriptor, reference, prompts, repository=repository, tokenizer=tokenizer)
    write_golden(folder / "golden.npz", repository, descriptor, tokenizer)
    descriptor_path.write_text(descriptor.to_json(), encoding="utf-8")
    return descriptor, reports


def forget_derived(folder: Path) -> None:
    """Remove what was made of the graph in `folder`: beside new weights it would be another space's."""
    for name in DERIVED:
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of torchvision's absence and of its own deprecations; neither concerns a caller."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
