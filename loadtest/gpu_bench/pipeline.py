"""Segments to vectors on the device: the project's own graphs around the bench's towers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager as ContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from resonance.export.graphs.clap import ClapGraph
from resonance.export.graphs.fusion import SHAPE, FusionGraph
from resonance.export.graphs.lowered import lowered
from resonance.export.graphs.pooling import unit
from resonance.export.graphs.pretrained_visual import PretrainedVisualGraph
from resonance.export.graphs.spectrum import mel_matrix
from resonance.loadtest.gpu_bench.attention import warm
from resonance.loadtest.gpu_bench.encoders import MINILM, SIGLIP_B16
from resonance.loadtest.gpu_bench.htsat import Htsat, HtsatSize
from resonance.loadtest.gpu_bench.report import one_line
from resonance.loadtest.gpu_bench.timing import StageClock
from resonance.loadtest.gpu_bench.towers import Bert, BertSize, Vit, VitSize, randomise
from resonance.loadtest.gpu_bench.variants import captured
from resonance.serving.backends.aoti.runner import device_lost

#: On the host as it was decoded, or a tensor, which may be on the device already.
Input: TypeAlias = np.ndarray | Tensor
WIDTH = 596
#: CLAP's analysis: 10 s at 48 kHz, windows of 1,024 every 480 samples, mel filters of 50 to 14,000 Hz.
CLAP_RATE_HZ, CLIP_SAMPLES, WINDOW, HOP = 48_000, 480_000, 1024, 480
#: Tokens of the words of 8 s; rows are padded to this bucket.
TOKENS = 64
QUICK_VISION = VitSize(32, 16, 32, 1, 2, 64, attention_pooling=True)
QUICK_TEXT = BertSize(100, TOKENS, TOKENS, 32, 1, 2, 64)
QUICK_SOUND = HtsatSize(side=64, bands=16, window=4, width=16, depths=(1, 1), heads=(2, 4), projection=16)


class TextGraph(nn.Module):
    """IDS int64 [B, L] -> TRANSCRIPT fp32 [B, 596], unit rows."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.encoder = Bert(size)
        self.projection = nn.Linear(size.width, WIDTH, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        return unit(self.projection(self.encoder(ids)))


def no_stage(name: str) -> ContextManager[None]:
    """A stage that is not timed: a capture must hold no event of ours."""
    return nullcontext()


def has_graphs(device: str) -> bool:
    """Whether there are CUDA graphs on `device`."""
    return device == "cuda"


@dataclass(frozen=True, slots=True)
class Fixed:
    """`Pipeline.vectors` for one shape. `fed_by`: "CUDA graph", or "launches" and why."""

    run: Callable[[Input, Input, Tensor, StageClock], Tensor]
    fed_by: str


@dataclass(slots=True)
class Pipeline:
    """The four graphs on a device, towers in `dtype`, everything else fp32."""

    device: str
    visual: nn.Module
    sound: nn.Module
    text: nn.Module
    fusion: nn.Module
    vocabulary: int

    @classmethod
    def build(cls, device: str, dtype: torch.dtype, *, quick: bool, note: Callable[[str], None]) -> Pipeline:
        """SigLIP-B/16, CLAP-HTSAT, MiniLM and the fusion head with random weights; small ones for `quick`.

        It has run once, alone and in a batch; `note` is told where cuDNN's attention would not have it.
        """
        vision, words = (QUICK_VISION, QUICK_TEXT) if quick else (SIGLIP_B16, MINILM)
        hearing = QUICK_SOUND if quick else HtsatSize()
        visual = PretrainedVisualGraph(
            Vit(vision),
            hidden=vision.width,
            width=WIDTH,
            frame_px=224,
            resize_px=vision.image_px,
            encoder_px=vision.image_px,
            resample="bicubic",
            rescale=1 / 255,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )
        sound = ClapGraph(
            Htsat(hearing),
            hidden=hearing.projection,
            width=WIDTH,
            sample_rate_hz=16_000,
            encoder_rate_hz=CLAP_RATE_HZ,
            clip_samples=CLIP_SAMPLES,
            window_samples=WINDOW,
            hop_samples=HOP,
            mel=mel_matrix(WINDOW // 2 + 1, hearing.bands, CLAP_RATE_HZ, 50.0, 14_000.0),
            padding="repeatpad",
        )
        fusion = FusionGraph(width=WIDTH, **SHAPE)
        graphs: list[nn.Module] = [visual, sound, TextGraph(words), fusion]
        visual_, sound_, text_, fusion_ = (
            lowered(randomise(graph.to(device), i), dtype) for i, graph in enumerate(graphs)
        )
        pipeline = cls(device, visual_, sound_, text_, fusion_, words.vocabulary)
        torch.backends.cuda.enable_cudnn_sdp(True)
        for segments in (1, 4):
            frames = np.zeros((segments, 4, 224, 224, 3), np.uint8)
            pcm, ids = np.zeros((segments, 128_000), np.float32), pipeline.ids(segments)
            run = functools.partial(pipeline.vectors, frames, pcm, ids, StageClock(device))
            warm(run, device, "segments to vectors", note)
        return pipeline

    def ids(self, segments: int) -> Tensor:
        """Random tokens int64 [S, TOKENS], on the CPU."""
        return torch.randint(3, self.vocabulary, (segments, TOKENS))

    def vectors(self, frames: Input, pcm: Input, ids: Tensor, clock: StageClock) -> Tensor:
        """uint8 [S, T, 224, 224, 3], float32 [S, 128000], int64 [S, L] -> segment vectors fp32 [S, 1788].

        Stages of `clock`: copy, visual, sound, text, fusion.
        """
        with torch.inference_mode():
            with clock.stage("copy"):
                pictures, waves, words = map(self.put, (frames, pcm, ids))
            return self.compute(pictures, waves, words, clock.stage)

    def compute(
        self, pictures: Tensor, waves: Tensor, words: Tensor, stage: Callable[[str], ContextManager[None]]
    ) -> Tensor:
        """`vectors` of tensors that are on the device already."""
        segments, count = pictures.shape[:2]
        with stage("visual"):
            mask = torch.ones(segments, count, dtype=torch.bool, device=self.device)
            times = torch.arange(count, device=self.device, dtype=torch.float32).expand(segments, -1)
            seen = self.visual(pictures, mask, times)[0]
        with stage("sound"):
            length = torch.full((segments, 1), waves.shape[1], device=self.device)
            heard = self.sound(waves, length)[0]
        with stage("text"):
            said = self.text(words)
        with stage("fusion"):
            blocks = torch.stack([seen, heard, said], dim=1)  # (S, 3, 596)
            present = torch.ones(segments, 3, dtype=torch.bool, device=self.device)
            starts = torch.arange(segments, device=self.device, dtype=torch.float32) * 8
            return self.fusion(blocks, present, starts)[1]

    @torch.inference_mode()
    def fixed(self, segments: int, count: int, samples: int) -> Fixed:
        """`vectors` of `segments` of `count` frames each; on the GPU all four graphs are one CUDA graph.

        Launched one by one, the thousand kernels of a few segments take longer than they run, and a core with
        them. Each call overwrites what the one before gave.
        """
        if not has_graphs(self.device):
            return Fixed(self.vectors, "launches: no NVIDIA GPU")
        static = (
            torch.zeros(segments, count, 224, 224, 3, dtype=torch.uint8, device=self.device),
            torch.randn(segments, samples, device=self.device),
            self.ids(segments).to(self.device),
        )
        try:
            graph, out = captured(lambda: self.compute(*static, no_stage))
        except Exception as error:  # whatever cannot be captured can still be launched
            if device_lost(self.device):
                raise
            return Fixed(self.vectors, f"launches: the capture is refused ({one_line(error)})")

        @torch.inference_mode()
        def run(frames: Input, pcm: Input, ids: Tensor, clock: StageClock) -> Tensor:
            with clock.stage("copy"):
                for place, value in zip(static, (frames, pcm, ids), strict=True):
                    place.copy_(self.within_reach(value), non_blocking=True)
            with clock.stage("graph"):
                graph.replay()
            return out

        return Fixed(run, "CUDA graph")

    def put(self, value: Input) -> Tensor:
        """`value` on the device; the copy does not wait for the host."""
        return self.within_reach(value).to(self.device, non_blocking=True)

    def within_reach(self, value: Input) -> Tensor:
        """`value` in memory that the device copies from by itself; what is there already stays there."""
        tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        return tensor.pin_memory() if self.device == "cuda" and not tensor.is_cuda else tensor
