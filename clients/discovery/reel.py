"""A highlight reel: the best moments of a library for a query or a taste, joined into one film."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from resonance.clients.clock import clock
from resonance.clients.discovery.reel_card import title_card
from resonance.clients.discovery.reel_media import Kind, ReelMedia
from resonance.clients.discovery.reel_plan import Cut, ReelPlan, Span, choose_cut
from resonance.clients.discovery.reel_sound import Stereo
from resonance.clients.discovery.reel_writer import (
    SOUND_RATE_HZ,
    ClipEncoder,
    EncodedClip,
    ReelFormat,
    ReelWriter,
    at_frame_times,
    put_in_place,
    temporary_beside,
)
from resonance.clients.discovery.search import Searcher, SegmentHit
from resonance.clients.discovery.shots import find_shots
from resonance.clients.discovery.types import Filter, TitleFacts
from resonance.clients.errors import CorruptMediaError, ResonanceError, UsageError
from resonance.clients.media.container import typed_errors
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import ByteArray, Limits
from resonance.space.descriptor import FrameGeometry
from resonance.space.scores import Query, Share, Weights

#: Segments asked for at once: this many times the clips that fit, for titles repeat themselves and files are
#: gone; and never more, because diversity compares all with all.
TIMES_CLIPS, MOST_ASKED = 4, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReelOptions:
    """What a reel shall be.

    Attributes:
        seconds: longest. clip_s: wanted length of a clip; it is half to one and a half of that.
        per_title: most clips of one title. most_clips: of all; None for as many as fit.
        diversity: see `Searcher.find_segments`.
    """

    seconds: float = 60.0
    clip_s: float = 4.0
    per_title: int = 2
    most_clips: int | None = None
    diversity: float = 0.3
    only: Filter = field(default_factory=Filter)
    form: ReelFormat = field(default_factory=ReelFormat)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ReelClip:
    """What was taken from where. `source`: in the title; `place`: in the reel; both in seconds."""

    facts: TitleFacts
    kind: Kind
    index: int
    source: Span
    place: Span
    score: float
    shares: tuple[Share, ...]
    start_at_shot: bool
    end_at_shot: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A title that could not be shown though one of its segments was among the best."""

    facts: TitleFacts
    why: str


