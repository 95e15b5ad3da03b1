"""A second caller, with plain stubs: what is really on the wire while things die.

It makes calls all the time, one after the other, and notes every status code, whether a RetryInfo came with
it, and whether answers are what they were before anything was killed. Its stubs are those of threads:
`grpc.aio` takes a write that a dying server cut off for an error of its own, INTERNAL, and hides how it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from resonance.clients.credentials import WITHOUT_PROXY
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc

#: A caller's own deadline, so that a call that hangs is seen.
DEADLINE_S = 30.0
PAUSE_S, FAILED_PAUSE_S = 0.05, 0.2
CHUNK_BYTES = 256 * 1024
TOLERANCE = 1e-6
QUERY = "And one by one the lights came home."
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
    *WITHOUT_PROXY,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a call ended.

    Attributes:
        during: kind that was killed in that round. method: of the service. code: by its gRPC name.
        retry_info: whether the status says when to come again. text: the status' own words.
    """

    during: str
    method: str
    code: str
    retry_info: bool
    text: str = ""

    @property
    def connection_lost(self) -> bool:
        """UNAVAILABLE by gRPC itself: whoever would send details is dead."""
        return self.code == "UNAVAILABLE" and not self.retry_info

    def allowed(self) -> bool:
        """Whether a caller may see this: answers, and UNAVAILABLE with a hint when to come again."""
        if self.code == "OK" or (self.code == "UNAVAILABLE" and self.retry_info):
            return True
        return self.connection_lost and self.during == "gateway"


class Witness:
    """Calls the gateway at `address` until closed.

    Args:
        film: sent as an upload over and over. segments: fused over and over.

    Attributes:
        during: set to the kind that is being killed.
        seen: how often each ending was met.
        wrong: answers that were not what they were at first.
    """

    def __init__(self, address: str, film: Path, segments: Sequence[pb.Segment], fingerprint: str) -> None:
        self.during = ""
        self.seen: Counter[Seen] = Counter()
        self.wrong: list[str] = []
        self._film = film.read_bytes()
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._fuse = pb.FuseTitleRequest(media_id="witness", segments=segments, fingerprint=fingerprint)
        self._first: dict[str, np.ndarray] = {}
        self._may_call = asyncio.Event()
        self._may_call.set()
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Witness:
        self._tasks = [asyncio.create_task(self._ask_for_ever()), asyncio.create_task(self._send_for_ever())]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        self._channel.close()  # ends what threads still wait for
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """No call of its own is under way inside."""
        self._may_call.clear()
        try:
            await self._none_under_way.wait()
            yield
        finally:
            self._may_call.set()

    def violations(self) -> list[str]:
        """What no caller should have seen."""
        told = [
            f"{times} times {seen.method} during {seen.during or 'nothing'}: {seen.code} "
            f"{'with' if seen.retry_info else 'without'} RetryInfo: {seen.text}"
            for seen, times in self.seen.items()
            if not seen.allowed()
        ]
        return told + self.wrong

    async def _ask_for_ever(self) -> None:
        stub, empty = self._stub, pb.GetStatusRequest()
        query = pb.EmbedQueryRequest(query_id="witness", parts=[pb.QueryPart(text=QUERY)])
        calls: list[tuple[str, Callable[[], Any]]] = [
            ("GetSpace", lambda: stub.GetSpace(pb.GetSpaceRequest(), timeout=DEADLINE_S)),
            ("EmbedQuery", lambda: stub.EmbedQuery(query, timeout=DEADLINE_S)),
            ("FuseTitle", lambda: stub.FuseTitle(self._fuse, timeout=DEADLINE_S)),
            ("GetStatus", lambda: stub.GetStatus(empty, timeout=DEADLINE_S)),
        ]
        while True:
            for method, call in calls:
                await self._note(method, call)

    async def _send_for_ever(self) -> None:
        while True:
            await self._note("EmbedMedia", self._upload)

    def _upload(self) -> pb.Title:
        call = self._stub.EmbedMedia(self._messages(), timeout=2 * DEADLINE_S)
        title: pb.Title | None = None
        try:
            for answer in call:
                if answer.WhichOneof("message") == "title":
                    title = answer.title
        finally:
            call.cancel()
        assert title is not None, "OK without a title"
        return title

    def _messages(self) -> Iterator[pb.EmbedMediaRequest]:
        start = pb.EmbedMediaStart(
            media_id="witness", mode=pb.MODE_ENCODED, size_bytes=len(self._film)
        )  # fmt: skip
        yield pb.EmbedMediaRequest(start=start)
        for offset in range(0, len(self._film), CHUNK_BYTES):
            data = self._film[offset : offset + CHUNK_BYTES]
            yield pb.EmbedMediaRequest(chunk=pb.Chunk(offset_bytes=offset, data=data))

    async def _note(self, method: str, call: Callable[[], Any]) -> None:
        await self._may_call.wait()
        self._under_way += 1
        self._none_under_way.clear()
        pause_s = PAUSE_S
        try:
            answer = await asyncio.to_thread(call)
        except grpc.RpcError as fault:
            pause_s = FAILED_PAUSE_S
            text = " ".join((fault.details() or "").split())[:160]
            self.seen[Seen(self.during, method, fault.code().name, _has_retry_info(fault), text)] += 1
        except AssertionError as none:
            self.wrong.append(f"{method}: {none}")
        else:
            self.seen[Seen(self.during, method, "OK", False)] += 1
            self._compare(method, answer)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()
        await asyncio.sleep(pause_s)

    def _compare(self, method: str, answer: Any) -> None:
        """The same question has the same answer, whatever died between."""
        of: dict[str, Callable[[], Any]] = {
            "EmbedQuery": lambda: answer.vector,
            "FuseTitle": lambda: answer.title.vector,
            "EmbedMedia": lambda: answer.vector,
        }
        if method not in of:
            return
        vector = np.array(of[method](), np.float32)
        first = self._first.setdefault(method, vector)
        worst = float(np.abs(vector - first).max()) if vector.shape == first.shape else float("inf")
        if worst > TOLERANCE:
            self.wrong.append(f"{method} during {self.during}: differs by {worst:.2g} from its first answer")


def _has_retry_info(fault: Any) -> bool:
    for key, value in fault.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Status.FromString(value)
            return any(d.Is(details.RetryInfo.DESCRIPTOR) for d in status.details)
    return False
