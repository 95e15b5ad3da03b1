"""`resonance export FAMILY --target aoti`: packages beside the ONNX of the same space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from resonance.export.aoti import check_compiler, choose_device, package_family
from resonance.export.artifact import ArtifactReport
from resonance.export.cards import FamilyCard
from resonance.export.contract import DESCRIPTOR
from resonance.export.weights import weights_sha256
from resonance.space.descriptor import Descriptor
from resonance.space.errors import DescriptorError

if TYPE_CHECKING:
    from rich.console import Console


def export_packages(
    console: Console, card: FamilyCard, repository: Path, device: str, media: Path | None
) -> bool:
    """Compile the graphs of `card` beside the space that `repository` holds; False if it holds another.

    Raises:
        AotiError: no compiler or GPU, or a package does not agree with fp32.
    """
    from resonance.export.reference import reference_of

    device = choose_device(device)
    check_compiler(device)  # before anything that takes minutes
    descriptor = served_space(card, repository)
    if descriptor is None:
        return False
    with console.status("reading reference media") as status:
        reference = reference_of(media, descriptor, card.tokenizer())
        status.update(f"compiling for {device}; a graph takes half a minute to several minutes")
        reports = package_family(
            card,
            repository,
            reference,
            device=device,
            on_graph=lambda r: status.update(f"{r.model}: {r.chosen}; compiling the next"),
        )
    console.print(package_table(reports, device, reference.source))
    console.print(f"space {descriptor.name} {descriptor.fingerprint[:12]}: serve it with --target aoti")
    return True


def served_space(card: FamilyCard, repository: Path) -> Descriptor | None:
    """The descriptor in `repository` if it is of the space of `card`, else None."""
    try:
        descriptor = Descriptor.load(repository / DESCRIPTOR)
    except DescriptorError:
        return None
    weights = {graph.model: weights_sha256(graph.build()) for graph in card.graphs}
    return descriptor if descriptor.fingerprint == card.describe(weights).fingerprint else None


def package_table(reports: list[ArtifactReport], device: str, source: str) -> Table:
    """Every precision that was tried, a row each."""
    table = Table(
        *("graph", "artifact", "cosine", "abs", "batch", "MB", "speed", ""),
        title=f"AOTInductor on {device} against fp32 on {source} and random inputs",
        caption="worst cosine and difference of a vector; batch: worst difference between a row alone and "
        "the same row among others; speed: times eager fp32's, one item",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for report in reports:
        for trial in report.trials:
            table.add_row(
                report.model,
                trial.artifact,
                f"{trial.min_cosine:.7f}",
                f"{trial.max_abs:.1e}",
                f"{trial.batch_max_abs:.1e}",
                f"{trial.size_bytes / 1e6:.1f}",
                f"{trial.speed:.2f}",
                "; ".join(trial.refused) or "taken",
            )
    return table