@dataclass(frozen=True, slots=True)
class Reel:
    """A reel that was written; without clips there is no file."""

    path: Path
    seconds: float
    form: ReelFormat
    clips: tuple[ReelClip, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """A clip ready to be appended."""

    kind: Kind
    cut: Cut
    encoded: EncodedClip
    sound: Stereo | None


def list_path(path: Path) -> Path:
    """Where the list of what was taken stands: ``reel.json`` beside ``reel.mp4``.

    Raises:
        UsageError: `path` does not end in ``.mp4``.
    """
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path}: ending '{path.suffix}'; expected .mp4")
    return path.with_suffix(".json")


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
        self._encoder = ClipEncoder(options.form)
        self._closed: set[str] = set()  # titles of which nothing more may come
        self._left_out: list[LeftOut] = []

    def write(self, path: Path, title: str) -> Reel:
        """Write the MP4 and the list beside it; both are complete before they have their names.

        Raises:
            UsageError: a path that cannot be written to, or options that no reel can have.
            StoreError: the library cannot be read.
        """
        beside = list_path(path)
        clips: list[ReelClip] = []
        with ReelWriter(path, self._options.form, title) as writer:
            for hit in self._ranked():
                made = self._tried(hit)
                if made is None:
                    continue
                clips.append(self._appended(writer, hit, made))
                self._on_clip(writer.seconds)
                if self._plan.full:
                    break
            reel = Reel(path, writer.seconds, self._options.form, tuple(clips), tuple(self._left_out))
            if clips:
                listed = temporary_beside(beside)
                try:
                    listed.write_text(
                        json.dumps(told(reel), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
                    )
                    writer.finish()
                    put_in_place(listed, beside)
                finally:
                    listed.unlink(missing_ok=True)
        return reel

    def _ranked(self) -> Iterator[SegmentHit]:
        """Segments, best first, each once; asked for again without titles of which nothing more may come."""
        options = self._options
        fit = int(options.seconds / options.clip_s) + 1
        limit = min(TIMES_CLIPS * min(fit, options.most_clips or fit), MOST_ASKED)
        given: set[tuple[str, int]] = set()
        while True:
            only = replace(options.only, excluded=options.only.excluded | self._closed)
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

    def _tried(self, hit: SegmentHit) -> _Made | None:
        """The clip of a segment; None where there is none to be had, and why is told where it is a fault."""
        facts = hit.facts
        if not any(facts.present[:2]):
            self._closed.add(facts.media_id)  # an article
            return None
        try:
            return self._made(hit)
        except ResonanceError as error:
            self._closed.add(facts.media_id)
            self._left_out.append(LeftOut(facts, " ".join(str(error).split())))
            self._on_left_out(self._left_out[-1])
            return None

    def _made(self, hit: SegmentHit) -> _Made | None:
        with ReelMedia(hit.facts.uri, self._searcher.descriptor, self._options.limits) as media:
            if media.kind is Kind.PICTURE:
                return self._of_picture(media)
            segment = hit.segment
            if segment.start_s is None or segment.end_s is None or segment.end_s <= segment.start_s:
                raise CorruptMediaError(
                    media.uri, "a film or sound where a picture was", "the file that was ingested"
                )
            wanted = Span(segment.start_s, segment.end_s)
            ends_s = max(wanted.end_s, hit.facts.duration_s or media.duration_s or 0.0)
            room = self._plan.room(media.uri, wanted, ends_s)
            if room is None:
                return None
            boundaries_s: tuple[float, ...] = ()
            pictured = False
            if media.kind is Kind.VIDEO:
                with typed_errors(media.uri):
                    shots = find_shots(media.frames(room.start_s, room.end_s))
                boundaries_s, pictured = shots.boundaries_s, shots.first_s is not None
            # a title begins and ends with a shot, too
            edges_s = tuple(t for t in (0.0, ends_s) if t in (room.start_s, room.end_s))
            cut = choose_cut(
                wanted, room, self._plan.lengths(), boundaries_s + edges_s, hit.segment.frame_times_s
            )
            return None if cut is None else self._cut_out(media, hit.facts, cut, pictured)

    def _of_picture(self, media: ReelMedia) -> _Made | None:
        if self._plan.shown(media.uri):
            return None
        form = self._options.form
        length_s = self._plan.lengths().wanted_s
        picture = media.picture(form.width, form.height)
        encoded = self._encoder.encode(repeat(picture, form.frames(length_s)))
        return _Made(media.kind, Cut(Span(0.0, length_s), True, True), encoded, None)

    def _cut_out(self, media: ReelMedia, facts: TitleFacts, cut: Cut, pictured: bool) -> _Made:
        form = self._options.form
        count = form.frames(cut.span.length_s)
        with typed_errors(media.uri):
            sound = media.sound(cut.span.start_s, count * form.samples_per_frame, SOUND_RATE_HZ)
        if not pictured and sound is None:
            raise CorruptMediaError(
                media.uri,
                f"no picture and no sound at {clock(cut.span.start_s)}",
                "the file that was ingested",
            )
        if pictured:
            encoded = self._encoder.encode(self._pictures(media, cut, count))
        else:
            card = title_card(facts.media_id, form.width, form.height)
            encoded = self._encoder.encode(repeat(card, count))
        if encoded.frames != count:
            raise CorruptMediaError(
                media.uri, f"no picture at {clock(cut.span.start_s)}", "a file that stays as it is"
            )
        return _Made(media.kind if pictured else Kind.SOUND, cut, encoded, sound)

    def _pictures(self, media: ReelMedia, cut: Cut, count: int) -> Iterator[ByteArray]:
        """The reel's pictures, upright and as large as they fit; the same object while one stands."""
        form, shape = self._options.form, media.shape
        reformatter = VideoReformatter()
        last: tuple[av.VideoFrame, ByteArray] | None = None
        with typed_errors(media.uri):
            frames = media.frames(cut.span.start_s, cut.span.end_s)
            for frame in at_frame_times(frames, cut.span.start_s, count, form.fps):
                if last is None or last[0] is not frame:
                    width, height = shape.fitted(frame.width, frame.height, form.width, form.height)
                    geometry = FrameGeometry(width, height, "stretch", "bicubic", "stream")
                    last = (frame, frame_to_rgb(frame, geometry, shape.rotation_deg, reformatter))
                yield last[1]

    def _appended(self, writer: ReelWriter, hit: SegmentHit, made: _Made) -> ReelClip:
        facts, fps = hit.facts, self._options.form.fps
        begins_s, length_s = writer.seconds, made.encoded.frames / fps
        start_s = made.cut.span.start_s
        source = Span(start_s, start_s + length_s)
        name = facts.media_id
        if made.kind is not Kind.PICTURE:
            name += f" {clock(source.start_s)}–{clock(source.end_s)}"
        writer.add(made.encoded, made.sound, name)
        self._plan.take(facts.media_id, facts.uri, source, length_s)
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


def told(reel: Reel) -> dict[str, Any]:
    """A reel as JSON has it; times in seconds."""
    return {
        "reel": reel.path.name,
        "duration_s": reel.seconds,
        "width": reel.form.width,
        "height": reel.form.height,
        "fps": reel.form.fps,
        "clips": [
            {
                "media_id": clip.facts.media_id,
                "uri": clip.facts.uri,
                "kind": str(clip.kind),
                "segment": clip.index,
                "source_start_s": clip.source.start_s,
                "source_end_s": clip.source.end_s,
                "reel_start_s": clip.place.start_s,
                "reel_end_s": clip.place.end_s,
                "start_at_shot": clip.start_at_shot,
                "end_at_shot": clip.end_at_shot,
                "score": clip.score,
                "shares": {s.modality: {"value": s.value, "inferred": s.inferred} for s in clip.shares},
            }
            for clip in reel.clips
        ],
        "left_out": [
            {"media_id": title.facts.media_id, "uri": title.facts.uri, "why": title.why}
            for title in reel.left_out
        ],
    }
