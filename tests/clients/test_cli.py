"""The `resonance embed` command as a person calls it: exit codes, streams, files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer

from resonance.serving.server import TritonServer
from tests.clients.media.synthetic import film_in_huffyuv
from tests.small_disk import full_disk

COMMAND = str(Path(sys.executable).with_name("resonance"))
GOOD = "video/transcode_elf_hevc_aac.mp4"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_help_lists_the_commands_without_importing_torch_or_the_server() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert {"embed", "serve", "export"} <= set(shown.stdout.split())
    probe = (
        "import sys, resonance.clients.cli.main as m; m.make_app();"
        "print([n for n in ('torch', 'transformers', 'onnxruntime', 'pytriton') if n in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_a_command_that_is_named_is_loaded_alone_and_another_name_is_held_against_all() -> None:
    loads = "import sys, resonance.clients.cli.main as m; m.make_app(*sys.argv[1:]); print(*sys.modules)"
    for named, others in (("status", False), ("statuss", True), ("--help", True)):
        modules = subprocess.run(
            [sys.executable, "-c", loads, named], capture_output=True, text=True, check=True
        ).stdout.split()
        assert "resonance.clients.cli.status" in modules
        assert ("resonance.clients.cli.ingest" in modules) is others
    wrong = run("statuss")
    assert wrong.returncode == 2
    assert "Did you mean 'status'?" in wrong.stderr


def test_the_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"resonance {version('resonance')}\n")


@pytest.mark.parametrize(("unbuffered", "told"), [("", "the output"), ("1", "the output or a file")])
def test_output_without_room_is_one_line(unbuffered: str, told: str, tmp_path: Path) -> None:
    short = "import resonance.clients.cli.main as m; m.make_app = lambda: lambda: print('short'); m.main()"
    environment, disk = {**os.environ, "PYTHONUNBUFFERED": unbuffered}, full_disk(tmp_path / "full")
    for command in ([COMMAND, "--help"], [sys.executable, "-c", short]):
        with disk.open("w") as full:
            ended = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False
            )
        assert (ended.returncode, ended.stderr) == (
            1,
            f"resonance: {told} cannot be written (No space left on device)\n",
        )


@pytest.mark.parametrize("stdout", [">/dev/null", ">&-"])
@pytest.mark.parametrize(
    ("name", "told"), [(", '/data/part-1.parquet'", "/data/part-1.parquet"), ("", "the output or a file")]
)
def test_a_disk_that_is_full_is_one_line_with_the_file_where_it_is_known(
    stdout: str, name: str, told: str
) -> None:
    code = f"""
import resonance.clients.cli.main as m

def write():
    print('short')
    raise OSError(28, 'No space left on device'{name})

