"""Each model's answer is a function of its request alone, whatever crowd it comes in."""

from __future__ import annotations

import asyncio
import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from resonance.clients.transport import TritonTransport
from resonance.serving.server import ServerSettings, TritonServer

CROWD, ROUNDS = 17, 5
#: Shapes that come together and those that do not, since only requests of one shape can meet in a batch.
FRAMES, TOKENS, ROWS = (4, 1, 1, 4, 16), (32, 32, 32, 64), (1, 1, 5, 40)
OUTPUTS = {
    "visual_encoder": ("VISUAL", "VISUAL_SIGNALS"),
    "audio_encoder": ("AUDIO", "AUDIO_SIGNALS"),
    "transcript_encoder": ("TRANSCRIPT",),
    "title_fusion": ("TITLE", "SEGMENTS", "SALIENCE"),
}
Request = Mapping[str, np.ndarray]


@functools.cache
def request(model: str, number: int) -> Request:
    rng = np.random.default_rng(number)
    match model:
        case "visual_encoder":
            count = FRAMES[number % len(FRAMES)]
            return {
                "FRAMES": rng.integers(0, 256, (1, count, 224, 224, 3), dtype=np.uint8),
                "FRAME_MASK": np.ones((1, count), bool),
                "FRAME_TIMES": np.linspace(0, 7, count, dtype=np.float32)[None],
            }
        case "audio_encoder":
            pcm = (0.1 * rng.standard_normal((1, 128_000))).astype(np.float32)
            return {"PCM": pcm, "PCM_LENGTH": np.array([[128_000]])}
        case "transcript_encoder":
            length = TOKENS[number % len(TOKENS)]
            used = np.arange(length) < rng.integers(1, length + 1)
            return {"IDS": rng.integers(1, 200, (1, length)), "MASK": used.astype(np.int64)[None]}
        case _:
            count = ROWS[number % len(ROWS)]
            return {
                "BLOCKS": rng.standard_normal((count, 3, 596)).astype(np.float32),
                "PRESENT": rng.random((count, 3)) < 0.8,
                "TIMES": 8.0 * np.arange(count, dtype=np.float32),
            }


async def differing(transport: TritonTransport, wanted: Mapping[str, Any]) -> dict[str, int]:
    """Of each model: answers of `ROUNDS` crowds that are not those of `wanted`, to the bit."""
    found = dict.fromkeys(OUTPUTS, 0)
    for model in OUTPUTS:
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(answer(transport, model, n) for n in range(CROWD)))
            found[model] += sum(
                not all(np.array_equal(one[name], other[name]) for name in OUTPUTS[model])
                for one, other in zip(answers, wanted[model], strict=True)
            )
    return found


async def answer(transport: TritonTransport, model: str, number: int) -> dict[str, Any]:
    return await transport.infer(model, request(model, number), OUTPUTS[model], timeout_s=60)


def batching(repository: Path, target: Path) -> Path:
    """A copy of the repository whose models compute requests that meet as one batch."""
    shutil.copytree(repository, target, ignore=shutil.ignore_patterns("*.onnx", "*.plan", "*.pt2"))
    for graph in repository.glob("*/1/model.onnx"):
        (target / graph.relative_to(repository)).symlink_to(graph.resolve())
    for model in OUTPUTS:
        file = target / model / "configs" / "cpu.pbtxt"
        config = text_format.Parse(file.read_text(), pb.ModelConfig())
        del config.parameters["max_requests_per_run"]
        file.write_text(text_format.MessageToString(config))
    return target


@pytest.fixture
async def wanted(server: TritonServer) -> dict[str, Any]:
    """The answers of each model to requests that come one by one."""
    transport = TritonTransport(server.grpc_address)
    found = {model: [await answer(transport, model, n) for n in range(CROWD)] for model in OUTPUTS}
    await transport.close()
    return found


async def test_in_a_crowd_each_answer_is_that_of_its_request_alone(
    server: TritonServer, wanted: dict[str, Any]
) -> None:
    transport = TritonTransport(server.grpc_address)
    assert await differing(transport, wanted) == dict.fromkeys(OUTPUTS, 0)
    await transport.close()


async def test_batches_do_differ(model_repository: Path, tmp_path: Path, wanted: dict[str, Any]) -> None:
    """So that the equality above means something; a server of its own changes nothing else."""
    repository = batching(model_repository, tmp_path / "models")
    running = TritonServer(ServerSettings(model_repository=repository))
    running.start()
    try:
        transport = TritonTransport(running.grpc_address)
        for model in OUTPUTS:
            one = await answer(transport, model, 0)
            assert all(np.array_equal(one[name], wanted[model][0][name]) for name in OUTPUTS[model])
        found = await differing(transport, wanted)
        await transport.close()
    finally:
        running.stop(0)
    assert found["audio_encoder"] > 0
    assert found["transcript_encoder"] == 0  # its graph sees to that itself
