"""A title end to end against the sum of its stages, each measured alone: what waits, what comes on top."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from resonance.clients.media.clip import decode_clip
from resonance.clients.media.packets import Title
from resonance.clients.media.probe import probe
from resonance.clients.media.sound import SoundReader
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Clip, Frames, Limits, ReadTimes
from resonance.clients.media.video import VideoReader
from resonance.clients.segment import frames_tensors, pcm_tensors
from resonance.loadtest.bench.matrix import Run, run, warm_up_title
from resonance.loadtest.bench.sdk_process import SdkProcess
from resonance.loadtest.films import Film, film, streamed
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor

T = TypeVar("T")
Feeds = dict[str, npt.NDArray[Any]]

MINUTES = 4
ROUNDS = 3
#: End to end over the sum of the stages.
BAR = 1.3


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """CPU seconds of one thread for a whole title, nothing else running.

    `demux_s`: all packets of the picture stream read, keyframes chosen, windows of the fallback decoded;
    `sound_s`: the track demuxed, decoded and resampled; `decode_s`: keyframes decoded and scaled; then the
    graphs in bare onnxruntime, one segment at a time, and fusion of each segment and of the title.
    """

    demux_s: float
    sound_s: float
    decode_s: float
    visual_encoder_s: float
    audio_encoder_s: float
    fusion_s: float

    @property
    def sum_s(self) -> float:
        """Of all stages."""
        return sum(getattr(self, one.name) for one in fields(self))


@dataclass(frozen=True, slots=True)
class StagesRow:
    """Medians over the rounds; `*_share` is of the sum of the stages.

    `wall_ratio`: seconds that passed end to end over the sum of the stages: above 1 something waits, below it
    stages ran at the same time. `cpu_ratio`: CPU seconds of client and server end to end over the sum: what
    the wire, Triton and the event loop add. `met`: `wall_ratio` against the bar.
    """

    film: str
    rounds: int
    wall_ratio: float
    cpu_ratio: float
    demux_share: float
    sound_share: float
    decode_share: float
    visual_encoder_share: float
    audio_encoder_share: float
    fusion_share: float
    segments: int
    bar: float
    met: bool


def measure_stages(
    server: TritonServer,
    repository: Path,
    folder: Path,
    *,
    chosen: Sequence[Film] | None = None,
    rounds: int = ROUNDS,
) -> list[StagesRow]:
    """For each film its stages alone and then the whole, in turn, `rounds` times over."""
    films = list(chosen or (streamed(minutes=MINUTES), streamed(keyframe_every_s=10.0, minutes=MINUTES)))
    stages = Stages(repository)
    rows = []
    with SdkProcess(server.grpc_address, warm_up_title(folder)) as sdk:
        for one in films:
            path = film(one, folder)
            alone, whole = [], []
            for _ in range(rounds):
                alone.append(stages.measure(path))
                whole.append(run(server, sdk, [path]))
            rows.append(_row(one, alone, whole))
    return rows


def _row(one: Film, alone: Sequence[StageSeconds], whole: Sequence[Run]) -> StagesRow:
    pairs = list(zip(alone, whole, strict=True))
    wall_ratio = statistics.median(w.report.wall_s / a.sum_s for a, w in pairs)
    shares = {
        stage.name.removesuffix("_s") + "_share": statistics.median(
            getattr(a, stage.name) / a.sum_s for a in alone
        )
        for stage in fields(StageSeconds)
    }
    return StagesRow(
        film=one.name,
        rounds=len(pairs),
        wall_ratio=wall_ratio,
        cpu_ratio=statistics.median(w.cpu_s / a.sum_s for a, w in pairs),
        **shares,
        segments=whole[-1].report.segments,
        bar=BAR,
        met=wall_ratio <= BAR,
    )


class Stages:
    """The stages of a title in this process.

    Args:
        repository: the exported models; their graphs are run by onnxruntime with one thread.
    """

    def __init__(self, repository: Path) -> None:
        self._descriptor = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
        self._visual, self._audio, self._fusion = (
            _session(repository / name / "1" / "model.onnx")
            for name in ("visual_encoder", "audio_encoder", "title_fusion")
        )

    def measure(self, path: Path) -> StageSeconds:
        """One after the other; what a stage gives is what the next takes."""
        limits = Limits()
        with_source = MediaSource(path, name=None, limits=limits)
        try:
            probed = probe(with_source, limits)
            title = Title(with_source, self._descriptor, limits, ReadTimes(), probed.origin_s)
            reader = VideoReader(title, rotation_deg=probed.rotation_deg, sampling="keyframes")
            demux_s, videos = _cpu(lambda: [w.video for _, w in reader.windows() if w.video is not None])
            reader.close()
            sound_s, sounds = _cpu(lambda: [w.pcm for _, w in SoundReader(title).windows() if w.pcm])
        finally:
            with_source.close()
        decode_s, frames = _cpu(lambda: [self._frames(video) for video in videos])
        visual_s, visual = _cpu(lambda: [self._visual.run(None, frames_tensors(f)) for f in frames])
        audio_s, audio = _cpu(lambda: [self._audio.run(None, pcm_tensors(p)) for p in sounds])
        fusion_s, _ = _cpu(lambda: self._fuse(visual, audio))
        return StageSeconds(demux_s, sound_s, decode_s, visual_s, audio_s, fusion_s)

    def _frames(self, video: Clip | Frames) -> Frames:
        return decode_clip(video, self._descriptor.frames) if isinstance(video, Clip) else video

    def _fuse(self, visual: Sequence[Any], audio: Sequence[Any]) -> list[Any]:
        """Each segment alone, as they come, and the title of all last."""
        rows = [(seen[0], heard[0]) for seen, heard in zip(visual, audio, strict=False)]
        blocks = np.stack([np.concatenate([s, h, np.zeros_like(s)]) for s, h in rows])  # (N, 3, 596)
        present = np.tile(np.array([True, True, False]), (len(rows), 1))  # (N, 3)
        times_s = np.arange(len(rows), dtype=np.float32) * self._descriptor.segment.length_s
        zero_s = np.zeros(1, np.float32)
        segments = [self._fused(blocks[i : i + 1], present[i : i + 1], zero_s) for i in range(len(rows))]
        return [*segments, self._fused(blocks, present, times_s)]

    def _fused(
        self,
        blocks: npt.NDArray[np.float32],
        present: npt.NDArray[np.bool_],
        times_s: npt.NDArray[np.float32],
    ) -> Any:
        feeds: Feeds = {"BLOCKS": blocks, "PRESENT": present, "TIMES": times_s}
        return self._fusion.run(None, feeds)


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _cpu(work: Callable[[], list[T]]) -> tuple[float, list[T]]:
    """CPU seconds of this process for `work`, and what it gave."""
    started = time.process_time()
    given = work()
    return time.process_time() - started, given
