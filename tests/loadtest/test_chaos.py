"""What CI kills: one of each kind, and the harness itself, which has to notice when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resonance.loadtest.chaos import report
from resonance.loadtest.chaos.journal import SEGMENT, Kept, read_journal
from resonance.loadtest.chaos.rounds import Kind
from resonance.loadtest.chaos.run import run
from resonance.loadtest.chaos.titles import FILM, make_titles
from resonance.loadtest.chaos.verdict import judge
from resonance.loadtest.chaos.witness import Seen
from resonance.v1 import embedding_pb2 as pb
from tests.lengths import short_and_whole


@pytest.mark.timeout(600)  # a minute, where the machine is not busy with other things
@pytest.mark.parametrize("rounds", short_and_whole(1, 3))
async def test_kills_of_each_kind_lose_and_double_nothing(
    model_repository: Path, tmp_path: Path, rounds: int
) -> None:
    titles = make_titles(tmp_path / "titles", None, sample_times=8)
    film = tmp_path / "titles" / FILM
    outcome = await run(model_repository, tmp_path / "run", titles, film, list(Kind), rounds=rounds, seed=596)
    assert outcome.violations == ()
    assert [r.kind for r in outcome.rounds] == list(Kind) * rounds
    segments = len(outcome.undisturbed[0].kept.segments)
    for played in outcome.rounds:
        assert 0 < played.segments_before <= segments == played.segments, played
    codes = report.codes(outcome.seen)
    assert sum(times for of in codes.values() for code, times in of.items() if code == "OK")
    assert any("UNAVAILABLE" in code for code in codes[Kind.GATEWAY])  # the witness was cut off as well
    report.plot(tmp_path / "recovery.png", outcome.rounds, outcome.undisturbed)
    report.write_json(tmp_path / "chaos.json", report.figures(
        outcome.rounds, outcome.undisturbed, outcome.seen, outcome.violations, {}
    ))  # fmt: skip
    written = json.loads((tmp_path / "chaos.json").read_text())
    assert len(written["rounds"]) == len(outcome.rounds)


def segment(index: int, first: float = 0.5) -> pb.Segment:
    return pb.Segment(index=index, start_s=8.0 * index, end_s=8.0 * index + 8, vector=[first, 0.5])


def kept(*segments: pb.Segment, salience: float = 1.0) -> Kept:
    return Kept(segments, (pb.Title(vector=[0.5, 0.5], salience=[salience]),), 0)


EXPECTED = kept(segment(0), segment(1), segment(2))


def test_what_is_whole_is_sound() -> None:
    verdict = judge(kept(segment(0), segment(1, 0.5 + 5e-7), segment(2)), EXPECTED)
    assert verdict.faults == ()
    assert verdict.worst == pytest.approx(5e-7, rel=0.1)


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (kept(segment(0), segment(2)), "lost [1]"),
        (kept(segment(0), segment(1), segment(1), segment(2)), "doubled [1]"),
        (kept(segment(0), segment(1), segment(2), segment(3)), "not expected [3]"),
        (kept(segment(1), segment(0), segment(2)), "not in order"),
        (kept(segment(0), segment(1, 0.500002), segment(2)), "segment 1: vector differs"),
        (Kept(EXPECTED.segments, (), 0), "0 titles"),
        (Kept(EXPECTED.segments, EXPECTED.titles * 2, 0), "2 titles"),
        (kept(*EXPECTED.segments, salience=0.9), "title: salience"),
    ],
)
def test_what_is_not_is_named(found: Kept, fault: str) -> None:
    assert any(fault in told for told in judge(found, EXPECTED).faults)


def test_a_line_torn_by_a_kill_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = json.dumps({SEGMENT: ""}) + "\n"
    path.write_text(whole + whole[:-3])
    found = read_journal(path)
    assert len(found.segments) == 1
    assert found.size_bytes == len(whole)


@pytest.mark.parametrize(
    ("during", "code", "retry_info", "allowed"),
    [
        ("triton", "OK", False, True),
        ("triton", "UNAVAILABLE", True, True),
        ("triton", "UNAVAILABLE", False, False),  # the gateway lives, and has to say when to come again
        ("gateway", "UNAVAILABLE", False, True),  # nobody is there to say it
        ("gateway", "INTERNAL", False, False),
        ("stub", "DEADLINE_EXCEEDED", False, False),
    ],
)
def test_what_a_caller_may_see(during: str, code: str, retry_info: bool, allowed: bool) -> None:
    assert Seen(during, "EmbedMedia", code, retry_info).allowed() is allowed
