"""Segments, titles and what is known of media as messages of resonance.v1, and back; exact for float32.

Maps of protobuf have no order: `FieldNames`, made from the space's descriptor, gives signals and axes
back in the order in which the pipeline has them, and None for a signal that was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np

from resonance.clients.errors import InvalidFieldError
from resonance.clients.gateway.checks import (
    MAX_ENTRIES,
    MAX_FRAMES,
    MAX_POINTS,
    at_most,
    finite,
    fraction,
    short_name,
    some_presence,
    start_and_end,
    unit_vector,
)
from resonance.clients.media.types import Damage, MediaInfo, SampledBy, StreamSignal
from resonance.clients.results import (
    AxisValue,
    MediaEmbedding,
    Segment,
    SignalValue,
    SpaceRef,
    Timing,
    Vector,
)
from resonance.space.descriptor import MEASURED_ARCS, MODALITIES, Descriptor
from resonance.space.errors import SpaceMismatchError
from resonance.v1 import embedding_pb2 as pb

T = TypeVar("T")

#: Largest StoredSegments that is sent: well under the 4 MiB that gRPC takes by default.
STORED_BATCH_BYTES = 1 << 20
#: See `media_id` in proto/resonance/v1/embedding.proto.
MAX_MEDIA_ID_BYTES = 512

_SAMPLED_BY: Mapping[SampledBy, pb.SampledBy] = {
    SampledBy.NONE: pb.SAMPLED_BY_UNSPECIFIED,
    SampledBy.KEYFRAMES: pb.SAMPLED_BY_KEYFRAMES,
    SampledBy.BORROWED: pb.SAMPLED_BY_BORROWED,
    SampledBy.DECODED: pb.SAMPLED_BY_DECODED,
    SampledBy.UNIFORM: pb.SAMPLED_BY_UNIFORM,
    SampledBy.IMAGE: pb.SAMPLED_BY_IMAGE,
}
_SAMPLED_BY_NUMBER = {int(number): sampled_by for sampled_by, number in _SAMPLED_BY.items()}


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Signals and axes of a space, in the order of the pipeline's results."""

    signals: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()

    @classmethod
    def of(cls, descriptor: Descriptor) -> FieldNames:
        """Those of `descriptor`."""
        heard = (spec.name for spec in descriptor.signals["audio"])
        return cls(
            ("cut_rate_per_min", "motion", "brightness", "colourfulness", *heard, "words_per_second"),
            tuple(descriptor.axes),
        )


_NO_NAMES = FieldNames()


def vector_message_bytes(vector: Vector, field_number: int) -> bytes:
    """`vector` float32 [n] as the wire bytes of a packed ``repeated float``.

    Parsing them into a message copies memory; giving it 1,788 Python numbers takes fifty times as long.
    """
    data = np.ascontiguousarray(vector, np.dtype("<f4")).tobytes()
    return _varint(field_number << 3 | 2) + _varint(len(data)) + data


def media_id_of(name: str) -> str:
    """A name of media, cut to what a gateway takes: its end tells more than its beginning.

    What is not UTF-8, as some names of files, is replaced.
    """
    return name.encode("utf-8", "replace")[-MAX_MEDIA_ID_BYTES:].decode("utf-8", "ignore")


def segment_to_message(segment: Segment) -> pb.Segment:
    """Everything but the salience, which is the title's to say."""
    message = pb.Segment(
        index=segment.index,
        present=presence_to_message(segment.present),
        axes=segment.axes,
        sampled_by=_SAMPLED_BY[segment.sampled_by],
        frame_times_s=segment.frame_times_s,
    )
    if segment.start_s is not None and segment.end_s is not None:
        message.start_s, message.end_s = segment.start_s, segment.end_s
    message.MergeFromString(vector_message_bytes(segment.vector, pb.Segment.VECTOR_FIELD_NUMBER))
    for name, value in segment.signals.items():
        if isinstance(value, StreamSignal):
            signal = message.signals[name]
            signal.value, signal.method, signal.confidence = value.value, value.method, value.confidence
        elif value is not None:
            message.signals[name].value = value
    return message


