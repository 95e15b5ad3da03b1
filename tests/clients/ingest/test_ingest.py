"""`resonance ingest` against a real Triton: everything stored once, the bad in quarantine, nothing twice."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow.parquet as pq
import pytest
from PIL import Image

from resonance.clients.embedder import Embedder
from resonance.clients.errors import ServerUnavailableError
from resonance.clients.ingest import embedding
from resonance.clients.ingest.embedding import EmbedOptions, Result, TitleWorker
from resonance.clients.ingest.folders import EXPECTED_SOURCE
from resonance.clients.ingest.job import LedgerThread
from resonance.clients.ingest.ledger import Ledger
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.source import MediaSource
from resonance.clients.results import SpaceRef
from resonance.loadtest.ingest.kills import Server
from resonance.serving.server import TritonServer
from tests.clients.ingest.conftest import BAD, GOOD
from tests.clients.ingest.running import COMMAND, ingest, stored
from tests.clients.media.synthetic import film_in_huffyuv


@pytest.fixture(scope="module")
def done(library: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, ingested."""
    sink = tmp_path_factory.mktemp("sink")
    code, summary, said = ingest(library, sink, server.grpc_address)
    assert code == 1, said  # some are in quarantine
    assert (summary["embedded"], summary["failed"], summary["stored"]) == (GOOD, len(BAD), GOOD)
    assert summary["media_s"] > 60
    return sink


async def test_rows_are_what_embedding_gives(done: Path, library: Path, embedder: Embedder) -> None:
    rows = stored(done)
    assert len(rows) == GOOD
    for media_id in ("000000.mp4", "000007.wav", "000008.png"):
        title = await embedder.embed(library / media_id)
        row = rows[media_id]
        assert row["vector"] == title.title.tolist()
        assert [s["vector"] for s in row["segments"]] == [s.vector.tolist() for s in title.segments]
        assert [s["start_s"] for s in row["segments"]] == [s.start_s for s in title.segments]
        assert dict(row["arcs"]).keys() == title.arcs.keys()


def test_the_bad_are_in_quarantine_with_the_reason(done: Path) -> None:
    rows = pq.read_table(done / "_resonance" / "failed.parquet").to_pylist()
    assert {row["media_id"]: row["error_type"] for row in rows} == dict.fromkeys(BAD, "NotMediaError")
    assert all(row["attempts"] == 1 for row in rows)
    assert "no bytes at all" in next(row["error"] for row in rows if row["media_id"] == "empty.mp4")


def test_unchanged_titles_are_skipped_and_changed_ones_replaced(
    done: Path, library: Path, server: TritonServer, tmp_path: Path
) -> None:
    copy, sink = tmp_path / "library", tmp_path / "sink"
    shutil.copytree(library, copy)
    shutil.copytree(done, sink)
    (sink / "_resonance" / "journal.sqlite").unlink()
    code, summary, _ = ingest(copy, tmp_path / "new", server.grpc_address)
    assert summary["embedded"] == GOOD
    before = stored(tmp_path / "new")
    shutil.copy(copy / "000002.mp4", copy / "000000.mp4")  # changed
    (copy / "000007.wav").touch()  # looked at, and the same
    (copy / "000009.txt").write_text("quite another text")
    code, summary, _ = ingest(copy, tmp_path / "new", server.grpc_address)
    assert (code, summary["embedded"], summary["unchanged"], summary["failed"]) == (1, 2, GOOD - 2, len(BAD))
    after = stored(tmp_path / "new")
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"000000.mp4", "000009.txt"}
    assert after["000000.mp4"]["vector"] == after["000002.mp4"]["vector"]


def test_quarantine_is_tried_again_when_asked_or_changed(
    library: Path, server: TritonServer, tmp_path: Path
) -> None:
    copy, sink = tmp_path / "library", tmp_path / "sink"
    copy.mkdir()
    (copy / "a.png").write_bytes(b"not a picture")
    (copy / "b.png").write_bytes(b"not a picture either")
    ingest(copy, sink, server.grpc_address)
    shutil.copy(library / "000008.png", copy / "a.png")
    code, summary, said = ingest(copy, sink, server.grpc_address)
    assert (code, summary["embedded"], summary["failed"], summary["in_quarantine"]) == (1, 1, 1, 1)
    assert "in quarantine since an earlier job" in said
    code, _, said = ingest(copy, sink, server.grpc_address, "--retry-failed")
    assert code == 1
    assert "b.png: NotMediaError" in said


