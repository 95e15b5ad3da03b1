"""What the space is worth on real footage: copies find their original, sounds of a class lie together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from rich.progress import track

from resonance.clients.embedder import Embedder
from resonance.loadtest.bench.agreement import COPIES

#: Longer files are cut here before copies are made of them.
LONGEST_S = 60.0
FOLDS = 5
NEIGHBOURS = 3
MEL_BANDS = 40


@dataclass(frozen=True, slots=True)
class Change:
    """How a copy differs: share of the picture kept around its centre, stretch of time kept, quality."""

    name: str
    kept_picture: float = 1.0
    first_share: float = 0.0
    last_share: float = 1.0
    crf: str = "23"
    scale: float = 1.0


CHANGES = (
    Change("re-encoded, half size", crf="32", scale=0.5),
    Change("cropped to 80%", kept_picture=0.8),
    Change("shortened to its middle half", first_share=0.25, last_share=0.75),
)


@dataclass(frozen=True, slots=True)
class CopyRecall:
    """Share of copies of one kind whose nearest original, among `originals`, is their own."""

    change: str
    recall_at_1: float
    originals: int
    chance: float
    missed: str


@dataclass(frozen=True, slots=True)
class SoundAccuracy:
    """Accuracy of kNN over ESC-10 clips, folds of the data set left out in turn."""

    features: str
    accuracy: float
    clips: int
    chance: float


def originals(media: Path) -> list[Path]:
    """Every clip of `media`/video once: of copies that are already there, the first."""
    copies = {name for names in COPIES.values() for name in names[1:]}
    files = sorted((media / "video").iterdir())
    # the transcodes of one clip, and the same film with and without subtitles, are copies too
    same = re.compile(r"^transcode_elf_|people_dark_room_embedded_subs")
    return [p for p in files if p.name not in copies and not same.match(p.name)]


def measure_copies(server: str, media: Path, folder: Path) -> list[CopyRecall]:
    """Make copies of every clip under `folder` and look for their originals with the server's vectors."""
    clips = originals(media)
    wanted = [(clip, change) for change in CHANGES for clip in clips]
    paths = [
        make_copy(clip, change, folder / f"{clip.stem}.{CHANGES.index(change)}.mkv")
        for clip, change in track(wanted, description="making copies")
    ]

    async def embed(files: list[Path]) -> np.ndarray:
        async with Embedder(server) as embedder:
            return np.stack([(await embedder.embed(path)).title for path in files])

    library = asyncio.run(embed(clips))  # (N, 1788)
    found = asyncio.run(embed(paths))
    rows = []
    for i, change in enumerate(CHANGES):
        queries = found[i * len(clips) : (i + 1) * len(clips)]
        best = (queries @ library.T).argmax(1)
        missed = [f"{clips[j].name}->{clips[b].name}" for j, b in enumerate(best) if b != j]
        share = 1 - len(missed) / len(clips)
        rows.append(CopyRecall(change.name, share, len(clips), 1 / len(clips), "; ".join(missed)))
    return rows


