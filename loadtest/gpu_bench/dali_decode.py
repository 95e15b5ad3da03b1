"""DALI's rate by itself: whole films by stretches, and keyframes each in a file of its own, as the server
sends them; both scaled to the encoders' size, without Triton."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from resonance.clients.media.types import Clip
from resonance.loadtest.gpu_bench.machine import missing
from resonance.serving.keyframes.containers import CODEC_IDS, keyframe_file

FRAME_PX = 224
STRETCH = 16  # frames of a film in one sample
BATCH = {True: 32, False: 8}  # keyframes, and stretches, a run
THREADS = 8


class DaliDecoder:
    """NVDEC through DALI; with ``device`` "cpu" DALI's own decoders (VP8, VP9, MJPEG), for tests."""

    def __init__(self, device: str = "mixed") -> None:
        self.device = device
        self.name = "DALI, NVDEC" if device == "mixed" else "DALI, CPU"

    def missing(self) -> str:
        """See `Decoder`."""
        if reason := missing("nvidia.dali"):
            return reason
        import torch

        if self.device == "mixed" and not torch.cuda.is_available():
            return "no NVIDIA GPU"
        return ""

    def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
        """See `Decoder`."""
        batch = BATCH[keyframes_only]
        files = keyframe_files(path) if keyframes_only else [path.read_bytes()]
        samples = [np.frombuffer(files[i % len(files)], np.uint8) for i in range(batch)]
        pipeline = self._pipeline(batch, 1 if keyframes_only else STRETCH)
        frames = self._run(pipeline, samples)  # decoders and memory are made here
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += self._run(pipeline, samples)
        rate = done / (time.perf_counter() - started)
        wanted = batch * (1 if keyframes_only else STRETCH)
        if frames != wanted:
            raise ValueError(f"{path}: DALI gave {frames} frames a run; expected {wanted}")
        return rate

    def close(self) -> None:
        """See `Decoder`. A pipeline goes with its last use."""

    def _pipeline(self, batch: int, length: int) -> Any:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import Pipeline

        device_id = 0 if self.device == "mixed" else None
        pipeline = Pipeline(batch, THREADS, device_id, prefetch_queue_depth=1)
        with pipeline:
            encoded = fn.external_source(name="encoded", dtype=types.DALIDataType.UINT8, ndim=1)
            frames = fn.decoders.video(
                encoded,
                device=self.device,
                frames=list(range(length)),
                pad_mode="none",  # an index the film does not have is an error, not a black frame
            )
            pipeline.set_outputs(fn.resize(frames, size=[FRAME_PX, FRAME_PX]))
        pipeline.build()
        return pipeline

    @staticmethod
    def _run(pipeline: Any, samples: list[np.ndarray]) -> int:
        """One run to its end; frames that came out."""
        pipeline.feed_input("encoded", samples)
        (output,) = pipeline.run()
        first = np.asarray(output.as_cpu()[0])  # the copy waits for the GPU
        return len(samples) * first.shape[0]


def keyframe_files(path: Path) -> list[bytes]:
    """Every keyframe of the film at `path` as a file of its own.

    Raises:
        ValueError: a codec that DALI is not sent.
    """
    import av

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        codec = video.codec_context
        if codec.codec.canonical_name not in CODEC_IDS:
            raise ValueError(f"{path}: {codec.codec.canonical_name} is not sent to DALI, but to PyAV")
        clip = Clip(
            codec.codec.canonical_name, codec.extradata or b"", codec.width, codec.height, 0, (1, 1), (), 1
        )
        return [keyframe_file(clip, bytes(p)) for p in container.demux(video) if p.size and p.is_keyframe]