def segment_from_message(
    message: pb.Segment, names: FieldNames = _NO_NAMES, *, after: int = -1, field: str = "segment"
) -> Segment:
    """The segment; its salience is not known yet.

    Args:
        names: order of signals and axes, and the signals that are None where left out.
        after: index of the segment before it; indices rise.
        field: what to call the message in errors.

    Raises:
        InvalidFieldError: see `resonance.clients.gateway.checks`.
    """
    if message.index <= after:
        raise InvalidFieldError(f"{field}.index", str(message.index), f"above {after}, the one before")
    if message.sampled_by not in _SAMPLED_BY_NUMBER:
        raise InvalidFieldError(
            f"{field}.sampled_by", str(message.sampled_by), f"one of {', '.join(pb.SampledBy.keys())}"
        )
    start_s, end_s = start_and_end(message, field)
    for what, entries, most in (
        ("signals", message.signals, MAX_ENTRIES),
        ("axes", message.axes, MAX_ENTRIES),
        ("frame_times_s", message.frame_times_s, MAX_FRAMES),
    ):
        at_most(entries, most, f"{field}.{what}")
    signals = {
        short_name(name, f"{field}.signals"): _signal(value, f"{field}.signals.{name}")
        for name, value in message.signals.items()
    }
    axes = {
        short_name(name, f"{field}.axes"): fraction(value, f"{field}.axes.{name}")
        for name, value in message.axes.items()
    }
    return Segment(
        index=message.index,
        start_s=start_s,
        end_s=end_s,
        present=some_presence(message.present, f"{field}.present"),
        vector=unit_vector(message.vector, f"{field}.vector"),
        signals=dict.fromkeys(names.signals) | _ordered(signals, names.signals),
        sampled_by=_SAMPLED_BY_NUMBER[message.sampled_by],
        frame_times_s=tuple(finite(t, f"{field}.frame_times_s") for t in message.frame_times_s),
        axes=_ordered(axes, names.axes),
    )


def segments_from_messages(
    messages: Iterable[pb.Segment],
    names: FieldNames = _NO_NAMES,
    *,
    after: int = -1,
    field: str = "segments",
) -> list[Segment]:
    """Several, in rising index; see `segment_from_message`."""
    segments: list[Segment] = []
    for at, message in enumerate(messages):
        segments.append(segment_from_message(message, names, after=after, field=f"{field}[{at}]"))
        after = segments[-1].index
    return segments


def stored_to_messages(
    segments: Iterable[Segment], fingerprint: str, *, batch_bytes: int = STORED_BATCH_BYTES
) -> Iterator[pb.StoredSegments]:
    """Segments of an earlier call in messages of at most `batch_bytes`, or of one segment."""
    batch, size_bytes = pb.StoredSegments(fingerprint=fingerprint), 0
    for segment in segments:
        message = segment_to_message(segment)
        more_bytes = message.ByteSize()
        if batch.segments and size_bytes + more_bytes > batch_bytes:
            yield batch
            batch, size_bytes = pb.StoredSegments(fingerprint=fingerprint), 0
        batch.segments.append(message)
        size_bytes += more_bytes
    if batch.segments:
        yield batch


def info_to_message(info: MediaInfo) -> pb.MediaInfo:
    """What is known of the media; its name is the caller's own."""
    return pb.MediaInfo(
        container=info.container, duration_s=info.duration_s, codecs=info.codecs, left_out=info.left_out
    )


def info_from_message(message: pb.MediaInfo, name: str) -> MediaInfo:
    """What is known of the media called `name`.

    Raises:
        InvalidFieldError: a duration that is not finite, or too many codecs.
    """
    at_most(message.codecs, MAX_ENTRIES, "info.codecs")
    at_most(message.left_out, MAX_ENTRIES, "info.left_out")
    return MediaInfo(
        name=name,
        container=message.container,
        duration_s=finite(message.duration_s, "info.duration_s") if message.HasField("duration_s") else None,
        codecs=_ordered(dict(message.codecs), ("video", "audio", "subtitle")),
        left_out=_ordered(dict(message.left_out), ("video", "audio", "subtitle")),
    )


