"""The `aoti` backend behind a real Triton: the encoders of `tiny` give what the ONNX config gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from resonance.export import aoti, contract
from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE
from resonance.export.families.tiny import TINY
from resonance.export.onnx_export import make_inputs
from resonance.serving import process
from resonance.serving.backends.aoti import runner as aoti_runner
from resonance.serving.backends.aoti.runner import Runner
from resonance.serving.binary import find_triton, lay_out_backends
from resonance.serving.errors import RepositoryError
from resonance.serving.server import ServerSettings, TritonServer
from tests.lengths import short_and_whole

AUDIO, BOTH = ("audio_encoder",), ("audio_encoder", "transcript_encoder")
Arrays = dict[str, np.ndarray]

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="AOTInductor needs a C++ compiler"
)


@pytest.fixture(scope="module", params=short_and_whole(AUDIO, BOTH))
def encoders(request: pytest.FixtureRequest) -> Sequence[str]:
    return request.param


@pytest.fixture(scope="module")
def repository(
    model_repository: Path, encoders: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Encoders with both artifacts; half a minute of compiling each."""
    root = tmp_path_factory.mktemp("aoti")
    for graph in TINY.graphs:
        if graph.model not in encoders:
            continue
        source, folder = model_repository / graph.model, root / graph.model
        (folder / "1").mkdir(parents=True)
        shutil.copytree(source / "configs", folder / "configs")
        shutil.copy(source / "config.pbtxt", folder)
        shutil.copy(source / "1" / "model.onnx", folder / "1")
        path = folder / "1" / AOTI_PACKAGE
        report = aoti.package_graph(graph, path, [], device="cpu")
        aoti.write_note(path, report, graph, device="cpu", source="nothing")
        assert report.trials[-1].min_cosine >= 0.9999
    return root


@pytest.fixture(scope="module")
def client(repository: Path) -> Iterator[InferenceServerClient]:
    with (
        TritonServer(ServerSettings(model_repository=repository, target="aoti")) as server,
        InferenceServerClient(server.grpc_address) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def onnx_client(repository: Path) -> Iterator[InferenceServerClient]:
    with (
        TritonServer(ServerSettings(model_repository=repository, target="cpu")) as server,
        InferenceServerClient(server.grpc_address) as client,
    ):
        yield client


def infer(client: InferenceServerClient, model: str, inputs: Arrays) -> Arrays:
    tensors = []
    for name, array in inputs.items():
        tensors.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    result = client.infer(model, tensors)
    return {t.name: result.as_numpy(t.name) for t in contract.model(model).outputs}


def rows_of(inputs: Arrays, row: int) -> Arrays:
    return {name: array[row : row + 1] for name, array in inputs.items()}


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_aoti_config_gives_what_the_onnx_config_gives(client, onnx_client, encoders, batch):
    for model in encoders:
        inputs = make_inputs(contract.model(model), batch=batch, seed=batch)
        found, expected = infer(client, model, inputs), infer(onnx_client, model, inputs)
        vectors = contract.model(model).outputs[0].name
        cosines = (found[vectors] * expected[vectors]).sum(1)
        assert found[vectors].shape == (batch, 596)
        assert cosines.min() >= 0.9999
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-3)


def test_row_i_of_a_batch_is_the_single_request_i(client, encoders):
    for model in encoders:
        inputs = make_inputs(contract.model(model), batch=5, seed=11)
        together = infer(client, model, inputs)
        for row in range(5):
            for name, alone in infer(client, model, rows_of(inputs, row)).items():
                np.testing.assert_allclose(alone[0], together[name][row], rtol=1e-5, atol=1e-6)


def test_requests_in_flight_together_get_their_own_rows(client, encoders):
    model = encoders[0]
    vectors = contract.model(model).outputs[0].name
    inputs = make_inputs(contract.model(model), batch=24, seed=3)
    alone = [infer(client, model, rows_of(inputs, i))[vectors] for i in range(24)]
    pending = []
    for row in range(24):
        tensors = []
        for name, array in rows_of(inputs, row).items():
            tensors.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            tensors[-1].set_data_from_numpy(array)
        answers: list[object] = []
        pending.append(answers)
        client.async_infer(
            model,
            tensors,
            callback=lambda result, error, answers=answers: answers.append(error or result),
        )
    for row, answers in enumerate(pending):
        while not answers:
            pass
        np.testing.assert_allclose(answers[0].as_numpy(vectors), alone[row], rtol=1e-5, atol=1e-6)


