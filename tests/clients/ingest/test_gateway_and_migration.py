"""Jobs through a real gateway, and a store carried over to another one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.clients.credentials import Credentials
from resonance.clients.errors import ServerUnavailableError
from resonance.clients.ingest.concurrency import SPARE, titles_side_by_side
from resonance.clients.ingest.errors import MissingPartError, PruneError, StoreError
from resonance.clients.ingest.ledger import Ledger, Verdict
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.ingest.migration import arrival, titles_of
from resonance.clients.ingest.part_files import PartFolder
from resonance.clients.ingest.pending import row_bytes
from resonance.clients.ingest.removal import remove_titles
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.ingest.state_files import default_journal
from resonance.clients.ingest.stores import open_sink, open_store
from resonance.loadtest.ingest.kills import Server
from resonance.serving.server import TritonServer
from tests.clients.ingest.conftest import BAD, GOOD
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_item, made_row, made_rows
from tests.clients.ingest.running import COMMAND, ingest, stored


@pytest.fixture(scope="module")
def gateway(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`resonance serve --gateway`: its address."""
    server = Server(tmp_path_factory.mktemp("gateway") / "log", gateway=True)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


async def test_a_server_says_how_many_titles_keep_it_busy(gateway: str, server: TritonServer) -> None:
    assert await titles_side_by_side(gateway, None) == (os.cpu_count() or 1) + SPARE
    assert await titles_side_by_side(server.grpc_address, None) > SPARE
    assert await titles_side_by_side(f"{gateway},{gateway}", None) == 2 * (os.cpu_count() or 1) + SPARE


def test_a_gateway_gives_the_rows_that_triton_gives(
    gateway: str, server: TritonServer, library: Path, tmp_path: Path
) -> None:
    code, summary, said = ingest(library, tmp_path / "gateway", gateway)
    assert (code, summary["embedded"], summary["failed"]) == (1, GOOD, len(BAD)), said
    ingest(library, tmp_path / "triton", server.grpc_address)
    through, direct = stored(tmp_path / "gateway"), stored(tmp_path / "triton")
    assert through.keys() == direct.keys()
    for media_id, row in direct.items():
        assert through[media_id]["vector"] == pytest.approx(row["vector"], abs=1e-6)
        assert len(through[media_id]["segments"]) == len(row["segments"])


