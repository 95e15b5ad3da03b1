"""The Dockerfile: linted, and held against the repository, as far as that goes without building it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from resonance.serving.decoder import DALI_MODEL, SPARED_MODELS
from resonance.serving.server import TritonServer
from tests.deploy.conftest import ENTRYPOINT
from tests.deploy.files import DEPLOY, ROOT, tool, tracked

DOCKERFILE = DEPLOY / "Dockerfile"
DOCKERFILE_CPU = DEPLOY / "cpu.Dockerfile"
READY = DEPLOY / "container" / "ready.py"
PARTS = ("space", "clients", "export", "training", "loadtest", "serving", "proto")


def instructions(dockerfile: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """(instruction, value) with continued lines joined."""
    parser = DockerfileParser(fileobj=dockerfile.open("rb"))
    return [(i["instruction"], i["value"]) for i in parser.structure if i["instruction"] != "COMMENT"]


def copied(stage: str) -> list[str]:
    """Sources in the repository that `stage` copies."""
    found, inside = [], False
    for instruction, value in instructions():
        if instruction == "FROM":
            inside = value.endswith(f" AS {stage}")
        elif instruction == "COPY" and inside and "--from" not in value:
            found += value.split()[:-1]
    return found


@pytest.fixture(scope="module")
def context() -> set[Path]:
    """Committed files that .dockerignore lets into the build."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    seen = exclude_paths(str(ROOT), patterns)
    return {path for path in tracked() if str(path) in seen}


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, DOCKERFILE_CPU])
def test_hadolint_finds_nothing(dockerfile: Path):
    done = subprocess.run([tool("hadolint"), dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_is_there_and_gets_into_the_build(context):
    sources = [s for stage in ("wheel", "serve", "export") for s in copied(stage)]
    assert len(sources) >= 12
    for source in sources:
        files = set(tracked(source))
        assert files, f"COPY {source}: no such committed file"
        assert files <= context, f".dockerignore keeps out {sorted(map(str, files - context))}"


def test_nothing_else_gets_into_the_build(tmp_path):
    """Neither secrets nor artifacts of this machine, tracked or not."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    unwanted = [
        ".env", ".git/config", ".venv/bin/python", "tests/conftest.py", "build/x",
        "model_repository/audio_encoder/1/model.onnx", "model_repository/audio_encoder/1/model.plan",
        "model_repository/space_descriptor/1/space.json", "serving/__pycache__/x.pyc",
    ]  # fmt: skip
    wanted = ["model_repository/audio_encoder/configs/cpu.pbtxt", "serving/server.py"]
    for name in (*unwanted, *wanted):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = {p for p in exclude_paths(str(tmp_path), patterns) if (tmp_path / p).is_file()}
    assert files == set(wanted)


def test_every_part_of_the_package_is_in_the_wheel(tmp_path):
    """Built as the Dockerfile builds it, from what it copies, without the network."""
    for source in copied("wheel"):
        for path in tracked(source):
            target = tmp_path / "src" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(tmp_path / "src")], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "resonance/" + str(path).removeprefix("proto/resonance/")
        for path in tracked(*PARTS)
        if path.name not in ("README.md",)
        and (path.parts[0] != "proto" or path.suffix in (".py", ".pyi"))
        and path != Path("proto/resonance/v1/__init__.py")
    }
    assert len(wanted) > 100
    assert sorted(wanted - inside) == []


def test_the_images_run_as_an_ordinary_user_and_serve_the_gpu():
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction, value in instructions():
        if instruction == "FROM":
            stage = stages.setdefault(value.split(" AS ")[-1], [])
        elif instruction != "ARG":
            stage.append((instruction, value))
    assert [v for i, v in stages["serve"] if i == "USER"][-1] == "1000:1000"
    assert [v for i, v in stages["export"] if i == "USER"][-1] == "1000:1000"
    # what models were made for is said once: `docker run --env RESONANCE_TARGET=…` changes it
    assert json.loads(dict(stages["serve"])["CMD"]) == ["resonance", "serve", "--gateway"]
    assert "RESONANCE_TARGET=gpu" in dict(stages["serve"])["ENV"]
    assert "/opt/resonance/bin/ready.py" in dict(stages["serve"])["HEALTHCHECK"]
    assert dict(stages["serve"])["EXPOSE"].split() == ["8080", "8081", "8002"]
    assert instructions()[-1] == ("FROM", "serve")  # what is built without --target


def test_the_image_for_the_cpu_is_used_as_the_other_and_has_models_but_no_torch():
    stages: list[list[tuple[str, str]]] = []
    for instruction, value in instructions(DOCKERFILE_CPU):
        if instruction == "FROM":
            stages.append([])
        elif stages:
            stages[-1].append((instruction, value))
    last = dict(stages[-1])
    for shared in ("EXPOSE", "ENTRYPOINT", "STOPSIGNAL", "USER"):
        assert (shared, last[shared]) in instructions()
    assert json.loads(last["CMD"]) == ["resonance", "serve", "--gateway"]
    assert "/opt/resonance/bin/ready.py" in last["HEALTHCHECK"]
    assert "RESONANCE_TARGET=cpu" in last["ENV"]
    assert {"--from=built /opt/resonance /opt/resonance", "--from=models /models /models"} == {
        value for instruction, value in stages[-1] if instruction == "COPY"
    }
    with_torch = [any("[export]" in value for _, value in stage) for stage in stages]
    assert with_torch == [False, True, False]
    assert any(" libseccomp2 " in value for instruction, value in stages[-1] if instruction == "RUN")


def test_folders_that_are_written_to_are_the_users_own():
    text = DOCKERFILE.read_text()
    volumes = json.loads(dict(i for i in instructions() if i[0] == "VOLUME")["VOLUME"])
    assert f"install --directory --owner=1000 --group=1000 {' '.join(volumes)}" in text
    assert {f"RESONANCE_MODELS={volumes[0]}", f"RESONANCE_SPOOL={volumes[1]}"} <= set(text.split())


def test_the_library_that_confines_readers_is_installed_and_loaded_by_the_build():
    (install,) = [v for i, v in instructions() if i == "RUN" and "libpython3.12" in v]
    assert " libseccomp2 " in install
    assert any("python -c 'import pyseccomp'" in v for i, v in instructions() if i == "RUN")


def test_nothing_of_the_images_own_packages_comes_before_ours():
    """NVIDIA's image has DALI's packages, numpy 2 among them, in PYTHONPATH; an empty one is none."""
    stage, cleared = "", set()
    for instruction, value in instructions():
        if instruction == "FROM":
            stage = value.split()[-1]
        elif instruction == "ENV" and {"PYTHONPATH=", "PIP_CONSTRAINT="} <= set(value.split()):
            cleared.add(stage)
        elif instruction == "RUN" and "pip" in value:
            assert stage in cleared or stage == "export", f"{stage}: pip runs with the image's PYTHONPATH"
    assert cleared == {"wheel", "serve"}  # `export` begins from `serve`
    (install,) = [v for i, v in instructions() if i == "RUN" and "resonance[container,nvdec]" in v]
    assert 'numpy as n; assert n.__version__ < "2"' in install


def test_the_tag_is_pinned_and_the_same_in_the_docs():
    tags = {v.split("=")[1] for i, v in instructions() if i == "ARG"}
    assert len(tags) == 1
    (tag,) = tags
    assert re.fullmatch(r"\d\d\.\d\d-py3", tag)
    assert tag in (ROOT / "docs" / "deploy.md").read_text()


def ask_ready(ready_file: Path, fingerprint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"RESONANCE_READY_FILE": str(ready_file), "RESONANCE_FINGERPRINT": fingerprint}
    return subprocess.run(
        [sys.executable, "-I", "-S", READY], env=environment, capture_output=True, text=True, timeout=30
    )


def test_ready_asks_the_file_the_server_and_the_space(server: TritonServer, tmp_path):
    assert server.space is not None
    file = tmp_path / "ready"
    assert ask_ready(file).returncode == 1  # not every model has answered
    served = server.space.fingerprint
    port = server.http_address.rsplit(":", 1)[1]
    file.write_text(f"ready grpc=0.0.0.0:1 http=0.0.0.0:{port} space=tiny fingerprint={served[:12]}\n")
    assert (ask_ready(file).returncode, ask_ready(file, served).returncode) == (0, 0)
    other = ask_ready(file, "f" * 64)
    assert other.returncode == 1
    assert f"fingerprint is {served[:12]}, expected ffffffffffff" in other.stderr
    file.write_text("ready grpc=0.0.0.0:1 http=0.0.0.0:1\n")
    assert "refused" in ask_ready(file).stderr  # the server is gone


def test_ready_asks_the_gateway_what_its_models_say(production, tmp_path):
    # the gateway asks its models by itself, one after the other, once it takes calls
    deadline = time.monotonic() + 20
    while (first := ask_ready(production.ready_file)).returncode and time.monotonic() < deadline:
        assert "resonance_gateway_model_serving" in first.stderr or "asked no model yet" in first.stderr
        time.sleep(0.2)
    assert ask_ready(production.ready_file).returncode == 0, production.told
    line = production.ready_file.read_text().splitlines()[0]
    for change, reason in (
        (("metrics=", "metrics=127.0.0.1:1 old="), "refused"),  # the gateway is gone
        (("metrics=", f"metrics={production.told['triton_metrics']} old="), "asked no model yet"),
    ):
        file = tmp_path / "ready"
        file.write_text(line.replace(" " + change[0], " " + change[1]) + "\n")
        done = ask_ready(file)
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_a_gateway_alone_is_ready_too(production, tmp_path):
    """As `resonance gateway` in the image, but for the addresses: before the Triton of another container."""
    (tmp_path / "spool").mkdir()
    file = tmp_path / "ready"
    here = ("--host=127.0.0.1", "--metrics-host=127.0.0.1", "--port=0", "--metrics-port=0")
    gateway = subprocess.Popen(
        [ENTRYPOINT, "resonance", "gateway", f"--triton={production.told['grpc']}", *here],
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RESONANCE_READY_FILE": str(file)}
        | {"RESONANCE_SPOOL": str(tmp_path / "spool")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert gateway.stdout is not None
        line = gateway.stdout.readline()
        assert line.startswith("ready gateway=127.0.0.1:")
        assert file.read_text() == line
        fingerprint = production.told["fingerprint"]
        deadline = time.monotonic() + 20
        while ask_ready(file, fingerprint).returncode and time.monotonic() < deadline:
            time.sleep(0.2)
        done = ask_ready(file, fingerprint)
        assert done.returncode == 0, done.stderr
        assert "expected ffffffffffff" in ask_ready(file, "f" * 64).stderr
        gateway.terminate()
        assert gateway.wait(timeout=30) == 0
        assert not file.exists()
    finally:
        gateway.kill()
        gateway.wait()


def test_a_model_that_does_not_serve_is_named():
    script = runpy.run_path(str(READY))
    fault = script["models_fault"]
    metrics = """# TYPE resonance_gateway_model_serving gauge
resonance_gateway_model_serving{model="audio_encoder"} 1.0
resonance_gateway_model_serving{model="visual_encoder"} 0.0
"""
    assert fault(metrics) == 'resonance_gateway_model_serving{model="visual_encoder"} is 0.0, expected 1'
    assert fault(metrics.replace(" 0.0", " 1.0")) == ""
    # a replica whose DALI is broken decodes with PyAV and goes on taking requests
    assert fault(metrics.replace("visual_encoder", DALI_MODEL)) == ""
    assert set(script["SPARED"]) == SPARED_MODELS
