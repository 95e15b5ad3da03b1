"""The container's readiness probe before a server that has a gateway."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY

READY = DEPLOY / "container" / "ready.py"
METRICS = b'resonance_gateway_model_serving{model="encoder"} 1.0\n'


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Address of something that serves metrics alone, and the paths that it was asked for."""
    paths: list[str] = []

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(METRICS)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", paths
        server.shutdown()


def ask(file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", READY],
        env={"RESONANCE_READY_FILE": str(file), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_gateway_is_asked_for_its_metrics(asked, tmp_path):
    address, paths = asked
    file = tmp_path / "ready"
    line = (
        f"ready gateway=127.0.0.1:1 grpc=127.0.0.1:1 triton_metrics=127.0.0.1:1 metrics={address} space=none"
    )
    file.write_text(f"{line}\nmodel=encoder state=serving since_s=1 reloads=0\n")
    assert (ask(file).returncode, paths) == (0, ["/metrics"])
    assert ask(file, http_proxy="http://127.0.0.1:9").returncode == 0  # which is not for this container
    file.write_text(line.replace(address, "127.0.0.1:1") + "\n")
    gone = ask(file)
    assert (gone.returncode, "refused" in gone.stderr) == (1, True)


def test_no_file_is_not_ready(tmp_path):
    # the supervisor takes it away while a model does not serve
    done = ask(tmp_path / "ready")
    assert done.returncode == 1
    assert "does not hold a ready line" in done.stderr
