"""Of several streams of a kind the one is read that is the title's own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import av
import numpy as np
import pytest
from av.stream import Disposition

from resonance.clients.media.container import choose_stream
from resonance.clients.media.types import SegmentInput
from tests.clients.media.synthetic import SRT, even_times, film, programs, sound, with_subtitles

ReadAll = Callable[..., list[SegmentInput]]
NONE = Disposition(0)


@pytest.mark.parametrize(
    ("marks", "chosen"),
    [
        ([Disposition.default | Disposition.forced, NONE], 1),
        ([Disposition.default | Disposition.comment, NONE], 1),
        ([NONE, Disposition.default], 1),
        ([NONE, Disposition.hearing_impaired | Disposition.default], 1),
        ([Disposition.forced, Disposition.forced | Disposition.default], 1),
    ],
)
def test_forced_subtitles_and_comments_only_where_there_is_nothing_else(
    read_all: ReadAll, marks: list[Disposition], chosen: int
) -> None:
    tracks = [("srt", SRT.replace("eight", f"track {n}"), mark) for n, mark in enumerate(marks)]
    segments = read_all(with_subtitles(film(even_times(24, 5), rate=5), *tracks))
    assert segments[-1].text == f"track {chosen}"


def _sounds(*marks: Disposition) -> bytes:
    output = io.BytesIO()
    with av.open(output, "w", format="matroska") as file:
        streams = [file.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in marks]
        for stream, mark in zip(streams, marks, strict=True):
            stream.disposition = mark
        for stream in streams:
            frame = av.AudioFrame(format="s16", layout="mono", samples=800)
            frame.sample_rate, frame.pts = 8000, 0
            file.mux(stream.encode(frame))
    return output.getvalue()


@pytest.mark.parametrize(
    "aside", [Disposition.comment, Disposition.visual_impaired, Disposition.hearing_impaired]
)
def test_descriptions_and_commentary_are_not_the_sound_of_a_film(aside: Disposition) -> None:
    for marks, chosen in (((aside | Disposition.default, NONE), 1), ((aside,), 0), ((NONE, aside), 0)):
        with av.open(io.BytesIO(_sounds(*marks))) as container:
            assert [s.disposition & aside for s in container.streams] == [m & aside for m in marks]
            stream = choose_stream(container, "audio")
            assert stream is not None
            assert stream.index == chosen


def _tone(hz: float) -> bytes:
    samples = np.sin(np.arange(20 * 48_000) * 2 * np.pi * hz / 48_000).astype(np.float32) / 8
    return sound(samples, rate_hz=48_000, codec="mp2", container="mpegts")


def _together(*media: bytes) -> bytes:
    output = io.BytesIO()
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(av.open(output, "w", format="mpegts"))
        packets = []
        for title in media:
            read = opened.enter_context(av.open(io.BytesIO(title)))
            stream = file.add_stream_from_template(read.streams[0])
            packets += [
                (p.dts * p.time_base, p, stream) for p in read.demux() if p.dts is not None and p.time_base
            ]
        for _, packet, stream in sorted(packets, key=lambda row: row[0]):
            packet.stream = stream
            file.mux(packet)
    return output.getvalue()


def test_of_several_programs_the_sound_is_that_of_the_pictures(read_all: ReadAll) -> None:
    pictures = film(even_times(20, 10), codec="mpeg2video", container="mpegts", rate=10)
    several = programs(_tone(200), _together(pictures, _tone(1000), _tone(3000)), _tone(500))
    with av.open(io.BytesIO(several)) as container:
        assert [s.type for s in container.streams].count("audio") == 4
    pcm = read_all(several)[0].pcm
    assert pcm is not None
    spectrum = np.abs(np.fft.rfft(pcm.samples[: pcm.length]))
    assert np.argmax(spectrum) * 16_000 / pcm.length == pytest.approx(1000, abs=1)
