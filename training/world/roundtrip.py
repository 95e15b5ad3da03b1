"""Real codecs as augmentation: frames and sound written to a file in memory and read back."""

from __future__ import annotations

import io
from typing import cast

import av
import numpy as np

#: Name of the encoder, its pixel format and options from good to bad.
PICTURE_CODECS = (
    ("libx264", "yuv420p", ({"crf": "23"}, {"crf": "32"}, {"crf": "38"})),
    ("mpeg4", "yuv420p", ({"qmin": "4", "qmax": "4"}, {"qmin": "12", "qmax": "12"})),
    ("mjpeg", "yuvj420p", ({"qmin": "5", "qmax": "5"}, {"qmin": "18", "qmax": "18"})),
)
#: Name of the encoder, its sample format, rates in Hz and bit rates.
SOUND_CODECS = (
    ("aac", "fltp", 16_000, (32_000, 64_000)),
    ("libmp3lame", "fltp", 16_000, (24_000, 64_000)),
    ("libopus", "flt", 16_000, (16_000, 48_000)),
)


def frames_through_codec(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [T, S, S, 3], S even, through a codec drawn by `rng`; every frame a keyframe."""
    name, pixel_format, qualities = PICTURE_CODECS[int(rng.integers(len(PICTURE_CODECS)))]
    options = {"threads": "1", "g": "1", **qualities[int(rng.integers(len(qualities)))]}
    target = io.BytesIO()
    with av.open(target, mode="w", format="matroska") as container:
        stream = cast(av.VideoStream, container.add_stream(name, rate=1, options=options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    target.seek(0)
    with av.open(target, mode="r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if len(decoded) != len(frames):
        raise RuntimeError(f"{name} gave {len(decoded)} frames back; expected {len(frames)}")
    return np.stack(decoded)


def sound_through_codec(pcm: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 mono [S] through a codec drawn by `rng`; same length, the codec's delay left in."""
    name, sample_format, rate, bit_rates = SOUND_CODECS[int(rng.integers(len(SOUND_CODECS)))]
    if rate != sample_rate_hz:
        raise ValueError(f"sound at {sample_rate_hz} Hz; expected {rate} Hz")
    target = io.BytesIO()
    with av.open(target, mode="w", format="matroska") as container:
        stream = cast(av.AudioStream, container.add_stream(name, rate=rate))
        stream.layout, stream.format = "mono", sample_format
        stream.bit_rate = int(bit_rates[int(rng.integers(len(bit_rates)))])
        frame = av.AudioFrame.from_ndarray(pcm[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(sample_format, "mono", rate, frame_size=stream.frame_size or 960)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    target.seek(0)
    with av.open(target, mode="r") as container:
        back = av.AudioResampler("fltp", "mono", sample_rate_hz)
        parts = [p.to_ndarray()[0] for f in container.decode(audio=0) for p in back.resample(f)]
        parts += [p.to_ndarray()[0] for p in back.resample(None)]
    decoded = np.concatenate(parts)[: pcm.size]
    return np.pad(decoded, (0, pcm.size - decoded.size)).astype(np.float32)
