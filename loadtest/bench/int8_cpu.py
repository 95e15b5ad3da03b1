"""8 bits at the sizes of pretrained encoders: every construction against fp32, on reference media.

`python -m resonance.loadtest.bench.int8_cpu --reference-media FOLDER [--minilm CHECKPOINT]`. The towers
of 86 million parameters have random weights, which says how fast they are and that rows are independent;
how near they come to fp32 depends on trained weights, and an export finds that out each time.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import onnx
import torch
import transformers
import typer
from rich.console import Console
from tokenizers import Tokenizer

from resonance.export import contract
from resonance.export.architectures.visual import SiglipPictures
from resonance.export.build import _quiet_exporter
from resonance.export.cards import GraphCard, Tolerance
from resonance.export.families import FAMILIES, tiny
from resonance.export.graphs.compact import Contour
from resonance.export.graphs.compact_audio import CompactAudioGraph
from resonance.export.graphs.pretrained_text import PooledTextGraph
from resonance.export.graphs.pretrained_visual import PretrainedVisualGraph
from resonance.export.int8_graphs import blocks_graph, linears, rows_graph
from resonance.export.onnx_export import export_graph
from resonance.export.quantise import (
    BLOCKS,
    ROWS,
    ArtifactReport,
    Candidate,
    mixed_candidates,
    quantise_graph,
)
from resonance.export.reference import Reference, Row, reference_of
from resonance.export.report import artifact_table, verdict_lines
from resonance.space.descriptor import BLOCK_WIDTH

BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
BATCH_SCALED = "int8-batch"


def batch_scaled_graph(path: Path) -> onnx.ModelProto:
    """onnxruntime's dynamic quantisation, one scale for all activations of a batch; layers as in ours."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "model.onnx")
        quantize_dynamic(
            path,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_quantize=[layer.node for layer in linears(onnx.load(path))],
        )
        return onnx.load(target)


def siglip_base() -> torch.nn.Module:
    """SigLIP's vision tower ViT-B/16 at 224 px, random weights."""
    torch.manual_seed(0)
    px = contract.FRAME_PX
    vision = {**BASE, "image_size": px, "patch_size": 16}
    words = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.SiglipConfig(text_config=words, vision_config=vision)
    half = (0.5, 0.5, 0.5)
    return PretrainedVisualGraph(
        SiglipPictures(transformers.SiglipModel(config)),
        hidden=768,
        width=BLOCK_WIDTH,
        frame_px=px,
        resize_px=px,
        encoder_px=px,
        resample="bicubic",
        rescale=1 / 255,
        mean=half,
        std=half,
    )


class _Columns(torch.nn.Module):
    """An AST over log-mel [B, frames, bands] -> one token a column of patches, [B, columns, 768]."""

    def __init__(self, encoder: transformers.ASTModel, patch_rows: int) -> None:
        super().__init__()
        self.encoder, self.patch_rows = encoder, patch_rows

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder(input_values=mel).last_hidden_state[:, 2:]  # (B, rows*columns, 768)
        return tokens.unflatten(1, (self.patch_rows, -1)).mean(1)  # (B, columns, 768)


def ast_base() -> torch.nn.Module:
    """The Audio Spectrogram Transformer at its usual width and depth, with tiny's front end."""
    torch.manual_seed(0)
    patch = 16
    config = transformers.ASTConfig(
        **BASE,
        patch_size=patch,
        frequency_stride=patch,
        time_stride=patch,
        num_mel_bins=tiny.MEL["bands"],
        max_length=contract.WINDOW_SAMPLES // tiny.MEL["hop_samples"],
    )
    return CompactAudioGraph(
        _Columns(transformers.ASTModel(config), tiny.MEL["bands"] // patch),
        Contour(sample_rate_hz=tiny.SAMPLE_RATE_HZ, **tiny.CONTOUR),
        tiny.new_rhythm(),
        hidden=768,
        width=BLOCK_WIDTH,
        contour_steps=contract.WINDOW_SAMPLES // (tiny.CONTOUR["hop_samples"] * tiny.CONTOUR["hops_a_step"]),
        **tiny.MEL,
    )


def minilm(checkpoint: Path) -> torch.nn.Module:
    """The checkpoint's own weights; the projection into the space is random."""
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_pretrained(
        checkpoint, local_files_only=True, add_pooling_layer=False
    )
    return PooledTextGraph(
        encoder,
        hidden=encoder.config.hidden_size,
        width=BLOCK_WIDTH,
        first_token=False,
        pad_id=encoder.config.pad_token_id,
    )


def measure_int8(card: GraphCard, rows: Sequence[Row]) -> ArtifactReport:
    """Every construction and the batch-scaled counter-example, each against the fp32 graph.

    A mix is measured where the plain rows were refused; it takes minutes to find and helps nobody else.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet_exporter():
        fp32, copy = Path(folder, "fp32.onnx"), Path(folder, "copy.onnx")
        export_graph(card, fp32)

        def tried(candidate: Candidate) -> ArtifactReport:
            shutil.copy(fp32, copy)
            return quantise_graph(card, copy, rows, lambda *_: iter((candidate,)))

        report = tried(Candidate(BATCH_SCALED, lambda: batch_scaled_graph(fp32)))
        found = [tried(Candidate(ROWS, lambda: rows_graph(fp32)))]
        if found[0].taken() is None:
            found += [tried(mixed) for mixed in mixed_candidates(fp32, card, rows)]
        found.append(tried(Candidate(BLOCKS, lambda: blocks_graph(fp32))))
        report.trials += [trial for one in found for trial in one.trials]
        report.chosen = next((one.chosen for one in found if one.taken()), report.chosen)
        return report


def main(
    reference_media: Annotated[Path | None, typer.Option(help="A folder of real media.")] = None,
    minilm_checkpoint: Annotated[
        Path | None, typer.Option("--minilm", help="Folder of the all-MiniLM-L6-v2 checkpoint.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="One encoder, by the name of its model.")] = None,
    max_rows: Annotated[int, typer.Option("--rows", help="Rows an encoder is compared on.")] = 8,
) -> None:
    """Print a table an encoder."""
    console = Console(width=100)
    logging.getLogger().setLevel(logging.WARNING)  # the quantiser tells the root logger of its every step
    family = FAMILIES["tiny"]
    descriptor = family.describe({g.model: "0" * 64 for g in family.graphs})
    loose = Tolerance(max_abs=0.05, min_cosine=0.9999)
    cards: list[tuple[str, Callable[[], torch.nn.Module], str]] = [
        ("SigLIP ViT-B/16, random weights", siglip_base, "visual_encoder"),
        ("AST-base, random weights", ast_base, "audio_encoder"),
    ]
    tokenizer = family.tokenizer()
    if minilm_checkpoint is not None:
        cards.append(("MiniLM-L6, its weights", lambda: minilm(minilm_checkpoint), "transcript_encoder"))
        tokenizer = Tokenizer.from_file(str(minilm_checkpoint / "tokenizer.json"))
        tokenizer.no_padding()
    reference = reference_of(reference_media, descriptor, tokenizer)
    for title, build, model in cards:
        if only not in (None, model):
            continue
        card = next(g for g in family.graphs if g.model == model)
        card = replace(card, build=build, tolerance=dict.fromkeys(card.tolerance, loose))
        rows = reference.rows[model]
        rows = rows[:: max(1, len(rows) // max_rows)][:max_rows]
        report = measure_int8(card, rows)
        console.rule(title)
        console.print(artifact_table([report], Reference(reference.source)))
        for line in verdict_lines([report]):
            console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    typer.run(main)