def test_a_stream_that_is_left_out_is_told_and_the_rest_is_stored(
    server: TritonServer, tmp_path: Path
) -> None:
    film, sink = tmp_path / "library" / "old.avi", tmp_path / "sink"
    film.parent.mkdir()
    film.write_bytes(film_in_huffyuv(heard=True))
    code, summary, said = ingest(film.parent, sink, server.grpc_address)
    assert (code, summary["embedded"]) == (0, 1)
    assert f"{film}: its video in 'huffyuv' is left out: it cannot be read here" in said
    assert stored(sink)["old.avi"]["present"] == {"visual": False, "audio": True, "transcript": False}


def test_a_killed_job_goes_on_and_ends_the_same(
    done: Path, library: Path, server: TritonServer, tmp_path: Path
) -> None:
    sink = tmp_path / "sink"
    command = [*COMMAND, "ingest", str(library), "--sink", str(sink), "--server", server.grpc_address]
    for lives_s in (1.3, 1.6, 1.9):
        job = subprocess.Popen([*command, "--batch-titles", "2"], stderr=subprocess.DEVNULL)
        time.sleep(lives_s)
        job.kill()
        job.wait()
    code, summary, said = ingest(library, sink, server.grpc_address)
    assert code == 1, said
    assert summary["in_quarantine"] == len(BAD)
    assert stored(sink) == stored(done)


def test_manifest_names_tags_and_transcripts(library: Path, server: TritonServer, tmp_path: Path) -> None:
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:04,000\nboats in the harbour\n")
    rows = [
        {"id": "one", "uri": str(library / "000000.mp4"), "transcript_uri": "words.srt", "language": "en"},
        {"id": "two", "uri": str(library / "000001.mkv"), "tags": ["news", "short"], "year": 1999},
        {"id": "two", "uri": str(library / "000002.mp4")},
        {"id": "gone", "uri": "nowhere.mp4"},
        {"id": "no uri"},
    ]
    manifest = tmp_path / "titles.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    code, summary, said = ingest(manifest, tmp_path / "sink", server.grpc_address, "--concurrency", "1")
    assert (code, summary["embedded"], summary["failed"]) == (1, 2, 4), said
    found = stored(tmp_path / "sink")
    assert found["one"]["language"] == "en"
    assert found["one"]["present"]["transcript"]
    assert found["two"]["tags"] == ["news", "short"]
    assert dict(found["two"]["attributes"]) == {"year": "1999"}
    failed = pq.read_table(tmp_path / "sink" / "_resonance" / "failed.parquet").to_pylist()
    reasons = {row["media_id"].rpartition("/")[2]: row["error_type"] for row in failed}
    assert reasons == {
        "000002.mp4)": "CatalogueError",
        "gone": "NotMediaError",
        "titles.jsonl row 5": "CatalogueError",
        "titles.jsonl row 6": "CatalogueError",
    }
    # what was mended in a manifest leaves the quarantine; rows of another catalogue stay
    (tmp_path / "other.jsonl").write_text("no json\n")
    code, summary, said = ingest(tmp_path / "other.jsonl", tmp_path / "sink", server.grpc_address)
    assert (code, summary["in_quarantine"]) == (1, 5), said
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    code, summary, said = ingest(manifest, tmp_path / "sink", server.grpc_address)
    assert (code, summary["unchanged"], summary["in_quarantine"]) == (0, 2, 2), said


