"""Titles long enough that a kill meets their middle: a rendered film and real ones, played over and over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import pysubs2

from resonance.clients.sample import render_sample

SAMPLE_S = 40.0


@dataclass(frozen=True, slots=True)
class Title:
    """A title to embed.

    Attributes:
        name: for people. path: the media. transcript: its subtitles, or None where it has none beside it.
        models: those that its segments go through; a stub of another one would be killed without anybody
            noticing.
    """

    name: str
    path: Path
    transcript: Path | None
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Real:
    """A real file, played `times` over into `container`."""

    name: str
    source: str
    container: str
    times: int
    models: tuple[str, ...]


_PICTURES = ("video_decoder", "visual_encoder")
_SOUND = ("audio_encoder",)
_WORDS = ("transcript_tokenizer", "transcript_encoder")

#: MP4 as PyAV writes it has its index at the end, which is what makes a gateway spool.
REAL = (
    _Real("h264", "video/animation_claymation_man_tree.mp4", "mp4", 20, _PICTURES + _SOUND),
    # one keyframe in 41 s: most of it is decoded in order where it is read, and only frames are sent on
    _Real("vp9-rare-keyframes", "video/people_two_men_whiteboard.webm", "webm", 3, ("visual_encoder",)),
    _Real(
        "subtitles", "video/people_dark_room_embedded_subs.m4v", "mp4", 100, _PICTURES + _SOUND + _WORDS
    ),
    _Real("sound", "audio/mixed_farm_animal_sounds.mp3", "mp3", 40, _SOUND),
)  # fmt: skip
SAMPLE_TIMES = 12
#: The rendered film as it is, short: for callers beside those whose titles are watched.
FILM = "sample.mp4"


def make_titles(folder: Path, media: Path | None, *, sample_times: int = SAMPLE_TIMES) -> list[Title]:
    """The titles in `folder`, made where they are not there yet; without `media` only the rendered one."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = [_sample(folder, sample_times)]
    for real in REAL if media is not None else ():
        assert media is not None
        path = folder / f"{real.name}-{real.times}.{real.container}"
        _made(path, lambda unfinished, real=real: play_over(media / real.source, unfinished, real.times))
        titles.append(Title(real.name, path, None, real.models))
    return titles


def _sample(folder: Path, times: int) -> Title:
    once = folder / FILM
    captions = once.with_suffix(".srt")
    if not captions.exists():  # it is written last
        render_sample(once, SAMPLE_S)
    path = folder / f"sample-{times}.mkv"
    _made(path, lambda unfinished: play_over(once, unfinished, times))
    words = path.with_suffix(".srt")
    _repeat_captions(captions, words, times)
    return Title("sample", path, words, _PICTURES + _SOUND + _WORDS)


def _made(path: Path, make: object) -> None:
    """`make` writes into a file that gets its name once it is whole."""
    assert callable(make)
    if not path.exists():
        unfinished = path.with_suffix(".part" + path.suffix)
        make(unfinished)
        unfinished.rename(path)


def play_over(source: Path, path: Path, times: int) -> None:
    """Write the packets of `source`, video, sound and subtitles, `times` one after the other."""
    with av.open(str(path), "w") as out:
        with av.open(str(source)) as once:
            kinds = ("video", "audio", "subtitle")
            streams = {s.index: out.add_stream_from_template(s) for s in once.streams if s.type in kinds}
            length_s = (once.duration or 0) / av.time_base
        last_dts = dict.fromkeys(streams, -(1 << 62))
        for number in range(times):
            with av.open(str(source)) as once:
                for packet in once.demux():
                    stream = streams.get(packet.stream_index)
                    if stream is None or packet.dts is None or packet.pts is None or not packet.size:
                        continue
                    assert packet.time_base is not None
                    shift = round(number * length_s / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    if packet.dts <= last_dts[packet.stream_index]:
                        continue  # an encoder's priming and padding overlap where two rounds meet
                    last_dts[packet.stream_index] = packet.dts
                    packet.stream = stream
                    out.mux(packet)


def _repeat_captions(captions: Path, path: Path, times: int) -> None:
    once = pysubs2.load(str(captions))
    every = pysubs2.SSAFile()
    for number in range(times):
        shift_ms = round(number * SAMPLE_S * 1000)
        every.extend(pysubs2.SSAEvent(e.start + shift_ms, e.end + shift_ms, e.text) for e in once)
    path.write_text(every.to_string("srt"), encoding="utf-8")
