"""Golden inputs: this client and this server reproduce what export wrote beside space.json."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resonance.clients.embedder import Embedder
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Frames, SegmentInput
from resonance.clients.transport import TritonTransport
from resonance.export import contract
from resonance.export.onnx_export import cpu_session, make_inputs
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor


@pytest.fixture(scope="module")
def golden(model_repository: Path) -> dict[str, np.ndarray]:
    with np.load(model_repository / "space_descriptor" / "1" / "golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")


def as_png(golden: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(golden["picture"]).save(file, "PNG")
    return file.getvalue()


def as_wav(golden: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(int(golden["sound_rate_hz"]))
        out.writeframes(np.rint(golden["sound"] * 32767).astype("<i2").tobytes())
    return file.getvalue()


def only_segment(data: bytes, descriptor: Descriptor) -> SegmentInput:
    with open_media(data, descriptor) as reader:
        (segment,) = reader.segments()
    return segment


def test_the_picture_is_scaled_as_the_golden_frame(
    golden: dict[str, np.ndarray], descriptor: Descriptor
) -> None:
    video = only_segment(as_png(golden), descriptor).video
    assert isinstance(video, Frames)
    difference = np.abs(video.pixels[0].astype(int) - golden["frame"].astype(int))
    assert difference.mean() < 1.0  # grey levels; two implementations of one antialiased filter
    assert np.percentile(difference, 99) <= 4


def test_the_sound_is_resampled_as_the_golden_samples(
    golden: dict[str, np.ndarray], descriptor: Descriptor
) -> None:
    pcm = only_segment(as_wav(golden), descriptor).pcm
    assert pcm is not None
    assert pcm.length == pytest.approx(int(golden["pcm_length"][0]), abs=32)
    reference = golden["pcm"].astype(np.float64)
    error = pcm.samples - reference
    # 40 dB below the signal: filters differ near the edges of their bands, times must not
    assert np.sqrt(np.mean(error**2)) < 0.01 * np.sqrt(np.mean(reference**2))


async def test_the_server_gives_the_golden_vectors(golden: dict[str, np.ndarray], embedder: Embedder) -> None:
    picture = await embedder.embed(as_png(golden))
    sound = await embedder.embed(as_wav(golden))
    text = await embedder.embed_text(str(golden["text"]))
    for row, (found, name) in enumerate(((picture, "visual"), (sound, "audio"), (text, "transcript"))):
        cosine = float(found.segments[0].vector.reshape(3, 596)[row] * 3**0.5 @ golden[name])
        assert cosine >= 0.9999, name
        if name == "transcript":
            assert cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", contract.GRAPHS, ids=lambda m: m.name)
async def test_triton_equals_bare_onnxruntime(
    model: contract.Model, server: TritonServer, model_repository: Path
) -> None:
    transport = TritonTransport(server.grpc_address)
    session = cpu_session(model_repository / model.name / "1" / "model.onnx")
    for seed, batch in enumerate((1, 4)):
        inputs = make_inputs(model, batch=batch, seed=seed)
        names = [t.name for t in model.outputs]
        got = await transport.infer(model.name, inputs, names, timeout_s=30)
        for name, want in zip(names, session.run(names, inputs), strict=True):
            np.testing.assert_allclose(got[name], want, atol=1e-5, rtol=1e-5)
    await transport.close()
