"""A job and its server killed at random: in the end each title is stored once, as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from resonance.clients.ingest.stores import open_store
from resonance.serving.ports import choose_ports, is_free

RESONANCE = [sys.executable, "-c", "from resonance.clients.cli.main import main; main()"]
_START_TIMEOUT_S = 90.0
_END_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Killed:
    """What a run with kills came to."""

    titles: int
    quarantined: int
    jobs_killed: int = 0
    servers_killed: int = 0
    nodes_killed: int = 0
    seconds: float = 0.0
    undisturbed_s: float = 0.0
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    wrong_quarantine: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Titles that are not as they should be."""
        return len(self.missing) + len(self.doubled) + len(self.different) + len(self.wrong_quarantine)


class Server:
    """`resonance serve` on a port that stays the same, for a job to find it again after a kill.

    Args:
        gateway: put one before it; the address is the gateway's then.
    """

    def __init__(self, log: Path, *, gateway: bool = False) -> None:
        self._gateway = gateway
        self.port = choose_ports("127.0.0.1", {"grpc": 0})["grpc"]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As --server of a job."""
        return f"{'grpc' if self._gateway else 'triton'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the command, whose children are Triton and the models' processes."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait for its line unless a job is to find it coming up."""
        log = self._log.open("ab")
        begins = log.tell()
        triton_port = 0 if self._gateway else self.port
        words = ["--grpc-port", str(triton_port), "--http-port", "0", "--metrics-port", "0"]
        if self._gateway:
            words += ["--gateway", "--gateway-port", str(self.port), "--", "--metrics-port", "0"]
        self._process = subprocess.Popen([*RESONANCE, "serve", *words], stdout=log, stderr=log)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while wait and b"ready " not in self._log.read_bytes()[begins:]:
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"no server; {self._log} says why")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL; its children end with it, and the port is free again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        deadline_s = time.monotonic() + _END_TIMEOUT_S
        while not is_free("127.0.0.1", self.port):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"port {self.port} is still listened on {_END_TIMEOUT_S:g} s after a kill")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)


def ingest_command(sources: list[str], sink: str, address: str, journal: Path, *more: str) -> list[str]:
    """`resonance ingest` as a user would call it."""
    named = ["--sink", sink, "--server", address, "--journal", str(journal), "--json"]
    return [*RESONANCE, "ingest", *sources, *named, *more]


def run_with_kills(
    sources: list[str], folder: Path, *, sink: str, job_kills: int, server_kills: int, seed: int = 1
) -> Killed:
    """An undisturbed run into one sink, a run with kills into another, and the two compared.

    Args:
        folder: for journals and logs. sink: a URI with ``{}`` for the run's name.

    Raises:
        RuntimeError: a job ended in another way than by being killed or by being done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    server = Server(folder / "server.log")
    server.start()
    try:
        clean_sink, killed_sink = sink.format("undisturbed"), sink.format("killed")
        started_s = time.monotonic()
        clean = to_its_end(ingest_command(sources, clean_sink, server.address, folder / "clean.sqlite"))
        undisturbed_s = time.monotonic() - started_s
        report = Killed(titles=clean["stored"], quarantined=clean["in_quarantine"])
        report.undisturbed_s = undisturbed_s
        # so many kills must fall into the work that there is
        lives = (0.25 * undisturbed_s / max(job_kills, 1), 1.2 * undisturbed_s / max(job_kills, 1))
        command = ingest_command(sources, killed_sink, server.address, folder / "killed.sqlite")
        started_s = time.monotonic()
        log = folder / "jobs.log"
        summary = _disturbed(command, server, report, chance, job_kills, server_kills, lives, log)
        report.seconds = time.monotonic() - started_s
        compare(clean_sink, killed_sink, Path(clean["quarantine"]), Path(summary["quarantine"]), report)
        return report
    finally:
        server.stop()


def to_its_end(command: list[str]) -> dict[str, Any]:
    """The summary of a job that nobody disturbs.

    Raises:
        RuntimeError: it ended with anything but 0 or 1.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the job ended with {done.returncode}: {done.stderr[-2000:]}")
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def _disturbed(
    command: list[str],
    server: Server,
    report: Killed,
    chance: random.Random,
    job_kills: int,
    server_kills: int,
    lives_s: tuple[float, float],
    log: Path,
) -> dict[str, Any]:
    """Kills spread over the work: which comes next is drawn, each job lives for a while that is drawn."""
    kinds = ["job"] * job_kills + ["server"] * server_kills
    chance.shuffle(kinds)
    job: subprocess.Popen[str] | None = None
    for kind in kinds:
        if job is None:
            job = _start(command, log)
        up_s = 1.5 if kind == "job" else 0.0  # importing, opening: nothing is under way yet
        time.sleep(up_s + chance.uniform(*lives_s))
        if job.poll() is not None:
            break  # all was embedded before the kills were used up; the report says how many were
        if kind == "job":
            os.kill(job.pid, signal.SIGKILL)
            job.communicate()
            job = None
            report.jobs_killed += 1
        else:
            server.kill()
            report.servers_killed += 1
            time.sleep(chance.uniform(0.0, 2.0))
            server.start(wait=False)
    if job is None:
        job = _start(command, log)
    out, _ = job.communicate()
    if job.returncode not in (0, 1):
        raise RuntimeError(f"the job ended with {job.returncode}: {log.read_text()[-2000:]}")
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def _start(command: list[str], log: Path) -> subprocess.Popen[str]:
    with log.open("a") as said:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)


def compare(clean: str, killed: str, clean_failed: Path, killed_failed: Path, report: Killed) -> None:
    """Put into `report` how what two runs stored and put in quarantine differs."""
    expected, found = _rows(clean), _rows(killed)
    names = Counter(media_id for media_id, _ in found)
    report.doubled = sorted(name for name, count in names.items() if count > 1)
    by_name = dict(found)
    for media_id, row in expected:
        if media_id not in by_name:
            report.missing.append(media_id)
        elif by_name[media_id] != row:
            report.different.append(media_id)
    report.different += sorted(names.keys() - {media_id for media_id, _ in expected})
    wanted, got = _reasons(clean_failed), _reasons(killed_failed)
    report.wrong_quarantine = sorted(
        name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)
    )


def _rows(uri: str) -> list[tuple[str, dict[str, Any]]]:
    store = open_store(uri)
    try:
        return [(row["media_id"], row) for batch in store.titles() for row in batch.to_pylist()]
    finally:
        store.close()


def _reasons(path: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(path).to_pylist()
    return {row["media_id"]: (row["error_type"], row["error"]) for row in rows}