def make_copy(source: Path, change: Change, target: Path) -> Path:
    """`source` as H.264 and AAC in Matroska with `change`; made once."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with av.open(str(source), mode="r") as given, av.open(str(part), mode="w", format="matroska") as made:
        video = given.streams.video[0]
        rate = Fraction(video.average_rate or 25)
        rate = rate if 5 <= rate <= 60 else Fraction(25)
        kept = _kept(source, change)
        options = {"crf": change.crf, "g": "50", "preset": "veryfast"}
        picture = made.add_stream("libx264", rate=rate, options=options)
        picture.width, picture.height = _even(video.width * change.scale), _even(video.height * change.scale)
        picture.pix_fmt = "yuv420p"
        sound = None
        if given.streams.audio:
            sound = made.add_stream("aac", rate=44_100)
            sound.layout = "mono"
            resampler = av.AudioResampler("fltp", "mono", 44_100, frame_size=1024)
        step, next_s, count, samples = float(1 / rate), kept[0], 0, 0
        for frame in given.decode(*([video, given.streams.audio[0]] if sound else [video])):
            if frame.time is None or frame.time < kept[0]:
                continue
            if frame.time >= kept[1]:
                if isinstance(frame, av.VideoFrame):
                    break  # sound that comes after the last picture is not missed
                continue
            if isinstance(frame, av.VideoFrame):
                if frame.time < next_s:
                    continue
                next_s = frame.time + 0.9 * step
                pixels = _centre(frame.to_ndarray(format="rgb24"), change.kept_picture)
                image = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    picture.width, picture.height
                )
                image.pts, image.time_base = max(round((frame.time - kept[0]) / step), count), 1 / rate
                count = image.pts + 1
                made.mux(picture.encode(image))
            elif sound is not None and isinstance(frame, av.AudioFrame):
                frame.pts = None
                for piece in resampler.resample(frame):
                    piece.pts, samples = samples, samples + piece.samples
                    made.mux(sound.encode(piece))
        for stream in (picture, sound):
            if stream is not None:
                made.mux(stream.encode(None))
    part.rename(target)
    return target


def _kept(source: Path, change: Change) -> tuple[float, float]:
    """First and last second that stay; the length is counted, as containers may not know it."""
    with av.open(str(source), mode="r") as container:
        stream = container.streams.video[0]
        times = [float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None]
    start, end = min(times), min(max(times), min(times) + LONGEST_S)
    if change.first_share == 0.0 and change.last_share == 1.0:
        return start, start + LONGEST_S
    return start + (end - start) * change.first_share, start + (end - start) * change.last_share


def _even(pixels: float) -> int:
    return max(round(pixels / 2) * 2, 16)


def _centre(pixels: np.ndarray, share: float) -> np.ndarray:
    """The middle of uint8 [H, W, 3]."""
    height, width = pixels.shape[:2]
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return np.ascontiguousarray(pixels[top : height - top, left : width - left])


def measure_sounds(server: str, media: Path) -> list[SoundAccuracy]:
    """ESC-10 clips of `media`/audio by the audio block, and by statistics of their log-mel spectrum."""
    files = sorted((media / "audio").glob("esc10_*.flac"))
    labels, folds = zip(*(_class_and_fold(path) for path in files), strict=True)

    async def embed() -> np.ndarray:
        async with Embedder(server) as embedder:
            return np.stack([(await embedder.embed(path)).title[596:1192] for path in files])

    blocks = asyncio.run(embed())
    statistics = np.stack([_mel_statistics(path) for path in files])
    statistics = (statistics - statistics.mean(0)) / statistics.std(0).clip(1e-6)
    chance = 1 / len(set(labels))
    return [
        SoundAccuracy(name, _knn(features, np.array(labels), np.array(folds)), len(files), chance)
        for name, features in (("audio block", blocks), ("log-mel mean and deviation", statistics))
    ]


def _class_and_fold(path: Path) -> tuple[str, int]:
    """``esc10_dog_bark_3-157695-A`` is a dog_bark of fold 3."""
    matched = re.match(r"esc10_(.+)_(\d)-", path.name)
    if matched is None:
        raise ValueError(f"{path.name}: expected esc10_CLASS_FOLD-NUMBER")
    return matched[1], int(matched[2])


def _mel_statistics(path: Path) -> np.ndarray:
    """Mean and standard deviation over time of MEL_BANDS log-mel bands, float [2 * MEL_BANDS]."""
    from resonance.export.graphs.spectrum import mel_matrix

    with av.open(str(path), mode="r") as container:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        parts = [p.to_ndarray().reshape(-1) for p in _resampled(container, resampler)]
    pcm = np.concatenate(parts)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ mel_matrix(201, MEL_BANDS, 16_000, 20.0, 8000.0).numpy()
    level = np.log10(power + 1e-6)
    return np.concatenate([level.mean(0), level.std(0)])


def _resampled(
    container: av.container.InputContainer, resampler: av.AudioResampler
) -> Iterator[av.AudioFrame]:
    for frame in container.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _knn(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Accuracy of the NEIGHBOURS nearest by cosine from the other folds, the nearest deciding ties."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    hits = 0
    for fold in range(1, FOLDS + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        order = np.argsort(-(unit[test] @ unit[train].T), axis=1)[:, :NEIGHBOURS]
        for row, near in zip(test, labels[train][order], strict=True):
            names, counts = np.unique(near, return_counts=True)
            best = names[counts == counts.max()]
            hits += next(n for n in near if n in best) == labels[row]
    return hits / len(labels)
