"""One clip of a reel: a segment's media opened, cut at shots, its pictures encoded and its sound decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import av
from av.video.reformatter import VideoReformatter

from resonance.clients.clock import clock
from resonance.clients.discovery.reel_card import title_card
from resonance.clients.discovery.reel_media import Kind, ReelMedia
from resonance.clients.discovery.reel_pictures import ClipEncoder, EncodedClip, ReelFormat, at_frame_times
from resonance.clients.discovery.reel_plan import Cut, ReelPlan, Span, choose_cut
from resonance.clients.discovery.reel_sound import SOUND_RATE_HZ, Stereo
from resonance.clients.discovery.search import SegmentHit
from resonance.clients.discovery.shots import find_shots
from resonance.clients.discovery.types import TitleFacts
from resonance.clients.errors import CorruptMediaError
from resonance.clients.media.container import typed_errors
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import ByteArray, Limits
from resonance.space.descriptor import Descriptor, FrameGeometry


@dataclass(frozen=True, slots=True, eq=False)
class MadeClip:
    """A clip ready to be appended."""

    kind: Kind
    cut: Cut
    encoded: EncodedClip
    sound: Stereo | None


class ClipMaker:
    """Makes clips of segments. Blocks."""

    def __init__(self, descriptor: Descriptor, form: ReelFormat, limits: Limits) -> None:
        self._descriptor, self._form, self._limits = descriptor, form, limits
        self._encoder = ClipEncoder(form)

    def make(self, hit: SegmentHit, plan: ReelPlan) -> MadeClip | None:
        """The clip of a segment, as long as `plan` has room for it; None where there is no room.

        Raises:
            MediaError: the media's own fault, or it is not what was ingested any more.
            ServerError, UsageError: see `resonance.clients.ingest.opening.open_uri`.
        """
        with ReelMedia(hit.facts.uri, self._descriptor, self._limits) as media:
            if media.kind is Kind.PICTURE:
                return self._of_picture(media, plan, next(iter(hit.segment.frame_times_s), 0.0))
            segment = hit.segment
            if segment.start_s is None or segment.end_s is None or segment.end_s <= segment.start_s:
                raise CorruptMediaError(
                    media.uri, "a film or sound where a picture was", "the file that was ingested"
                )
            wanted = Span(segment.start_s, segment.end_s)
            ends_s = max(wanted.end_s, hit.facts.duration_s or media.duration_s or 0.0)
            room = plan.room(media.uri, wanted, ends_s)
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
            cut = choose_cut(wanted, room, plan.lengths(), boundaries_s + edges_s, hit.segment.frame_times_s)
            return None if cut is None else self._cut_out(media, hit.facts, cut, pictured)

    def _of_picture(self, media: ReelMedia, plan: ReelPlan, at_s: float) -> MadeClip | None:
        if plan.shown(media.uri):
            return None
        form = self._form
        length_s = plan.lengths().wanted_s
        picture = media.picture(form.width, form.height, at_s)
        encoded = self._encoder.encode(repeat(picture, form.frames(length_s)))
        return MadeClip(media.kind, Cut(Span(0.0, length_s), True, True), encoded, None)

    def _cut_out(self, media: ReelMedia, facts: TitleFacts, cut: Cut, pictured: bool) -> MadeClip:
        form = self._form
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
        return MadeClip(media.kind if pictured else Kind.SOUND, cut, encoded, sound)

    def _pictures(self, media: ReelMedia, cut: Cut, count: int) -> Iterator[ByteArray]:
        """The reel's pictures, upright and as large as they fit; the same object while one stands."""
        form, shape = self._form, media.shape
        reformatter = VideoReformatter()
        last: tuple[av.VideoFrame, ByteArray] | None = None
        with typed_errors(media.uri):
            frames = media.frames(cut.span.start_s, cut.span.end_s)
            for frame in at_frame_times(frames, cut.span.start_s, count, form.fps):
                if last is None or last[0] is not frame:
                    width, height = shape.fitted(frame.width, frame.height, form.width, form.height)
                    geometry = FrameGeometry(width, height, "stretch", "bicubic", "stream")
                    picture = frame_to_rgb(
                        frame, geometry, shape.rotation_deg, reformatter, mirrored=shape.mirrored
                    )
                    last = (frame, picture)
                yield last[1]
