"""What goes to DALI, in what, with which colours, and what becomes of what fails: the parts by themselves."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from resonance.clients.media.clip import clip_from_bytes, clip_to_bytes, decode_packets
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.media.types import Clip, Packet
from resonance.serving.keyframes.colour import LUMA_WEIGHTS, correction
from resonance.serving.keyframes.containers import FEWEST_BYTES, file_rows, keyframe_file
from resonance.serving.keyframes.remote import DecoderGoneError, RemoteDecoder, rows_at_once
from resonance.serving.keyframes.routing import takes, whole_header
from resonance.space.descriptor import FrameGeometry

WHOLE = FrameGeometry(320, 180, "stretch", "bilinear", "stream")
ENCODERS = {
    "h264": ("libx264", {"x264-params": "scenecut=0"}),
    "hevc": ("libx265", {"x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {}),
    "vp8": ("libvpx", {}),
    "mpeg4": ("mpeg4", {}),
    "mjpeg": ("mjpeg", {}),
}
GPU_CODECS = frozenset(("h264", "hevc", "vp9", "mpeg4"))


def looks_whole(clip: Clip, data: bytes) -> bool:
    """Whether `data` goes to DALI by its headers."""
    return whole_header(clip, data) is not None


def pictures(count: int, width: int = 320, height: int = 180) -> list[np.ndarray]:
    """A gradient of strong colours that moves."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    frames = []
    for i in range(count):
        red = np.broadcast_to((across + 40 * i) % 256, (height, width))
        green = np.broadcast_to(down, (height, width))
        frames.append(np.stack([red, green, np.full_like(red, 60 * i % 256)], -1).astype(np.uint8))
    return frames


def stream(codec: str, container: str = "matroska", count: int = 6) -> tuple[Clip, list[bytes]]:
    """A clip of the first keyframe, and the packets that are none."""
    name, options = ENCODERS[codec]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        video = out.add_stream(name, rate=25, options={**options, "g": "100"})
        video.width, video.height = 320, 180
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures(count):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(video.encode())
    file.seek(0)
    with av.open(file) as read:
        video = read.streams.video[0]
        packets = [(p.is_keyframe, bytes(p)) for p in read.demux(video) if p.size]
        context = video.codec_context
        clip = Clip(
            codec,
            context.extradata or b"",
            320,
            180,
            0,
            (1, 1),
            (Packet(0.0, next(data for key, data in packets if key)),),
            4,
            context.pix_fmt or "",
            int(context.colorspace),
        )
    return clip, [data for key, data in packets if not key]


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_keyframe_comes_out_of_its_container_as_it_went_in(codec: str) -> None:
    clip, _ = stream(codec)
    (row,) = file_rows([keyframe_file(clip, clip.packets[0].data)])
    with av.open(io.BytesIO(row.tobytes())) as container:
        video = container.streams.video[0]
        assert video.codec_context.codec.canonical_name == codec
        frames = [f for packet in container.demux(video) for f in packet.decode()]
    assert len(frames) == 1
    (alone,) = decode_packets(clip, WHOLE)
    assert alone is not None
    assert np.array_equal(frame_to_rgb(frames[0], WHOLE, 0, VideoReformatter()), alone)


def test_streams_with_start_codes_need_no_other_headers() -> None:
    clip, _ = stream("h264", "mpegts")
    assert not clip.extradata.startswith(b"\x01")  # no avcC record
    assert looks_whole(clip, clip.packets[0].data)
    with av.open(io.BytesIO(keyframe_file(clip, clip.packets[0].data))) as container:
        assert len(list(container.decode(video=0))) == 1


