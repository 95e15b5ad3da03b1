"""A pool of rendered segments on disk, as the tensors training reads: rendered once, used many times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resonance.clients.interrupts import held_interrupts
from resonance.export.families import tiny
from resonance.training.world.factors import MELODY_STEPS, SegmentFactors, TitleFactors, draw_title
from resonance.training.world.picture import SEGMENT_S, render_frames
from resonance.training.world.roundtrip import frames_through_codec, sound_through_codec
from resonance.training.world.sound import (
    SAMPLE_RATE_HZ,
    SEGMENT_SAMPLES,
    TIMBRES,
    render_hum,
    render_sound,
)
from resonance.training.world.wild import generators, wild_frames, wild_sound
from resonance.training.world.words import render_words

#: Frames a segment has, as `keyframes` samples them.
FRAMES = 4
SHARD_ROWS = 256
#: Rows whose sound is analysed at once.
CHUNK_ROWS = 32


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What a pool holds; two pools of the same settings are the same bytes.

    Attributes:
        titles, segments_per_title: rows are segments, those of a title one after another.
        wild: items of no title after them, see `resonance.training.world.wild`; a multiple of 4.
        frame_px: larger than the encoder's side, so that crops can be taken.
        codec_share: the share of segments whose picture and sound went through a real codec.
        wild_codec_share: of wild items, of which two moments belong together and should whatever the codec.
        hum_every: one segment in so many also has a hum of its melody.
    """

    titles: int
    segments_per_title: int
    seed: int
    wild: int = 0
    held_out: bool = False
    frame_px: int = 112
    codec_share: float = 0.1
    wild_codec_share: float = 0.5
    hum_every: int = 4
    version: int = 2

    @property
    def segments(self) -> int:
        """Rows that belong to titles."""
        return self.titles * self.segments_per_title


@dataclass(frozen=True, slots=True)
class Pool:
    """Memory-mapped arrays, one row a segment.

    R counts the segments of titles, W the wild items after them; arrays:

    - frames uint8 [R + W, 4, S, S, 3];
    - mel float16 [R + W, 800, 64] and contour float16 [R + W, 32, 23], the audio graph's features, and
      samples int64 [R + W], its PCM_LENGTH;
    - ids uint16 [R, 256] with lengths int64 [R], the tokenizer's;
    - factors int8 [R, 4 + 7], see `encode_factors`; position float32 [R], 0..1 of the title;
    - hum_mel, hum_contour as mel and contour, for rows 0, hum_every, 2 * hum_every, ...
    """

    settings: PoolSettings
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


