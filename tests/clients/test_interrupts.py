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


@pytest.mark.parametrize("ctrl_c", ["default_int_handler", "SIG_IGN"])
def test_a_command_that_is_told_to_end_while_it_writes_goes_on_writing(ctrl_c: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    job = _told_to_end(
        f"""
        signal.signal(signal.SIGINT, signal.{ctrl_c})
        async def embed():
            print("begun", flush=True)
            for _ in range(10):
                time.sleep(0.05)
            Path({str(path)!r}).write_text("embedded")
        asyncio.run(embed())
        """
    )
    assert path.read_text() == "embedded"
    assert job == 128 + signal.SIGTERM


def test_a_forked_worker_that_is_told_to_end_ends() -> None:
    """Its job would else end with a KeyboardInterrupt, and the command as if it had been told to."""
    job = _begun(
        """
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, context) as pool:
            pid = pool.submit(os.getpid).result()
            sleeping = pool.submit(time.sleep, 60)
            time.sleep(0.2)
            print("begun", flush=True)
            os.kill(pid, signal.SIGTERM)
            print(type(sleeping.exception()).__name__)
        """
    )
    assert _rest_of(job) == "BrokenProcessPool\n"
    assert job.returncode == 0


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: print('heard')"])
def test_who_ignores_or_hears_it_goes_on_doing_so(handler: str) -> None:
    job = _begun(
        """
        print("begun", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("went on")
        """,
        f"signal.signal(signal.SIGTERM, {handler})",
    )
    assert _rest_of(job) == ("" if "IGN" in handler else "heard\n") + "went on\n"
    assert job.returncode == 0


def _told_to_end(body: str) -> int:
    """The exit code of a command that does `body`, of which it prints the begin."""
    job = _begun(body)
    job.terminate()
    job.communicate(timeout=30)
    return job.returncode


def _begun(body: str, before: str = "") -> subprocess.Popen[str]:
    """A command that does `body`, of which it has printed the begin; its program does `before` first."""
    script = (
        "import asyncio, multiprocessing, os, signal, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from pathlib import Path\n"
        "import resonance.clients.cli.main as m\n"
        "from resonance.clients.new_files import whole_file\n"
        f"{before}\n"
        f"def command():\n{indent(dedent(body), '    ')}\n"
        "m.make_app = lambda: m._checked('reel', command)\n"
        "m.main()"
    )
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "begun\n"
    return job


def _rest_of(job: subprocess.Popen[str]) -> str:
    assert job.stdout is not None
    with job:
        return job.stdout.read()