def test_rows_have_one_length_that_other_requests_share() -> None:
    rows = file_rows([b"a" * 10, b"b" * 5000])
    assert rows.shape == (2, 8192)
    assert file_rows([b"c"]).shape == (1, FEWEST_BYTES)
    exact = file_rows([b"d" * (FEWEST_BYTES - 9)])  # the void element's head fills the row
    assert exact.shape == (1, FEWEST_BYTES)
    assert exact[0, -9:].tolist() == [0xEC, 1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("codec", ENCODERS)
def test_keyframes_look_whole_and_other_packets_do_not(codec: str) -> None:
    clip, others = stream(codec)
    key = clip.packets[0].data
    assert looks_whole(clip, key)
    assert not looks_whole(clip, b"")
    assert not looks_whole(clip, bytes(len(key)))
    assert not looks_whole(clip, np.random.default_rng(1).bytes(len(key)))
    for other in others:
        assert not looks_whole(clip, other)
    if codec in ("h264", "hevc", "mjpeg"):  # the others do not say in their headers how long they are
        assert not looks_whole(clip, key[: len(key) // 2])


def test_real_keyframes_look_whole(media: Path) -> None:
    seen = set()
    for path in sorted((media / "video").iterdir()):
        try:
            container = av.open(str(path))
        except av.error.FFmpegError:
            continue
        with container:
            video = container.streams.video[0] if container.streams.video else None
            codec = video.codec_context.codec.canonical_name if video else ""
            if codec not in ENCODERS:
                continue
            extradata = video.codec_context.extradata or b""
            clip = Clip(codec, extradata, video.width, video.height, 0, (1, 1), (), 4)
            packet = next(p for p in container.demux(video) if p.size and p.is_keyframe)
            assert looks_whole(clip, bytes(packet)), path.name
            seen.add(codec)
    assert {"h264", "hevc", "vp9", "vp8", "mpeg4", "mjpeg"} <= seen


def test_only_what_nvdec_decodes_goes_there() -> None:
    clip = replace(stream("h264")[0])
    assert takes(clip, GPU_CODECS)
    assert not takes(replace(clip, codec="av1"), GPU_CODECS)
    assert not takes(replace(clip, codec="mjpeg"), GPU_CODECS)
    for pixel_format in ("yuv420p10le", "yuv444p", "yuv422p", ""):
        assert not takes(replace(clip, pixel_format=pixel_format), GPU_CODECS)
    assert not takes(replace(clip, width_px=4098), GPU_CODECS)
    assert not takes(replace(clip, width_px=0, height_px=0), GPU_CODECS)
    assert not takes(replace(clip, width_px=321), GPU_CODECS)
    assert not takes(replace(clip, height_px=181), GPU_CODECS)
    assert not takes(replace(clip, colour_matrix=8), GPU_CODECS)  # YCgCo
    assert takes(replace(clip, colour_matrix=1), GPU_CODECS)
    assert takes(replace(clip, colour_range=1), GPU_CODECS)
    assert not takes(replace(clip, colour_range=2), GPU_CODECS)  # by the container alone
    assert takes(replace(clip, colour_range=2, pixel_format="yuvj420p"), GPU_CODECS)
    assert takes(replace(clip, colour_range=2, codec="vp9"), GPU_CODECS)  # its own header states it


def test_sizes_that_dali_would_take_for_others_do_not_go_there() -> None:
    clip = Clip("h264", b"", 1920, 1080, 0, (1, 1), (), 4, "yuv420p")
    assert takes(clip, GPU_CODECS)
    assert takes(replace(clip, width_px=1080, height_px=1920), GPU_CODECS)
    for codec, lines, taken in [("h264", 1088, False), ("mpeg4", 1088, False), ("vp9", 1088, True)]:
        assert takes(replace(clip, codec=codec, height_px=lines), GPU_CODECS) is taken
    assert not takes(replace(clip, width_px=1088, height_px=1920), GPU_CODECS)  # upright
    for lines in (180, 270, 360, 540, 1080):
        assert takes(replace(clip, height_px=lines), GPU_CODECS)
        assert not takes(replace(clip, height_px=-(-lines // 16) * 16), GPU_CODECS)


def test_mpeg4_has_a_largest_count_of_macroblocks() -> None:
    clip = Clip("mpeg4", b"", 1920, 1080, 0, (1, 1), (), 4, "yuv420p")
    assert takes(clip, GPU_CODECS)  # 120 * 68
    assert not takes(replace(clip, width_px=2032), GPU_CODECS)  # 127 * 68
    assert takes(replace(clip, width_px=2032, height_px=1024), GPU_CODECS)  # 127 * 64
    assert not takes(replace(clip, width_px=2032, height_px=1026), GPU_CODECS)


def test_what_the_demuxer_probed_travels_with_the_clip() -> None:
    clip = replace(stream("vp9")[0], colour_matrix=9, colour_range=2, mirrored=True)
    assert clip_from_bytes(clip_to_bytes(clip)) == clip
    older = replace(clip, pixel_format="", colour_matrix=0)  # a client that does not know the fields
    assert clip_from_bytes(clip_to_bytes(older)).colour_matrix == 2


@pytest.mark.parametrize("tag", LUMA_WEIGHTS)
def test_the_correction_undoes_rec_601_for_every_matrix(tag: int) -> None:
    """Against FFmpeg: the same YUV read by Rec. 601 and by its own matrix, colours both can show."""
    rng = np.random.default_rng(tag)
    flat = rng.integers(90, 160, (64, 3)).repeat(64, 0).astype(np.uint8).reshape(64, 64, 3)
    yuv = av.VideoFrame.from_ndarray(flat, "rgb24").reformat(format="yuv444p", dst_colorspace=tag)
    own = yuv.reformat(format="rgb24", src_colorspace=tag).to_ndarray().astype(float)
    by_601 = yuv.reformat(format="rgb24", src_colorspace=5).to_ndarray().astype(float)
    corrected = by_601 @ correction("h264", tag, 720).T
    assert np.abs(corrected - own).max() < 3  # two roundings to 8 bits
    if tag not in (4, 5, 6):  # FCC differs from Rec. 601 in the third digit
        assert np.abs(by_601 - own).mean() > 1.5 * np.abs(corrected - own).mean()


def test_untagged_colours_are_taken_as_players_take_them() -> None:
    identity = np.eye(3)
    assert np.allclose(correction("h264", 2, 576), identity, atol=1e-6)
    assert not np.allclose(correction("h264", 2, 720), identity, atol=0.01)
    assert np.allclose(correction("h264", 2, 720), correction("h264", 1, 720))
    assert np.allclose(correction("vp8", 1, 1080), identity, atol=1e-6)  # VP8 has no other
    for tag in LUMA_WEIGHTS:
        assert np.allclose(correction("h264", tag, 720) @ np.ones(3), 1, atol=1e-6)  # grey stays grey


def many(codec: str, count: int) -> Clip:
    clip, _ = stream(codec)
    return replace(clip, packets=clip.packets * count)


def answer(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A picture that names the place of its file."""
    assert colour.shape == (len(files), 3, 3)
    return (
        np.arange(len(files), dtype=np.uint8)[:, None, None, None].repeat(224, 1).repeat(224, 2).repeat(3, 3)
    )


def test_one_bad_file_costs_its_batch_one_more_try_and_nothing_else() -> None:
    sizes = []

    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        sizes.append(len(files))
        if any(b"BAD!" in f.tobytes() for f in files):
            raise ValueError("Failed to send packet to decoder")
        return answer(files, colour)

    clip = many("vp9", 4)
    bad = replace(clip.packets[0], data=clip.packets[0].data + b"BAD!")
    clip = replace(clip, packets=(*clip.packets[:2], bad, *clip.packets[3:]))
    decoder = RemoteDecoder(decode, frozenset(("vp9",)))
    found = decoder.pictures(clip)
    assert [p is None for p in found] == [False, False, True, False]
    assert sizes == [4, 1, 1, 1, 1]
    assert (decoder.failed, decoder.decoded, decoder.refused) == (1, 3, 0)


def test_large_pictures_go_in_smaller_batches() -> None:
    """27 bytes a pixel and picture within 2 GiB: 9 of 3840 x 2160."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 3840, 2160, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"deadline": "realtime", "cpu-used": "8"}
    frame = av.VideoFrame(3840, 2160, "yuv420p")
    frame.pts = 0
    data = next(bytes(p) for p in (*encoder.encode(frame), *encoder.encode(None)) if p.size)
    clip = Clip("vp8", b"", 3840, 2160, 0, (1, 1), (Packet(0.0, data),) * 20, 32, "yuv420p")
    asked = []

    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        asked.append(len(files))
        return answer(files, colour)

    decoder = RemoteDecoder(decode, frozenset(("vp8",)))
    found = decoder.pictures(clip)
    assert asked == [9, 9, 2]
    assert [int(p.max()) for p in found if p is not None] == [*range(9), *range(9), 0, 1]
    assert rows_at_once(replace(clip, width_px=320, height_px=180)) >= 64  # a clip has no more
    assert rows_at_once(replace(clip, width_px=100_000, height_px=100_000)) == 1


def test_a_decoder_that_goes_between_batches_is_not_asked_again() -> None:
    asked = []

    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        asked.append(len(files))
        if len(asked) > 1:
            raise DecoderGoneError("Stub process is not healthy")
        raise ValueError("a file of the batch is broken")

    decoder = RemoteDecoder(decode, frozenset(("vp9",)))
    assert decoder.pictures(many("vp9", 4)) == [None] * 4
    assert asked == [4, 1]  # of the four alone the first
    assert (decoder.gone, decoder.failed) == (4, 0)


def test_what_does_not_look_whole_is_kept_out_of_the_batch() -> None:
    clip = many("h264", 3)
    broken = replace(clip.packets[0], data=clip.packets[0].data[:-20])
    decoder = RemoteDecoder(answer, frozenset(("h264",)))
    found = decoder.pictures(replace(clip, packets=(clip.packets[0], broken, clip.packets[2])))
    assert [p is None for p in found] == [False, True, False]
    assert found[2] is not None
    assert found[2].max() == 1  # the second of the two that were sent
    assert (decoder.refused, decoder.decoded) == (1, 2)


def test_a_decoder_that_hangs_is_given_up_and_left_alone_for_a_while() -> None:
    asked, ends = [], threading.Event()

    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        asked.append(len(files))
        if len(asked) == 1:
            ends.wait()
        return answer(files, colour)

    decoder = RemoteDecoder(decode, frozenset(("vp9",)), timeout_s=0.5, pause_s=60)
    clip = many("vp9", 2)
    try:
        assert decoder.pictures(clip) == [None, None]
        assert decoder.pictures(clip) == [None, None]
        assert asked == [2]  # not asked again so soon
        assert 50 < decoder._paused_until_s - time.monotonic() <= 60
        decoder._paused_until_s = time.monotonic()  # the pause is over
        decoder.timeout_s = 20
        assert all(p is not None for p in decoder.pictures(clip))  # though the first call still hangs
    finally:
        ends.set()


def test_a_decoder_that_died_is_not_blamed_on_the_packets() -> None:
    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        raise DecoderGoneError("Stub process is not healthy")

    decoder = RemoteDecoder(decode, frozenset(("vp9",)))
    assert decoder.pictures(many("vp9", 2)) == [None, None]
    assert (decoder.gone, decoder.failed) == (2, 0)


def test_a_decoder_that_refuses_every_clip_is_left_alone_until_one_is_decoded_again() -> None:
    """Each refusal begins it anew; and what refuses everything, as without NVDEC, would for ever."""
    asked, fails = [], True

    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        asked.append(len(files))
        if fails:
            raise ValueError("cuvidCreateVideoParser")
        return answer(files, colour)

    decoder = RemoteDecoder(decode, frozenset(("vp9",)), pause_s=0.2)
    clip = many("vp9", 2)
    for _ in range(5):
        assert decoder.pictures(clip) == [None, None]
    assert asked == [2, 1, 1] * 3
    time.sleep(0.25)
    assert decoder.pictures(clip) == [None, None]
    assert decoder.pictures(clip) == [None, None]  # a pause again, after one more
    assert asked == [2, 1, 1] * 4
    time.sleep(0.25)
    fails = False
    for _ in range(3):
        assert all(p is not None for p in decoder.pictures(clip))
    fails = True
    decoder.pictures(clip)
    decoder.pictures(clip)
    assert asked[-6:] == [2, 1, 1] * 2  # two are clips that happen to be broken


def test_pictures_are_turned_upright() -> None:
    def decode(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
        picture = np.zeros((1, 224, 224, 3), np.uint8)
        picture[0, 0, 0] = 255  # top left
        return picture

    clip = replace(many("vp9", 1), rotation_deg=90)
    (turned,) = RemoteDecoder(decode, frozenset(("vp9",))).pictures(clip)
    assert turned is not None
    assert turned[0, -1].tolist() == [255, 255, 255]  # clockwise: top right
    (mirrored,) = RemoteDecoder(decode, frozenset(("vp9",))).pictures(replace(clip, mirrored=True))
    assert mirrored is not None
    assert mirrored[-1, -1].tolist() == [255, 255, 255]  # top right, then clockwise: bottom right
