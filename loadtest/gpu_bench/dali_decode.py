"""DALI's rate by itself: whole films by stretches, and keyframes each in a file of its own, as the server
sends them; both scaled to the encoders' size, without Triton."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from resonance.loadtest.gpu_bench.apart import Apart
from resonance.loadtest.gpu_bench.machine import LOADED, missing, not_loaded
from resonance.serving.keyframes.containers import CODEC_IDS, keyframe_file

FRAME_PX = 224
STRETCH = 16  # frames of a film in one sample
BATCH = {True: 56, False: 28}  # keyframes, and stretches, a run: several for each of seven NVDEC engines
THREADS = 16  # as `serving/backends/resonance_dali`
NAMES = {"mixed": "DALI, NVDEC", "cpu": "DALI, CPU"}  # by DALI's name of the device
#: To start, to import DALI, to make a pipeline, and to hold its pictures against PyAV's, besides measuring.
PATIENCE_S = 60.0
#: Mean absolute difference in levels of 255 that two ways of scaling and two roundings stay well below,
#: and another picture does not.
SAME_PICTURE = 5.0


class NotSentError(ValueError):
    """A film of a codec that DALI is not sent."""


class DaliDecoder:
    """NVDEC through DALI; with ``device`` "cpu" DALI's own decoders (VP8, VP9, MJPEG), for tests.

    In a process of its own, as in the server: a decoder that hangs or breaks the GPU's context would take all
    other figures along.
    """

    def __init__(self, device: str = "mixed") -> None:
        self.device = device
        self._apart = Apart()
        self.name = NAMES[device]

    def missing(self) -> str:
        """See `Decoder`."""
        if reason := missing("nvidia.dali"):
            return reason
        import torch

        if self.device == "mixed":
            if not torch.cuda.is_available():
                return "no NVIDIA GPU"
            if reason := not_loaded(*LOADED["NVDEC"]):
                return (
                    f"{reason}; it is the driver's, and a container needs the driver's `video` capability "
                    "(NVIDIA_DRIVER_CAPABILITIES)"
                )
        return ""

    def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
        """See `Decoder`.

        Raises:
            NotSentError: a codec that DALI is not sent.
            ValueError: it gives other pictures than PyAV, or not as many as it was asked for.
            ApartError: it hangs, or ended its process.
        """
        rate: float = self._apart.call(
            _frames_per_s, self.device, path, keyframes_only, seconds, timeout_s=seconds + PATIENCE_S
        )
        return rate

    def close(self) -> None:
        """See `Decoder`."""
        self._apart.close()


def _frames_per_s(device: str, path: Path, keyframes_only: bool, seconds: float) -> float:
    """In the process apart."""
    return DaliRun(device).frames_per_s(path, keyframes_only=keyframes_only, seconds=seconds)


class DaliRun:
    """DALI in this process."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.name = NAMES[device]

    def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
        """See `DaliDecoder.frames_per_s`."""
        batch, length = BATCH[keyframes_only], 1 if keyframes_only else STRETCH
        files = film_files(path, keyframes_only=keyframes_only)[:batch]
        samples = [np.frombuffer(files[i % len(files)], np.uint8) for i in range(batch)]
        pipeline = self._pipeline(batch, length)
        first = self._run(pipeline, samples)  # decoders and memory are made here
        self._check(path, first, length, pyav_pictures(path, len(files), keyframes_only=keyframes_only))
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += sum(len(sample) for sample in self._run(pipeline, samples))
        return done / (time.perf_counter() - started)

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
    def _run(pipeline: Any, samples: list[np.ndarray]) -> list[np.ndarray]:
        """One run to its end: of each sample its frames, uint8 RGB [T, 224, 224, 3]."""
        pipeline.feed_input("encoded", samples)
        (output,) = pipeline.run()
        on_host = output.as_cpu()  # waits for the GPU; 150 kB a frame
        return [np.asarray(on_host[i]) for i in range(len(on_host))]

    def _check(self, path: Path, got: list[np.ndarray], length: int, expected: list[np.ndarray]) -> None:
        """Compare the first picture of every distinct sample with PyAV's: a count alone is met by memory
        that nothing was decoded into, since it comes from what was asked for.

        Args:
            got: of each sample uint8 [T, 224, 224, 3], the distinct ones first.
            expected: of each distinct sample uint8 [224, 224, 3].
        """
        counts = {len(frames) for frames in got}
        if counts != {length}:
            raise ValueError(f"{path}: {self.name} gave {sorted(counts)} frames a sample; expected {length}")
        for place, picture in enumerate(expected):
            difference = float(np.abs(got[place][0].astype(np.int16) - picture).mean())
            if not difference < SAME_PICTURE:
                raise ValueError(
                    f"{path}: sample {place} of {self.name} differs from PyAV's picture by {difference:.1f} "
                    f"of 255 levels; expected below {SAME_PICTURE:g}"
                )


def pyav_pictures(path: Path, count: int, *, keyframes_only: bool) -> list[np.ndarray]:
    """The first `count` keyframes of a film, or its first frame, by PyAV: uint8 RGB [224, 224, 3] each.

    Raises:
        ValueError: not every keyframe yields a picture.
    """
    import av

    from resonance.loadtest.gpu_bench.media import first_frame

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        if not keyframes_only:
            return [scaled(next(container.decode(video)))]
        packets = [bytes(p) for p in container.demux(video) if p.size and p.is_keyframe][:count]
        codec, extradata = video.codec_context.name, video.codec_context.extradata
    pictures = []
    for data in packets:
        with contextlib.suppress(IndexError):  # counted below
            pictures.append(scaled(first_frame(codec, extradata, data)))
    if len(pictures) != count:
        raise ValueError(f"{path}: PyAV decodes {len(pictures)} of the first {count} keyframes")
    return pictures


def scaled(frame: Any) -> np.ndarray:
    """RGB first and scaled then, as DALI does: FFmpeg's way of both at once is off by 1.5 levels more."""
    rgb = frame.reformat(format="rgb24")
    scaled = rgb.reformat(width=FRAME_PX, height=FRAME_PX, interpolation="BILINEAR")
    return np.asarray(scaled.to_ndarray())


def film_files(path: Path, *, keyframes_only: bool) -> list[bytes]:
    """The film at `path` as it is, or every keyframe of it as a file of its own.

    Raises:
        NotSentError: a codec that DALI is not sent.
    """
    import av

    from resonance.loadtest.gpu_bench.media import clip_of

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        codec = video.codec_context
        name = codec.codec.canonical_name
        if name not in CODEC_IDS:
            raise NotSentError(f"{path}: {name} is not sent to DALI, but to PyAV")
        if not keyframes_only:
            return [path.read_bytes()]
        clip = clip_of(codec)
        return [keyframe_file(clip, bytes(p)) for p in container.demux(video) if p.size and p.is_keyframe]
