"""Which encoders are measured, at which sizes and batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resonance.loadtest.gpu_bench.flops import bert_flops, counted, htsat_flops, vit_flops
from resonance.loadtest.gpu_bench.htsat import Htsat, HtsatSize
from resonance.loadtest.gpu_bench.towers import Bert, BertSize, Vit, VitSize, randomise

#: Frames of the log-mel picture of CLAP's 10 s clip.
MEL_FRAMES = 1001


@dataclass(frozen=True, slots=True)
class Encoder:
    """One encoder of the bench.

    Attributes:
        item: what one row of a batch is.
        shell: the tower as torch makes it; seed: of its random weights.
        draw: random inputs, (batch, generator) -> fp32 or int64 tensor where the generator is.
        flops: matrix FLOPs an item, by formula.
        batches: measured ones, the most promising for the rate first: what time does not suffice for is the
            least promising.
        bar: the least share of the card's matrix rate that is promised, 0 for none.
    """

    name: str
    item: str
    shell: Callable[[], nn.Module]
    seed: int
    draw: Callable[[int, torch.Generator], Tensor]
    flops: int
    batches: tuple[int, ...]
    bar: float = 0.0

    @property
    def largest(self) -> int:
        """The largest of its batches."""
        return max(self.batches)

    def build(self, device: str = "cpu") -> nn.Module:
        """The tower with random weights, fp32, the same ones each time on a device.

        They are drawn on the device: on a CPU the six towers took 13 s, in every part that wants them.
        """
        with torch.device(device):
            return randomise(self.shell(), self.seed)

    def inputs(self, batch: int, seed: int, device: str = "cpu") -> Tensor:
        """Random inputs of that seed, fp32 or int64, drawn on the device."""
        return self.draw(batch, torch.Generator(device).manual_seed(seed))

    def counted_flops(self) -> int:
        """Matrix FLOPs an item by torch's own counter, nothing computed."""
        batch = 2
        with torch.device("meta"):
            module = self.shell().eval()
        return counted(module, (self.inputs(batch, 0).to("meta"),)) // batch


def _vit(name: str, size: VitSize, batches: tuple[int, ...], bar: float = 0.0) -> Encoder:
    def draw(batch: int, generator: torch.Generator) -> Tensor:
        shape = (batch, 3, size.image_px, size.image_px)
        return torch.randn(shape, generator=generator, device=generator.device)

    item = f"picture of {size.image_px} px"
    return Encoder(name, item, lambda: Vit(size), 1, draw, vit_flops(size), batches, bar)


def _bert(name: str, size: BertSize, batches: tuple[int, ...], bar: float = 0.0) -> Encoder:
    def draw(batch: int, generator: torch.Generator) -> Tensor:
        shape = (batch, size.tokens)
        return torch.randint(3, size.vocabulary, shape, generator=generator, device=generator.device)

    item = f"row of {size.tokens} tokens"
    return Encoder(name, item, lambda: Bert(size), 2, draw, bert_flops(size), batches, bar)


def _htsat(name: str, size: HtsatSize, frames: int, batches: tuple[int, ...]) -> Encoder:
    def draw(batch: int, generator: torch.Generator) -> Tensor:
        shape = (batch, 1, frames, size.bands)
        return torch.randn(shape, generator=generator, device=generator.device)

    return Encoder(name, "10 s of sound", lambda: Htsat(size), 3, draw, htsat_flops(size), batches)


SIGLIP_B16 = VitSize(224, 16, 768, 12, 12, 3072, attention_pooling=True)
CLIP_B32 = VitSize(224, 32, 768, 12, 12, 3072, class_token=True, projection=512)
CLIP_L14 = VitSize(224, 14, 1024, 24, 16, 4096, class_token=True, projection=768)
MINILM = BertSize(30_522, 512, 128, 384, 6, 12, 1536)
E5_BASE = BertSize(250_002, 514, 128, 768, 12, 12, 3072, types=1)

#: Batches whose products fill the GPU and whose activations stay in its cache. A product is cut into tiles of
#: 128 x 256, which an H200's 132 multiprocessors take 132 at a time (a wave): 28 pictures of SigLIP make 129
#: tiles of a product that is as wide as the tower, 32 make 147, and the second wave is nearly empty. Its
#: cache holds 50 MB; what is largest in a layer is the output of `up`, B x L x 4 D numbers of two bytes.
#:
#: | | batch | of the waves' tiles filled | output of `up`, MB |
#: |---|---|---|---|
#: | SigLIP-B/16 | 28, 56, 256 (32) | 0.97, 0.97, 0.99 (0.70) | 34, 67, 308 (39) |
#: | CLIP-L/14 | 16, 32, 128 | 0.97, 0.97, 0.97 | 34, 67, 269 |
#: | MiniLM-L6 | 132, 128, 66, 256 | 0.86, 0.83, 0.82, 0.83 | 52, 50, 26, 101 |
#: | CLIP-B/32 | 112, 512 | 0.99, 0.94 | 34, 157 |
#: | E5-base | 44, 256 (32) | 1.00, 0.97 (0.79) | 35, 201 |
#:
#: MiniLM's narrow products fill one tile and a half across, so no batch fills more.
REAL = (
    _vit("siglip-b16", SIGLIP_B16, (28, 256, 56, 1), bar=0.60),
    _vit("clip-l14", CLIP_L14, (16, 32, 128, 1), bar=0.70),
    _bert("minilm-l6", MINILM, (132, 128, 66, 256, 1), bar=0.40),
    _vit("clip-b32", CLIP_B32, (112, 512, 1)),
    _bert("e5-base", E5_BASE, (44, 256, 1)),
    _htsat("clap-htsat", HtsatSize(), MEL_FRAMES, (64, 8, 1)),
)
#: The same code at sizes that a CPU runs in milliseconds.
QUICK = (
    _vit("quick-siglip", VitSize(32, 16, 32, 1, 2, 64, attention_pooling=True), (1, 3)),
    _vit("quick-clip", VitSize(32, 16, 32, 1, 2, 64, class_token=True, projection=16), (1, 3)),
    _bert("quick-bert", BertSize(100, 16, 8, 32, 1, 2, 64), (1, 3)),
    _htsat(
        "quick-htsat",
        HtsatSize(side=64, bands=16, window=4, width=16, depths=(2, 2), heads=(2, 4), projection=16),
        250,
        (1, 3),
    ),
)


def encoder(name: str) -> Encoder:
    """The encoder called `name` of `REAL` or `QUICK`."""
    return next(e for e in (*REAL, *QUICK) if e.name == name)