def test_what_a_catalogue_says_anew_is_stored_without_embedding_anything(
    library: Path, server: TritonServer, tmp_path: Path
) -> None:
    manifest, sink = tmp_path / "titles.csv", tmp_path / "sink"
    rows = [f"still,{library / '000008.png'},news,1999", f"text,{library / '000009.txt'},,"]
    manifest.write_text("\n".join(["id,uri,tags,year", *rows]))
    code, summary, said = ingest(manifest, sink, server.grpc_address)
    assert (code, summary["embedded"]) == (0, 2), said
    before = stored(sink)
    moved = tmp_path / "moved.png"
    shutil.copy(library / "000008.png", moved)
    rows[0] = f"still,{moved},drama,2001"
    manifest.write_text("\n".join(["id,uri,tags,year", *rows]))
    code, summary, said = ingest(manifest, sink, server.grpc_address)
    assert (code, summary["embedded"], summary["unchanged"], summary["relabelled"]) == (0, 0, 1, 1), said
    after = stored(sink)
    assert after["text"] == before["text"]
    assert after["still"]["tags"] == ["drama"]
    assert after["still"]["uri"] == str(moved)
    assert dict(after["still"]["attributes"]) == {"year": "2001"}
    assert after["still"]["vector"] == before["still"]["vector"]
    code, summary, said = ingest(manifest, sink, server.grpc_address)
    assert (summary["unchanged"], summary["relabelled"]) == (2, 0), said


def test_wrong_use_and_servers_that_are_not_there(
    library: Path, tmp_path: Path, server: TritonServer
) -> None:
    assert ingest(library, "qdrant://host", server.grpc_address)[0] == 2
    assert ingest(library, tmp_path, "ftp://somewhere")[0] == 2
    port = server.grpc_address.rpartition(":")[2]
    code, _, said = ingest(library, tmp_path, server.grpc_address, "--metrics-port", port)
    assert code == 2
    assert f"--metrics-port {port}: it cannot be listened on" in " ".join(said.split())
    (tmp_path / "a file").touch()
    code, _, said = ingest(library, tmp_path, server.grpc_address, "--failed", str(tmp_path / "a file" / "f"))
    assert code == 3
    assert "its folder cannot be made" in said
    code, _, said = ingest(library, tmp_path, "127.0.0.1:9", "--patience-s", "1")
    assert code == 3
    assert "ServerUnavailableError" in said
    assert "waiting up to 1 s for it (--patience-s)" in said
    code, _, said = ingest(tmp_path / "nowhere", tmp_path / "sink", "127.0.0.1:9")  # which nobody asks
    assert code == 3
    assert said == f"CatalogueError: {tmp_path / 'nowhere'}: it is not there; expected {EXPECTED_SOURCE}\n"
    assert not (tmp_path / "sink").exists()


@pytest.mark.parametrize("gateway", [False, True])
def test_a_server_that_comes_later_is_waited_for(library: Path, tmp_path: Path, gateway: bool) -> None:
    server = Server(tmp_path / "log", gateway=gateway)
    picture, sink = library / "000008.png", tmp_path / "sink"
    job = subprocess.Popen(
        [*COMMAND, "ingest", str(picture), "--sink", str(sink), "--server", server.address],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stderr is not None
    assert "waiting up to 600 s" in job.stderr.readline()
    server.start()
    try:
        _, said = job.communicate(timeout=60)
    finally:
        server.stop()
    assert job.returncode == 0, said
    assert stored(sink).keys() == {str(picture)}


async def test_a_file_that_changes_meanwhile_is_embedded_anew(
    library: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(library / "000000.mp4", film)
    async with Embedder(server.grpc_address) as client:
        found = await client.space()
        space = SpaceRef.of(found)
        ledger = LedgerThread(
            lambda: Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), space, open_sink)
        )
        worker = TitleWorker(client, ledger, EmbedOptions())
        stream, runs = client.stream, []

        def changing(*args: Any, **named: Any) -> Any:
            runs.append(named["done"])
            if len(runs) == 1:
                shutil.copy(library / "000002.mp4", film)
            return stream(*args, **named)

        monkeypatch.setattr(client, "stream", changing)
        outcome = await worker.process(CatalogueItem(media_id="film", uri=str(film)))
        assert outcome.result is Result.EMBEDDED
        assert runs == [(), ()]
        await ledger.call(lambda opened: opened.flush())
        await ledger.close()
        expected = [part async for part in stream(film)][-1]
    assert stored(tmp_path / "sink")["film"]["vector"] == expected.title.tolist()


