"""Who is started while interrupts are held."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

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
