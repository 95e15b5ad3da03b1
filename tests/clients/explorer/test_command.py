"""`resonance explore` as a person runs it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from resonance.clients.cli.explore import explore
from resonance.clients.explorer.run import bound_socket
from tests.clients.explorer.conftest import MADE, NOBODY

COMMAND = [
    sys.executable,
    "-c",
    "import typer; from resonance.clients.cli.explore import explore; typer.run(explore)",
]


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(explore)
    done = CliRunner().invoke(app, [*arguments, "--no-open"])
    return done.exit_code, " ".join(done.output.split())


def test_it_serves_until_it_is_interrupted(made_store: Path, tmp_path: Path) -> None:
    history = tmp_path / "anna.csv"
    history.write_text(
        "media_id,watched_at,completion\nfilms/000000.mp4,2026-11-01,1\nfilms/\u00e9trange.mp4,2026-11-02,1\n",
        encoding="utf-8",
    )
    arguments = [str(made_store), "--server", NOBODY, "--port", "0", "--no-open", "--history", str(history)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            said = running.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", said)
            assert found, said
            assert httpx.get(found[0]).status_code == 200
            lacking = running.stdout.readline()
            assert lacking == "1 titles of the history are not in the library: films/\u00e9trange.mp4\n"
            assert httpx.get(f"{found[0]}api/library").json()["titles"] == MADE
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=20) == 0
        finally:
            running.kill()


def test_uploads_that_stall_or_break_off_hold_nothing_up(made_store: Path) -> None:
    arguments = [str(made_store), "--server", NOBODY, "--port", "0", "--no-open"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *arguments], stdout=pipe, stderr=pipe, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", running.stdout.readline())
            assert found
            head = (
                f"POST /api/examples/file HTTP/1.1\r\nHost: 127.0.0.1:{found[1]}\r\n"
                f"Origin: {found[0].rstrip('/')}\r\nContent-Length: 1000000\r\n\r\n"
            )
            with (
                socket.create_connection(("127.0.0.1", int(found[1]))) as broken_off,
                socket.create_connection(("127.0.0.1", int(found[1]))) as stalled,
            ):
                for upload in (broken_off, stalled):
                    upload.sendall(head.encode() + bytes(1000))
                time.sleep(0.5)  # both are being received
                broken_off.close()
                assert httpx.get(f"{found[0]}api/library").json()["titles"] == MADE
                running.send_signal(signal.SIGINT)
                _, said = running.communicate(timeout=20)
            assert "Traceback" not in said
            assert running.returncode == 0
        finally:
            running.kill()


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    code, said = run(str(tmp_path / "nothing"), "--port", "0")
    assert code == 1
    assert "StoreError" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", "0.0.0.0"], "has no password"),  # noqa: S104
        (["--server", "http://x:1"], "expected grpc://HOST:PORT"),
        (["--history", "/nowhere/anna.csv"], "cannot be read"),
        (["--port", "70000"], "65535"),
    ],
)
def test_wrong_use(made_store: Path, arguments: list[str], expected: str) -> None:
    code, said = run(str(made_store), "--port", "0", *arguments)
    assert code == 2
    assert expected in said.replace("│ ", "").replace(" │", "")


def test_a_port_that_is_taken(made_store: Path) -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        code, said = run(str(made_store), "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "--port" in said