async def test_media_that_are_read_better_now_are_embedded_again_and_others_are_not(
    server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("moving.webp", "still.png")
    for name in names:
        Image.new("RGB", (64, 48), "teal").save(tmp_path / name)
    async with Embedder(server.grpc_address) as client:
        space = SpaceRef.of(await client.space())
        ledger = LedgerThread(
            lambda: Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), space, open_sink)
        )
        worker = TitleWorker(client, ledger, EmbedOptions())

        async def job() -> list[Result]:
            items = [CatalogueItem(media_id=name, uri=str(tmp_path / name)) for name in names]
            results = [(await worker.process(item)).result for item in items]
            await ledger.call(lambda opened: opened.flush())
            return results

        with monkeypatch.context() as before:
            before.setattr(embedding, "reading", lambda ending: None)
            assert await job() == [Result.EMBEDDED, Result.EMBEDDED]
        assert await job() == [Result.EMBEDDED, Result.UNCHANGED]
        assert await job() == [Result.UNCHANGED, Result.UNCHANGED]
        await ledger.close()
    assert stored(tmp_path / "sink")["moving.webp"]["content_hash"].endswith("+read2")


async def test_a_disk_that_fails_for_a_moment_is_not_the_titles_fault(
    library: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, faults = library / "000000.mp4", [errno.EIO, errno.ESTALE, errno.EMFILE]
    open_path = MediaSource._open_path

    class Failing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            raise OSError(fault := faults.pop(), os.strerror(fault))

    def opened(source: MediaSource) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(Failing(film))) if faults else open_path(source)

    monkeypatch.setattr(MediaSource, "_open_path", opened)
    async with Embedder(server.grpc_address) as client:
        space = SpaceRef.of(await client.space())
        ledger = LedgerThread(
            lambda: Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), space, open_sink)
        )
        worker = TitleWorker(client, ledger, EmbedOptions())
        outcome = await worker.process(CatalogueItem(media_id="film", uri=str(film)))
        await ledger.close()
    assert (outcome.result, outcome.error, faults) == (Result.EMBEDDED, "", [])


async def test_a_text_that_goes_while_a_server_is_waited_for_is_its_own_fault(
    server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("boats in the harbour")
    async with Embedder(server.grpc_address) as client:
        space = SpaceRef.of(await client.space())
        ledger = LedgerThread(
            lambda: Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), space, open_sink)
        )

        async def away(*args: Any, **named: Any) -> Any:
            text.unlink()
            raise ServerUnavailableError("the server is being restarted")

        monkeypatch.setattr(client, "embed_text", away)
        worker = TitleWorker(client, ledger, EmbedOptions())
        outcome = await worker.process(CatalogueItem(media_id="words", uri=str(text)))
        await ledger.close()
    assert outcome.result is Result.FAILED
    assert outcome.error.startswith(f"NotMediaError: {text}: it cannot be opened (No such file")


def test_two_titles_of_one_name_side_by_side(library: Path, server: TritonServer, tmp_path: Path) -> None:
    manifest, sink = tmp_path / "titles.csv", tmp_path / "sink"
    names = ("000000.mp4", "000002.mp4")
    manifest.write_text("id,uri\n" + "".join(f"film,{library / name}\n" for name in names))
    for embedded in (1, 0):  # the second job has nothing to do, and says it again
        code, summary, said = ingest(manifest, sink, server.grpc_address, "--concurrency", "2")
        assert (code, summary["embedded"], summary["failed"]) == (1, embedded, 1), said
        assert "another title of this name" in said
    assert list(stored(sink)) == ["film"]


