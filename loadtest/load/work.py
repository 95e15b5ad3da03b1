"""What users do, each a call made, checked and recorded: alone before the load, and in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.material import RawFeed
from resonance.loadtest.load.calls import (
    ANSWERED,
    Ended,
    Gateway,
    Media,
    References,
    Upload,
    WrongAnswerError,
    chunks,
    ended_by,
    query_of,
    refused_as_bad,
    upload_of,
)
from resonance.loadtest.load.material import WINDOW_S, Material
from resonance.loadtest.load.records import Journal, Phase, Record
from resonance.v1 import embedding_pb2 as pb

#: One upload in so many is a file that must be refused.
BAD_ONE_IN = 50
#: One upload in so many brings segments of an earlier call.
RESUMED_ONE_IN = 12
SLOW_PAUSE_S = 0.25
SLOW_TIMEOUT_S = 180.0
#: What the signals of an encoded feed look ahead for after a window's end, and what MPEG-TS holds back.
LOOK_AHEAD_S = 2.2
FRAMES, BROADCAST = "live frames", "live broadcast"
#: Groups, as objectives name them.
UPLOAD, QUERY, LIVE, SLOW, FUSE, BAD = "upload", "query", "live", "slow_reader", "fuse", "bad_file"
STATUS, SPACE, HEALTH = "status", "space", "health"
GROUPS = (UPLOAD, QUERY, LIVE, SLOW, FUSE, STATUS, SPACE, HEALTH, BAD)


@dataclass(slots=True)
class Work:
    """Everything that can be sent, and where it is recorded; one for all users.

    Attributes:
        connect: makes a connection, for a slow reader or not. began_s: of the phase, on the monotonic clock.
        told: called with each record.
    """

    material: Material
    journal: Journal
    feed_s: float
    connect: Callable[[bool], Gateway]
    phase: Phase = Phase.UNLOADED
    began_s: float = field(default_factory=time.monotonic)
    told: Callable[[Record], None] = lambda record: None
    uploads: list[Upload] = field(init=False)
    bad: list[Upload] = field(init=False)
    slow: Upload = field(init=False)
    queries: list[pb.EmbedQueryRequest] = field(init=False)
    fusing: pb.FuseTitleRequest = field(default_factory=pb.FuseTitleRequest)
    resumed: Upload | None = None
    _references: References = field(default_factory=References)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _frames: list[tuple[float, bytes]] = field(init=False)
    _pieces: list[tuple[float, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        read = self.material.read
        self.uploads = [upload_of(title, read(title.file)) for title in self.material.titles]
        self.bad = [upload_of(title, read(title.file), refused=True) for title in self.material.bad]
        self.slow = upload_of(self.material.long_title, read(self.material.long_title.file))
        self.queries = [query_of(query, read) for query in self.material.queries]
        self._frames = list(RawFeed(fps=2, width=96, height=54).messages(self.feed_s))
        self._pieces = [piece for piece in self.material.feed_bytes() if piece[0] <= self.feed_s]

    def begin(self, phase: Phase) -> None:
        """What is recorded from now on belongs to `phase`."""
        self.phase, self.began_s = phase, time.monotonic()

    def sleep_until(self, due_s: float) -> None:
        """Sleep until a time of the monotonic clock, and note how late it became."""
        if (left_s := due_s - time.monotonic()) > 0:
            time.sleep(left_s)
            self.begun(due_s)

    def begun(self, due_s: float) -> None:
        """Note that what was due then begins now: how late the tool is behind its own schedule."""
        if self.phase is Phase.LOADED:
            self.journal.late(due_s - self.began_s, time.monotonic() - due_s)

    def prepare(self, gateway: Gateway) -> None:
        """Embed a title whose segments are then resumed from and fused.

        Raises:
            grpc.RpcError: the gateway does not do that. WrongAnswerError: it answers something else.
        """
        title = self.material.titles[1]
        answers = [wire.answer(each) for each in gateway.embed(self.uploads[1].messages)]
        segments = [each.segment for each in answers if each.HasField("segment")]
        if len(segments) != title.segments:
            raise WrongAnswerError(f"{title.name}: {len(segments)} segments came, expected {title.segments}")
        fingerprint = answers[0].accepted.fingerprint
        self.fusing = pb.FuseTitleRequest(media_id=title.file, segments=segments, fingerprint=fingerprint)
        kept = title.segments // 2
        stored = pb.EmbedMediaRequest(
            stored=pb.StoredSegments(segments=segments[:kept], fingerprint=fingerprint)
        )
        data = self.material.read(title.file)
        first = wire.start(title.file, pb.MODE_ENCODED, size_bytes=len(data))
        messages = [first, stored.SerializeToString(), *chunks(data)]
        kind = f"{title.name}, resumed"
        self.resumed = Upload(kind, messages, title.segments - kept, title.media_s - kept * WINDOW_S)

    def next_upload(self) -> Upload:
        """What is uploaded next: a bad file, a resumed one, or the titles in turn."""
        number = next(self._numbers)
        if number % BAD_ONE_IN == 0:
            return self.bad[number // BAD_ONE_IN % len(self.bad)]
        if number % RESUMED_ONE_IN == 0 and self.resumed is not None:
            return self.resumed
        return self.uploads[number % len(self.uploads)]

    def upload(self, gateway: Gateway, upload: Upload, due_s: float) -> Ended:
        """Upload, all at once; `due_s` on the monotonic clock, as in all that follows."""
        media = Media(upload.media_s, WINDOW_S)

        def call() -> None:
            for answer in gateway.embed(upload.messages):
                self._media(media.take(answer))
            if upload.refused:
                raise WrongAnswerError("a bad file was taken, expected INVALID_ARGUMENT")
            media.check(upload.kind, upload.segments, self._references)

        ended = refused_as_bad if upload.refused else ended_by
        return self._made(BAD if upload.refused else UPLOAD, upload.kind, due_s, call, ended)

    def read_slowly(self, gateway: Gateway, due_s: float) -> Ended:
        """Upload the long title, and pause after each answer."""
        media = Media(self.slow.media_s, WINDOW_S)

        def call() -> None:
            for answer in gateway.embed(self.slow.messages, timeout_s=SLOW_TIMEOUT_S, pause_s=SLOW_PAUSE_S):
                self._media(media.take(answer))
            media.check(self.slow.kind, self.slow.segments, self._references)

        return self._made(SLOW, self.slow.kind, due_s, call)

    def query(self, gateway: Gateway, number: int, due_s: float) -> Ended:
        """A query, of each kind in turn."""
        request = self.queries[number % len(self.queries)]

        def call() -> None:
            self._references.check(request.query_id, gateway.query(request).vector)

        return self._made(QUERY, request.query_id, due_s, call)

    def fuse(self, gateway: Gateway, due_s: float) -> Ended:
        """Fuse what `prepare` embedded."""

        def call() -> None:
            self._references.check("fuse", gateway.fuse(self.fusing).title.vector)

        return self._made(FUSE, "fuse", due_s, call)

    def ask(self, gateway: Gateway, number: int, due_s: float) -> Ended:
        """Status, space and health, in turn."""
        group, call = (
            (STATUS, lambda: self._names_space(gateway.status().fingerprint)),
            (SPACE, lambda: self._names_space(gateway.space().fingerprint)),
            (HEALTH, gateway.health),
        )[number % 3]
        return self._made(group, group, due_s, call)

    def _names_space(self, fingerprint: str) -> None:
        if fingerprint != self.fusing.fingerprint:
            expected = self.fusing.fingerprint
            raise WrongAnswerError(f"space {fingerprint or '(none)'} came, expected {expected}")

    def feed(self, gateway: Gateway, kind: str) -> Ended:
        """A live feed in real time; each segment is a record of its own, due when its media had been sent."""
        pieces = self._frames if kind == FRAMES else self._pieces
        media, began_s = Media(self.feed_s, WINDOW_S), time.monotonic()

        def call() -> None:
            # a gateway that is slow to read holds us back, which is not our lateness: it makes segments late
            for answer in gateway.embed(self._live(kind, pieces, began_s)):
                before = media.segments
                self._media(media.take(answer))
                if media.segments > before:
                    due_s = began_s + self._complete_s(kind, pieces, media.segments * WINDOW_S)
                    self._record(LIVE, f"{kind} segment", due_s, ANSWERED)
            expected = int(self.feed_s // WINDOW_S)
            if media.segments != expected or not media.title:
                raise WrongAnswerError(f"{media.segments} segments of a live feed came, expected {expected}")

        try:
            call()
        except Exception as error:
            ended = ended_by(error)
            self._record(LIVE, f"{kind} segment", began_s, ended)
            return ended
        return ANSWERED

    def _live(self, kind: str, pieces: Sequence[tuple[float, bytes]], began_s: float) -> Iterator[bytes]:
        offset = 0
        if kind == FRAMES:
            modalities = [pb.MODALITY_VISUAL, pb.MODALITY_AUDIO]
            yield wire.start(kind, pb.MODE_FRAMES, live=True, modalities=modalities)
        else:
            yield wire.start(kind, pb.MODE_ENCODED, live=True)
        for at_s, data in pieces:
            self.sleep_until(began_s + at_s)
            yield data if kind == FRAMES else wire.chunk(offset, data)
            offset += len(data)

    def _complete_s(self, kind: str, pieces: Sequence[tuple[float, bytes]], window_end_s: float) -> float:
        """When the piece is due that completes a window, from the feed's begin."""
        needed_s = window_end_s + (LOOK_AHEAD_S if kind == BROADCAST else 0.0) - 1e-9
        return next((at_s for at_s, _ in pieces if at_s >= needed_s), pieces[-1][0])

    def _made(
        self,
        group: str,
        kind: str,
        due_s: float,
        call: Callable[[], object],
        ended_by: Callable[[Exception], Ended] = ended_by,
    ) -> Ended:
        try:
            call()
        except Exception as error:  # whatever it is, the run goes on and counts it
            ended = ended_by(error)
        else:
            ended = ANSWERED
        self._record(group, kind, due_s, ended)
        return ended

    def _record(self, group: str, kind: str, due_s: float, ended: Ended) -> None:
        took_s = time.monotonic() - due_s
        record = Record(
            self.phase, group, kind, due_s - self.began_s, took_s, ended.result, ended.code, ended.note
        )
        self.journal.record(record)
        self.told(record)

    def _media(self, media_s: float) -> None:
        if media_s and self.phase is Phase.LOADED:
            self.journal.answered_media(time.monotonic() - self.began_s, media_s)
