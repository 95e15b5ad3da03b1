"""The `aoti` backend behind a real Triton: the encoders of `tiny` give what the ONNX config gives."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from resonance.export import aoti, contract
from resonance.export.artifact import AOTI_NOTE, AOTI_PACKAGE
from resonance.export.families.tiny import TINY
from resonance.export.onnx_export import make_inputs
from resonance.serving.binary import find_triton, lay_out_backends
from resonance.serving.errors import RepositoryError
from resonance.serving.server import ServerSettings, TritonServer

ENCODERS = ("audio_encoder", "transcript_encoder")
Arrays = dict[str, np.ndarray]

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="AOTInductor needs a C++ compiler"
)


@pytest.fixture(scope="module")
def repository(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encoders with both artifacts; about a minute of compiling."""
    root = tmp_path_factory.mktemp("aoti")
    for graph in TINY.graphs:
        if graph.model not in ENCODERS:
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


@pytest.mark.parametrize("model", ENCODERS)
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_aoti_config_gives_what_the_onnx_config_gives(client, onnx_client, model, batch):
    inputs = make_inputs(contract.model(model), batch=batch, seed=batch)
    found, expected = infer(client, model, inputs), infer(onnx_client, model, inputs)
    vectors = contract.model(model).outputs[0].name
    cosines = (found[vectors] * expected[vectors]).sum(1)
    assert found[vectors].shape == (batch, 596)
    assert cosines.min() >= 0.9999
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("model", ENCODERS)
def test_row_i_of_a_batch_is_the_single_request_i(client, model):
    inputs = make_inputs(contract.model(model), batch=5, seed=11)
    together = infer(client, model, inputs)
    for row in range(5):
        for name, alone in infer(client, model, rows_of(inputs, row)).items():
            np.testing.assert_allclose(alone[0], together[name][row], rtol=1e-5, atol=1e-6)


def test_requests_in_flight_together_get_their_own_rows(client):
    inputs = make_inputs(contract.model("transcript_encoder"), batch=24, seed=3)
    alone = [infer(client, "transcript_encoder", rows_of(inputs, i))["TRANSCRIPT"] for i in range(24)]
    pending = []
    for row in range(24):
        tensors = []
        for name, array in rows_of(inputs, row).items():
            tensors.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            tensors[-1].set_data_from_numpy(array)
        answers: list[object] = []
        pending.append(answers)
        client.async_infer(
            "transcript_encoder",
            tensors,
            callback=lambda result, error, answers=answers: answers.append(error or result),
        )
    for row, answers in enumerate(pending):
        while not answers:
            pass
        np.testing.assert_allclose(answers[0].as_numpy("TRANSCRIPT"), alone[row], rtol=1e-5, atol=1e-6)


def test_a_bad_request_is_refused_alone_with_what_came(client):
    model = contract.model("audio_encoder")
    inputs = make_inputs(model, batch=1, seed=1)
    inputs["PCM"][0, 7] = np.nan
    with pytest.raises(InferenceServerException, match=r"holds NaN or infinity; came PCM float32\[1, 128000"):
        infer(client, "audio_encoder", inputs)
    good = make_inputs(model, batch=1, seed=2)
    assert np.isfinite(infer(client, "audio_encoder", good)["AUDIO"]).all()


def test_a_missing_package_is_named_with_the_command_that_makes_it(repository: Path, tmp_path: Path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    (copy / "audio_encoder" / "1" / AOTI_PACKAGE).unlink()
    with pytest.raises(RepositoryError, match=r"audio_encoder/1/model\.pt2; run `resonance export FAMILY"):
        TritonServer(ServerSettings(model_repository=copy, target="aoti")).start()


def test_a_package_of_another_pytorch_is_refused_at_the_start(repository: Path, tmp_path: Path):
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    note = copy / "audio_encoder" / "1" / AOTI_NOTE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"built_for": {"device": "cpu"}}))
    with pytest.raises(RepositoryError, match=r"audio_encoder: .*was built for torch None, here") as caught:
        TritonServer(ServerSettings(model_repository=copy, target="aoti")).start()
    assert "\n" not in str(caught.value)


def test_own_backends_are_added_only_where_the_triton_lacks_them(tmp_path: Path):
    laid = lay_out_backends(find_triton(), tmp_path / "site", {"aoti", "python"})
    assert {"aoti", "onnxruntime", "python"} <= {p.name for p in laid.iterdir()}
