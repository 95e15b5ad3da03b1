"""Films made for tests: every frame carries its own number, so that the right frame can be told by sight."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

#: The number stands as GRID x GRID black and white blocks, the lowest bit first.
GRID = 4
#: Three cues: two that touch the first window of 8 s, one of them the second too, and one in the third.
SRT = """1
00:00:01,000 --> 00:00:03,000
one two <i>three</i>

2
00:00:07,000 --> 00:00:09,000
{\\an8}four five
six seven

3
00:00:20,000 --> 00:00:21,000
eight
"""


def numbered_picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """uint8 RGB [height, width, 3] that shows `number` (below 2**16)."""
    bits = np.array([(number >> bit) & 1 for bit in range(GRID * GRID)], np.uint8).reshape(GRID, GRID)
    grey = np.kron(bits * 200 + 28, np.ones((height // GRID, width // GRID), np.uint8)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number that a picture of any size shows."""
    height, width = picture.shape[0] // GRID, picture.shape[1] // GRID
    blocks = picture.mean(axis=2)[: height * GRID, : width * GRID].reshape(GRID, height, GRID, width)
    inner = blocks[:, height // 4 : -(height // 4), :, width // 4 : -(width // 4)]
    means = inner.mean(axis=(1, 3))
    assert ((means < 90) | (means > 160)).all(), f"not a numbered picture: {means.round()}"
    return int(sum(1 << bit for bit, mean in enumerate(means.reshape(-1)) if mean > 128))


def film(
    times_s: Sequence[float],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    gop: int = 30,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = (128, 96),
    pix_fmt: str = "yuv420p",
    rotation_deg: int = 0,
    rate: int = 30,
) -> bytes:
    """A film whose frame i is shown at `times_s[i]` and carries the number i."""
    output = io.BytesIO()
    with av.open(output, "w", format=container, options=container_options or {}) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        stream.options = {"g": str(gop), **(options or {})}
        fine = codec not in (
            "mpeg4",
            "mpeg2video",
            "libtheora",
            "mjpeg",
            "dvvideo",
        )  # these count whole frames
        base = Fraction(1, 1000) if fine else Fraction(1, rate)
        stream.codec_context.time_base = base
        if rotation_deg:
            stream.set_display_rotation(-rotation_deg)
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = round(time_s / base), base
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return output.getvalue()


def with_display_matrix(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An MP4 whose pictures are shown at (ax + cy, bx + dy)."""
    at = data.index(b"tkhd") + 4 + 40
    matrix = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4")
    return data[:at] + matrix.tobytes() + data[at + 36 :]


def with_edits(data: bytes, *edits: tuple[float, float]) -> bytes:
    """An MP4, its index last, whose one track shows those stretches: (seconds, from which second of it)."""
    before, (kind, movie) = _boxes(data)[:-1], _boxes(data)[-1]
    assert kind == b"moov"
    (media,) = [content for name, content in _boxes(dict(_boxes(movie))[b"trak"]) if name == b"mdia"]
    scales = {
        name: int.from_bytes(dict(_boxes(content))[name][12:16], "big")
        for name, content in ((b"mvhd", movie), (b"mdhd", media))
    }
    rows = [
        b"".join(
            round(n).to_bytes(4, "big") for n in (s * scales[b"mvhd"], start_s * scales[b"mdhd"], 1 << 16)
        )
        for s, start_s in edits
    ]
    listed = _box(b"elst", bytes(4) + len(rows).to_bytes(4, "big") + b"".join(rows))

    def edited(track: bytes) -> bytes:
        parts = [_box(*part) for part in _boxes(track) if part[0] != b"edts"]
        return b"".join([parts[0], _box(b"edts", listed), *parts[1:]])

    movie = b"".join(_box(k, edited(c) if k == b"trak" else c) for k, c in _boxes(movie))
    return b"".join(_box(*part) for part in before) + _box(kind, movie)


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of the boxes of an MP4 in a row."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def even_times(seconds: float, rate: float = 30.0, start_s: float = 0.0) -> list[float]:
    """Presentation times of a film of constant frame rate."""
    return [start_s + i / rate for i in range(round(seconds * rate))]


def sound(
    samples: NDArray[np.float32],
    *,
    rate_hz: int = 44_100,
    codec: str = "pcm_s16le",
    container: str = "wav",
    channels: int = 1,
    gaps: dict[int, float] | None = None,
) -> bytes:
    """A track of `samples` [n], the same in every channel.

    `gaps`: seconds put before the block of that number; a block holds 1,024 samples.
    """
    output = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[channels]
    block = 1024
    shift = 0
    with av.open(output, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate_hz, layout=layout)
        if codec == "wavpack":  # its first format is of 8 bits
            stream.codec_context.format = "s16p"
        if codec == "vorbis":  # FFmpeg's own encoder
            stream.options = {"strict": "experimental"}
        form = stream.codec_context.format.name
        for number, first in enumerate(range(0, samples.size, block)):
            shift += round((gaps or {}).get(number, 0.0) * rate_hz)
            piece = np.repeat(samples[None, first : first + block], channels, axis=0)
            if form.startswith(("s16", "s32")):
                whole = np.int16 if form.startswith("s16") else np.int32
                piece = (piece.astype(np.float64) * np.iinfo(whole).max).astype(whole)
            if not form.endswith("p"):
                piece = np.ascontiguousarray(piece.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=form, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, first + shift, Fraction(1, rate_hz)
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return output.getvalue()


def film_in_huffyuv(*, heard: bool) -> bytes:
    """Two seconds of a codec that is not read here, with a sound that is, or without."""
    output = io.BytesIO()
    with av.open(output, "w", format="avi") as file:
        pictures: Any = file.add_stream("huffyuv", rate=5)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv422p"
        track: Any = file.add_stream("pcm_s16le", rate=8_000, layout="mono") if heard else None
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, 64, 48), format="rgb24")
            frame.pts = number
            file.mux(pictures.encode(frame))
            if heard:
                samples = (9_000 * np.sin(np.arange(1_600) * 0.3)).astype(np.int16)[None]
                piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                piece.sample_rate, piece.pts = 8_000, number * 1_600
                file.mux(track.encode(piece))
        for stream in (pictures, track) if heard else (pictures,):
            file.mux(stream.encode())
    return output.getvalue()


def with_subtitles(media: bytes, *tracks: tuple[str, str, Disposition], late_s: float = 0.0) -> bytes:
    """`media` in Matroska, with subtitles: of each track the format, the text and how it is marked.

    `late_s`: where cues stand is that much after where they belong.
    """
    output = io.BytesIO()
    with contextlib.ExitStack() as opened:
        in_order = {"max_interleave_delta": "1"}
        file = opened.enter_context(av.open(output, "w", format="matroska", options=in_order))
        read = opened.enter_context(av.open(io.BytesIO(media)))
        streams = {s.index: file.add_stream_from_template(s) for s in read.streams}
        packets = [(0.0, packet, streams[packet.stream.index]) for packet in read.demux() if packet.size]
        for form, text, disposition in tracks:
            words = opened.enter_context(av.open(io.BytesIO(text.encode()), format=form))
            stream = file.add_stream_from_template(words.streams[0])
            stream.disposition = disposition
            packets += [(late_s, packet, stream) for packet in words.demux() if packet.size]
        for _, packet, stream in sorted(packets, key=lambda row: row[0] + row[1].dts * row[1].time_base):
            packet.stream = stream
            file.mux(packet)
    return output.getvalue()


TS_PACKET_BYTES = 188


def programs(*titles: bytes) -> bytes:
    """One MPEG-TS with those as its programs, in that order: media of any container, by their streams."""
    merged: list[tuple[float, bytes]] = []
    table = b""
    for number, title in enumerate(titles, 1):
        pmt = 0x1000 + 0x10 * number
        data = _transport_stream(title, number, pmt)
        table += number.to_bytes(2, "big") + (0xE000 | pmt).to_bytes(2, "big")
        packets = [data[at : at + TS_PACKET_BYTES] for at in range(0, len(data), TS_PACKET_BYTES)]
        merged += [(at / len(packets), p) for at, p in enumerate(packets) if p[1] & 0x1F or p[2]]  # no PAT
    section = b"\x00" + (0xB000 | len(table) + 9).to_bytes(2, "big") + b"\x00\x01\xc1\x00\x00" + table
    section = b"\x47\x40\x00\x10\x00" + section + _crc(section).to_bytes(4, "big")
    in_order = sorted(merged, key=lambda row: row[0])
    return section.ljust(TS_PACKET_BYTES, b"\xff") + b"".join(packet for _, packet in in_order)


def _transport_stream(title: bytes, number: int, pmt: int) -> bytes:
    output = io.BytesIO()
    places = {"mpegts_pmt_start_pid": str(pmt), "mpegts_start_pid": str(0x100 * number)}
    with (
        av.open(io.BytesIO(title)) as read,
        av.open(output, "w", format="mpegts", options={**places, "mpegts_service_id": str(number)}) as file,
    ):
        streams = {s.index: file.add_stream_from_template(s) for s in read.streams}
        for packet in read.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                file.mux(packet)
    return output.getvalue()


def _crc(data: bytes) -> int:
    """CRC-32 of MPEG-2: not reflected, not inverted at the end."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) if crc & 0x80000000 else crc << 1
        crc &= 0xFFFFFFFF
    return crc


AUDIO_TAG, VIDEO_TAG = 8, 9


def with_flv_time(data: bytes, tag: int, number: int, time_s: float) -> bytes:
    """An FLV file whose `number`-th tag of a kind claims to belong to `time_s`."""
    changed = bytearray(data)
    at = 9 + 4  # the header and the size of no previous tag
    seen = 0
    while at + 11 <= len(changed):
        size = int.from_bytes(changed[at + 1 : at + 4], "big")
        if changed[at] == tag:
            if seen == number:
                stamp = round(time_s * 1000)
                changed[at + 4 : at + 7] = (stamp & 0xFFFFFF).to_bytes(3, "big")
                changed[at + 7] = stamp >> 24
                return bytes(changed)
            seen += 1
        at += 11 + size + 4
    raise AssertionError(f"only {seen} tags of kind {tag}")
