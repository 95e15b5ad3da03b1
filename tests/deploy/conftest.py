"""The production command, run for real: the entry point, Triton and the gateway with TLS and tokens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from resonance.v1 import embedding_pb2_grpc
from tests.deploy.files import DEPLOY, read_yaml

ENTRYPOINT = DEPLOY / "container" / "entrypoint.sh"
TLS = DEPLOY / "compose.tls.yaml"
ALICE, BOB = "a" * 40, "b" * 40
START_TIMEOUT_S = 120
#: So low that a test can reach them; each capacity has a reason of its own.
LIMITS = (
    *("--max-live-feeds=1", "--max-streams-per-caller=1"),
    *("--max-queries=1", "--max-queued-queries=1", "--queue-timeout-s=0.001"),
)
#: `export` finds what was exported here already; everything else is the real command.
RESONANCE = """#!/usr/bin/env bash
if [ "$1" = export ]; then cp -Rs "$EXPORTED/." "$4"; else exec "$REAL/resonance" "$@"; fi
"""


@dataclass(frozen=True, slots=True)
class Production:
    """What runs, and how to speak to it."""

    told: dict[str, str]
    ready_file: Path
    authority: trustme.CA

    @contextlib.contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        trusted = grpc.ssl_channel_credentials(self.authority.cert_pem.bytes())
        with grpc.secure_channel(self.told["gateway"], trusted) as channel:
            yield channel

    @contextlib.contextmanager
    def stub(self) -> Iterator[embedding_pb2_grpc.EmbeddingServiceStub]:
        with self.channel() as channel:
            yield embedding_pb2_grpc.EmbeddingServiceStub(channel)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def production_command(secrets: Path) -> list[str]:
    """compose.tls.yaml's, on the CPU, on free ports of loopback, with `LIMITS`."""
    command = [
        word.replace("/run/secrets", str(secrets)) for word in read_yaml(TLS)["services"]["server"]["command"]
    ]
    command[command.index("--target=gpu")] = "--target=cpu"
    border = command.index("--")
    here = ("--host=127.0.0.1", "--metrics-host=127.0.0.1", "--gateway-port=0", "--metrics-port=0")
    return [*command[:border], *here, *command[border:], "--metrics-port=0", *LIMITS]


@pytest.fixture(scope="session")
def production(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """One for all tests of deploy/."""
    folder = tmp_path_factory.mktemp("production")
    for name in ("models", "image/model_repository", "bin", "secrets", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "image" / "source").write_text("5ca1ab1e\n")
    (folder / "bin" / "resonance").write_text(RESONANCE)
    (folder / "bin" / "resonance").chmod(0o755)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "secrets" / "tls_certificate")
    certificate.private_key_pem.write_to_path(folder / "secrets" / "tls_key")
    (folder / "secrets" / "tokens").write_text(f"alice {ALICE}\nbob {BOB}\n")
    for path in (folder / "secrets").iterdir():
        path.chmod(0o600)
    real = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{real}:{os.environ['PATH']}",
        "REAL": str(real),
        "EXPORTED": str(model_repository),
        "RESONANCE_TARGET": "cpu",
        "RESONANCE_MODELS": str(folder / "models"),
        "RESONANCE_IMAGE": str(folder / "image"),
        "RESONANCE_SPOOL": str(folder / "spool"),
        "RESONANCE_READY_FILE": str(folder / "ready"),
        "GRPC_VERBOSITY": "ERROR",  # which hides nothing of what the gateway counts
    }
    log = folder / "log"
    subprocess.run([ENTRYPOINT, "export"], env=environment, check=True, capture_output=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [ENTRYPOINT, *production_command(folder / "secrets")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    killer = threading.Timer(START_TIMEOUT_S, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        killer.cancel()
        assert line.startswith("ready "), log.read_text()
        told = dict(word.split("=", 1) for word in line.split()[1:])
        yield Production(told, folder / "ready", authority)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()  # compose.yaml: stop_grace_period
        assert not (folder / "ready").exists()
        assert list((folder / "spool").iterdir()) == []
    finally:
        killer.cancel()
        process.kill()  # it is gone, unless something above failed; what it started ends with it
        process.wait()
