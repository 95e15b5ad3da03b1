"""Whether pictures and sound go as far as their container says: a file that was cut off looks whole."""

from __future__ import annotations

from collections.abc import Iterable

import av
from av.container import InputContainer
from av.stream import Stream

from resonance.clients.media.container import STATING

#: Containers that write how long they are, by FFmpeg's names. Of others it is reckoned by the bit rate, which
#: may be far off, or found by looking for the last packet, which a file that was cut off has, too.
MATROSKA = "matroska,webm"
STATING_LENGTH = frozenset({STATING, MATROSKA, "flac", "asf", "flv"})
#: Less than this is no loss: the last packet's duration is not always known, and sound is padded.
LEAST_MISSING_S = 2.0
LEAST_MISSING_SHARE = 0.02


def length_s(container: InputContainer, origin_s: float) -> float | None:
    """How long the container says that it is, in seconds from its start at `origin_s`; None: it does not say.

    Matroska counts from the clock's 0 as FFmpeg writes it, unless it would end before it starts so, and from
    the first packet as others do. Of other containers FFmpeg tells the length.
    """
    if not container.duration:
        return None
    told_s = container.duration / av.time_base
    writers = [value for key, value in container.metadata.items() if key.lower() == "encoder"]
    by_ffmpeg = container.format.name == MATROSKA and any(value.startswith("Lavf") for value in writers)
    counts_from_0 = by_ffmpeg and told_s > origin_s > 0
    return told_s - origin_s if counts_from_0 else told_s


def stated_end_s(container: InputContainer, streams: Iterable[Stream], origin_s: float) -> float | None:
    """Seconds from `origin_s` to the end of the pictures and sound in `streams` as the container states it.

    None where it does not: subtitles and data may go on for longer than they do, so where there are such,
    only what the streams say of themselves counts. The whole is counted from the clock's 0 or from the first
    packet, as whoever wrote it saw fit; the earlier end counts.
    """
    streams = list(streams)
    if container.format.name not in STATING_LENGTH or not container.duration:
        return None
    # Matroska states no length of streams: where they have one, FFmpeg reckoned it, and that of the whole
    if container.format.name == MATROSKA and any(stream.duration for stream in streams):
        return None
    ends_s = [
        float((stream.start_time + stream.duration) * stream.time_base) - origin_s
        for stream in streams
        if stream.start_time is not None and stream.duration and stream.time_base
    ]
    if not ends_s and len(container.streams) > len(container.streams.video) + len(container.streams.audio):
        return None
    return min([container.duration / av.time_base - max(origin_s, 0.0), *([max(ends_s)] if ends_s else [])])


class StatedEnd:
    """How far the packets of a title went, held against what its container states.

    Args:
        stated_s: see `stated_end_s`.
    """

    def __init__(self, stated_s: float | None = None) -> None:
        self._stated_s = stated_s
        self._reached_s: dict[str, float] = {}  # by kind of stream, for each is read in a thread of its own

    def saw(self, kind: str, end_s: float) -> None:
        """A packet of the stream of `kind` ends at `end_s`, from the title's start."""
        self._reached_s[kind] = max(end_s, self._reached_s.get(kind, 0.0))

    def missing_s(self) -> float:
        """Seconds that are stated and were not there, once all is read; 0 where little or none is missing."""
        if self._stated_s is None:
            return 0.0
        missing_s = self._stated_s - max(self._reached_s.values(), default=0.0)
        return missing_s if missing_s >= max(LEAST_MISSING_S, LEAST_MISSING_SHARE * self._stated_s) else 0.0
