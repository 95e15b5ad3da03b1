"""Who is started while interrupts are held, and how a command ends that is told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent, indent

import pytest

from resonance.clients.interrupts import held_interrupts


def test_a_process_started_meanwhile_never_sees_one() -> None:
    with held_interrupts():
        job = subprocess.Popen([sys.executable, "-c", "print(input())"], stdin=-1, stdout=-1, text=True)
    job.send_signal(signal.SIGINT)
    assert job.communicate("went on")[0] == "went on\n"
    assert job.returncode == 0


def test_one_that_comes_meanwhile_comes_afterwards() -> None:
    done = []

    def interrupted() -> None:
        with held_interrupts():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # any other thread might take it
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done


def test_a_command_that_is_told_to_end_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "reel.mp4"
    path.write_text("of before")
    job = _told_to_end(
        f"""
        with whole_file(Path({str(path)!r})) as half:
            half.write_text("half of")
            print("begun", flush=True)
            while True:  # a signal just before a long sleep is heard after it
                time.sleep(0.05)
        """
    )
    assert job == 128 + signal.SIGTERM
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ctrl_c", ["default_int_handler", "SIG_IGN"])
def test_a_command_that_is_told_to_end_writes_what_it_has(ctrl_c: str, tmp_path: Path) -> None:
    """Also in the background, where Ctrl-C is ignored."""
    path = tmp_path / "out"
    job = _told_to_end(
        f"""
        signal.signal(signal.SIGINT, signal.{ctrl_c})
        async def embed():
            try:
                print("begun", flush=True)
                while True:
                    await asyncio.sleep(0.05)
            finally:
                Path({str(path)!r}).write_text("embedded")
        asyncio.run(embed())
        """
    )
    assert job == 128 + signal.SIGTERM
    assert path.read_text() == "embedded"


def _told_to_end(body: str) -> int:
    """The exit code of a command that does `body`, of which it prints the begin."""
    script = (
        "import asyncio, signal, time\n"
        "from pathlib import Path\n"
        "import resonance.clients.cli.main as m\n"
        "from resonance.clients.new_files import whole_file\n"
        f"def command():\n{indent(dedent(body), '    ')}\n"
        "m.make_app = lambda: m._checked('reel', command)\n"
        "m.main()"
    )
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "begun\n"
    job.terminate()
    job.communicate(timeout=30)
    return job.returncode
