"""Plans are held against the machine before Triton starts, and the answer is one line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2 as pb

from resonance.serving import gpu
from resonance.serving.errors import RepositoryError
from resonance.serving.gpu import PROBE, VERSION_COMPATIBLE_FLAG, plan_flags, probe_machine
from resonance.serving.plans import NOTE, GpuMachine, PlanNote, check_plans, mismatches, read_notes
from resonance.serving.repository import Model

H100, H200, L4 = ("NVIDIA H100 80GB HBM3", "9.0"), ("NVIDIA H200", "9.0"), ("NVIDIA L4", "8.9")
PLAN = b"not a plan; nothing here loads it"
BUILT = PlanNote(
    model="visual_encoder",
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    source_sha256="0" * 64,
    network_sha256="1" * 64,
    precision="fp16",
    gpu_name=H100[0],
    compute_capability=H100[1],
    tensorrt_version="11.4.0.106",
    version_compatible=False,
    hardware_compatibility="none",
    profiles=[{"FRAMES": [[1, 4, 224, 224, 3], [16, 4, 224, 224, 3], [64, 4, 224, 224, 3]]}],
    parity={"floor": 0.999, "min_cosine": 0.99999},
)


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    """One model whose version folder holds a plan and its note."""
    folder = tmp_path / "visual_encoder" / "1"
    folder.mkdir(parents=True)
    (folder / "model.plan").write_bytes(PLAN)
    BUILT.write(folder)
    config = pb.ModelConfig(name="visual_encoder", backend="tensorrt", default_model_filename="model.plan")
    return [Model("visual_encoder", folder.parent, config)]


@pytest.mark.parametrize(
    ("changes", "here", "version", "said"),
    [
        ({}, H100, "11.4.0.106", ""),
        ({}, H200, "11.4.0.106", "built on NVIDIA H100 80GB HBM3 .* this is NVIDIA H200 \\(9.0\\)"),
        ({}, L4, "11.4.0.106", "hardware compatibility none\\), this is NVIDIA L4 \\(8.9\\)"),
        ({}, H100, "11.4.1.2", "built with TensorRT 11.4.0.106, needs that; here is 11.4.1.2"),
        ({}, H100, "", "no TensorRT library is found here"),
        ({"hardware_compatibility": "same-compute-capability"}, H200, "11.4.0.106", ""),
        ({"hardware_compatibility": "same-compute-capability"}, L4, "11.4.0.106", "this is NVIDIA L4"),
        ({"hardware_compatibility": "ampere-plus"}, L4, "11.4.0.106", ""),
        ({"hardware_compatibility": "ampere-plus"}, ("Tesla T4", "7.5"), "11.4.0.106", "this is Tesla T4"),
        ({"version_compatible": True}, H100, "11.5.0.9", ""),
        ({"version_compatible": True}, H100, "11.10.0.1", ""),  # numbers, not text
        ({"version_compatible": True}, H100, "11.3.0.99", "needs that or a later one of that major version"),
        ({"version_compatible": True}, H100, "12.0.0.1", "here is 12.0.0.1"),
    ],
)
def test_a_plan_runs_where_it_was_built_for(
    changes: Mapping[str, str], here: tuple[str, str], version: str, said: str
) -> None:
    machine = GpuMachine((here,), version)
    note = replace(BUILT, **changes)  # type: ignore[arg-type]
    if not said:
        assert list(mismatches(note, machine)) == []
        return
    with pytest.raises(RepositoryError, match=rf"^m/1/model\.plan: .*{said}.*; build it here with") as raised:
        check_plans([(Path("m/1/model.plan"), note)], machine)
    assert "\n" not in str(raised.value)


def test_one_unfit_gpu_of_several_is_named_and_none_is_an_error() -> None:
    assert [m for m in mismatches(BUILT, GpuMachine((H100, L4), "11.4.0.106")) if "NVIDIA L4" in m]
    assert list(mismatches(BUILT, GpuMachine((), "11.4.0.106"))) == ["needs a GPU, and CUDA shows none here"]


def test_a_note_comes_back_as_it_was_written(models: list[Model]) -> None:
    folder = models[0].path / "1"
    assert list(read_notes([folder])) == [(folder / "model.plan", BUILT)]


def test_a_note_of_another_file_or_another_schema_is_refused(models: list[Model]) -> None:
    folder = models[0].path / "1"
    (folder / "model.plan").write_bytes(b"another")
    with pytest.raises(RepositoryError, match=r"plan\.json describes another plan: .* model\.plan has"):
        list(read_notes([folder]))
    note = json.loads((folder / NOTE).read_text())
    (folder / NOTE).write_text(json.dumps({**note, "schema": 2}))
    with pytest.raises(RepositoryError, match=r"not a plan's note of schema 1 \(schema 2\); build it here"):
        list(read_notes([folder]))
    (folder / NOTE).write_text("{")
    with pytest.raises(RepositoryError, match=r"plan\.json: cannot be read"):
        list(read_notes([folder]))


def test_plans_are_compared_with_the_machine_before_a_start(
    models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = GpuMachine((L4,), "11.4.0.106")
    monkeypatch.setattr(gpu, "probe_machine", lambda note: here)
    with pytest.raises(RepositoryError, match=r"visual_encoder/1/model\.plan: built on NVIDIA H100"):
        plan_flags(models)
    folder = models[0].path / "1"
    replace(BUILT, hardware_compatibility="ampere-plus").write(folder)
    assert plan_flags(models) == []
    replace(BUILT, hardware_compatibility="ampere-plus", version_compatible=True).write(folder)
    assert plan_flags(models) == [VERSION_COMPATIBLE_FLAG]


def test_a_plan_without_a_note_is_left_to_triton(
    models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(note: PlanNote) -> GpuMachine:
        raise AssertionError("the GPU was asked for nothing")

    monkeypatch.setattr(gpu, "probe_machine", asked)
    (models[0].path / "1" / NOTE).unlink()
    assert plan_flags(models) == []


def test_the_probe_says_what_this_machine_has() -> None:
    found = probe_machine(BUILT)
    assert all(name and capability.count(".") == 1 for name, capability in found.gpus)
    assert found.tensorrt_version == "" or found.tensorrt_version.startswith("11.")


#: The C interfaces that the probe asks, as NVIDIA's headers declare them, with two GPUs behind them.
LIBRARIES = {
    "libcuda.so.1": """
        #include <string.h>
        int cuInit(unsigned flags) { return flags; }
        int cuDeviceGetCount(int *count) { *count = 2; return 0; }
        int cuDeviceGet(int *device, int ordinal) { *device = 10 + ordinal; return 0; }
        int cuDeviceGetName(char *name, int size, int device) {
            strncpy(name, device == 10 ? "NVIDIA H100 80GB HBM3" : "NVIDIA L4", size); return 0; }
        int cuDeviceGetAttribute(int *value, int attribute, int device) {
            *value = attribute == 75 ? (device == 10 ? 9 : 8) : attribute == 76 ? (device == 10 ? 0 : 9) : -1;
            return 0; }
    """,
    "libnvinfer.so.11": """
        int getInferLibMajorVersion(void) { return 11; }
        int getInferLibMinorVersion(void) { return 4; }
        int getInferLibPatchVersion(void) { return 0; }
        int getInferLibBuildVersion(void) { return 106; }
    """,
}


def test_the_probe_reads_the_driver_and_the_library(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler, "install the package gcc"
    for name, source in LIBRARIES.items():
        (tmp_path / "source.c").write_text(source)
        command = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / name), str(tmp_path / "source.c")]
        subprocess.run(command, check=True)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PROBE), "11"],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {"gpus": [list(H100), list(L4)], "tensorrt_version": "11.4.0.106"}
    assert json.loads(done.stdout) == expected