def test_the_longest_name_there_can_be(library: Path, server: TritonServer, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy(library / "000000.mp4", folder / ("録" * 84 + ".ts"))  # .srt is longer than .ts
    shutil.copy(library / "000002.mp4", folder)
    code, summary, said = ingest(folder, tmp_path / "sink", server.grpc_address)
    assert (code, summary["embedded"]) == (0, 2), said


async def test_watching_embeds_uploads_and_shows_the_age_of_the_oldest(
    library: Path, server: TritonServer, tmp_path: Path
) -> None:
    uploads, sink = tmp_path / "uploads", tmp_path / "sink"
    uploads.mkdir()
    shutil.copy(library / "000000.mp4", uploads)
    job = await asyncio.create_subprocess_exec(
        *COMMAND, "ingest", str(uploads), "--sink", str(sink), "--server", server.grpc_address, "--watch",
        "--metrics-port", "0", "--json", "--batch-titles", "1",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert job.stderr is not None
    line = (await asyncio.wait_for(job.stderr.readline(), 20)).decode()
    url = line.split()[-1]

    def metric(name: str) -> float:
        text = urllib.request.urlopen(url, timeout=5).read().decode()
        return sum(
            float(x.split()[-1]) for x in text.splitlines() if x.startswith(name) and "created" not in x
        )

    async def until(name: str, value: float) -> None:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(metric, name) != value:  # noqa: ASYNC110  it is another process
                await asyncio.sleep(0.05)

    try:
        await until("resonance_ingest_titles_total", 1)
        half = (library / "000001.mkv").read_bytes()
        with (uploads / "slow.mkv").open("wb") as upload:  # grows for longer than a whole file stands still
            for at in range(0, len(half), len(half) // 7):
                upload.write(half[at : at + len(half) // 7])
                upload.flush()
                await asyncio.sleep(0.5)
            assert await asyncio.to_thread(metric, "resonance_ingest_oldest_unembedded_age_seconds") > 2
            assert await asyncio.to_thread(metric, "resonance_ingest_titles_total") == 1
        (uploads / "moved.part").write_bytes((library / "000008.png").read_bytes())
        (uploads / "moved.part").rename(uploads / "moved.png")
        await until("resonance_ingest_titles_total", 3)
        assert await asyncio.to_thread(metric, "resonance_ingest_oldest_unembedded_age_seconds") == 0
    finally:
        job.send_signal(signal.SIGTERM)
        _, said = await job.communicate()
    assert b"goes on from here" in said
    assert job.returncode == 128 + signal.SIGTERM
    assert stored(sink).keys() == {"000000.mp4", "slow.mkv", "moved.png"}


async def test_what_fails_is_in_quarantine_while_a_watch_goes_on(
    library: Path, server: TritonServer, tmp_path: Path
) -> None:
    uploads, failed = tmp_path / "uploads", tmp_path / "failed.parquet"
    uploads.mkdir()
    job = await asyncio.create_subprocess_exec(
        *COMMAND, "ingest", str(uploads), "--sink", str(tmp_path / "sink"), "--server", server.grpc_address,
        "--watch", "--failed", str(failed),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(b"no film")
        broken.rename(uploads / "broken.mp4")
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(failed.exists):  # noqa: ASYNC110  it is another process
                await asyncio.sleep(0.05)
        assert pq.read_table(failed)["media_id"].to_pylist() == ["broken.mp4"]
        assert job.returncode is None
    finally:
        job.send_signal(signal.SIGTERM)
        await job.communicate()


async def test_a_job_that_was_idle_has_all_its_patience(
    library: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Embedder(server.grpc_address) as client:
        space = SpaceRef.of(await client.space())
        ledger = LedgerThread(
            lambda: Ledger(tmp_path / "journal.sqlite", str(tmp_path / "sink"), space, open_sink)
        )
        worker = TitleWorker(client, ledger, EmbedOptions(patience_s=20.0))
        stream, runs = client.stream, []

        def away_at_first(*args: Any, **named: Any) -> Any:
            runs.append(named["done"])
            if len(runs) == 1:
                raise ServerUnavailableError("the server is being restarted")
            return stream(*args, **named)

        monkeypatch.setattr(client, "stream", away_at_first)
        worker._progress_s -= 3600.0
        outcome = await worker.process(CatalogueItem(media_id="still", uri=str(library / "000008.png")))
        await ledger.close()
    assert (outcome.result, len(runs)) == (Result.EMBEDDED, 2)


def test_titles_are_found_from_another_folder(
    library: Path, server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = tmp_path / "titles"
    titles.mkdir()
    shutil.copy(library / "000008.png", titles)
    (tmp_path / "titles.csv").write_text("id,uri\nstill,titles/000008.png\n")
    monkeypatch.chdir(tmp_path)
    for source in ("titles", "titles/*.png", "titles/000008.png", "titles.csv"):
        sink = tmp_path / f"of {source.replace('/', ' ')}"
        code, _, said = ingest(source, sink, server.grpc_address)
        assert code == 0, said
        assert [row["uri"] for row in stored(sink).values()] == [str(titles / "000008.png")]
