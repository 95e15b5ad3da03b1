"""DALI behind the real Triton, on the CPU, where it decodes VP8, VP9 and MJPEG."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from resonance.clients.media.clip import clip_to_bytes, decode_clip
from resonance.clients.media.types import Clip, Packet
from resonance.clients.sync import SyncEmbedder
from resonance.serving import process
from resonance.serving.decoder import DALI_MODEL, Decoder
from resonance.serving.errors import RepositoryError
from resonance.serving.keyframes.containers import file_rows, keyframe_file
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space.descriptor import Descriptor, FrameGeometry

GEOMETRY = FrameGeometry(224, 224, "stretch", "bilinear", "stream")
FLOOR = 0.999  # what a segment's picture block must keep of the one PyAV's frames make


def settings(repository: Path) -> ServerSettings:
    return ServerSettings(model_repository=repository, decoder=Decoder.DALI)


@pytest.fixture(scope="module")
def dali(model_repository: Path) -> Iterator[TritonServer]:
    with TritonServer(settings(model_repository)) as server:
        yield server


def keyframes_by(server: TritonServer) -> dict[str, int]:
    """Keyframes so far, by decoder."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'^resonance_keyframes_total\{decoder="(\w+)"\} (\d+)', text, re.M)
    return {name: int(count) for name, count in found}