m.make_app = lambda: write
m.main()
"""
    ended = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {stdout}', sys.executable, code],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        f"resonance: {told} cannot be written (No space left on device)\n",
    )


def test_json_goes_to_stdout_and_nothing_else_does(server: TritonServer, media: Path) -> None:
    shown = run(
        "embed",
        media / GOOD,
        media / "image" / "food_cherries.jpg",
        "--json",
        "--server",
        server.grpc_address,
    )
    assert shown.returncode == 0, shown.stderr
    titles = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [Path(t["media"]).name for t in titles] == ["transcode_elf_hevc_aac.mp4", "food_cherries.jpg"]
    assert len(titles[0]["title"]) == 1788
    assert titles[0]["space"]["trained"] is True


def test_one_bad_file_is_one_line_and_exit_1_and_the_others_succeed(
    server: TritonServer, media: Path, tmp_path: Path
) -> None:
    out, plot = tmp_path / "out.parquet", tmp_path / "arcs.png"
    bad = media / "odd" / "notmedia_text.mp4"
    shown = run("embed", bad, media / GOOD, "--server", server.grpc_address, "--output", out, "--plot", plot)
    assert shown.returncode == 1
    failures = [line for line in shown.stderr.splitlines() if line.strip()]
    assert len(failures) == 1
    assert str(bad) in failures[0]
    assert "expected" in failures[0]
    assert pq.read_table(out).num_rows == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_stream_that_is_left_out_is_one_line_and_the_rest_succeeds(
    server: TritonServer, tmp_path: Path
) -> None:
    path = tmp_path / "old.avi"
    path.write_bytes(film_in_huffyuv(heard=True))
    shown = run("embed", path, "--json", "--server", server.grpc_address)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.splitlines() == [
        f"{path}: its video in 'huffyuv' is left out: it cannot be read here"
    ]
    assert json.loads(shown.stdout)["modalities"] == ["audio"]


def test_what_could_not_be_read_is_one_line_and_stands_in_the_result(
    server: TritonServer, media: Path
) -> None:
    path = media / "odd" / "trunc_index_first_60pct.mp4"
    shown = run("embed", path, "--json", "--server", server.grpc_address)
    assert shown.returncode == 0, shown.stderr
    damage = json.loads(shown.stdout)["damage"]
    assert damage["unreadable_packets"] == 0
    said = f"{path}: its last {damage['missing_s']:.1f} s are not there, as if it were cut off"
    assert shown.stderr.splitlines() == [said]


def test_the_table_names_the_space_and_the_segments(server: TritonServer, media: Path) -> None:
    shown = run("embed", media / GOOD, "--server", server.grpc_address)
    assert shown.returncode == 0, shown.stderr
    assert "not trained" not in shown.stdout
    assert "keyframes" in shown.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.mp4", "--sampling", "often"),
        ("a.mp4", "--output", "x.csv"),
        ("a.mp4", "--output", "nowhere/x.parquet"),
        ("a.mp4", "--output", f"{'x' * 300}.parquet"),
        ("a.mp4", "--plot", "x.docx"),
        ("a.mp4", "--plot", "nowhere/x.png"),
        ("a.mp4", "b.mp4", "--transcript", "c.srt"),
    ],
)
def test_wrong_use_is_exit_2(arguments: tuple[str, ...]) -> None:
    assert run("embed", *arguments).returncode == 2


def test_an_address_is_no_file_and_the_commands_that_take_it_are_named() -> None:
    shown = run("embed", "https://example.org/film.mp4")
    assert shown.returncode == 2
    told = " ".join(shown.stderr.replace("│", " ").split())
    assert "https:/example.org/film.mp4 is an address; expected a file" in told
    assert "`resonance ingest`" in told
    assert "`resonance follow`" in told


def test_a_missing_file_fails_typed(server: TritonServer, tmp_path: Path) -> None:
    shown = run("embed", tmp_path / "none.mp4", "--server", server.grpc_address)
    assert shown.returncode == 1
    assert "none.mp4" in shown.stderr


def test_names_are_shown_as_they_are(server: TritonServer, media: Path, tmp_path: Path) -> None:
    (tmp_path / "dir [").mkdir()
    named = tmp_path / "dir [" / "b] Film [x264].mp4"
    unnamed = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.mp4"))
    for path in (named, unnamed):
        shutil.copy(media / GOOD, path)
    shown = run("embed", unnamed, named, "--server", server.grpc_address)
    assert shown.returncode == 1
    assert shown.stdout.startswith(f"{named}  4.1 s")
    assert shown.stderr.splitlines()[-1].startswith(f"{tmp_path}/caf\\udce9.mp4: a name that is not UTF-8")


def test_results_that_cannot_be_written_are_said(server: TritonServer, media: Path, tmp_path: Path) -> None:
    disk = full_disk(tmp_path / "x.parquet")
    shown = run("embed", media / GOOD, "--server", server.grpc_address, "--output", disk, "--json")
    assert shown.returncode == 1
    assert disk.is_char_device()  # was removed, as root
    assert "x.parquet: it cannot be written (" in shown.stderr
    assert "No space left on device" in shown.stderr
    assert len(json.loads(shown.stdout)["title"]) == 1788
    (tmp_path / "folder.parquet").mkdir()
    refused = run("embed", media / GOOD, "--server", "127.0.0.1:1", "--output", tmp_path / "folder.parquet")
    assert refused.returncode == 2  # before any work
    assert "is a folder" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_embedded_is_written_where_the_rest_is_interrupted(
    number: signal.Signals, server: TritonServer, media: Path, tmp_path: Path
) -> None:
    out, films = tmp_path / "out.parquet", [str(media / GOOD)] * 200
    options = ("--server", server.grpc_address, "--json", "--output", str(out))
    job = subprocess.Popen(
        [COMMAND, "embed", *films, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["segments"]
    job.send_signal(number)
    told, said = job.communicate(timeout=60)
    assert job.returncode == 128 + number
    embedded = 1 + len(told.splitlines())
    assert embedded < len(films)
    assert f"stopped: {embedded} of 200 embedded" in said
    assert pq.read_table(out).num_rows == embedded


def test_a_port_that_is_no_grpc_is_told(server: TritonServer, media: Path) -> None:
    shown = run("embed", media / GOOD, "--server", server.http_address)
    assert shown.returncode == 1
    assert "is this a gRPC port? Triton's is 8001 where its HTTP port is 8000" in shown.stderr


def test_no_server_says_how_to_start_one(media: Path) -> None:
    shown = run("embed", media / GOOD, "--server", "127.0.0.1:1")
    assert shown.returncode == 1
    assert "resonance serve" in shown.stderr


def test_an_unknown_scheme_is_wrong_use_and_names_the_known_ones(media: Path) -> None:
    for command in (("embed", media / GOOD), ("status",)):
        shown = run(*command, "--server", "http://127.0.0.1:1")
        assert shown.returncode == 2
        said = " ".join(shown.stderr.replace("│", " ").split())
        assert "http://127.0.0.1:1" in said
        assert "grpc://HOST:PORT" in said
        assert "triton://HOST:PORT" in said


def test_a_token_in_the_open_is_wrong_use(media: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    for server in ("grpc://gateway.example:8080", "triton://gateway.example:8001"):
        shown = run("embed", media / GOOD, "--server", server, "--token-file", token)
        assert shown.returncode == 2
        assert "without TLS" in " ".join(shown.stderr.replace("│", " ").split())
        assert "s3cret" not in shown.stderr


def test_status_of_triton_shows_the_space_and_the_models(server: TritonServer) -> None:
    shown = run("status", "--server", f"triton://{server.grpc_address}", "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    states = {model["name"]: model["serving"] for model in found["models"]}
    assert states["visual_encoder"] is True
    assert states["title_fusion"] is True
    assert len(found["fingerprint"]) == 64
    table = run("status", "--server", server.grpc_address)
    assert table.returncode == 0
    assert found["fingerprint"][:12] in table.stdout
    assert "title_fusion" in table.stdout


@pytest.mark.parametrize("scheme", ["grpc://", "triton://"])
def test_status_without_a_server_is_one_line_and_exit_1(scheme: str) -> None:
    shown = run("status", "--server", f"{scheme}127.0.0.1:1")
    assert shown.returncode == 1
    assert len(shown.stderr.splitlines()) == 1
    assert "resonance serve" in shown.stderr


def test_the_server_can_come_from_the_environment(server: TritonServer, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a quiet evening by the sea")
    environment = {**os.environ, "RESONANCE_SERVER": f"triton://{server.grpc_address}"}
    shown = subprocess.run(
        [COMMAND, "embed", str(text)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert shown.returncode == 0, shown.stderr


def test_a_command_whose_extra_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from typer.testing import CliRunner

    from resonance.clients.cli import main

    point = EntryPoint("serve", f"{__name__}:needs_more", main.GROUP)
    monkeypatch.setattr(main, "entry_points", lambda group: [point])
    shown = CliRunner().invoke(main.make_app(), ["serve"])
    assert shown.exit_code == 2
    assert "no_such_package_here" in shown.output
    assert "pip install '.[serve]'" in shown.output


@pytest.mark.parametrize(("command", "extra"), [("coldstart", "coldstart"), ("bias", "audit")])
def test_a_command_of_a_group_names_its_own_extra(
    monkeypatch: pytest.MonkeyPatch, command: str, extra: str
) -> None:
    from importlib.metadata import EntryPoint

    from typer.testing import CliRunner

    from resonance.clients.cli import main

    point = EntryPoint("audit", f"{__name__}:group", main.GROUP)
    monkeypatch.setattr(main, "entry_points", lambda group: [point])
    shown = CliRunner().invoke(main.make_app(), ["audit", command])
    assert shown.exit_code == 2
    assert f"pip install '.[{extra}]'" in shown.output


def needs_more() -> None:
    """Stands for a command of an extra that is not installed."""
    import no_such_package_here  # noqa: F401


group = typer.Typer()
group.command("coldstart")(needs_more)
group.command("bias")(needs_more)
