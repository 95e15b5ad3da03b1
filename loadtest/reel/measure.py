"""How exact a reel is and what it costs, measured on what it plays back as."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reel import ReelMaker, ReelOptions
from resonance.clients.discovery.reel_list import Reel
from resonance.clients.discovery.reel_pictures import ReelFormat
from resonance.clients.discovery.search import Searcher
from resonance.clients.discovery.shots import HEIGHT, WIDTH, find_shots
from resonance.loadtest.bench.cuts import FPS, HELD_OUT_SEEDS, drawn_film
from resonance.loadtest.reel.films import FILMS, Film, Played, beeps_s, flashes_s, number_of, play, write_film
from resonance.loadtest.reel.library import Part, likeness_query, write_library
from resonance.space import Descriptor
from resonance.space.scores import Weights

Frames = NDArray[np.uint8]
#: Real clips without cuts of their own, by the beginning of their name; stretches of them are joined.
UNCUT = ("people_", "fixedcam_", "tabletop_", "plants_", "animals_")
_SECONDS, _SEED = 120, 7


@dataclass(frozen=True, slots=True)
class Found:
    """Cuts found exactly at their frame, over all sequences."""

    detector: str
    footage: str
    precision: float
    recall: float
    ms_per_frame: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


@dataclass(frozen=True, slots=True)
class Exact:
    """Of a film in a reel, in frames of the reel: the largest distance of a clip's end from the shot's, and
    the most by which a flash and its beep moved apart."""

    film: str
    clips: int
    boundary_frames: float
    sync_frames: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What a reel took."""

    size: str
    clips: int
    seconds: float
    spent_s: float

    @property
    def times_real_time(self) -> float:
        """Seconds of reel written in a second."""
        return self.seconds / self.spent_s


def make_reel(
    folder: Path,
    titles: Sequence[tuple[str, str, Sequence[Part]]],
    options: ReelOptions,
    descriptor: Descriptor,
) -> Reel:
    """The reel of titles (media id, uri, segments) at `folder`/reel.mp4."""
    store = write_library(str(folder / "store"), titles, descriptor)
    with closing(open_library(store)) as library:
        maker = ReelMaker(Searcher(library, descriptor), likeness_query(descriptor), Weights(), options)
        return maker.write(folder / "reel.mp4", "measured")


def measure_speed(media: Path, descriptor: Descriptor, forms: Sequence[ReelFormat]) -> list[Speed]:
    """A reel of 60 s out of all the real videos, of each size."""
    paths = sorted((media / "video").iterdir())
    titles = [(p.name, str(p), [Part(0.9 - at / 1000)]) for at, p in enumerate(paths)]
    rows = []
    for form in forms:
        with tempfile.TemporaryDirectory() as folder:
            started_s = time.perf_counter()
            reel = make_reel(Path(folder), titles, ReelOptions(diversity=0, form=form), descriptor)
            spent_s = time.perf_counter() - started_s
        size = f"{form.width}x{form.height} at {form.fps}"
        rows.append(Speed(size, len(reel.clips), reel.seconds, spent_s))
    return rows


def measure_exactness(descriptor: Descriptor) -> list[Exact]:
    """Of every kind of film in `FILMS`, whose frames are numbered and whose flashes beep."""
    form = ReelFormat(320, 180, 25)
    rows = []
    for name, film in FILMS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write_film(Path(folder) / f"film.{film.container}", film)
            titles = [("film", str(path), [Part(0.9, 0, 8), Part(0.8, 8, 16), Part(0.1, 16, 20)])]
            options = ReelOptions(seconds=12, diversity=0, form=form)
            reel = make_reel(Path(folder), titles, options, descriptor)
            played = play(reel.path)
        boundary = _boundary_frames(film, reel, played.pictures)
        apart_s = max(map(abs, moved_apart_s({"film": film}, reel, played)))
        rows.append(Exact(name, len(reel.clips), boundary, apart_s * form.fps))
    return rows


def moved_apart_s(films: Mapping[str, Film], reel: Reel, played: Played) -> list[float]:
    """Of each flash in a reel of `films`, by media id: how much later after its beep it is than in the film.

    In a film a flash begins with the first frame at or after its beep. Those near a clip's ends are left out.
    """
    beeps = beeps_s(played.sound)
    moved = []
    for at_s in flashes_s(played.pictures):
        clip = next(c for c in reel.clips if c.place.start_s <= at_s + 1e-6 < c.place.end_s)
        if not clip.place.start_s + 0.15 < at_s < clip.place.end_s - 0.15:
            continue
        film = films[clip.facts.media_id]
        in_film_s = clip.source.start_s + at_s - clip.place.start_s
        flash_s = min(film.flashes_s, key=lambda flash: abs(flash - in_film_s))
        shown_s = min(t for t in film.frame_times_s if t >= flash_s - 1e-9)
        beep_s = min(beeps, key=lambda beep: abs(beep - at_s))
        moved.append((at_s - beep_s) - (shown_s - flash_s))
    return moved


