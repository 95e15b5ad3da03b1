"""The container's entry point, run for real with a `resonance` that only notes how it was called."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, tool

ENTRYPOINT = DEPLOY / "container" / "entrypoint.sh"
RESONANCE = """#!/usr/bin/env bash
echo "resonance $*"
if [ "$1" = export ]; then
  sleep "${SLOW:-0}"
  [ -z "${BROKEN:-}" ] || { echo "no plan" >&2; exit 1; }
  echo "$*" > "$4/artifact"
fi
"""


class Container:
    """A folder of models, an image's own files, and an environment whose `resonance` is the script above."""

    def __init__(self, folder: Path) -> None:
        self.models, self.image, self.bin = folder / "models", folder / "image", folder / "bin"
        for path in (self.models, self.image / "model_repository" / "encoder", self.bin):
            path.mkdir(parents=True)
        (self.image / "model_repository" / "encoder" / "config.pbtxt").write_text("name: 'encoder'")
        (self.image / "source").write_text("5ca1ab1e\n")
        (self.bin / "resonance").write_text(RESONANCE)
        (self.bin / "resonance").chmod(0o755)
        self.spool = folder / "spool"
        self.spool.mkdir()

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        own = {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RESONANCE_MODELS": str(self.models),
            "RESONANCE_IMAGE": str(self.image),
            "RESONANCE_SPOOL": str(self.spool),
        }
        return subprocess.Popen(
            [ENTRYPOINT, *arguments],
            env=own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.models.iterdir())


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_export_fills_a_folder_of_its_own_once(container):
    code, out = container.run("export", RESONANCE_EXPORT_OPTIONS="--hardware-compatibility ampere-plus")
    assert code == 0, out
    (name,) = container.folders()
    assert name.startswith("tiny-gpu-0.1.0-")
    assert (container.models / name / "encoder" / "config.pbtxt").is_file()
    called = (container.models / name / "artifact").read_text().split()
    assert called[:2] == ["export", "tiny"]
    assert called[4:] == ["--target", "tensorrt", "--hardware-compatibility", "ampere-plus"]
    code, out = container.run("export", RESONANCE_EXPORT_OPTIONS="--hardware-compatibility ampere-plus")
    assert (code, container.folders()) == (0, [name])
    assert "nothing to export" in out


@pytest.mark.parametrize(("target", "kind"), [("gpu", "tensorrt"), ("aoti", "aoti"), ("cpu", "onnx")])
def test_each_target_has_its_artifacts_and_its_folder(container, target, kind):
    code, out = container.run("export", RESONANCE_TARGET=target)
    assert code == 0, out
    assert f"--target {kind}" in out
    assert container.run("resonance", "serve", "--target", target, RESONANCE_TARGET=target)[0] == 0


@pytest.mark.parametrize("words", [["--target", "cpu"], ["--target=cpu"], ["--target=gpu", "--target=cpu"]])
def test_models_of_one_target_are_not_served_as_those_of_another(container, words):
    container.run("export")
    code, out = container.run("resonance", "serve", *words)
    assert code == 1
    assert "--target is 'cpu' and RESONANCE_TARGET 'gpu', for which the models are made" in out
    code, out = container.run("export", RESONANCE_EXPORT_OPTIONS="--int8 --target onnx")
    assert code == 1
    assert "RESONANCE_EXPORT_OPTIONS has --target ('--int8 --target onnx'), expected RESONANCE_TARGET" in out


def test_the_target_need_not_be_said_twice(container):
    container.run("export", RESONANCE_TARGET="cpu")
    code, out = container.run("resonance", "serve", "--", "--target=of-the-gateway", RESONANCE_TARGET="cpu")
    assert code == 0, out
    assert "--target cpu" in out


def test_what_killed_exports_left_is_removed_after_a_day(container):
    names = (".exporting-old123", ".exporting-new123", "tiny-gpu-0.0.9-0123456789ab", ".exporting-of-yours")
    for name in names:
        (container.models / name / "encoder").mkdir(parents=True)
    for name in (names[0], *names[2:]):
        two_days_ago = time.time() - 2 * 86400
        os.utime(container.models / name, (two_days_ago, two_days_ago))
    code, out = container.run("export")
    assert code == 0, out
    assert f"removing what a killed export left: {container.models / names[0]}" in out
    left = [name for name in container.folders() if not name.startswith("tiny-gpu-0.1.0-")]
    assert left == sorted(names[1:])


def test_a_folder_of_models_that_cannot_be_written_is_named(container):
    if os.getuid() == 0:
        container.models.rmdir()  # root may write everywhere
    else:
        container.models.chmod(0o500)
    code, out = container.run("export")
    assert code == 1
    assert f"{container.models} is not writable by user {os.getuid()}: chown" in out
    assert "ReadWriteMany" in out