def _shapes(settings: PoolSettings) -> dict[str, tuple[tuple[int, ...], Any]]:
    rows, hums = settings.segments, -(-settings.segments // settings.hum_every)
    everything = rows + settings.wild
    frames = tiny.contract.WINDOW_SAMPLES // tiny.MEL["hop_samples"]
    mel = (frames, tiny.MEL["bands"])
    steps = tiny.contract.WINDOW_SAMPLES // (tiny.CONTOUR["hop_samples"] * tiny.CONTOUR["hops_a_step"])
    contour = (steps, 2 * tiny.CONTOUR["reach"] + 1)
    px = settings.frame_px
    return {
        "frames": ((everything, FRAMES, px, px, 3), np.uint8),
        "mel": ((everything, *mel), np.float16),
        "contour": ((everything, *contour), np.float16),
        "samples": ((everything,), np.int64),
        "hum_mel": ((hums, *mel), np.float16),
        "hum_contour": ((hums, *contour), np.float16),
        "ids": ((rows, tiny.MAX_TOKENS), np.uint16),
        "lengths": ((rows,), np.int64),
        "factors": ((rows, 4 + MELODY_STEPS), np.int8),
        "position": ((rows,), np.float32),
    }


def load_or_render(
    folder: Path,
    settings: PoolSettings,
    *,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pool:
    """The pool at `folder`, rendered first where it is not there or has other settings.

    Raises:
        OSError: there is no room for it, told before it is rendered; none of it is left.
    """
    marker = folder / "pool.json"
    wanted = json.dumps(asdict(settings), sort_keys=True)
    shapes = _shapes(settings)
    if not marker.exists() or marker.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        _reserve({folder / f"{name}.npy": of for name, of in shapes.items()})
        total = settings.segments + settings.wild
        with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as executor:
            with held_interrupts():
                jobs = [
                    executor.submit(_render_shard, folder, settings, start)
                    for start in range(0, total, SHARD_ROWS)
                ]
            try:
                for done, job in enumerate(as_completed(jobs), start=1):
                    job.result()
                    on_progress(min(done * SHARD_ROWS, total), total)
            finally:
                executor.shutdown(cancel_futures=True)
        marker.write_text(wanted)
    return Pool(settings, {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes})


def _reserve(files: Mapping[Path, tuple[tuple[int, ...], Any]]) -> None:
    """Arrays by shape and dtype with their room on the disk, all or none: writing to mapped memory that finds
    none ends a process."""
    for path, (shape, dtype) in files.items():
        try:
            np.lib.format.open_memmap(path, "w+", dtype, shape)
            with path.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            for begun in files:
                begun.unlink(missing_ok=True)
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error


def _render_shard(folder: Path, settings: PoolSettings, start: int) -> None:
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r+") for n in _shapes(settings)}
    audio = tiny.new_audio()
    tokenizer = tiny.build_tokenizer()
    tokenizer.enable_truncation(tiny.MAX_TOKENS)
    stop = min(start + SHARD_ROWS, settings.segments + settings.wild)
    for low in range(start, stop, CHUNK_ROWS):
        rows = range(low, min(low + CHUNK_ROWS, stop))
        sounds, hums, hum_rows = [], [], []
        arrays["samples"][low : rows.stop] = SEGMENT_SAMPLES
        for row in rows:
            if row >= settings.segments:
                arrays["frames"][row], pcm, arrays["samples"][row] = _wild_media(settings, row)
                sounds.append(pcm)
                continue
            segment = render_segment(settings, row)
            arrays["frames"][row] = segment.frames
            sounds.append(segment.pcm)
            ids = tokenizer.encode(segment.words).ids
            arrays["ids"][row, : len(ids)] = ids
            arrays["lengths"][row] = len(ids)
            arrays["factors"][row] = encode_factors(segment.factors)
            arrays["position"][row] = segment.position
            if segment.hum is not None:
                hums.append(segment.hum)
                hum_rows.append(row // settings.hum_every)
        arrays["mel"][low : rows.stop], arrays["contour"][low : rows.stop] = _features(
            audio, sounds, arrays["samples"][low : rows.stop]
        )
        if hums:
            whole = np.full(len(hums), SEGMENT_SAMPLES)
            arrays["hum_mel"][hum_rows], arrays["hum_contour"][hum_rows] = _features(audio, hums, whole)


@dataclass(frozen=True, slots=True)
class RenderedSegment:
    """A row of a title as it is seen and heard, before anything is made of it.

    frames: uint8 [4, S, S, 3]; pcm: float32 [128000]; hum: the melody alone, float32 [128000], of the rows
    that have one; position: 0..1 of the title.
    """

    factors: SegmentFactors
    position: float
    frames: np.ndarray
    pcm: np.ndarray
    words: str
    hum: np.ndarray | None


def render_segment(settings: PoolSettings, row: int) -> RenderedSegment:
    """A row of the pool's titles; the same row is the same bytes."""
    factors, position, rng = segment_of(settings, row)
    frames, pcm = _media(factors, settings, rng)
    words = render_words(factors, rng)
    hum = None
    if row % settings.hum_every == 0:
        timbre = 0 if settings.held_out else int(rng.integers(len(TIMBRES)))
        hum = render_hum(factors.melody, rng, timbre=timbre)
    return RenderedSegment(factors, position, frames, pcm, words, hum)


def title_of(settings: PoolSettings, title: int) -> TitleFactors:
    """The latent factors of a title of the pool."""
    rng = np.random.Generator(np.random.PCG64([settings.seed, 0, title]))
    return draw_title(rng, held_out=settings.held_out)


def segment_of(settings: PoolSettings, row: int) -> tuple[SegmentFactors, float, np.random.Generator]:
    """Factors of a row, its position (0..1) in its title, and the generator its rendering draws from."""
    title, index = divmod(row, settings.segments_per_title)
    position = index / max(settings.segments_per_title - 1, 1)
    rng = np.random.Generator(np.random.PCG64([settings.seed, 2, row]))
    return title_of(settings, title).at(position), position, rng


def _media(
    factors: SegmentFactors, settings: PoolSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    times_s = (np.arange(FRAMES) + rng.uniform(0.1, 0.9, FRAMES)) * SEGMENT_S / FRAMES
    frames = render_frames(factors, rng, times_s=times_s, size_px=settings.frame_px)
    return _coded(frames, render_sound(factors, rng), settings.codec_share, rng)


def _wild_media(settings: PoolSettings, row: int) -> tuple[np.ndarray, np.ndarray, int]:
    place, thing, moment = generators(settings.seed, row - settings.segments)
    frames = wild_frames(place, thing, moment, count=FRAMES, size_px=settings.frame_px)
    pcm, length = wild_sound(place, thing, moment)
    return *_coded(frames, pcm, settings.wild_codec_share, moment), length


def _coded(
    frames: np.ndarray, pcm: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A share of all items goes through a real codec."""
    if rng.random() < share:
        frames = frames_through_codec(frames, rng)
        pcm = sound_through_codec(pcm, SAMPLE_RATE_HZ, rng)
    return frames, pcm


def _features(audio: Any, sounds: list[np.ndarray], samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pcm = torch.from_numpy(np.stack(sounds))
    lengths = torch.from_numpy(samples).unsqueeze(1)
    with torch.inference_mode():
        mel, contour = audio.features(pcm, lengths)
    return mel.numpy().astype(np.float16), contour.numpy().astype(np.float16)


def encode_factors(factors: SegmentFactors) -> np.ndarray:
    """int8 [11]: setting, subject, tension, pace, then the melody's steps."""
    return np.array(
        [factors.setting, factors.subject, factors.tension, factors.pace, *factors.melody], np.int8
    )