def _boundary_frames(film: Film, reel: Reel, pictures: Sequence[tuple[float, Frames]]) -> float:
    """The largest distance of a clip's first or last picture from its shot's, in frames of the reel."""
    edges_s = np.array([0.0, *film.cuts_s, film.seconds])
    worst_s = 0.0
    for clip in reel.clips:
        shown = [p for t, p in pictures if clip.place.start_s - 1e-6 <= t < clip.place.end_s - 1e-6]
        first_s, last_s = (film.frame_times_s[number_of(p)] for p in (shown[0], shown[-1]))
        after = [t for t in (*film.frame_times_s, film.seconds) if t > last_s]
        worst_s = max(worst_s, np.abs(edges_s - first_s).min(), np.abs(edges_s - after[0]).min())
    return worst_s * reel.form.fps


def measure_cuts(media: Path) -> list[Found]:
    """The detector on drawn films (pans, noise, fades, flashes) and on joined stretches of real clips."""
    rows = []
    for footage, sequences in (
        ("drawn", [drawn_film(seed) for seed in HELD_OUT_SEEDS]),
        ("real clips joined", [_joined(media)]),
    ):
        for detector, find_cuts in detectors().items():
            hits = wrong = missed = count = 0
            started_s = time.perf_counter()
            for frames, cuts_s in sequences:
                found = {round(t * FPS) for t in find_cuts(frames)}
                truth = {round(t * FPS) for t in cuts_s}
                hits, wrong, missed = (
                    hits + len(found & truth),
                    wrong + len(found - truth),
                    missed + len(truth - found),
                )
                count += len(frames)
            spent_s = time.perf_counter() - started_s
            rows.append(
                Found(
                    detector,
                    footage,
                    hits / max(hits + wrong, 1),
                    hits / max(hits + missed, 1),
                    1e3 * spent_s / count,
                )
            )
    return rows


def _by_ours(frames: Frames) -> list[float]:
    def numbered() -> Iterator[tuple[float, av.VideoFrame]]:
        for at, frame in enumerate(frames):
            yield at / FPS, av.VideoFrame.from_ndarray(frame, format="rgb24")

    return list(find_shots(numbered()).boundaries_s)


def detectors() -> dict[str, Callable[[Frames], list[float]]]:
    """Ours, and PySceneDetect's as they come where that is installed."""
    found: dict[str, Callable[[Frames], list[float]]] = {"scdet": _by_ours}
    if importlib.util.find_spec("scenedetect") is not None:
        found |= {name: partial(_by_pyscenedetect, name) for name in ("ContentDetector", "AdaptiveDetector")}
    return found


def _by_pyscenedetect(name: str, frames: Frames) -> list[float]:
    detector = getattr(importlib.import_module("scenedetect.detectors"), name)()
    timecode = importlib.import_module("scenedetect.common").FrameTimecode
    cuts = []
    for at, frame in enumerate(frames):
        small = (
            av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(WIDTH, HEIGHT, "bgr24").to_ndarray()
        )
        cuts += detector.process_frame(timecode(at, float(FPS)), small)
    return [cut.seconds for cut in cuts]


def _joined(media: Path) -> tuple[Frames, list[float]]:
    """Small frames uint8 RGB [n, h, w, 3] of stretches of 1 to 5 s of real clips, and when they change."""
    rng = np.random.default_rng(_SEED)
    paths = [p for p in sorted((media / "video").iterdir()) if p.name.startswith(UNCUT)]
    clips = [frames for frames in map(_small_frames, paths) if len(frames) > 6 * FPS]
    sequence: list[Frames] = []
    cuts_s: list[float] = []
    before = -1
    while sum(map(len, sequence)) < _SECONDS * FPS:
        if sequence:
            cuts_s.append(sum(map(len, sequence)) / FPS)
        which = int(rng.choice([at for at in range(len(clips)) if at != before]))
        length = int(rng.uniform(1, 5) * FPS)
        first = int(rng.integers(0, len(clips[which]) - length))
        sequence.append(clips[which][first : first + length])
        before = which
    return np.concatenate(sequence), cuts_s


def _small_frames(path: Path) -> Frames:
    frames = []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            frames.append(frame.reformat(2 * WIDTH, 2 * HEIGHT, "rgb24").to_ndarray())
            if len(frames) > 20 * FPS:
                break
    return np.array(frames, np.uint8)
