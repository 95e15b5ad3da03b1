"""The sync embedder has the async one's methods and parameters, and gives the same vectors."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Never

import numpy as np
import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.errors import UsageError
from resonance.clients.results import MediaEmbedding
from resonance.clients.sync import SyncEmbedder
from resonance.serving.server import TritonServer


def public(kind: type) -> dict[str, list[tuple[str, object, object]]]:
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_sync_is_in_step_with_async() -> None:
    assert public(SyncEmbedder) == public(Embedder)


def test_ctrl_c_ends_what_is_under_way() -> None:
    """The signal comes to the caller's thread alone, and the work is in another."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            ended.append(True)

    with SyncEmbedder("127.0.0.1:1") as embedder:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            embedder._call(work())
        assert ended == [True]
        assert embedder._call(asyncio.sleep(0, "still there")) == "still there"


class Silent:
    """A transport whose server never answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    async def infer(self, *request: object, timeout_s: float) -> Never:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...


def test_closing_ends_the_calls_of_other_threads() -> None:
    """As where one file of a pool fails: the embedder is closed first, and the pool waits for the others."""
    silent = Silent()
    with ThreadPoolExecutor(2) as pool, SyncEmbedder("far:1", transport=silent) as embedder:
        calls = [pool.submit(embedder.space), pool.submit(embedder.embed_text, "words")]
        assert silent.asked.wait(5)
    for call in calls:
        with pytest.raises(UsageError, match=r"far:1: (closed here while a call was under way|asked after)"):
            call.result(5)


CALLS: dict[str, Callable[[SyncEmbedder], object]] = {
    "embed": lambda embedder: embedder.embed("film.mp4"),
    "stream": lambda embedder: next(embedder.stream("film.mp4")),
    "space": lambda embedder: embedder.space(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_after_its_end_a_call_is_refused(call: Callable[[SyncEmbedder], object]) -> None:
    embedder = SyncEmbedder("far:1")
    embedder.close()
    embedder.close()
    with pytest.raises(UsageError, match="far:1: asked after it was closed; make another embedder"):
        call(embedder)
    gc.collect()  # a coroutine that was never awaited would be told of now


def test_closing_ends_streams_that_were_left_half_way() -> None:
    embedder = SyncEmbedder("127.0.0.1:1")
    ended = []

    async def parts(source: object, **options: object) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    embedder._embedder.stream = parts  # type: ignore[assignment, method-assign]
    stream = embedder.stream("film")
    assert next(stream) == 1
    embedder.close()
    assert ended == [True]
    with pytest.raises(UsageError):
        next(stream)


FORKING = """
import os, signal, sys
from resonance.clients.errors import ServerUnavailableError, UsageError
from resonance.clients.sync import SyncEmbedder

def says(embedder, kind, word):
    try:
        embedder.space()
    except kind as error:
        assert word in str(error), error
        return
    sys.exit("expected " + kind.__name__)

def in_a_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

parents = SyncEmbedder("grpc://127.0.0.1:1")
in_a_child(lambda: (says(parents, UsageError, "make one in the child"), parents.close()))
in_a_child(lambda: says(SyncEmbedder("grpc://127.0.0.1:1"), ServerUnavailableError, ""))
says(parents, ServerUnavailableError, "")
parents.close()
for server in ("grpc://127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2"):
    in_a_child(lambda: says(SyncEmbedder(server), UsageError, "forked after gRPC was used"))
"""


def test_in_a_forked_process_it_says_so_and_does_not_hang() -> None:
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=100)


class Forgotten:
    """A stream that nobody reads to its end, in a ring of references: only the collector finds it."""

    def __init__(self, embedder: SyncEmbedder) -> None:
        self.ended = threading.Event()
        embedder._embedder.stream = self._parts  # type: ignore[assignment, method-assign]
        ring: list[object] = [embedder.stream("film")]
        assert next(ring[0]) == 1  # type: ignore[call-overload]
        ring.append(ring)

    async def _parts(self, source: object, **options: object) -> AsyncIterator[int]:
        try:
            for part in range(1, 10):
                yield part
        finally:
            await asyncio.sleep(0.01)
            self.ended.set()


def test_a_forgotten_stream_is_collected_in_the_loops_own_thread() -> None:
    embedder = SyncEmbedder("127.0.0.1:1")
    forgotten = Forgotten(embedder)
    embedder._loop.call_soon_threadsafe(gc.collect)
    assert forgotten.ended.wait(5)
    assert embedder._call(asyncio.sleep(0, "still there")) == "still there"
    embedder.close()


def test_a_forgotten_stream_is_collected_after_the_embedder_was_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with SyncEmbedder("127.0.0.1:1") as embedder:
        Forgotten(embedder)
    gc.collect()
    assert not unraisable


def test_a_forgotten_stream_does_not_keep_a_program_from_ending() -> None:
    program = (
        "from resonance.clients.sync import SyncEmbedder\n"
        "from tests.clients.test_sync import Forgotten\n"
        "embedder = SyncEmbedder('127.0.0.1:1')\n"
        "forgotten = Forgotten(embedder)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def test_sync_embeds_and_streams(server: TritonServer, media: Path) -> None:
    path = media / "video" / "transcode_elf_hevc_aac.mp4"
    with SyncEmbedder(server.grpc_address) as embedder:
        whole = embedder.embed(path)
        *_, last = embedder.stream(path)
        for _ in embedder.stream(path):
            break  # leaving early must neither hang nor leak
        assert isinstance(last, MediaEmbedding)
        np.testing.assert_allclose(last.title, whole.title, atol=1e-6)
        assert embedder.space().fingerprint == whole.space.fingerprint
