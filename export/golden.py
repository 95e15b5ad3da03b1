"""Golden inputs: what every client must reproduce, and the vectors that come of it.

`golden.npz` stands beside space.json. Pictures and sound are procedural; their reductions are computed
here by other means than a client's (Pillow's antialiased filter, an FFT resampler), so that a client
that agrees has not merely repeated itself.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from resonance.export import contract
from resonance.export.artifact import cosine
from resonance.export.onnx_export import cpu_session
from resonance.space.descriptor import MODALITIES, Descriptor

PICTURE_SHAPE = (238, 318, 3)  # no multiple of 16 in sight
SOUND_RATE_HZ = 48_000
SOUND_S = 3.0
#: Of one block from two exports of one space, on any machine: what is below it is another encoder's.
SAME_COSINE = 0.99999
TEXT = "At dawn the tide turned, and the whole harbour held its breath. Чайки. 犬も歩けば。"


def picture() -> np.ndarray:
    """A smooth colour field with a few hard shapes, uint8 [238, 318, 3]."""
    height, width, _ = PICTURE_SHAPE
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 127.5 + 100 * np.sin(x / 40) * np.cos(y / 55)
    green = 255 * x / width
    blue = 255 * np.hypot(x - 160, y - 120) / 200
    field = np.stack([red, green, blue], axis=-1)
    field[60:120, 200:280] = (230, 40, 60)
    field[150:200, 30:90] = (20, 200, 180)
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def sound() -> np.ndarray:
    """Stereo float32 [144000, 2] at 48 kHz: tones below 4 kHz that rise and beat, left unlike right."""
    t = np.arange(round(SOUND_RATE_HZ * SOUND_S)) / SOUND_RATE_HZ
    left = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t)
    right = 0.3 * np.sin(2 * np.pi * (220 + 100 * t) * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    envelope = np.sin(np.pi * t / SOUND_S) ** 2  # nothing rings at the ends
    return (np.stack([left, right], axis=1) * envelope[:, None]).astype(np.float32)


def fft_resample(samples: np.ndarray, factor: int) -> np.ndarray:
    """Float64 [n] -> [n / factor] by cutting the spectrum; exact for signals below the new Nyquist."""
    spectrum = np.fft.rfft(samples)
    length = samples.size // factor
    return np.fft.irfft(spectrum[: length // 2 + 1], length) / factor


def write_golden(path: Path, repository: Path, descriptor: Descriptor, tokenizer: Tokenizer) -> None:
    """Compute all golden tensors with the exported graphs of `repository` and save them to `path`."""
    source = picture()
    size = (descriptor.frames.width, descriptor.frames.height)
    frame = np.asarray(Image.fromarray(source).resize(size, Image.Resampling.BILINEAR))
    stereo = sound()
    mono = fft_resample(
        stereo.astype(np.float64).mean(axis=1), SOUND_RATE_HZ // descriptor.sound.sample_rate_hz
    )
    pcm = np.zeros(contract.WINDOW_SAMPLES, np.float32)
    pcm[: mono.size] = mono
    served = Tokenizer.from_str(tokenizer.to_str())
    served.enable_truncation(descriptor.transcript.max_tokens)  # as the server does
    ids = np.asarray(served.encode(TEXT).ids, dtype=np.int64)

    def run(model: str, **inputs: np.ndarray) -> np.ndarray:
        session = cpu_session(repository / model / "1" / "model.onnx")
        return np.asarray(session.run(None, {k: v[None] for k, v in inputs.items()})[0][0])

    length = np.array([mono.size], np.int64)
    np.savez_compressed(
        path,
        picture=source,
        frame=frame,
        sound=stereo,
        sound_rate_hz=np.int64(SOUND_RATE_HZ),
        pcm=pcm,
        pcm_length=length,
        text=np.array(TEXT),
        ids=ids,
        visual=run(
            "visual_encoder",
            FRAMES=frame[None],
            FRAME_MASK=np.ones(1, bool),
            FRAME_TIMES=np.zeros(1, np.float32),
        ),
        audio=run("audio_encoder", PCM=pcm, PCM_LENGTH=length),
        transcript=run("transcript_encoder", IDS=ids, MASK=np.ones_like(ids)),
    )


#: What must be alike in two files for their vectors to be comparable, and those vectors, a block each.
_INPUTS, _VECTORS = ("frame", "pcm", "pcm_length", "ids"), MODALITIES


def moved_blocks(before: Path, now: Path) -> dict[str, float]:
    """Cosines, by modality, of blocks that differ by more than arithmetic between two files of one space.

    None where a file cannot be read, or is of a release with other golden inputs.
    """
    try:
        with np.load(before, allow_pickle=False) as old, np.load(now, allow_pickle=False) as new:
            if not all(np.array_equal(old[name], new[name]) for name in _INPUTS):
                return {}
            cosines = {name: cosine(old[name], new[name]) for name in _VECTORS}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
    return {name: value for name, value in cosines.items() if not value >= SAME_COSINE}
