"""The contours of a store's titles, made from their media; what is known already is not read again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from resonance.clients.discovery.contours import (
    Contours,
    SegmentContour,
    no_contours,
    read_contours,
    write_contours,
)
from resonance.clients.discovery.pitch import HOP_S, RECIPE, SAMPLE_RATE_HZ, contour
from resonance.clients.errors import ResonanceError, UsageError, described
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.opening import open_uri
from resonance.clients.ingest.types import Store
from resonance.clients.ingest.uris import local_path
from resonance.clients.interrupts import held_interrupts
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import FloatArray
from resonance.space.descriptor import (
    BLOCK_WIDTH,
    MODALITIES,
    SCHEMA_VERSION,
    Blocks,
    Descriptor,
    FrameGeometry,
    Fusion,
    Sampling,
    Segmenting,
    Sound,
    Transcript,
)

#: Below every microphone's noise: which segments have sound was told when they were ingested.
_SILENCE_DBFS = -100.0
#: The longest hum: the time of a search grows with it.
MOST_HUM_S = 60.0
#: What was made is written so often, so that a job that is stopped loses little.
SAVED_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class StoredSound:
    """A title with sound: its segments that have some, (index, start_s) in order, and their length."""

    media_id: str
    uri: str
    content_hash: str
    windows: tuple[tuple[int, float], ...]
    window_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a title; `error` where it could not be read."""

    media_id: str
    error: str | None = None


def titles_with_sound(store: Store) -> Iterator[StoredSound]:
    """Those of a store; silent and written ones are left out. Blocks.

    Raises:
        StoreError: it cannot be read.
    """
    for batch in store.titles(["media_id", "uri", "content_hash", "present", "segments"]):
        heads = batch.drop_columns(["segments"]).to_pylist()
        for row, segments in zip(heads, batch["segments"], strict=True):
            if not row["present"]["audio"] or segments.values is None:
                continue
            light = [
                segments.values.field(name).to_pylist() for name in ("index", "start_s", "end_s", "present")
            ]
            spans = [
                (index, start_s, end_s)
                for index, start_s, end_s, present in zip(*light, strict=True)
                if present["audio"] and start_s is not None
            ]
            if spans:
                windows = tuple((index, start_s) for index, start_s, _ in spans)
                yield StoredSound(row["media_id"], row["uri"], row["content_hash"], windows, _window_s(spans))


def _window_s(spans: Sequence[tuple[int, float, float]]) -> float:
    """Windows lie at multiples of their length; the only one of a title may be shorter, and then ends it."""
    index, start_s, _ = spans[-1]
    return start_s / index if index else max(end_s - start_s for _, start_s, end_s in spans)


def title_contours(title: StoredSound) -> list[SegmentContour]:
    """The contour of each segment of a title that has sound. Blocks.

    Raises:
        MediaError: the media's own fault. ServerError, UsageError: see `resonance.clients.ingest.opening`.
    """
    found: dict[int, SegmentContour] = {}
    starts_s = dict(title.windows)
    path = local_path(title.uri)
    with (
        nullcontext(path) if path is not None else closing(open_uri(title.uri)) as source,
        open_media(source, _plan(title.window_s), name=title.uri, modalities={"audio"}) as reader,
    ):
        for segment in reader.segments():
            if segment.index in starts_s and segment.pcm is not None:
                pitches = contour(segment.pcm.samples[: segment.pcm.length])
                found[segment.index] = SegmentContour(segment.index, starts_s[segment.index], pitches)
    silent = np.full(round(title.window_s / HOP_S), np.nan, np.float32)
    return [found.get(index, SegmentContour(index, start_s, silent)) for index, start_s in title.windows]


def sound_contour(path: Path) -> FloatArray:
    """The contour of a file, such as a hum, float32 [steps]. Blocks.

    Raises:
        MediaError: the media's own fault. UsageError: it is longer than `MOST_HUM_S`.
    """
    # encoders pad: a file of a minute may hold a little more
    with open_media(path, _plan(MOST_HUM_S + 0.5), modalities={"audio"}) as reader:
        found = np.zeros(0, np.float32)
        for segment in reader.segments():
            if segment.index:
                raise UsageError(f"{path}: more than {MOST_HUM_S:g} s; expected a melody of some seconds")
            if segment.pcm is not None:
                found = contour(segment.pcm.samples[: segment.pcm.length])
        return found