def test_a_store_is_carried_over_and_followed(library: Path, server: TritonServer, tmp_path: Path) -> None:
    titles, old, new = tmp_path / "titles", tmp_path / "old", f"qdrant+local:{tmp_path}/new?name=next"
    shutil.copytree(library, titles)
    ingest(titles, old, server.grpc_address)

    def migrate(*more: str) -> tuple[int, dict]:
        command = [*COMMAND, "migrate", str(old), "--sink", new, "--server", server.grpc_address, "--json"]
        command += ["--journal", str(tmp_path / "new.sqlite"), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    code, report = migrate()
    same = {"surplus": 0, "without_transcript": 0, "sampled_otherwise": 0}
    assert (code, report) == (0, {"wanted": GOOD, "there": GOOD, "missing": [], **same, "complete": True})
    assert stored(new) == stored(old)
    shutil.copy(titles / "000001.mkv", titles / "later.mkv")
    ingest(titles, old, server.grpc_address)
    assert arrival(str(old), new).missing == ("later.mkv",)
    (titles / "later.mkv").unlink()  # gone before it could be embedded again
    code, report = migrate()
    assert (code, report["there"], report["missing"], report["complete"]) == (1, GOOD, ["later.mkv"], False)
    remove_titles(str(old), default_journal(str(old)), ["later.mkv", "000009.txt"])
    code, report = migrate("--prune")
    assert (code, report["there"], report["surplus"], report["complete"]) == (0, GOOD - 1, 0, True)
    assert stored(new) == stored(old)


def test_what_titles_lost_on_their_way_is_counted(tmp_path: Path) -> None:
    def stored_as(name: str, transcript: dict[str, bool], recipe: str) -> str:
        rows = made_rows(*transcript, version=f"blake2b:1{recipe}")
        present = [{"visual": True, "audio": True, "transcript": there} for there in transcript.values()]
        at = rows.schema.get_field_index("present")
        column = pa.array(present, rows.schema.field("present").type)
        sink = open_sink(str(tmp_path / name), SPACE)
        sink.write(rows.set_column(at, rows.schema.field("present"), column), batch="1")
        sink.close()
        return str(tmp_path / name)

    old = stored_as("old", {"a": True, "b": True, "c": False}, "+uniform+tiny.en")
    poorer = arrival(old, stored_as("poorer", {"a": True, "b": False, "c": False}, ""))
    assert (poorer.complete, poorer.without_transcript, poorer.sampled_otherwise) == (True, 1, 3)
    assert ["--asr MODEL" in line or "--sampling" in line for line in poorer.warnings(pruned=True)] == [
        True,
        True,
    ]
    assert arrival(old, old).warnings(pruned=False) == []
    (tmp_path / "nothing").mkdir()
    none = arrival(old, str(tmp_path / "nothing"))
    assert (none.wanted, none.there, none.missing) == (3, 0, ("a", "b", "c"))


@pytest.mark.parametrize("prune", [True, False])
def test_what_left_the_old_store_is_no_part_of_the_new_one(
    prune: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, space in (("old", SPACE), ("new", OTHER_SPACE)):
        sink = open_sink(str(tmp_path / name), space)
        sink.write(made_rows("a", "b", "c", space=space), batch="1")
        sink.close()
    assert arrival(str(tmp_path / "old"), str(tmp_path / "new")).complete
    assert remove_titles(str(tmp_path / "old"), tmp_path / "none.sqlite", ["b"]).titles == 1
    limits: list[float | None] = []

    class Run:
        """A job that does what `Ledger.end_catalogue` does of its settings, which has tests of its own."""

        failure = None

        def __init__(self, settings: IngestSettings, *, json_out: bool) -> None:
            self._settings = settings

        async def run(self) -> int:
            limits.append(self._settings.prune_limit)
            if self._settings.prune_limit is not None:
                remove_titles(self._settings.sink, tmp_path / "none.sqlite", ["b"])
            return 0

    monkeypatch.setattr("resonance.clients.cli.ingest_run.IngestRun", Run)
    command = ["migrate", str(tmp_path / "old"), "--sink", str(tmp_path / "new"), "--server", "localhost:1"]
    more = ["--prune", "--prune-limit", "0.5"] if prune else []
    plain = CliRunner().invoke(make_app(), [*command, *more])
    told = json.loads(CliRunner().invoke(make_app(), [*command, *more, "--json"]).stdout)
    assert limits == [0.5 if prune else None] * 2
    assert (told["wanted"], told["there"], told["missing"]) == (2, 2, [])
    if prune:
        assert (plain.exit_code, told["surplus"], told["complete"]) == (0, 0, True)
        assert "2 of 2 titles: complete" in plain.stderr
    else:
        assert (plain.exit_code, told["surplus"], told["complete"]) == (1, 1, False)
        assert "2 of 2 titles: all, and others" in plain.stderr
        assert "1 titles are not in the old store, such as b; if they left it, --prune" in plain.stderr


def test_only_what_a_look_before_saw_in_the_old_store_is_pruned(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")

    def look(*names: str, migrated_from: str | None = old, limit: float | None = 0.5) -> int:
        ledger = Ledger(tmp_path / "journal.sqlite", new, OTHER_SPACE, open_sink, migrated_from=migrated_from)
        try:
            for name in names:
                if ledger.look(made_item(name), "size 1") is Verdict.EMBED:
                    ledger.begin(made_item(name), "size 1", "v1")
                    ledger.finish(name, "v1", row_bytes(made_row(name, space=OTHER_SPACE)))
            ledger.flush()
            return ledger.end_catalogue([old], limit)
        finally:
            ledger.close()

    look("a", "b", "c", limit=None)
    look("put by another job", migrated_from=None, limit=None)
    assert look("a", "b", migrated_from=str(tmp_path / "another")) == 0
    assert look("a", "b", migrated_from=f"{tmp_path}/there/../old/") == 1
    assert stored(new).keys() == {"a", "b", "put by another job"}
    assert look("a", "b") == 0
    assert look("a", migrated_from=None, limit=1.0) == 2  # any other catalogue is the whole library


@pytest.mark.parametrize("method", ["batches", "schema"])
def test_a_file_of_the_old_store_that_goes_while_it_is_read_is_told(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, sink = str(tmp_path / "old"), open_sink(str(tmp_path / "old"), SPACE)
    for name in "abc":
        sink.write(made_rows(name), batch=name)
    sink.close()
    read = getattr(PartFolder, method)

    def gone(folder: PartFolder, name: str, *more: Any) -> Any:
        return read(folder, "part-gone.parquet" if name == "part-a.parquet" else name, *more)

    monkeypatch.setattr(PartFolder, method, gone)
    *titles, faulty = titles_of(old)
    assert [title.media_id for title in titles] == ["b", "c"]
    assert isinstance(faulty, FaultyRow)
    assert faulty.where == old
    assert "part-a.parquet: it went while the store was read; expected all of its files" in str(faulty.error)
    with pytest.raises(MissingPartError, match=r"part-a\.parquet"):
        arrival(old, old)
    store = open_store(old)  # for readers it is as if its titles had gone
    assert sum(batch.num_rows for batch in store.titles(["media_id"])) == 2
    store.close()


AWAY = StoreError("old", "it is away", "a store")
TOO_MANY = PruneError(3, 10, 0.1)
SERVER_AWAY = ServerUnavailableError("nobody answers")


@pytest.mark.parametrize(
    ("ends", "followed", "looks"),
    [
        ([TOO_MANY, None, AWAY, TOO_MANY, None, 130], True, 6),
        ([None, "old store", None, 143], True, 4),
        ([AWAY, None], True, 1),  # as of a name that is wrong
        ([None, SERVER_AWAY, None], True, 2),
        ([TOO_MANY, None], False, 1),
    ],
)
def test_what_the_next_look_may_do_better_ends_no_following(
    ends: list[Any], followed: bool, looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ends`: what each look's job fails with, its exit code, or which store goes while it is told of."""
    for name, space in (("old", SPACE), ("new", OTHER_SPACE)):
        sink = open_sink(str(tmp_path / name), space)
        sink.write(made_rows("a", space=space), batch="1")
        sink.close()
    done: list[Any] = []

    class Run:
        def __init__(self, settings: IngestSettings, *, json_out: bool) -> None:
            done.append(ends[len(done)])
            self.failure = done[-1] if isinstance(done[-1], Exception) else None

        async def run(self) -> int:
            if (tmp_path / "away").is_dir():
                (tmp_path / "away").rename(tmp_path / "old")
            if done[-1] == "old store":
                (tmp_path / "old").rename(tmp_path / "away")
            return 3 if self.failure else done[-1] if isinstance(done[-1], int) else 0

    async def sleep(duration_s: float) -> None:
        assert duration_s == 5.0

    monkeypatch.setattr("resonance.clients.cli.ingest_run.IngestRun", Run)
    monkeypatch.setattr("asyncio.sleep", sleep)
    command = ["migrate", str(tmp_path / "old"), "--sink", str(tmp_path / "new"), "--server", "localhost:1"]
    told = CliRunner().invoke(make_app(), [*command, *(["--follow-s", "5"] if followed else [])])
    assert len(done) == looks
    assert told.exit_code == (done[-1] if isinstance(done[-1], int) else 3)
    assert told.stderr.count("the next look is in 5 s") == sum(
        end not in (None, 130, 143) for end in ends[: looks - 1]
    )
    assert told.stderr.count("1 of 1 titles: complete") == done.count(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_migration_that_follows_is_stopped_while_it_waits(
    number: signal.Signals, server: TritonServer, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("boats in the harbour")
    ingest(tmp_path / "words.txt", tmp_path / "old", server.grpc_address)
    command = [*COMMAND, "migrate", str(tmp_path / "old"), "--sink", str(tmp_path / "new"), "--json"]
    job = subprocess.Popen(
        [*command, "--server", server.grpc_address, "--follow-s", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["complete"]
    job.send_signal(number)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 128 + number
    assert said.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in said


@pytest.mark.parametrize(("store", "alone"), [("qdrant+local:old?name=n", True), ("old", False)])
def test_a_store_of_one_reader_is_not_counted_beside_the_reading(store: str, alone: bool) -> None:
    settings = IngestSettings(
        sources=(store,), sink="new", server="a:1", credentials=Credentials(), from_store=True
    )
    assert settings.is_read_by_one_alone is alone
