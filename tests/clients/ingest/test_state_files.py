"""Where a sink's journal is: its own alone, from whichever folder the sink is named."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from resonance.clients.ingest.errors import JournalError
from resonance.clients.ingest.journal import Journal
from resonance.clients.ingest.state_files import default_journal

RELATIVE = "qdrant+local:store?name=films"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's folder for state; the current folder is another one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "state" / "resonance"


def made_before(state: Path, sink: str) -> Path:
    """A journal where it was by default before the folder of an embedded Qdrant was resolved."""
    name = hashlib.blake2b(sink.encode(), digest_size=8).hexdigest()
    path = state / f"ingest-{name}" / "journal.sqlite"
    Journal(path, sink).close()
    return path


def test_one_name_in_two_folders_is_two_sinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = default_journal(RELATIVE)
    assert here == default_journal(f"qdrant+local:{tmp_path}/here/./store?name=films")
    assert here != default_journal("qdrant+local:store?name=other")
    monkeypatch.chdir(tmp_path)
    assert here != default_journal(RELATIVE)
    assert here == default_journal("qdrant+local:here/store?name=films")


def test_an_earlier_journal_is_found_where_it_is_surely_the_same_sinks(tmp_path: Path, state: Path) -> None:
    sink = f"qdrant+local:{tmp_path}/store"  # of which the name is not said
    earlier = made_before(state, sink)
    assert default_journal(sink) == earlier
    Journal(default_journal(sink), sink).close()


def test_an_earlier_journal_of_a_sink_with_a_last_slash_is_found(state: Path) -> None:
    sink = "s3://bucket/vectors/"
    earlier = made_before(state, sink)
    for named in (sink, sink.rstrip("/")):
        assert default_journal(named) == earlier
        Journal(default_journal(named), named).close()


def test_one_that_may_be_another_folders_is_told_with_what_to_do(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = made_before(state, RELATIVE)
    with pytest.raises(JournalError, match="whichever folder that was seen from; expected") as refused:
        default_journal(RELATIVE)
    move = re.search("mv (.*) (.*); or", str(refused.value))
    assert move is not None
    assert move[1] == str(earlier.parent)
    Path(move[1]).rename(move[2])
    journal = default_journal(RELATIVE)
    assert journal.is_file()
    Journal(journal, RELATIVE).close()
    monkeypatch.chdir(tmp_path)  # it is one sink's from now on
    with pytest.raises(JournalError, match="the journal of qdrant"):
        Journal(journal, RELATIVE)