def test_what_a_failed_export_made_is_not_served(container):
    code, out = container.run("export", BROKEN="1")
    assert code != 0
    assert "no plan" in out
    assert container.folders() == []


def test_of_two_exports_at_once_one_counts(container):
    both = [container.start("export", SLOW="1") for _ in range(2)]
    outs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert len(container.folders()) == 1
    assert sorted("dropped" in out for out in outs) == [False, True]


def test_another_family_or_option_leaves_the_earlier_models_alone(container):
    for environment in ({}, {"RESONANCE_FAMILY": "siglip-clap-minilm"}, {"RESONANCE_EXPORT_OPTIONS": "--x"}):
        assert container.run("export", **environment)[0] == 0
    (container.image / "source").write_text("f0111e5\n")  # an image with other encoders, of the same version
    assert container.run("resonance", "serve")[0] == 1
    assert container.run("export")[0] == 0
    assert len(container.folders()) == 4


def test_serve_takes_the_folder_of_this_machine_and_passes_options_on(container):
    container.run("export")
    environment = {
        "RESONANCE_READY_FILE": "/run/ready",
        "RESONANCE_TRITON_LOG": "/log/triton",
        "RESONANCE_START_TIMEOUT_S": "900",
    }
    code, out = container.run("resonance", "serve", "--target", "gpu", "--drain-seconds", "30", **environment)
    assert code == 0
    folder = container.models / container.folders()[0]
    given = ["--ready-file", "/run/ready", "--log-file", "/log/triton", "--start-timeout", "900"]
    given += ["--target", "gpu", "--drain-seconds", "30"]
    metrics = ["--metrics-host", "0.0.0.0"]  # noqa: S104 (of a container)
    # Triton has no login: without a gateway nothing but its metrics leaves the container.
    assert out.split() == ["resonance", "serve", "--model-repository", str(folder), *metrics, *given]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], []),
        (["--"], []),
        (["--", "--tls-cert", "/run/a cert"], ["--tls-cert", "/run/a", "cert"]),
        (["--", "--spool-folder", "/mine", "--", "x"], ["--spool-folder", "/mine", "--", "x"]),
    ],
)
def test_the_gateways_options_come_after_the_containers_own(container, words, options):
    container.run("export")
    code, out = container.run("resonance", "serve", "--gateway", "--host", "::", *words)
    assert code == 0, out
    folder = container.models / container.folders()[0]
    own = ["--model-repository", str(folder), "--metrics-host", "0.0.0.0"]  # noqa: S104 (of a container)
    own += ["--ready-file", "/tmp/resonance-ready", "--log-file", "/tmp/triton.log"]  # noqa: S108 (of a container)
    own += ["--start-timeout", "540", "--target", "gpu", "--host", "0.0.0.0"]  # noqa: S104 (of a container)
    front = ["--", "--spool-folder", str(container.spool)]
    assert out.split() == ["resonance", "serve", *own, "--gateway", "--host", "::", *front, *options]


def test_the_gateway_alone_is_reached_and_seen_as_in_a_server(container):
    code, out = container.run("resonance", "gateway", "--triton", "triton:8001", "--host", "::")
    assert code == 0, out
    own = ["--host", "0.0.0.0", "--metrics-host", "0.0.0.0"]  # noqa: S104 (of a container)
    own += ["--spool-folder", str(container.spool), "--ready-file", "/tmp/resonance-ready"]  # noqa: S108 (the same)
    assert out.split() == ["resonance", "gateway", *own, "--triton", "triton:8001", "--host", "::"]


def test_a_spool_that_is_not_there_is_named(container):
    container.run("export")
    container.spool.rmdir()
    for words in (["serve", "--gateway"], ["gateway"]):
        code, out = container.run("resonance", *words)
        assert code == 1
        assert f"{container.spool} is not writable" in out
    assert container.run("resonance", "serve")[0] == 0  # only the gateway needs it


def test_serve_without_models_says_what_to_run(container):
    code, out = container.run("resonance", "serve", "--target", "gpu")
    assert code == 1
    assert "is missing; run the export image" in out


def test_a_wrong_target_is_named(container):
    code, out = container.run("export", RESONANCE_TARGET="tpu")
    assert code == 1
    assert "RESONANCE_TARGET is 'tpu', expected gpu, aoti or cpu" in out


def test_any_other_command_is_run_as_it_is(container):
    assert container.run("echo", "there") == (0, "there\n")


def test_no_command_is_refused(container):
    assert container.run()[0] == 1


def test_shellcheck_finds_nothing():
    done = subprocess.run([tool("shellcheck"), ENTRYPOINT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
