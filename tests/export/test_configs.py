"""The committed Triton configs are what the contract generates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from resonance.export import contract
from resonance.export.repository import code_files, config_files, write_configs

ROOT = Path(__file__).resolve().parents[2]
FILES = dict(config_files())


@pytest.mark.parametrize("path", FILES, ids=str)
def test_committed_config_is_the_generated_one(path: Path) -> None:
    committed = ROOT / "model_repository" / path
    assert committed.read_text(encoding="utf-8") == FILES[path], f"{path} is stale; run `make configs`"
    text_format.Parse(FILES[path], model_config_pb2.ModelConfig())


def test_a_new_repository_has_all_that_the_committed_one_has(tmp_path: Path) -> None:
    """So that a second space can be served beside the first."""
    write_configs(tmp_path)
    listed = subprocess.run(["git", "ls-files", "model_repository"], cwd=ROOT, capture_output=True, text=True)
    committed = {Path(line).relative_to("model_repository") for line in listed.stdout.splitlines()}
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()} == committed
    for path in committed:
        assert (tmp_path / path).read_bytes() == (ROOT / "model_repository" / path).read_bytes(), path


def test_what_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    """A server that was started with it still has what it was started with."""
    write_configs(tmp_path)
    before = {path: path.stat() for path in tmp_path.rglob("*") if path.is_file()}
    changed = tmp_path / "video_decoder" / "1" / "model.py"
    changed.write_text("of an earlier version")
    write_configs(tmp_path)
    after = {path: path.stat() for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert [path for path in before if after[path].st_mtime_ns != before[path].st_mtime_ns] == [changed]
    assert changed.read_text() == dict(code_files())[changed.relative_to(tmp_path)]


def test_no_config_is_committed_that_nothing_generates() -> None:
    repository = ROOT / "model_repository"
    found = {p.relative_to(repository) for p in repository.rglob("*.pbtxt")}
    assert found == set(FILES)


def test_no_model_queues_with_a_policy_and_every_encoder_batches_and_warms_up() -> None:
    for path, text in FILES.items():
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        # this server version stalls for 500 ms at a time with any queue policy
        assert not config.dynamic_batching.HasField("default_queue_policy"), path
        if config.name.endswith("_encoder"):
            assert config.HasField("dynamic_batching"), path
            assert config.model_warmup, path


def test_ensembles_connect_tensors_of_one_type_and_shape() -> None:
    for ensemble in contract.ENSEMBLES:
        known = {t.name: t for t in ensemble.inputs}
        for name in ensemble.steps:
            step = contract.model(name)
            for tensor in step.inputs:
                assert known[tensor.name] == tensor, (ensemble.name, name)
            known |= {t.name: t for t in step.outputs}
        for tensor in ensemble.outputs:
            assert known[tensor.name] == tensor, ensemble.name
