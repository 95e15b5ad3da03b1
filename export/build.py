"""A whole family into a model repository: graphs, tokenizer, descriptor, golden inputs."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE, NOTE
from resonance.export.axes import read_axes
from resonance.export.calibrate import calibrated
from resonance.export.cards import FamilyCard, GraphReport
from resonance.export.contract import DESCRIPTOR
from resonance.export.golden import moved_blocks, write_golden
from resonance.export.onnx_export import ExportError, export_graph
from resonance.export.onnx_files import files_of, replace_graph
from resonance.export.staging import hidden_folder
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceError
from resonance.space.reference import Reference

#: Files of a repository beside its graphs.
GOLDEN = DESCRIPTOR.with_name("golden.npz")
TOKENIZER = Path("transcript_tokenizer", "1", "tokenizer.json")
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

    All of it is made and checked beside what stands there, which then gives way at once: an export that
    fails changes nothing. space.json goes first and comes last: a repository with a descriptor is whole.
    `axes`, by default the card's own, is read in any case, and used where the card has a reference set.

    One export into `repository` at a time: whoever cannot know holds `resonance.export.staging.only_export`.

    Raises:
        ExportError: a graph failed its checks, or vectors of the space that is there changed.
        AxesFileError, CalibrationError: the axes or the reference set are unusable.
        OSError: `repository` cannot be written, or has no room for both.
    """
    prompts = read_axes(axes or card.axes)
    reference = None if card.reference is None else Reference.load(card.reference)
    with hidden_folder((repository / DESCRIPTOR).parent) as made:
        reports = []
        for graph in card.graphs:
            with _quiet_exporter():
                report = export_graph(graph, _graph_in(made, graph.model))
            reports.append(report)
            on_graph(report)

        descriptor = card.describe({r.model: r.weights_sha256 for r in reports})
        tokenizer = card.tokenizer()
        (made / TOKENIZER).parent.mkdir(parents=True)
        # not by `save`, whose errors do not say that a disk is full
        (made / TOKENIZER).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        if reference is not None:
            descriptor = calibrated(descriptor, reference, prompts, repository=made, tokenizer=tokenizer)
        (made / DESCRIPTOR).parent.mkdir(parents=True)
        write_golden(made / GOLDEN, made, descriptor, tokenizer)
        (made / DESCRIPTOR).write_text(descriptor.to_json(), encoding="utf-8")
        _check_same_space(made, repository, descriptor)
        _replace(made, repository, [graph.model for graph in card.graphs])
    return descriptor, reports


def _graph_in(repository: Path, model: str) -> Path:
    return repository / model / "1" / "model.onnx"


def _check_same_space(made: Path, repository: Path, descriptor: Descriptor) -> None:
    """Refuse other vectors under the fingerprint of what stands in `repository`.

    It covers weights, tokenizer and preprocessing. What a checkpoint's config.json says besides, such as the
    activation or the number of heads, and how the library reads it, decides vectors just as much.

    Raises:
        ExportError: they are.
    """
    try:
        before = Descriptor.load(repository / DESCRIPTOR)
    except SpaceError:  # none, or of another release: no vectors of this space are here
        return
    if before.fingerprint != descriptor.fingerprint:
        return
    moved = moved_blocks(repository / GOLDEN, made / GOLDEN)
    if moved:
        cosines = ", ".join(f"{modality}: cosine {value:.6f}" for modality, value in moved.items())
        raise ExportError(
            f"{repository}: the space there has the same fingerprint {descriptor.fingerprint[:12]} and other "
            f"vectors ({cosines}): the weights are the same, but not what config.json says besides, or the "
            "library that reads it, or this package's own graphs. Export with those of before; or remove "
            "space.json here, and embed every title of this space again"
        )


def _replace(made: Path, repository: Path, models: Sequence[str]) -> None:
    """Let what was made take the place of what `repository` has of it.

    First each file is brought beside the one that it replaces, which may be on another disk: where there is
    no room or no right for one of them, all stays as it was.
    """
    graphs = [_graph_in(Path(), model) for model in models]
    others = [TOKENIZER, GOLDEN, DESCRIPTOR]
    with ExitStack() as folders:
        new = {}
        for file in (*graphs, *others):
            folder = folders.enter_context(hidden_folder((repository / file).parent))
            new[file] = folder / file.name
            for part in files_of(made / file):
                shutil.move(part, folder)
        (repository / DESCRIPTOR).unlink(missing_ok=True)
        for graph in graphs:
            forget_derived((repository / graph).parent)
            replace_graph(repository / graph, new[graph])
        for file in others:
            new[file].replace(repository / file)


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