def vp9(
    *, height: int = 360, matrix: int = 2, count: int = 2, colours: range = range(256), rows: int = 5
) -> Clip:
    """Keyframes of `rows` rows of random patches within `colours`, tagged with `matrix` and encoded by it."""
    encoder = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width, encoder.height, encoder.pix_fmt = height * 16 // 9, height, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 25), 1
    encoder.options = {"crf": "10", "b": "0", "deadline": "realtime"}
    if matrix != 2:
        encoder.colorspace = matrix
    rng = np.random.default_rng(matrix)
    packets = []
    for i in range(count):
        patches = rng.integers(colours.start, colours.stop, (rows, 8, 3), dtype=np.uint8)
        picture = patches.repeat(height // rows, 0).repeat(encoder.width // 8, 1)
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        used = matrix if matrix != 2 else (1 if height >= 720 else 5)
        frame = rgb.reformat(width=encoder.width, height=height, format="yuv420p", dst_colorspace=used)
        frame.pts = i
        packets += [bytes(p) for p in encoder.encode(frame)]
    packets += [bytes(p) for p in encoder.encode(None)]
    parts = tuple(Packet(float(i), data) for i, data in enumerate(packets))
    return Clip("vp9", b"", encoder.width, height, 0, (1, 1), parts, 4, "yuv420p", matrix)


def decoded(server: TritonServer, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """FRAMES and FRAME_MASK of `clip` through the server."""
    data = np.frombuffer(clip_to_bytes(clip), np.uint8)[None]
    tensor = InferInput("CLIP", list(data.shape), "UINT8")
    tensor.set_data_from_numpy(data)
    with InferenceServerClient(server.grpc_address) as client:
        result = client.infer("video_decoder", [tensor])
    return result.as_numpy("FRAMES")[0], result.as_numpy("FRAME_MASK")[0]


def h264(*, sets_in: range, count: int = 6) -> Clip:
    """Keyframes in Annex B, all different; those of `sets_in` alone have the stream's parameter sets."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 320, 240, "yuv420p", Fraction(1, 25)
    encoder.gop_size, encoder.options = 1, {"x264-params": "repeat-headers=1"}
    rng = np.random.default_rng(3)
    packets: list[bytes] = []
    for i in range(count):
        patches = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
        frame = av.VideoFrame.from_ndarray(patches, "rgb24")
        frame.pts = i
        packets += [bytes(p) for p in encoder.encode(frame)]
    packets += [bytes(p) for p in encoder.encode(None)]
    for at in set(range(count)) - set(sets_in):
        units = [unit for unit in re.split(b"\0\0\0?\1", packets[at]) if unit]
        packets[at] = b"".join(b"\0\0\0\1" + unit for unit in units if unit[0] & 31 not in (7, 8))
    parts = tuple(Packet(float(i), data) for i, data in enumerate(packets))
    return Clip("h264", b"", 320, 240, 0, (1, 1), parts, 16, "yuv420p", 5)


@pytest.mark.parametrize("sets_in", [range(6), range(1)])
def test_keyframes_decoded_side_by_side_are_those_decoded_in_turn(
    server: TritonServer, model_repository: Path, sets_in: range
) -> None:
    space = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    clip = h264(sets_in=sets_in)
    frames, mask = decoded(server, clip)
    expected = decode_clip(clip, space.frames)
    assert mask.tolist() == expected.mask.tolist() == [True] * 6 + [False] * 10
    np.testing.assert_array_equal(frames, expected.pixels)


def test_real_media_get_the_vectors_that_pyavs_frames_make(
    dali: TritonServer, server: TritonServer, media: Path
) -> None:
    before, compared, films = keyframes_by(dali), [], 0
    with SyncEmbedder(dali.grpc_address) as ours, SyncEmbedder(server.grpc_address) as theirs:
        for path in sorted((media / "video").iterdir()):
            with av.open(str(path)) as container:
                codec = container.streams.video[0].codec_context.codec.canonical_name
            if codec not in ("vp8", "vp9", "mjpeg"):
                continue
            films += 1
            pairs = zip(ours.embed(path).segments, theirs.embed(path).segments, strict=True)
            compared += [(3 * float(a.vector[:596] @ b.vector[:596]), path.name) for a, b in pairs]
    assert films >= 5
    assert min(compared)[0] >= FLOOR, sorted(compared)[:3]
    assert min(compared)[0] < 1  # two decoders never scale alike to the last bit: it was DALI
    assert keyframes_by(dali)["dali"] - before["dali"] > 20
    assert keyframes_by(server)["dali"] == 0


@pytest.mark.parametrize(("matrix", "height"), [(1, 360), (5, 360), (7, 360), (9, 360), (2, 360), (2, 720)])
def test_colours_are_those_the_stream_is_tagged_with(dali: TritonServer, matrix: int, height: int) -> None:
    clip = vp9(matrix=matrix, height=height, colours=range(80, 176))
    before = keyframes_by(dali)
    pixels, mask = decoded(dali, clip)
    assert keyframes_by(dali)["dali"] - before["dali"] == len(clip.packets)
    expected = decode_clip(clip, GEOMETRY)
    assert mask.tolist() == expected.mask.tolist()
    error = np.abs(pixels.astype(int) - expected.pixels)[mask].mean()
    assert error < 0.7
    misread = decode_clip(replace(clip, packets=vp9(matrix=matrix, height=height).packets), GEOMETRY)
    assert error < 0.1 * np.abs(pixels.astype(int) - misread.pixels)[mask].mean()  # other pictures


def test_colours_that_rec_601_cannot_show_come_near(dali: TritonServer) -> None:
    clip = vp9(matrix=1, colours=range(256))
    pixels, mask = decoded(dali, clip)
    error = np.abs(pixels.astype(int) - decode_clip(clip, GEOMETRY).pixels)[mask]
    assert error.mean() < 2.5
    assert np.quantile(error, 0.99) < 40


def test_one_broken_keyframe_harms_no_other(dali: TritonServer) -> None:
    clip = vp9(count=3)
    header = clip.packets[1].data[:10]  # looks like a keyframe
    broken = Packet(1.0, header + np.random.default_rng(0).bytes(400))
    clip = replace(clip, packets=(clip.packets[0], broken, clip.packets[2]))
    before = keyframes_by(dali)
    pixels, mask = decoded(dali, clip)
    after = keyframes_by(dali)
    assert after["dali"] - before["dali"] >= 2
    good = decode_clip(replace(clip, packets=(clip.packets[0], clip.packets[2])), GEOMETRY)
    found = pixels[: int(mask.sum())]
    for wanted in good.pixels[:2]:
        assert min(np.abs(picture.astype(int) - wanted).mean() for picture in found) < 1.5


def test_a_batch_with_a_bad_file_is_refused_and_the_next_one_is_answered(dali: TritonServer) -> None:
    clip = vp9()
    good = keyframe_file(clip, clip.packets[0].data)

    def ask(files: list[bytes]) -> np.ndarray:
        rows = file_rows(files)
        encoded = InferInput("ENCODED", list(rows.shape), "UINT8")
        encoded.set_data_from_numpy(rows)
        colour = InferInput("COLOUR", [len(rows), 3, 3], "FP32")
        colour.set_data_from_numpy(np.repeat(np.eye(3, dtype=np.float32)[None], len(rows), 0))
        with InferenceServerClient(dali.grpc_address) as client:
            return client.infer(DALI_MODEL, [encoded, colour]).as_numpy("PICTURE")

    expected = ask([good])
    with pytest.raises(InferenceServerException, match=r"keyframe_decoder: .*came 2 row\(s\)"):
        ask([good, b"no film at all" * 20])
    assert np.array_equal(ask([good, good]), expected.repeat(2, 0))


def test_without_a_picture_to_be_had_the_clip_is_refused_as_ever(dali: TritonServer) -> None:
    clip = vp9()
    clip = replace(clip, packets=(Packet(0.0, b"\x00" * 300),))
    with pytest.raises(InferenceServerException, match="no packet of the clip yields a frame"):
        decoded(dali, clip)


def test_when_its_process_dies_pyav_stands_in_until_it_is_back(model_repository: Path) -> None:
    clip = vp9()
    with TritonServer(settings(model_repository)) as server:
        (stub,) = [pid for pid, name in process.stubs(server.pid).items() if DALI_MODEL in name]
        decoded(server, clip)
        before = keyframes_by(server)
        os.kill(stub, signal.SIGKILL)
        pixels, mask = decoded(server, clip)
        expected = decode_clip(clip, GEOMETRY)
        assert np.array_equal(pixels[mask], expected.pixels[expected.mask])  # PyAV's, to the bit
        assert keyframes_by(server)["pyav"] - before["pyav"] == len(clip.packets)
        assert server.check() == [DALI_MODEL]
        deadline = time.monotonic() + 30
        while keyframes_by(server)["dali"] == before["dali"]:  # PyAV for some seconds more
            assert time.monotonic() < deadline
            decoded(server, clip)
            time.sleep(0.2)


def copied(repository: Path, folder: Path) -> Path:
    return Path(shutil.copytree(repository, folder / "models", ignore=shutil.ignore_patterns("__pycache__")))


HANGS = """
import time
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

def wait(encoded):
    time.sleep(60 if len(encoded) > 4096 else 0)
    return encoded

@autoserialize
@pipeline_def(batch_size=64, num_threads=1, device_id=0, exec_async=False, exec_pipelined=False)
def hangs(device="mixed"):
    encoded = fn.external_source(name="ENCODED", device="cpu", dtype=types.UINT8, ndim=1)
    colour = fn.external_source(name="COLOUR", device="cpu", dtype=types.FLOAT, ndim=2)
    waited = fn.python_function(encoded, function=wait)
    grey = fn.constant(idata=[128] * 3, shape=[1, 1, 3], dtype=types.UINT8)
    big = fn.cast(fn.resize(grey, size=[224, 224]), dtype=types.UINT8)
    used = fn.cast(fn.reductions.sum(waited), dtype=types.FLOAT) + fn.reductions.sum(colour)
    none = fn.cast(used * 0.0, dtype=types.UINT8)
    return fn.cast(big + none, dtype=types.UINT8)
"""


def test_a_run_that_does_not_end_ends_the_process_and_no_request(
    model_repository: Path, tmp_path: Path
) -> None:
    repository = copied(model_repository, tmp_path)
    config = repository / DALI_MODEL / "configs" / "cpu.pbtxt"
    config.write_text(
        config.read_text() + 'parameters { key: "run_timeout_s" value { string_value: "0.5" } }\n'
    )
    (repository / DALI_MODEL / "1" / "dali.py").write_text(HANGS)
    clip = vp9(height=720, rows=180)  # its keyframes take more than 4,096 bytes, the probe's does not
    with TritonServer(replace(settings(repository), log_file=tmp_path / "log")) as server:
        before, started = keyframes_by(server), time.monotonic()
        pixels, mask = decoded(server, clip)
        assert time.monotonic() - started < 10
        expected = decode_clip(clip, GEOMETRY)
        assert np.array_equal(pixels[mask], expected.pixels[expected.mask])
        after = keyframes_by(server)
        assert after == {"dali": 0, "pyav": before["pyav"] + len(clip.packets)}
        assert "DALI did not come back within 0.5 s" in (tmp_path / "log").read_text()
        assert server.check() == [DALI_MODEL]  # started anew


def test_a_repository_without_the_pipeline_is_named(model_repository: Path, tmp_path: Path) -> None:
    repository = copied(model_repository, tmp_path)
    (repository / DALI_MODEL / "1" / "dali.py").unlink()
    with pytest.raises(RepositoryError, match=r"keyframe_decoder/1/dali\.py"):
        TritonServer(settings(repository)).start()


def test_a_pipeline_that_cannot_be_built_stops_no_server(
    model_repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As without NVDEC, or with a driver that is too old: PyAV can do everything."""
    repository = copied(model_repository, tmp_path)
    (repository / DALI_MODEL / "1" / "dali.py").write_text("raise RuntimeError('no NVDEC here')\n")
    clip = vp9()
    with TritonServer(settings(repository)) as server:
        assert DALI_MODEL not in server.models
        assert "video_decoder" in server.models
        assert "serving without model keyframe_decoder, another stands in: " in caplog.text
        assert "no NVDEC here" in caplog.text
        pixels, mask = decoded(server, clip)
        expected = decode_clip(clip, GEOMETRY)
        assert np.array_equal(pixels[mask], expected.pixels[expected.mask])
        assert keyframes_by(server)["dali"] == 0


BREAKS = (
    HANGS.replace("def wait(encoded):", "built = []\n\ndef wait(encoded):")
    .replace(
        "    time.sleep(60 if len(encoded) > 4096 else 0)\n",
        "    if len(encoded) > 4096:\n        raise RuntimeError('illegal address')\n",
    )
    .replace(
        "    encoded = fn.external",
        "    if built:\n        raise RuntimeError('the context is lost')\n"
        "    built.append(1)\n    encoded = fn.external",
    )
)


def test_a_pipeline_that_cannot_be_built_again_ends_the_process(
    model_repository: Path, tmp_path: Path
) -> None:
    """As after a fault on the GPU, which nothing but another process gets over."""
    repository = copied(model_repository, tmp_path)
    (repository / DALI_MODEL / "1" / "dali.py").write_text(BREAKS)
    clip = vp9(height=720, rows=180)
    with TritonServer(replace(settings(repository), log_file=tmp_path / "log")) as server:
        pixels, mask = decoded(server, clip)
        expected = decode_clip(clip, GEOMETRY)
        assert np.array_equal(pixels[mask], expected.pixels[expected.mask])
        told = (tmp_path / "log").read_text()
        assert "DALI cannot begin anew (the context is lost" in told
        assert "illegal address" in told
        assert server.check() == [DALI_MODEL]
