"""Subtitles within a container: its cues, and how far they are known where none come."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.subtitles.subtitle import AssSubtitle

from resonance.clients.media.captions import ass_words, caption_words
from resonance.clients.media.container import STATING, choose_stream
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.packets import Title, opened_stream, read_packets
from resonance.clients.media.words import Cue, Reached

#: A cue stands in its container at most this much later than pictures and sound of its time: FFmpeg's muxers
#: wait no longer for one. One that does is counted as broken, and its words in the first window still open.
CUES_LATE_S = 10.0
#: How often it is told how far cues are known.
_TELL_EVERY_S = 1.0
_ASS_FIELDS = 8  # commas before the text in ASS event lines, as FFmpeg and Matroska have them


class SubtitleReader:
    """Cues of an embedded text subtitle stream, in order of their start."""

    def __init__(self, title: Title) -> None:
        self._title = title

    def cues(self) -> Iterator[Cue | Reached]:
        """See the class. Cues that do not decode are counted and left out.

        From one cue to the next it may be most of a film. Where a container has no index that leads there,
        packets of pictures and sound are read too, so that it is told how far cues are known.
        """
        with opened_stream(self._title, "subtitle") as (container, stream):
            base = float(stream.time_base) if stream.time_base else 0.0
            codec = stream.codec_context.codec.canonical_name
            clock = _Clock(container, self._title)
            for packet in read_packets(self._title, container, stream, beside=clock.streams):
                if packet.stream_index != stream.index:
                    reached_s = clock.passed(packet)
                    if reached_s is not None:
                        yield Reached(reached_s)
                    continue
                if packet.pts is None or not packet.size:
                    continue
                start_s = self._title.time_s(packet.pts, base)
                duration_s = (packet.duration or 0) * base
                try:
                    text = _packet_words(packet, codec)
                except (av.error.FFmpegError, ValueError):
                    self._title.times.broken += 1
                    continue
                # later than is waited for; one from before the title's start, as where it was cut, is not
                self._title.times.broken += max(start_s, 0.0) < clock.told_s
                if text:
                    yield Cue(start_s, start_s + duration_s, text)


class _Clock:
    """How far the slowest stream beside the cues has come.

    Attributes:
        streams: those whose packets are to be read with the cues.
        told_s: up to where cues were told to be known.
    """

    def __init__(self, container: InputContainer, title: Title) -> None:
        self._origin_s = title.origin_s
        self.told_s = 0.0
        indexed = container.format.name == STATING and not isinstance(title.source, GrowingSource)
        chosen = [] if indexed else [choose_stream(container, kind) for kind in ("video", "audio")]
        self.streams = [stream for stream in chosen if stream is not None]
        self._bases_s = {s.index: float(s.time_base) if s.time_base else 0.0 for s in self.streams}
        self._last_s = {stream.index: 0.0 for stream in self.streams}
        self._passed_s = dict(self._last_s)
        for stream in self.streams:
            stream.discard = Discard.default

    def passed(self, packet: Packet[Stream]) -> float | None:
        """Up to where cues are known, in seconds of the title, whenever that is `_TELL_EVERY_S` further."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return None
        index = packet.stream_index
        time_s = stamp * self._bases_s[index] - self._origin_s
        # one stray timestamp far ahead must not close the windows before it: two in a row do
        self._passed_s[index] = min(time_s, self._last_s[index])
        self._last_s[index] = time_s
        reached_s = min(self._passed_s.values()) - CUES_LATE_S
        if reached_s < self.told_s + _TELL_EVERY_S:
            return None
        self.told_s = reached_s
        return reached_s


def _packet_words(packet: Packet[Stream], codec: str) -> str:
    """Words of one packet. Captions are read as in a file: FFmpeg's decoders take a bare < for a tag."""
    if codec in ("ass", "ssa"):
        events = cast("list[AssSubtitle]", packet.decode())
        fields = (event.ass.decode("utf-8", "replace").split(",", _ASS_FIELDS) for event in events)
        return ass_words(" ".join(parts[-1] for parts in fields))
    text = bytes(packet)
    if codec == "mov_text":  # its length in two bytes, and what follows is how it looks
        text = text[2 : 2 + int.from_bytes(text[:2], "big")]
        if text.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):  # the other encoding that it may have
            return caption_words(text.decode("utf-16", "replace"))
    return caption_words(text.decode("utf-8", "replace"))