def title_to_message(result: MediaEmbedding) -> pb.Title:
    """The title; its segments were sent before, and stand here with their salience alone."""
    message = pb.Title(
        media_id=result.media,
        fingerprint=result.space.fingerprint,
        present=presence_to_message(result.present),
        duration_s=result.duration_s,
        salience=[segment.salience or 0.0 for segment in result.segments],
        first_index=result.segments[0].index if result.segments else 0,
        axes={n: pb.AxisValue(value=a.value, low=a.low, high=a.high) for n, a in result.axes.items()},
        timing=pb.Timing(
            demux_ms=result.timing.demux_ms,
            decode_ms=result.timing.decode_ms,
            queue_ms=result.timing.queue_ms,
            inference_ms=result.timing.inference_ms,
            total_ms=result.timing.total_ms,
        ),
        rolling=result.rolling,
    )
    if result.damage != Damage():
        message.damage.CopyFrom(pb.Damage(**asdict(result.damage)))
    message.MergeFromString(vector_message_bytes(result.title, pb.Title.VECTOR_FIELD_NUMBER))
    for name, points in result.arcs.items():
        arc = message.arcs[name]  # an arc without points is kept, too
        arc.points.extend(pb.ArcPoint(time_s=t, value=v) for t, v in points)
    return message


def title_from_message(
    message: pb.Title, segments: Sequence[Segment], space: SpaceRef, names: FieldNames = _NO_NAMES
) -> MediaEmbedding:
    """The title over `segments`, which get their salience; those before `first_index` are left out.

    Raises:
        InvalidFieldError: see `resonance.clients.gateway.checks`; shares that are not one a segment.
        SpaceMismatchError: it belongs to another space than `space`.
    """
    if message.fingerprint != space.fingerprint:
        raise SpaceMismatchError(space.fingerprint, message.fingerprint, f"title of {message.media_id}")
    at_most(message.salience, MAX_POINTS, "title.salience")
    at_most(message.arcs, MAX_ENTRIES, "title.arcs")
    at_most(message.axes, MAX_ENTRIES, "title.axes")
    covered = [segment for segment in segments if segment.index >= message.first_index]
    if len(message.salience) != len(covered):
        raise InvalidFieldError(
            "title.salience",
            f"{len(message.salience):,} shares from index {message.first_index}",
            f"one for each of {len(covered):,} segments",
        )
    present = some_presence(message.present, "title.present")
    axes = {
        short_name(name, "title.axes"): AxisValue(
            fraction(axis.value, f"title.axes.{name}.value"), axis.low, axis.high
        )
        for name, axis in message.axes.items()
    }
    arcs = {short_name(name, "title.arcs"): _points(arc, name) for name, arc in message.arcs.items()}
    timing = message.timing
    return MediaEmbedding(
        media=message.media_id,
        space=space,
        duration_s=finite(message.duration_s, "title.duration_s") if message.HasField("duration_s") else None,
        modalities=tuple(m for m, there in zip(MODALITIES, present, strict=True) if there),
        title=unit_vector(message.vector, "title.vector"),
        present=present,
        segments=tuple(
            replace(segment, salience=fraction(share, "title.salience"))
            for segment, share in zip(covered, message.salience, strict=True)
        ),
        arcs=_ordered(arcs, (*MEASURED_ARCS, *names.axes)),
        timing=Timing(
            demux_ms=timing.demux_ms,
            decode_ms=timing.decode_ms,
            queue_ms=timing.queue_ms,
            inference_ms=timing.inference_ms,
            total_ms=timing.total_ms,
        ),
        axes=_ordered(axes, names.axes),
        rolling=message.rolling,
        damage=Damage(
            unreadable_packets=message.damage.unreadable_packets,
            missing_s=finite(message.damage.missing_s, "title.damage.missing_s"),
            late_frames=message.damage.late_frames,
            late_sound_s=finite(message.damage.late_sound_s, "title.damage.late_sound_s"),
            late_cues=message.damage.late_cues,
        ),
    )


def presence_to_message(present: tuple[bool, bool, bool]) -> pb.Presence:
    """Visual, audio, transcript."""
    return pb.Presence(visual=present[0], audio=present[1], transcript=present[2])


def _signal(message: pb.Signal, field: str) -> SignalValue:
    value = finite(message.value, field)
    if not message.method and not message.HasField("confidence"):
        return value
    return StreamSignal(value, message.method, fraction(message.confidence, f"{field}.confidence"))


def _points(arc: pb.Arc, name: str) -> list[tuple[float, float]]:
    at_most(arc.points, MAX_POINTS, f"title.arcs.{name}")
    field = f"title.arcs.{name}.points"
    return [(finite(p.time_s, field), fraction(p.value, field)) for p in arc.points]


def _ordered(given: Mapping[str, T], order: Sequence[str]) -> dict[str, T]:
    """`given`, first those named in `order`, then the others by name."""
    known = [name for name in order if name in given]
    return {name: given[name] for name in (*known, *sorted(given.keys() - set(known)))}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
