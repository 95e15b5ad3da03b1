"""What must stay as it was while bad calls come: good calls, the processes, what they hold, and the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil

from resonance.loadtest.fuzz.mutate import Sample
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import EmbeddingServiceStub

#: Between two good answers to the same input.
SAME = 1e-5
#: A gateway that has seen many kinds of calls keeps more than one that has seen none.
GROWTH_BYTES = 96 << 20
GOOD_TIMEOUT_S = 20.0


class GoodCaller:
    """Somebody else, who calls as one should and must be answered rightly."""

    def __init__(self, channel: grpc.aio.Channel, film: Sample) -> None:
        self._stub, self._film = EmbeddingServiceStub(channel), film
        self._query: np.ndarray | None = None
        self._title: np.ndarray | None = None
        self.segments: list[pb.Segment] = []
        self.fingerprint = ""
        self.calls = 0

    async def call(self) -> str | None:
        """Ask for a query and embed the film; what was wrong with the answers, if anything."""
        self.calls += 1
        request = pb.EmbedQueryRequest(parts=[pb.QueryPart(text="waves at night")])
        start = pb.EmbedMediaStart(media_id="good", mode=pb.MODE_ENCODED, size_bytes=len(self._film.data))
        upload = (
            pb.EmbedMediaRequest(start=start),
            pb.EmbedMediaRequest(chunk=pb.Chunk(data=self._film.data)),
        )
        try:
            answer = await self._stub.EmbedQuery(request, timeout=GOOD_TIMEOUT_S)
            answers = [a async for a in self._stub.EmbedMedia(iter(upload), timeout=GOOD_TIMEOUT_S)]
        except grpc.aio.AioRpcError as error:
            return f"a good call failed: {error.code().name}: {error.details()}"
        query = np.array(answer.vector, np.float32)
        title = np.array(answers[-1].title.vector, np.float32)
        if self._query is None or self._title is None:
            self._query, self._title = query, title
            self.segments = [a.segment for a in answers if a.HasField("segment")]
            self.fingerprint = answer.fingerprint
            return None
        for what, came, expected in (("query", query, self._query), ("title", title, self._title)):
            if came.shape != expected.shape or not np.allclose(came, expected, atol=SAME):
                return f"the vector of a good {what} changed"
        return None


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the server holds. readers: processes below the gateway; models: those below Triton, by pid."""

    gateway_bytes: int
    descriptors: int
    threads: int
    readers: int
    spool_files: int
    models: frozenset[int]
    busy: Mapping[str, int]


def holdings(gateway_pid: int, triton_pid: int, spool: Path, status: pb.GetStatusResponse) -> Holdings:
    """Look at the server's processes and its own numbers."""
    gateway, triton = psutil.Process(gateway_pid), psutil.Process(triton_pid)
    return Holdings(
        gateway_bytes=gateway.memory_info().rss,
        descriptors=gateway.num_fds(),
        threads=gateway.num_threads(),
        readers=len(gateway.children(recursive=True)),
        spool_files=sum(path.suffix != ".log" for path in spool.iterdir()),
        models=frozenset(child.pid for child in triton.children(recursive=True)) | {triton_pid},
        busy={
            name: int(getattr(status, name))
            for name in ("uploads", "live_feeds", "queries", "queued", "segments_in_flight", "spooled_bytes")
        },
    )


def differences(before: Holdings, after: Holdings) -> list[str]:
    """What did not come back, in words."""
    told = []
    if after.gateway_bytes > before.gateway_bytes + GROWTH_BYTES:
        told.append(
            f"the gateway's memory grew from {before.gateway_bytes:,} to {after.gateway_bytes:,} bytes"
        )
    for name in ("descriptors", "threads", "readers", "spool_files"):
        was, now = getattr(before, name), getattr(after, name)
        # a thread or descriptor more is gRPC's own, which opens them by need
        if now > was + (8 if name in ("descriptors", "threads") else 0):
            told.append(f"{name}: {now}; {was} before")
    if before.models != after.models:
        told.append("a process of Triton died and was replaced")
    told += [f"{name} is {value}; expected 0" for name, value in after.busy.items() if value]
    return told


class LogFaults:
    """Lines of the gateway's log that tell of a fault of its own, from now on."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, path.stat().st_size

    def news(self) -> list[str]:
        """Those since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return [line for line in whole.decode("utf-8", "replace").splitlines() if _is_fault(line)]


def _is_fault(line: str) -> bool:
    try:
        told = json.loads(line)
    except ValueError:
        return bool(
            line.strip()
        )  # whatever is not a line of the log speaks past it: a traceback, a C library
    return "incident" in told or told.get("level") in ("error", "critical")
