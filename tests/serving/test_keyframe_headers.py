"""Headers of keyframes against the encoders that wrote them, and against bytes that nobody meant."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.media.types import Clip, Packet
from resonance.serving.keyframes.bits import Bits, MalformedError, unescaped
from resonance.serving.keyframes.containers import CODEC_IDS, keyframe_file
from resonance.serving.keyframes.headers import READERS, keyframe_header
from resonance.serving.keyframes.routing import SIZES, takes
from tests.clients.media.synthetic import film
from tests.serving.test_keyframes import looks_whole

ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "mpeg4": "mpeg4",
    "mjpeg": "mjpeg",
}
#: Whole blocks, one line and one row of blocks more, and what films have.
SIZE_LIST = ((320, 180), (638, 358), (1920, 1080), (160, 146), (322, 242), (256, 256))
START = b"\x00\x00\x00\x01"


@functools.cache
def clip_of(
    codec: str,
    container: str = "matroska",
    size: tuple[int, int] = (320, 180),
    *,
    options: tuple[tuple[str, str], ...] = (),
    full_range: bool = False,
) -> Clip:
    """Two keyframes of a film, as a demuxer gives them."""
    extra = {"x265-params": "log-level=none"} if codec == "hevc" else {}
    pix_fmt = "yuvj420p" if codec == "mjpeg" or full_range else "yuv420p"
    data = film(
        [0.0, 0.04, 0.08],
        codec=ENCODERS[codec],
        container=container,
        gop=2,
        options={**extra, **dict(options)},
        size=size,
        pix_fmt=pix_fmt,
        rate=25,
    )
    with av.open(io.BytesIO(data)) as read:
        video = read.streams.video[0]
        context = video.codec_context
        keys = [bytes(p) for p in read.demux(video) if p.size and p.is_keyframe]
        packets = tuple(Packet(float(i), data) for i, data in enumerate(keys))
        pix_fmt = context.pix_fmt or ""
        return Clip(
            codec, context.extradata or b"", context.width, context.height, 0, (1, 1), packets, 4, pix_fmt
        )


def key(clip: Clip) -> bytes:
    return clip.packets[0].data


def annex_b(clip: Clip) -> tuple[bytes, bytes]:
    """Parameter sets, and slices with whatever else, of an H.264 or HEVC packet with start codes."""
    types = (7, 8) if clip.codec == "h264" else (32, 33, 34)
    sets, rest = b"", b""
    for part in key(clip).replace(START, START[1:]).split(START[1:])[1:]:
        kind = part[0] & 31 if clip.codec == "h264" else part[0] >> 1 & 63
        if kind in types:
            sets += START + part
        else:
            rest += START + part
    assert sets
    assert rest
    return sets, rest


def frames_of(file: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(file)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("size", SIZE_LIST, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("h264", "mp4"),
        ("h264", "matroska"),
        ("h264", "mpegts"),
        ("h264", "avi"),
        ("hevc", "mp4"),
        ("hevc", "matroska"),
        ("hevc", "mpegts"),
        ("vp9", "webm"),
        ("vp9", "mp4"),
        ("vp8", "webm"),
        ("vp8", "avi"),
        ("mpeg4", "mp4"),
        ("mpeg4", "avi"),
        ("mpeg4", "matroska"),
        ("mpeg4", "mpegts"),
        ("mjpeg", "avi"),
    ],
)
def test_sizes_are_those_that_the_encoder_was_given(
    codec: str, container: str, size: tuple[int, int]
) -> None:
    clip = clip_of(codec, container, size)
    for packet in clip.packets:
        header = keyframe_header(codec, clip.extradata, packet.data)
        assert header is not None
        assert (header.width_px, header.height_px) == size
        assert looks_whole(clip, packet.data)
        (frame,) = frames_of(keyframe_file(clip, packet.data))
        assert (frame.width, frame.height) == size


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_clip_that_claims_another_size_is_refused(codec: str) -> None:
    clip = clip_of(codec)
    assert looks_whole(clip, key(clip))
    for width, height in ((322, 180), (320, 178), (320, 192), (180, 320), (0, 0), (1920, 1080)):
        assert not looks_whole(replace(clip, width_px=width, height_px=height), key(clip))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_without_its_parameter_sets_a_picture_is_refused(codec: str) -> None:
    clip = clip_of(codec, "mpegts")
    sets, rest = annex_b(clip)
    units = [START + part for part in sets.split(START)[1:]]
    assert len(units) == (2 if codec == "h264" else 3)
    alone = replace(clip, extradata=b"")
    assert looks_whole(alone, sets + rest)
    assert not looks_whole(alone, rest)
    assert not looks_whole(alone, rest + sets)  # too late
    for left_out in range(len(units)):
        some = b"".join(unit for place, unit in enumerate(units) if place != left_out)
        assert not looks_whole(alone, some + rest)
        assert not looks_whole(replace(clip, extradata=some), rest)
    wide = clip_of(codec, "mp4")
    assert not looks_whole(replace(wide, extradata=wide.extradata[:23]), key(wide))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_parameter_sets_of_the_extradata_are_put_before_a_packet_with_start_codes(codec: str) -> None:
    whole = clip_of(codec, "mpegts")
    sets, rest = annex_b(whole)
    apart = replace(whole, extradata=sets)
    header = keyframe_header(codec, sets, rest)
    assert header is not None
    assert header.wants_extradata
    assert looks_whole(apart, rest)
    file = keyframe_file(apart, rest)
    assert sets + rest in file
    (frame,) = frames_of(file)
    (expected,) = frames_of(keyframe_file(whole, key(whole)))
    assert np.array_equal(frame.to_ndarray(), expected.to_ndarray())
    twice = keyframe_header(codec, sets, key(whole))
    assert twice is not None
    assert not twice.wants_extradata


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_parameter_sets_of_the_packet_count_last(codec: str) -> None:
    small, large = clip_of(codec, "mpegts"), clip_of(codec, "mpegts", (638, 358))
    header = keyframe_header(codec, annex_b(large)[0], key(small))
    assert header is not None
    assert (header.width_px, header.height_px) == (320, 180)
    both = keyframe_header(codec, b"", annex_b(large)[0] + key(small))
    assert both == header
    sets, rest = annex_b(small)
    units = [START + part for part in sets.split(START)[1:]]
    # A sequence told anew; what the extradata say of pictures went with the one before.
    assert keyframe_header(codec, annex_b(large)[0], b"".join(units[:-1]) + rest) is None
    assert keyframe_header(codec, sets, b"".join(units[:-1]) + rest) == replace(header, wants_extradata=True)


def test_two_hevc_sequences_of_one_name_are_refused_where_ffmpeg_puts_in_the_records() -> None:
    small, large = clip_of("hevc", "mp4"), clip_of("hevc", "mp4", (638, 358))

    def with_sets(clip: Clip) -> bytes:
        sets, _ = annex_b(clip_of("hevc", "mpegts", (clip.width_px, clip.height_px)))
        units = [part for part in sets.split(START) if part]
        return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units) + key(clip)

    assert looks_whole(small, with_sets(small))
    assert not looks_whole(replace(small, extradata=large.extradata), with_sets(small))


def test_a_part_of_the_sets_in_a_packet_with_lengths_is_refused() -> None:
    clip = clip_of("h264", "mp4")
    sets, _ = annex_b(clip_of("h264", "mpegts"))
    sps, pps = [part for part in sets.split(START) if part]
    lengths = {unit: len(unit).to_bytes(4, "big") + unit for unit in (sps, pps)}
    assert looks_whole(clip, lengths[sps] + lengths[pps] + key(clip))
    assert not looks_whole(clip, lengths[sps] + key(clip))
    assert not looks_whole(clip, lengths[pps] + key(clip))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_picture_that_does_not_begin_at_its_first_block_is_refused(codec: str) -> None:
    params = "slices=2:scenecut=0" if codec == "h264" else "slices=2:log-level=none"
    name = "x264-params" if codec == "h264" else "x265-params"
    clip = clip_of(codec, size=(640, 360), options=((name, params),))
    record = key(clip)
    units, at = [], 0
    while at < len(record):
        size = 4 + int.from_bytes(record[at : at + 4], "big")
        units.append(record[at : at + size])
        at += size
    slices = [u for u in units if (u[4] & 31 == 5 if codec == "h264" else u[4] >> 1 < 32)]
    assert len(slices) == 2
    assert looks_whole(clip, b"".join(units))
    assert not looks_whole(clip, b"".join(slices[1:]))
    assert not looks_whole(clip, b"".join(slices[1:] + slices[:1]))
    assert not looks_whole(clip, b"".join(units + units))  # two pictures


@pytest.mark.parametrize(
    "params",
    ["interlaced=1", "qp=0"],  # fields; High 4:4:4 Predictive
)
def test_h264_that_nvdec_or_dali_does_not_take_is_refused(params: str) -> None:
    clip = clip_of("h264", size=(320, 240), options=(("x264-params", params),))
    assert clip.pixel_format == "yuv420p"
    assert not looks_whole(clip, key(clip))


@pytest.mark.parametrize(
    "params", ["cqm=jvt", "cabac=0:8x8dct=0:no-8x8dct=1", "ref=4:bframes=3", "fullrange=on"]
)
def test_h264_of_many_tools_is_read(params: str) -> None:
    clip = clip_of("h264", options=(("x264-params", params),))
    assert looks_whole(clip, key(clip))


@pytest.mark.parametrize("params", ["temporal-layers=3:bframes=3", "slices=2", "repeat-headers=1:range=full"])
def test_hevc_of_many_tools_is_read(params: str) -> None:
    clip = clip_of("hevc", size=(638, 358), options=(("x265-params", f"log-level=none:{params}"),))
    assert looks_whole(clip, key(clip))


@pytest.mark.parametrize("shown", [True, False])
def test_an_hevc_picture_that_is_not_to_be_output_is_refused(shown: bool) -> None:
    clip = clip_of("hevc", "mpegts")
    vps, sps, _ = [START + part for part in annex_b(clip)[0].split(START)[1:]]
    # PPS 0 of SPS 0, no dependent slices, says whether pictures are output, no extra bits
    pps = START + bytes([34 << 1, 1, 0b1_1_0_1_000_1, 0x80])
    # the first slice, an I slice of PPS 0 (and whether it is output), of an IDR picture
    head = 0b1_0_1_011_0_1 | (0b10 if shown else 0)
    picture = START + bytes([19 << 1, 1, head]) + b"\x55" * 20
    assert looks_whole(clip, vps + sps + pps + picture) is shown


def test_an_sps_that_no_encoder_here_writes_is_read() -> None:
    """Scaling lists, pictures in an order by a cycle (type 1), and cropping at the right and bottom."""

    def ue(value: int) -> str:
        return f"{value + 1:b}".rjust(2 * (value + 1).bit_length() - 1, "0")

    def se(value: int) -> str:
        return ue(2 * value - 1 if value > 0 else -2 * value)

    def sps(crop: tuple[int, int, int, int], profile: int = 100, *, frames: bool = True) -> bytes:
        # A list of 16, one that ends with its first scale, four that are not there, one of 64, one that ends.
        lists = "1" + "1" + se(1) * 16 + "1" + se(-8) + "0" * 4 + "1" + se(2) * 64 + "1" + se(0) * 3 + se(-8)
        chroma = ue(1) + ue(0) + ue(0) + "0" + lists if profile == 100 else ""
        order = ue(1) + "0" + se(-3) + se(70_000) + ue(2) + se(5) + se(-6)
        size = ue(20 - 1) + ue(12 - 1) + ("111" + "".join(map(ue, crop)) if frames else "0100")
        bits = (
            f"{profile:08b}"
            + "0" * 8
            + f"{40:08b}"
            + ue(3)
            + chroma
            + ue(0)
            + order
            + ue(1)
            + "0"
            + size
            + "01"
        )
        bits += "0" * (-len(bits) % 8)
        return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")

    def packet(sps: bytes) -> bytes:
        escaped = sps
        for low in range(4):
            escaped = escaped.replace(bytes([0, 0, low]), bytes([0, 0, 3, low]))
        pps_bits = ue(9) + ue(3) + "00" + ue(0) + "1"
        slice_bits = ue(0) + ue(7) + ue(9) + "1"
        units = [escaped]
        for first, bits in ((0x68, pps_bits), (0x65, slice_bits)):
            bits += "0" * (-len(bits) % 8)
            units.append(bytes([first]) + int(bits, 2).to_bytes(len(bits) // 8, "big"))
        return b"".join(START + unit for unit in units)

    for profile in (66, 77, 100):
        header = keyframe_header("h264", b"", packet(sps((0, 1, 0, 6), profile)))
        assert header is not None
        assert (header.width_px, header.height_px) == (318, 180)
    for crop in ((1, 0, 0, 6), (0, 0, 1, 5), (0, 160, 0, 0), (0, 0, 0, 96)):
        assert keyframe_header("h264", b"", packet(sps(crop))) is None
    assert keyframe_header("h264", b"", packet(sps((0, 0, 0, 0), 88))) is None  # Extended
    assert keyframe_header("h264", b"", packet(sps((0, 0, 0, 0), frames=False))) is None


def test_mpeg4_gets_its_layer_from_the_extradata() -> None:
    clip = clip_of("mpeg4", "mp4")
    header = keyframe_header("mpeg4", clip.extradata, key(clip))
    assert header is not None
    assert header.wants_extradata
    assert clip.extradata + key(clip) in keyframe_file(clip, key(clip))
    assert not looks_whole(replace(clip, extradata=b""), key(clip))
    bare = keyframe_file(replace(clip, extradata=b""), clip.extradata + key(clip))
    assert clip.extradata * 2 not in bare
    (frame,) = frames_of(bare)
    assert (frame.width, frame.height) == (320, 180)
    in_packet = keyframe_header("mpeg4", clip.extradata, clip.extradata + key(clip))
    assert in_packet is not None
    assert not in_packet.wants_extradata
    other = clip_of("mpeg4", "mp4", (638, 358))
    assert not looks_whole(clip, clip.extradata + other.extradata + key(clip))
    assert not looks_whole(clip, other.extradata + clip.extradata + key(clip))  # two layers


def test_an_mpeg4_picture_that_is_not_coded_is_refused() -> None:
    clip = clip_of("mpeg4", "mp4")
    start = key(clip).index(b"\x00\x00\x01\xb6") + 4
    # intra, no whole second, a marker, 25 ticks in 5 bits, a marker; then coded, or not
    coded, not_coded = 0b00_0_1_00000_1_1 << 5, 0b00_0_1_00000_1_0 << 5
    for bits, whole in ((coded, True), (not_coded, False)):
        assert looks_whole(clip, key(clip)[:start] + bits.to_bytes(2, "big") + b"\x55" * 100) is whole


def test_frames_that_are_not_shown_or_scaled_up_are_refused() -> None:
    for codec, place, bits in (("vp9", 0, 0x02), ("vp8", 0, 0x10), ("vp8", 7, 0x40), ("vp9", 8, 0x08)):
        clip = clip_of(codec, "webm")
        changed = bytearray(key(clip))
        changed[place] ^= bits
        assert not looks_whole(clip, bytes(changed)), (codec, place)


@pytest.mark.parametrize(("codec", "full"), [("h264", True), ("h264", False), ("mjpeg", True)])
def test_full_range_is_told_to_whoever_reads_the_file(codec: str, full: bool) -> None:
    clip = clip_of(codec, full_range=full)
    assert (clip.pixel_format == "yuvj420p") is full
    with av.open(io.BytesIO(keyframe_file(clip, key(clip)))) as container:
        assert (container.streams.video[0].codec_context.color_range == 2) is full


def test_ffmpeg_takes_the_range_from_the_file_where_the_stream_does_not_tell() -> None:
    clip = clip_of("vp8", "webm")
    for pixel_format, expected in (("yuv420p", 0), ("yuvj420p", 2)):
        file = keyframe_file(replace(clip, pixel_format=pixel_format), key(clip))
        with av.open(io.BytesIO(file)) as container:
            assert container.streams.video[0].codec_context.color_range == expected


@pytest.mark.parametrize("full", [False, True])
def test_vp9_tells_its_range_itself(full: bool) -> None:
    encoder = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 180, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.color_range = 2 if full else 1
    frame = av.VideoFrame(320, 180, "yuv420p")
    frame.pts = 0
    data = next(bytes(p) for p in (*encoder.encode(frame), *encoder.encode(None)) if p.size)
    header = keyframe_header("vp9", b"", data)
    assert header is not None
    assert header.full_range is full
    file = keyframe_file(Clip("vp9", b"", 320, 180, 0, (1, 1), (), 1, "yuv420p"), data)
    assert (b"\x55\xb0" in file[:500]) is full
    with av.open(io.BytesIO(file)) as container:
        assert (container.streams.video[0].codec_context.color_range == 2) is full


def test_every_codec_that_is_sent_has_a_reader_and_a_name() -> None:
    assert SIZES.keys() == READERS.keys() == CODEC_IDS.keys() == ENCODERS.keys()


def test_real_keyframes_have_the_size_that_ffmpeg_tells(media: Path) -> None:
    """Whatever NVDEC knows of real films goes there, but for one of a size that DALI mistakes."""
    refused: dict[str, int] = {}
    seen: dict[str, int] = {}
    for path in sorted((media / "video").iterdir()):
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            context = video.codec_context
            codec = context.codec.canonical_name
            if codec not in SIZES:
                continue
            clip = Clip(
                codec,
                context.extradata or b"",
                context.width,
                context.height,
                0,
                (1, 1),
                (),
                4,
                context.pix_fmt or "",
                int(context.colorspace),
            )
            for packet in container.demux(video):
                if packet.size and packet.is_keyframe:
                    seen[codec] = seen.get(codec, 0) + 1
                    if not takes(clip, SIZES) or not looks_whole(clip, bytes(packet)):
                        refused[path.name] = refused.get(path.name, 0) + 1
    assert refused == {
        "animation_claymation_man_tree.mp4": 5,  # recovery points, which are no IDR pictures
        "people_man_yellow_wall.mp4": 7,  # 320x192
    }
    assert seen.keys() == SIZES.keys()
    assert sum(seen.values()) > 300


def test_exp_golomb_codes_are_those_of_the_recommendation() -> None:
    bits = Bits(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))  # Rec. H.264, table 9-2
    assert [bits.ue() for _ in range(5)] == [0, 1, 2, 3, 4]
    signed = Bits(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [signed.se() for _ in range(5)] == [0, 1, -1, 2, -2]
    with pytest.raises(MalformedError, match="Exp-Golomb code of more than 31 zeros"):
        Bits(bytes(20)).ue()
    with pytest.raises(MalformedError, match="9 bits wanted at bit 0 of 8"):
        Bits(b"\xff").u(9)
    with pytest.raises(MalformedError, match="a value of 2; expected at most 1"):
        Bits(b"\x60").ue(1)
    assert unescaped(b"\x67\x00\x00\x03\x01\x00\x00\x03\x00\x00\x03\x02") == bytes(
        [0x67, 0, 0, 1, 0, 0, 0, 0, 2]
    )


@pytest.mark.parametrize("codec", READERS)
@given(extradata=st.binary(max_size=80), data=st.binary(max_size=200))
def test_no_bytes_make_a_reader_raise(codec: str, extradata: bytes, data: bytes) -> None:
    for prefix in (b"", b"\x01" * 5 + b"\x03\xe1"):
        keyframe_header(codec, prefix + extradata, data)


SOURCES: tuple[Callable[[], Clip], ...] = tuple(
    functools.partial(clip_of, codec, container)
    for codec, container in (
        ("h264", "mp4"),
        ("h264", "mpegts"),
        ("hevc", "mp4"),
        ("hevc", "mpegts"),
        ("vp9", "webm"),
        ("vp8", "webm"),
        ("mpeg4", "mp4"),
        ("mpeg4", "avi"),
        ("mjpeg", "avi"),
    )
)


@given(
    source=st.sampled_from(SOURCES),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, 255)), max_size=8),
    cut=st.tuples(st.integers(0, 600), st.integers(0, 600)),
)
def test_changed_and_cut_keyframes_never_raise(
    source: Callable[[], Clip], changes: list[tuple[bool, int, int]], cut: tuple[int, int]
) -> None:
    clip = source()
    parts = [bytearray(clip.extradata), bytearray(key(clip))]
    for in_packet, place, value in changes:
        part = parts[in_packet]
        if part:
            part[place % len(part)] = value
    for extradata, data in (
        (parts[0], parts[1]),
        (parts[0][: cut[0]], parts[1]),
        (parts[0], parts[1][: cut[1]]),
    ):
        header = keyframe_header(clip.codec, bytes(extradata), bytes(data))
        changed = replace(clip, extradata=bytes(extradata))
        if header is None:
            assert not looks_whole(changed, bytes(data))
        keyframe_file(changed, bytes(data))


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: "-".join(s.args))
def test_keyframes_cut_anywhere_never_raise(source: Callable[[], Clip]) -> None:
    clip = source()
    for end in [*range(min(len(key(clip)), 300)), *range(300, len(key(clip)), 97)]:
        looks_whole(clip, key(clip)[:end])
    for end in range(len(clip.extradata)):
        looks_whole(replace(clip, extradata=clip.extradata[:end]), key(clip))
    assert not looks_whole(clip, key(clip)[:6])
