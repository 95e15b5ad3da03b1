"""A highlight reel: the best moments of a library for a query or a taste, joined into one film."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from resonance.clients.clock import clock
from resonance.clients.discovery.reel_clips import ClipMaker, MadeClip
from resonance.clients.discovery.reel_list import LeftOut, Reel, ReelClip, check_paths, list_path, told
from resonance.clients.discovery.reel_media import Kind
from resonance.clients.discovery.reel_pictures import ReelFormat
from resonance.clients.discovery.reel_plan import ReelPlan, Span
from resonance.clients.discovery.reel_writer import ReelWriter
from resonance.clients.discovery.search import Searcher, SegmentHit
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.ingest.uris import local_path
from resonance.clients.media.types import Limits
from resonance.clients.new_files import check_no_input, whole_file
from resonance.clients.results import Vector
from resonance.space.scores import Query, Weights

#: Segments asked for at once: this many times the clips that fit, for titles repeat themselves and files are
#: gone; and never more, because diversity compares all with all.
TIMES_CLIPS, MOST_ASKED = 4, 500
#: Cosine from which two titles' segments show the same. Copies of a clip in other containers and codecs are
#: at 0.958 and above, clips that are no copies at 0.56 and below (docs/benchmarks.md, `agreement`).
COPY_COSINE = 0.95
#: Modalities one of which a segment must have: text alone cannot be shown.
SHOWN = ("visual", "audio")
#: Of a clip, where no other length is wanted.
CLIP_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReelOptions:
    """What a reel shall be.

    Attributes:
        seconds: longest. clip_s: wanted length of a clip; it is half to one and a half of that.
        per_title: most clips of one title. most_clips: of all; None for as many as fit.
        diversity: see `Searcher.find_segments`.
        only: which titles and segments; of its modalities those that can be shown count.

    Raises:
        UsageError: `only` wants none that can be shown.
    """

    seconds: float = 60.0
    clip_s: float = CLIP_S
    per_title: int = 2
    most_clips: int | None = None
    diversity: float = 0.3
    only: Filter = field(default_factory=Filter)
    form: ReelFormat = field(default_factory=ReelFormat)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.modalities:
            came = ", ".join(self.only.modalities)
            raise UsageError(f"a reel of {came}; expected {' or '.join(SHOWN)} among them")

    @property
    def modalities(self) -> tuple[str, ...]:
        """One of which a segment must have."""
        return tuple(name for name in self.only.modalities or SHOWN if name in SHOWN)


class _NothingShownError(Exception):
    """No title could be shown, so that no file is to be left."""


class ReelMaker:
    """Makes a reel of one query. Blocks.

    Args:
        on_clip: called with the seconds of the reel that are done. on_left_out: at once where a title is.
    """

    def __init__(
        self,
        searcher: Searcher,
        query: Query,
        weights: Weights,
        options: ReelOptions,
        *,
        on_clip: Callable[[float], None] = lambda seconds: None,
        on_left_out: Callable[[LeftOut], None] = lambda title: None,
    ) -> None:
        self._searcher, self._query, self._weights, self._options = searcher, query, weights, options
        self._on_clip, self._on_left_out = on_clip, on_left_out
        self._plan = ReelPlan(options.seconds, options.clip_s, options.per_title, options.most_clips)
        self._clips = ClipMaker(searcher.descriptor, options.form, options.limits)
        self._closed: set[str] = set()  # titles of which nothing more may come
        self._shown: list[tuple[str, Vector]] = []  # title and vector, float32 [1788], of each clip's segment
        self._left_out: list[LeftOut] = []

    def write(self, path: Path, title: str) -> Reel:
        """Write the MP4 and the list beside it; both are complete before they have their names.

        Raises:
            UsageError: see `check_paths`; or `path` is the media of a title that the reel shows.
            StoreError: the library cannot be read.
        """
        check_paths(path)
        try:
            with whole_file(list_path(path)) as listed, whole_file(path) as film:
                reel = self._written(path, film, title)
                if not reel.clips:
                    raise _NothingShownError
                listed.write_text(
                    json.dumps(told(reel), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
                )
            return reel
        except _NothingShownError:
            return Reel(path, 0.0, self._options.form, (), tuple(self._left_out))
        except OSError as error:
            said = error.strerror or error
            raise UsageError(f"{path}: it cannot be written ({said}); expected a path that can") from error

    def _written(self, path: Path, film: Path, title: str) -> Reel:
        clips: list[ReelClip] = []
        with ReelWriter(film, self._options.form, title) as writer:
            for hit in self._ranked():
                made = self._tried(hit)
                if made is None:
                    continue
                check_no_input(path, [local_path(hit.facts.uri)])
                clips.append(self._appended(writer, hit, made))
                self._on_clip(writer.seconds)
                if self._plan.full:
                    break
            if clips:
                writer.finish()
            return Reel(path, writer.seconds, self._options.form, tuple(clips), tuple(self._left_out))

    def _ranked(self) -> Iterator[SegmentHit]:
        """Segments, best first, each once; asked for again without titles of which nothing more may come."""
        options = self._options
        fit = int(options.seconds / options.clip_s) + 1
        limit = min(TIMES_CLIPS * min(fit, options.most_clips or fit), MOST_ASKED)
        given: set[tuple[str, int]] = set()
        while True:
            excluded = options.only.excluded | self._closed
            only = replace(options.only, modalities=options.modalities, excluded=excluded)
            hits = self._searcher.find_segments(
                self._query, self._weights, limit=limit, only=only, diversity=options.diversity
            )
            fresh = [hit for hit in hits if (hit.facts.media_id, hit.segment.index) not in given]
            for hit in fresh:
                given.add((hit.facts.media_id, hit.segment.index))
                if hit.facts.media_id not in self._closed:
                    yield hit
            if len(hits) < limit or (not fresh and limit == MOST_ASKED):
                return
            limit = min(2 * limit, MOST_ASKED)

    def _tried(self, hit: SegmentHit) -> MadeClip | None:
        """The clip of a segment; None where there is none to be had, and why is told where it is a fault."""
        facts = hit.facts
        if self._is_copy(hit):
            return None
        try:
            return self._clips.make(hit, self._plan)
        except ResonanceError as error:
            self._closed.add(facts.media_id)
            self._left_out.append(LeftOut(facts, " ".join(str(error).split())))
            self._on_left_out(self._left_out[-1])
            return None

    def _is_copy(self, hit: SegmentHit) -> bool:
        """Whether the reel shows the same already, of another title: a library may hold a film twice.

        Moments of one title may well be as alike; of those there are `per_title` at most.
        """
        return any(
            float(np.dot(hit.segment.vector, vector)) >= COPY_COSINE
            for media_id, vector in self._shown
            if media_id != hit.facts.media_id
        )

    def _appended(self, writer: ReelWriter, hit: SegmentHit, made: MadeClip) -> ReelClip:
        facts, fps = hit.facts, self._options.form.fps
        begins_s, length_s = writer.seconds, made.encoded.frames / fps
        start_s = made.cut.span.start_s
        source = Span(start_s, start_s + length_s)
        name = facts.media_id
        if made.kind is not Kind.PICTURE:
            name += f" {clock(source.start_s)}–{clock(source.end_s)}"
        writer.add(made.encoded, made.sound, name)
        self._plan.take(facts.media_id, facts.uri, source, length_s)
        self._shown.append((facts.media_id, hit.segment.vector))
        if made.kind is Kind.PICTURE or self._plan.used_up(facts.media_id):
            self._closed.add(facts.media_id)
        return ReelClip(
            facts=facts,
            kind=made.kind,
            index=hit.segment.index,
            source=source,
            place=Span(begins_s, writer.seconds),
            score=hit.score,
            shares=hit.shares,
            start_at_shot=made.cut.start_at_shot,
            end_at_shot=made.cut.end_at_shot,
        )
