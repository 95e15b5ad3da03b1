"""A title of the world as a real file: H.264, AAC and subtitles, as any upload comes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pysubs2

from resonance.training.world.factors import TitleFactors
from resonance.training.world.picture import SEGMENT_S, render_frames
from resonance.training.world.sound import SAMPLE_RATE_HZ, render_sound
from resonance.training.world.words import render_words

FRAMES_PER_S = 4


def write_film(title: TitleFactors, path: Path, *, segments: int, seed: int, size_px: int = 224) -> None:
    """`segments` windows of 8 s of `title` into `path` (Matroska), with `path`.srt beside it."""
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    times_s = (np.arange(SEGMENT_S * FRAMES_PER_S) + 0.5) / FRAMES_PER_S
    captions = pysubs2.SSAFile()
    with av.open(str(path), mode="w", format="matroska") as container:
        video = container.add_stream(
            "libx264", rate=FRAMES_PER_S, options={"crf": "26", "preset": "veryfast"}
        )
        video.width = video.height = size_px
        video.pix_fmt = "yuv420p"
        video.codec_context.gop_size = 2 * FRAMES_PER_S
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ)
        audio.layout, audio.bit_rate = "mono", 64_000
        resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE_HZ, frame_size=1024)
        for index in range(segments):
            factors = title.at(index / max(segments - 1, 1))
            frames = render_frames(factors, rng, times_s=times_s, size_px=size_px)
            pcm = av.AudioFrame.from_ndarray(render_sound(factors, rng)[None], format="fltp", layout="mono")
            pcm.sample_rate, pcm.pts = SAMPLE_RATE_HZ, round(index * SEGMENT_S * SAMPLE_RATE_HZ)
            pcm.time_base = Fraction(1, SAMPLE_RATE_HZ)
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index * len(frames) + i, Fraction(1, FRAMES_PER_S)
                container.mux(video.encode(frame))
            for piece in resampler.resample(pcm):
                container.mux(audio.encode(piece))
            start_s, end_s = index * SEGMENT_S + 0.2, (index + 1) * SEGMENT_S - 0.2
            words = pysubs2.SSAEvent(round(start_s * 1000), round(end_s * 1000))
            words.plaintext = render_words(factors, rng)
            captions.append(words)
        for piece in resampler.resample(None):
            container.mux(audio.encode(piece))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    captions.save(str(path.with_suffix(".srt")))
