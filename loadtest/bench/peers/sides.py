"""Who is compared: ours and the others, started on the same weights and inputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from resonance.export.reference import Reference
from resonance.export.report import artifact_table
from resonance.loadtest.bench.peers import bars, contenders, workload
from resonance.loadtest.bench.peers.environments import Environment, make_environment
from resonance.loadtest.bench.peers.load import Contender
from resonance.loadtest.bench.peers.served import (
    Checkpoints,
    Served,
    make_checkpoints,
    make_int8,
    make_served,
)

#: infinity's engines at the settings that were fastest here (docs/peers.md says which were tried).
ENGINES = {
    bars.INFINITY_TORCH: ("--engine=torch", "--dtype=float32", "--no-compile"),
    # "auto" takes the first token's state for MiniLM with this engine; its vectors are then others.
    bars.INFINITY_ONNX: ("--engine=optimum", "--pooling-method=mean"),
}

#: Ours, and the others.
Sides = tuple[Sequence[Contender], Sequence[Contender]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every part needs on disk: weights, our models, the libraries' environment."""

    folder: Path
    weights: Checkpoints
    served: Served
    library: Path


def prepare(folder: Path) -> Prepared:
    """Make what is missing under `folder`: minutes the first time."""
    weights = make_checkpoints(folder / "weights")
    library = make_environment(folder, Environment.TRANSFORMERS)
    return Prepared(folder, weights, make_served(folder, weights), library)


@asynccontextmanager
async def text_sides(has: Prepared) -> AsyncIterator[Sides]:
    """Ours and the others; all run until the end, and none works while another is measured."""
    minilm = has.weights.minilm
    infinity = make_environment(has.folder, Environment.INFINITY)
    onnx = contenders.onnx_checkpoint(infinity, minilm, has.folder / "weights" / "infinity-onnx")
    texts = workload.sentences()
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        ours = await start(contenders.sentences_on_triton(bars.TRITON, has.served.fp32, texts))
        servers = [
            await start(contenders.sentences_on_infinity(name, infinity, checkpoint, ENGINES[name], texts))
            for name, checkpoint in ((bars.INFINITY_TORCH, minilm), (bars.INFINITY_ONNX, onnx))
        ]
        loop = contenders.in_process(bars.SENTENCE_TRANSFORMERS, has.library, "sentences", minilm, texts)
        yield [ours], [*servers, stack.enter_context(loop)]


@asynccontextmanager
async def image_sides(has: Prepared, media: Path, console: Console) -> AsyncIterator[Sides]:
    """As `text_sides`; ours in fp32 and in 8 bits, which are found on pictures of `media` the first time."""
    report = make_int8(has.served, media)
    if report is not None:
        console.print(artifact_table([report], Reference(str(media))))
    pictures = workload.images()
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(contenders.images_on_triton(name, models, pictures))
            for name, models in ((bars.TRITON, has.served.fp32), (bars.TRITON_INT8, has.served.int8))
        ]
        loops = [
            stack.enter_context(contenders.in_process(name, has.library, kind, has.weights.clip, pictures))
            for name, kind in ((bars.CLIP_LOOP, "images"), (bars.CLIP_LEAN_LOOP, "pixels"))
        ]
        yield ours, loops