def test_a_bad_request_is_refused_alone_with_what_came(client):
    model = contract.model("audio_encoder")
    inputs = make_inputs(model, batch=1, seed=1)
    inputs["PCM"][0, 7] = np.nan
    with pytest.raises(InferenceServerException, match=r"holds NaN or infinity; came PCM float32\[1, 128000"):
        infer(client, "audio_encoder", inputs)
    good = make_inputs(model, batch=1, seed=2)
    assert np.isfinite(infer(client, "audio_encoder", good)["AUDIO"]).all()


@pytest.fixture
def runner(repository: Path) -> Runner:
    """The backend's own, here; it captures no graphs by itself on a CPU."""
    made = Runner(str(repository / "audio_encoder" / "1" / AOTI_PACKAGE), "cpu", batched=True)
    made._graph_batches = [1, 2]
    return made


def sounds(rows: int) -> list[torch.Tensor]:
    inputs = make_inputs(contract.model("audio_encoder"), batch=rows, seed=1)
    return [torch.from_numpy(array) for array in inputs.values()]


def test_where_no_graph_can_be_captured_kernels_are_launched(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captures = []

    def capture(*arguments: object) -> None:
        captures.append(arguments)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(aoti_runner, "capture", capture)
    expected = runner._call(sounds(2))[0]
    for _ in range(2):
        assert torch.equal(runner.run(sounds(2))[0], expected)
    assert len(captures) == 1
    assert "no CUDA graph can be captured (operation not permitted" in capsys.readouterr().err


def test_graphs_stay_where_memory_was_short_or_an_input_was_bad(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capture(call: Any, inputs: list[torch.Tensor], place: object) -> None:
        call(inputs)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(aoti_runner, "capture", capture)
    runner.run(sounds(2))

    def refuse(*inputs: torch.Tensor) -> None:
        raise RuntimeError("ids are out of range")

    monkeypatch.setattr(runner, "_package", refuse)
    with pytest.raises(RuntimeError, match="ids are out of range"):
        runner.run(sounds(2))
    assert runner._graph_batches == [1, 2]


@pytest.mark.parametrize(
    ("error", "devices"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("Expected input dtype int64, came float64"), False),
    ],
)
def test_a_fault_of_the_device_is_no_fault_of_the_caller(error: Exception, devices: bool) -> None:
    assert aoti_runner.is_device_fault(error) is devices


def test_a_missing_package_is_named_with_the_command_that_makes_it(repository: Path, tmp_path: Path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    (copy / "audio_encoder" / "1" / AOTI_PACKAGE).unlink()
    with pytest.raises(RepositoryError, match=r"audio_encoder/1/model\.pt2; run `resonance export "):
        TritonServer(ServerSettings(model_repository=copy, target="aoti")).start()


def test_a_package_of_another_pytorch_is_refused_at_the_start(repository: Path, tmp_path: Path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    note = copy / "audio_encoder" / "1" / AOTI_NOTE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"built_for": {"device": "cpu"}}))
    with pytest.raises(RepositoryError, match=r"audio_encoder: .*was built for torch None,") as caught:
        TritonServer(ServerSettings(model_repository=copy, target="aoti")).start()
    assert "\n" not in str(caught.value)


def test_what_a_killed_process_unpacked_goes_with_the_next(repository: Path, encoders: Sequence[str]):
    server = TritonServer(ServerSettings(model_repository=repository, target="aoti"))
    with server:
        place = server._folder / "tmp"
        before = set(place.iterdir())
        assert len(before) == len(encoders)
        assert all(len(list(folder.glob("aotinductor_*"))) == 1 for folder in before)
        pid = next(pid for pid, name in process.stubs(server.pid).items() if name == encoders[0])
        os.kill(pid, signal.SIGKILL)
        while pid in process.stubs(server.pid):
            time.sleep(0.01)
        assert server.check() == [encoders[0]]
        after = set(place.iterdir())
        assert len(after) == len(encoders)
        assert len(after & before) == len(encoders) - 1
    assert not place.exists()


def test_own_backends_are_added_only_where_the_triton_lacks_them(tmp_path: Path):
    laid = lay_out_backends(find_triton(), tmp_path / "site", {"aoti", "python"})
    assert {"aoti", "onnxruntime", "python"} <= {p.name for p in laid.iterdir()}
