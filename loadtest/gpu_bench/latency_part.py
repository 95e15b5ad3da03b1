"""The part `latency`: one segment of 8 s alone, from encoded bytes to its vector, p50 and p95.

`wire`: what the server gets, a clip of encoded keyframes beside PCM and tokens. `file`: the sound encoded
too (AAC, as in the file). Keyframes are decoded side by side, one thread each, or by the server's DALI
pipeline on NVDEC, where they stay. In process, no gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resonance.loadtest.gpu_bench.machine import missing
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.nvdec import KeyframePictures
from resonance.loadtest.gpu_bench.pipeline import Input, Pipeline
from resonance.loadtest.gpu_bench.timing import StageClock, percentile
from resonance.serving.keyframes.containers import keyframe_file

ROUNDS, WARM_UP = 200, 20
BAR_MS = 25.0
PYAV = "PyAV, a thread a keyframe"
#: For a decoder on the device, and to begin with for the making of it.
PATIENCE_S = 60.0


def measure_latency(bench: Bench, folder: Path) -> None:
    """A row a case and decoder; the bar is for the GPU, what the server gets and a film as it is streamed."""
    result, quick = bench.result, bench.quick
    if reason := missing("av"):
        result.skip(f"everything: {reason}")
        return
    from resonance.loadtest.gpu_bench.media import EASY_FILM, FILM, KEYFRAMES, LABELS, QUICK_FILM, made

    film = QUICK_FILM if quick else FILM
    path = made(film, folder, whole=True, skip=result.skip, what="everything: its film")
    if path is None:
        return
    segment, label = Segment(path), LABELS[film]
    pipeline = Pipeline.build(bench.device, bench.dtype, quick=quick, note=result.skip)
    easy = () if quick else ((EASY_FILM, "wire"),)
    with ThreadPoolExecutor(KEYFRAMES + 1) as pool:
        for shown, case in ((film, "wire"), (film, "file"), *easy):
            name = f"{LABELS[shown]}, {case}"
            if bench.deadline.passed(5):
                result.skip(f"{name}: out of time")
                continue
            file = made(shown, folder, whole=True, skip=result.skip, what=name)
            if file is None:
                continue
            with bench.going_on(name):
                own = segment if shown is film else Segment(file)
                decoded = partial(_by_pyav, pool, own, own.decode_sound if case == "file" else own.given)
                row = measure_rounds(bench, own, pipeline, decoded)
                if (shown, case, bench.device) == (FILM, "wire", "cuda"):
                    row["bar_ms"] = BAR_MS
                result.row({"case": case, "decoder": PYAV, "film": LABELS[shown], **row})
    # last, for a decoder that hangs takes the rest of the part along
    decoder = KeyframePictures(rows=KEYFRAMES)
    if reason := "no NVIDIA GPU" if bench.device != "cuda" else decoder.missing():
        result.skip(f"wire, {decoder.name}: {reason}")
        return
    if bench.deadline.passed(5):
        result.skip(f"wire, {decoder.name}: out of time")
        return
    with bench.going_on(f"wire, {decoder.name}"):
        row = measure_decoded_there(bench, segment, pipeline, decoder)
        result.row({"case": "wire", "decoder": decoder.name, "film": label, **row, "bar_ms": BAR_MS})


def measure_decoded_there(
    bench: Bench, segment: Segment, pipeline: Pipeline, decoder: KeyframePictures
) -> dict[str, object]:
    """Rounds in which `decoder` decodes keyframes, in files as the server makes them; they stay there."""

    def decoded() -> tuple[Input, Input]:
        pictures = thread.submit(decoder.pictures, segment.files()).result(PATIENCE_S)
        return pictures.unsqueeze(0), segment.pcm  # (1, T, 224, 224, 3)

    thread = ThreadPoolExecutor(1)
    try:
        return measure_rounds(
            bench,
            segment,
            pipeline,
            decoded,
            check=lambda: thread.submit(decoder.check, segment.files()).result(PATIENCE_S),
        )
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _by_pyav(
    pool: ThreadPoolExecutor, segment: Segment, sound: Callable[[], np.ndarray]
) -> tuple[Input, Input]:
    """uint8 [1, T, 224, 224, 3], float32 [1, 128000]."""
    heard = pool.submit(sound)
    pictures = list(pool.map(segment.decode_keyframe, segment.packets))
    return np.stack(pictures)[None], heard.result()


class Segment:
    """The first 8 s of a film, encoded: keyframe packets and AAC packets, in memory."""

    def __init__(self, path: Path) -> None:
        import av

        from resonance.loadtest.gpu_bench.media import SEGMENT_S, choose_keyframes, clip_of, read_stretch

        self.pcm = read_stretch(str(path), 0, 1, "keyframes").pcm
        self._sound: list[bytes] = []
        keyframes: list[tuple[float, Any]] = []
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            self._codec, self._extradata = video.codec_context.name, video.codec_context.extradata
            self._clip = clip_of(video.codec_context)
            self._sound_codec, self._sound_extradata = audio.codec_context.name, audio.codec_context.extradata
            for packet in container.demux(video, audio):
                if packet.pts is None or packet.time_base is None:
                    continue
                at_s = float(packet.pts * packet.time_base)
                if packet.stream.type == "audio" and at_s < SEGMENT_S:
                    self._sound.append(bytes(packet))
                elif packet.stream.type == "video" and packet.is_keyframe and at_s < SEGMENT_S:
                    keyframes.append((at_s, bytes(packet)))
        self.packets = [data for _, data in choose_keyframes(keyframes, 0.0, 1)[0]]

    def given(self) -> np.ndarray:
        """The sound as it is sent, float32 [1, 128000]."""
        return self.pcm

    def files(self) -> list[bytes]:
        """Each keyframe as a file of its own."""
        return [keyframe_file(self._clip, data) for data in self.packets]

    def decode_keyframe(self, data: bytes) -> np.ndarray:
        """One packet alone, with a decoder of its own: uint8 RGB [224, 224, 3]."""
        from resonance.loadtest.gpu_bench.media import first_frame, to_rgb

        return to_rgb(first_frame(self._codec, self._extradata, data))

    def decode_sound(self) -> np.ndarray:
        """The AAC packets as float32 [1, 128000]."""
        import av

        from resonance.loadtest.gpu_bench.media import RATE_HZ, SEGMENT_S

        context: Any = av.CodecContext.create(self._sound_codec, "r")
        context.extradata = self._sound_extradata
        resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        pieces = [
            piece.to_ndarray().reshape(-1)
            for data in self._sound
            for frame in context.decode(av.Packet(data))
            for piece in resampler.resample(frame)
        ]
        pcm = np.concatenate(pieces)[: SEGMENT_S * RATE_HZ]
        return np.pad(pcm, (0, SEGMENT_S * RATE_HZ - pcm.size))[None]


def measure_rounds(
    bench: Bench,
    segment: Segment,
    pipeline: Pipeline,
    decoded: Callable[[], tuple[Input, Input]],
    *,
    check: Callable[[], None] = lambda: None,
) -> dict[str, object]:
    """Percentiles over rounds, one at a time, each ended by the vector's arrival on the host.

    `check` of the decoder comes after the capture, which work of others on the device would break.
    """
    warm_up, rounds = (2, 3) if bench.quick else (WARM_UP, ROUNDS)
    ids, fixed = pipeline.ids(1), pipeline.fixed(1, len(segment.packets), segment.pcm.shape[1])
    check()
    clock = StageClock("cpu")  # of the host's calls, and not looked at: on the GPU events would cost time
    total_ms: list[float] = []
    decode_ms: list[float] = []
    for i in range(warm_up + rounds):
        if bench.deadline.passed() and len(total_ms) > 5:
            break
        started = time.perf_counter()
        frames, pcm = decoded()
        there = time.perf_counter()
        vector = fixed.run(frames, pcm, ids, clock).cpu()
        ended = time.perf_counter()
        if i >= warm_up:
            total_ms.append((ended - started) * 1e3)
            decode_ms.append((there - started) * 1e3)
    if not bool(torch.isfinite(vector).all()):
        raise RuntimeError("the segment's vector is not finite")
    return {
        "fed_by": fixed.fed_by,
        "rounds": len(total_ms),
        "p50_ms": percentile(total_ms, 0.5),
        "p95_ms": percentile(total_ms, 0.95),
        "decode_p50_ms": percentile(decode_ms, 0.5),
        "vectors_p50_ms": percentile([t - d for t, d in zip(total_ms, decode_ms, strict=True)], 0.5),
    }
