"""Reference media as inputs of the encoders: what an artifact must agree with fp32 on.

Read with PyAV and Pillow in a few lines of its own: nothing of the client's geometry or timing matters
here, only that the numbers are those of real pictures, sound and words.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from resonance.export import contract
from resonance.export.artifact import Row
from resonance.space.descriptor import Descriptor

#: Rows an encoder is compared on, at most, and how many of them one file may give.
MAX_ROWS, MAX_ROWS_A_FILE = 48, 2
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
STREAMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".ogv", ".flac", ".wav", ".mp3", ".ogg")
TEXTS = (".srt", ".vtt", ".txt", ".md")
#: None of these demuxers opens another file; a playlist under a film's name is not followed.
FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,mpegts,ogg,wav,flac,mp3"
MAX_PIXELS = 64 * 1024 * 1024
WORDS_A_ROW = 24

Arrays = dict[str, np.ndarray]


@dataclass(slots=True)
class Reference:
    """Rows by model, and where they are from."""

    source: str
    rows: dict[str, list[Row]] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, model: str, label: str, **inputs: np.ndarray) -> None:
        """Append a row, unless the model has enough; `inputs` come without the batch axis."""
        rows = self.rows.setdefault(model, [])
        if len(rows) < MAX_ROWS:
            rows.append(Row(label, {name: value[None] for name, value in inputs.items()}))


def reference_of(media: Path | None, descriptor: Descriptor, tokenizer: Tokenizer) -> Reference:
    """Rows of the folder `media`, or of the rendered sample where there is none."""
    if media is None:
        return sample_reference(descriptor, tokenizer)
    return read_reference(media, descriptor, tokenizer)


def sample_reference(descriptor: Descriptor, tokenizer: Tokenizer) -> Reference:
    """Rows of the client's sample film, a rendered one: for want of real media."""
    from resonance.clients.sample import render_sample

    with tempfile.TemporaryDirectory() as folder:
        render_sample(Path(folder, "sample.mp4"))
        reference = read_reference(Path(folder), descriptor, tokenizer, rows_a_file=MAX_ROWS)
    reference.source = "the rendered sample film (no real media was given)"
    return reference


