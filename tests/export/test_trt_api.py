"""Every name and signature of TensorRT that the code uses exists in the version that is pinned.

The library cannot be installed everywhere, its bindings can: `engine` is type-checked against stubs made
from them. The same check must refuse what TensorRT 11 has removed, or it would prove nothing.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from resonance.export.trt.build import CHECKED_WITH
from tests.export.trt_stubs import make_stubs

ROOT = Path(__file__).resolve().parents[2]

#: A line of code each, with what mypy says of it.
GONE = {
    "config.set_flag(trt.BuilderFlag.FP16)": 'has no attribute "FP16"',
    "config.set_flag(trt.BuilderFlag.INT8)": 'has no attribute "INT8"',
    "builder.create_network(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)": "EXPLICIT_BATCH",
    "config.int8_calibrator = None": 'has no attribute "int8_calibrator"',
    "builder.build_engine(network, config)": 'has no attribute "build_engine"',
    "config.max_workspace_size = 1": 'has no attribute "max_workspace_size"',
    "engine.get_binding_shape(0)": 'has no attribute "get_binding_shape"',
    "context.execute_async_v2([], 0)": 'has no attribute "execute_async_v2"',
    "config.set_timing_cache(config.create_timing_cache(b''))": 'argument "ignore_mismatch"',
    "profile.set_shape('FRAMES', 1, 2, 3)": "incompatible type",
}
HEAD = """
import tensorrt as trt

def use(builder: trt.Builder, config: trt.IBuilderConfig, network: trt.INetworkDefinition,
        engine: trt.ICudaEngine, context: trt.IExecutionContext, profile: trt.IOptimizationProfile) -> None:
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stubs(tmp_path_factory.mktemp("tensorrt"))


def complaints(stubs: Path, *arguments: str) -> str:
    """What mypy says with TensorRT's stubs, in this project's settings."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    command += ["--follow-imports=silent", "--cache-dir", str(stubs.parent / "cache"), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={"MYPYPATH": f"{ROOT / 'src'}:{stubs}"}, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_what_the_engine_uses_is_there(stubs: Path) -> None:
    said = complaints(stubs, "--warn-return-any", "-m", "resonance.export.trt.engine")
    assert said.startswith("Success"), said


def test_what_is_gone_is_refused(stubs: Path, tmp_path: Path) -> None:
    file = tmp_path / "old.py"
    file.write_text(HEAD + "".join(f"    {line}\n" for line in GONE))
    said = complaints(stubs, str(file)).splitlines()
    first = HEAD.count("\n") + 1
    for number, (line, expected) in enumerate(GONE.items(), start=first):
        assert any(f"old.py:{number}:" in error and expected in error for error in said), (line, said)


def test_the_version_that_is_checked_is_the_one_that_users_are_told() -> None:
    assert importlib.metadata.version("tensorrt-cu13-bindings").startswith(f"{CHECKED_WITH}.")