def _plan(window_s: float) -> Descriptor:
    """How sound alone is read: a space that says nothing of pictures and words, which are not looked at."""
    return Descriptor(
        schema_version=SCHEMA_VERSION,
        name="contours",
        trained=False,
        blocks=Blocks(BLOCK_WIDTH, MODALITIES),
        segment=Segmenting(window_s, min(HOP_S, window_s), 1),
        frames=FrameGeometry(1, 1, "stretch", "bilinear", "stream"),
        sampling=Sampling("keyframes", 1, 1, 1, 1.0, 0.0),
        sound=Sound(SAMPLE_RATE_HZ, round(window_s * SAMPLE_RATE_HZ), "swr", _SILENCE_DBFS),
        transcript=Transcript("none", 1, (1,)),
        fusion=Fusion(1, "none", "none"),
        encoders={},
        sigmas={query: dict.fromkeys(MODALITIES, 1.0) for query in MODALITIES},
        signals={},
    )


def update_contours(
    path: Path,
    titles: Sequence[StoredSound],
    *,
    workers: int,
    on_start: Callable[[int], None] = lambda titles: None,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> Contours:
    """The file at `path` with the contours of `titles` and of no others. Blocks.

    Those whose content hash is in it already are not read again. It is written as a whole, every
    `SAVED_EVERY_S` and at the end, also where the job is stopped.

    Args:
        workers: processes that read media.
        on_start: told how many titles are to be read. on_done: told of each of them.

    Raises:
        StoreError: the file cannot be read or written, or a process ended in the middle of a title.
    """
    kept = read_contours(path) if path.exists() else no_contours(RECIPE)
    if kept.recipe != RECIPE:
        kept = no_contours(RECIPE)
    known = kept.titles()
    wanted = {title.media_id: title for title in titles}
    same = [name for name, title in wanted.items() if known.get(name) == title.content_hash]
    contours = kept.of(same)
    new = [title for title in titles if known.get(title.media_id) != title.content_hash]
    on_start(len(new))
    made: dict[str, tuple[str, list[SegmentContour]]] = {}
    saved_s = time.monotonic()
    try:
        for title, result in _read(new, workers):
            if isinstance(result, str):
                on_done(Outcome(title.media_id, result))
                continue
            made[title.media_id] = (title.content_hash, result)
            on_done(Outcome(title.media_id))
            if time.monotonic() - saved_s > SAVED_EVERY_S:
                contours, saved_s = _saved(path, contours, made), time.monotonic()
                made = {}
    finally:
        if made or not path.exists() or len(contours.rows) != len(kept.rows):
            contours = _saved(path, contours, made)
    return contours


def _saved(path: Path, contours: Contours, made: Mapping[str, tuple[str, list[SegmentContour]]]) -> Contours:
    more = contours.with_titles(made, HOP_S)
    write_contours(path, more)
    return more


def _read(
    titles: Sequence[StoredSound], workers: int
) -> Iterator[tuple[StoredSound, list[SegmentContour] | str]]:
    """Each title with its contours, or with what is wrong with it; in the order in which they are done."""
    left = iter(titles)
    # forked processes would inherit the threads of libraries in whatever state they are
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        running: dict[Future[list[SegmentContour] | str], StoredSound] = {}
        try:
            while True:
                while len(running) < 2 * workers and (title := next(left, None)) is not None:
                    with held_interrupts():  # a worker is started with the first titles
                        future = executor.submit(_contours_or_error, title)
                    running[future] = title
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running[future], future.result()
                    del running[future]
        except BrokenProcessPool as error:
            names = ", ".join(title.media_id for title in running.values())
            raise StoreError(
                names, "a process ended while it read one of these", "media that can be read, or more memory"
            ) from error
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _contours_or_error(title: StoredSound) -> list[SegmentContour] | str:
    try:
        return title_contours(title)
    except ResonanceError as error:
        return described(error, title.media_id)