def read_reference(
    folder: Path, descriptor: Descriptor, tokenizer: Tokenizer, *, rows_a_file: int = MAX_ROWS_A_FILE
) -> Reference:
    """Rows of the pictures, films, sounds and texts anywhere under `folder`, each kind up to `MAX_ROWS`.

    Which files is decided by their names' checksums, so that kinds mix and every run reads the same.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder of reference media")
    tokenizer = Tokenizer.from_str(tokenizer.to_str())  # its settings are changed here
    tokenizer.enable_truncation(descriptor.transcript.max_tokens)
    reference = Reference(str(folder))
    files = [p for p in folder.rglob("*") if p.is_file()]
    for path in sorted(files, key=lambda p: (zlib.crc32(p.name.encode()), p)):
        suffix = path.suffix.lower()
        # a file that is broken is no reference; how many there were stands in the report
        try:
            if suffix in PICTURES:
                _add_picture(reference, path)
            elif suffix in STREAMS:
                _add_frames(reference, path, descriptor.segment.length_s, rows_a_file)
                _add_sound(reference, path, descriptor.sound.silence_dbfs, rows_a_file)
            elif suffix in TEXTS:
                _add_text(reference, path, descriptor, tokenizer, rows_a_file)
        except (av.error.FFmpegError, OSError, ValueError, MemoryError):
            reference.unreadable += 1
    return reference


def _full(reference: Reference, model: str) -> bool:
    return len(reference.rows.get(model, ())) >= MAX_ROWS


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 RGB [224, 224, 3]."""
    side = contract.FRAME_PX
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _add_picture(reference: Reference, path: Path) -> None:
    if _full(reference, "visual_encoder"):
        return
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{path} has {image.width}x{image.height} pixels, more than {MAX_PIXELS}")
            frame = _pixels(image)
    except Exception as error:  # Pillow's parsers raise what they stumble over, of a PNG even SyntaxError
        raise ValueError(f"{path} cannot be read as a picture ({error})") from error
    reference.add(
        "visual_encoder",
        path.name,
        FRAMES=frame[None],
        FRAME_MASK=np.ones(1, np.bool_),
        FRAME_TIMES=np.zeros(1, np.float32),
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none", "enable_drefs": "0"}
    with (
        path.open("rb") as file,
        av.open(file, mode="r", metadata_errors="replace", options=options) as opened,
    ):
        yield opened


def _add_frames(reference: Reference, path: Path, length_s: float, rows: int) -> None:
    """Keyframes in their order, as many a row as the space's usual bucket holds."""
    bucket = contract.model("visual_encoder").example_axes[0][1]
    if _full(reference, "visual_encoder"):
        return
    with _opened(path) as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        if stream.codec_context is None:  # PyAV's streams have no width then, nor anything else
            raise ValueError(f"{path} has a codec that FFmpeg does not know")
        if stream.width * stream.height > MAX_PIXELS:
            raise ValueError(f"{path} has {stream.width}x{stream.height} pixels, more than {MAX_PIXELS}")
        stream.codec_context.skip_frame = "NONKEY"
        pictures: list[np.ndarray] = []
        for frame in container.decode(stream):
            pictures.append(_pixels(frame.to_image()))
            if len(pictures) == rows * bucket:
                break
    for start in range(0, len(pictures), bucket):
        given = pictures[start : start + bucket]
        frames = np.zeros((bucket, *given[0].shape), np.uint8)
        frames[: len(given)] = given
        mask = np.arange(bucket) < len(given)
        times = np.where(mask, np.arange(bucket) * length_s / bucket, 0.0).astype(np.float32)
        reference.add("visual_encoder", path.name, FRAMES=frames, FRAME_MASK=mask, FRAME_TIMES=times)


def _add_sound(reference: Reference, path: Path, silence_dbfs: float, rows: int) -> None:
    """Windows of sound from the start; silent ones are absent from the space and left out."""
    if _full(reference, "audio_encoder"):
        return
    window = contract.WINDOW_SAMPLES
    blocks: list[np.ndarray] = []
    with _opened(path) as container:
        if not container.streams.audio:
            return
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        have = 0
        for frame in container.decode(container.streams.audio[0]):
            for part in resampler.resample(frame):
                blocks.append(part.to_ndarray().reshape(-1))
                have += blocks[-1].size
            if have >= rows * window:
                break
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    for start in range(0, min(samples.size, rows * window), window):
        given = samples[start : start + window]
        if np.sqrt(np.mean(given.astype(np.float64) ** 2)) <= 10 ** (silence_dbfs / 20):
            continue
        pcm = np.zeros(window, np.float32)
        pcm[: given.size] = given
        reference.add("audio_encoder", path.name, PCM=pcm, PCM_LENGTH=np.array([given.size], np.int64))


#: Lines of subtitle files that nobody says, and marks inside those that somebody does.
_UNSPOKEN = re.compile(r"^(\d+|WEBVTT.*|NOTE.*|.*-->.*)$")
_MARKS = re.compile(r"<[^>]*>|\{[^}]*\}")


def _add_text(
    reference: Reference, path: Path, descriptor: Descriptor, tokenizer: Tokenizer, rows: int
) -> None:
    """Pieces of `WORDS_A_ROW` words, padded to the space's buckets of tokens."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    words = " ".join(_MARKS.sub("", line) for line in lines if not _UNSPOKEN.match(line.strip())).split()
    for start in range(0, min(len(words), 8 * rows * WORDS_A_ROW), WORDS_A_ROW):
        ids = tokenizer.encode(" ".join(words[start : start + WORDS_A_ROW])).ids
        length = descriptor.transcript.padded_length(len(ids))
        padded = np.zeros(length, np.int64)
        padded[: len(ids)] = ids
        mask = (np.arange(length) < len(ids)).astype(np.int64)
        reference.add("transcript_encoder", path.name, IDS=padded, MASK=mask)
