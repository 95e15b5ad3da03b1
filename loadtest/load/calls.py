"""Calls of a gateway with gRPC's blocking API, which gevent makes wait without blocking other users.

grpc.aio knows no gevent, so loadtest/gateway/wire.py's calls do not serve here; its messages do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import NDArray

from resonance.clients.credentials import proxy_options
from resonance.loadtest.gateway import wire
from resonance.loadtest.load.material import SUBTITLES, TEXT, Query, Title
from resonance.loadtest.load.records import Result
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import EmbeddingServiceStub

TIMEOUT_S = 60.0
CHUNK_BYTES = 256 * 1024
#: An answer under load that is further from the one without is wrong.
LEAST_COSINE = 0.9999
#: Whose errors are typed.
DOMAIN = "resonance"
VECTOR_SIZE = 1788


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended.

    Attributes:
        code: gRPC's name of its status. note: why it failed; empty where it did not.
        retry_s: when to come again, of a refusal.
    """

    result: Result
    code: str = "OK"
    note: str = ""
    retry_s: float = 0.0


ANSWERED = Ended(Result.ANSWERED)


class WrongAnswerError(Exception):
    """A call succeeded with something else than must come."""


@dataclass(slots=True)
class References:
    """What each kind of call answered first; it must answer the same ever after."""

    _first: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def check(self, kind: str, numbers: Sequence[float]) -> None:
        """Compare `numbers` with the first that came for `kind`.

        Raises:
            WrongAnswerError: they are not of the right size, or another direction.
        """
        vector = np.asarray(numbers, np.float32)
        if vector.shape != (VECTOR_SIZE,):
            raise WrongAnswerError(f"a vector of {vector.size} numbers came, expected {VECTOR_SIZE}")
        norm = float(np.linalg.norm(vector))
        if not norm > 0:
            raise WrongAnswerError(f"a vector of norm {norm:g} came")
        first = self._first.setdefault(kind, vector / np.float32(norm))
        if (cosine := float(first @ vector) / norm) < LEAST_COSINE:
            raise WrongAnswerError(f"cosine {cosine:.5f} to the first answer, expected {LEAST_COSINE}")


@dataclass(frozen=True, slots=True)
class Upload:
    """Messages of a call of EmbedMedia, and what must come back.

    Attributes:
        segments: how many; 0: at least one. media_s: of what is answered. refused: a typed error must come.
    """

    kind: str
    messages: Sequence[bytes]
    segments: int
    media_s: float
    refused: bool = False


def upload_of(title: Title, data: bytes, *, refused: bool = False) -> Upload:
    """What sends a title."""
    mode = {TEXT: pb.MODE_TEXT, SUBTITLES: pb.MODE_SUBTITLES}.get(title.mode, pb.MODE_ENCODED)
    fields: dict[str, Any] = {"size_bytes": len(data)}
    if title.mode == SUBTITLES:
        fields["subtitles"] = pb.SubtitleFile(format="srt")
    first = wire.start(title.file, mode, **fields)
    return Upload(title.name, [first, *chunks(data)], title.segments, title.media_s, refused)


def chunks(data: bytes) -> Iterator[bytes]:
    """Messages that send a file after its first message."""
    for at in range(0, len(data), CHUNK_BYTES):
        yield wire.chunk(at, data[at : at + CHUNK_BYTES])


def query_of(query: Query, read: Callable[[str], bytes]) -> pb.EmbedQueryRequest:
    """A query with its files read."""
    request = pb.EmbedQueryRequest(query_id=query.name)
    for name, value in query.parts:
        setattr(request.parts.add(), name, value if name == "text" else read(value))
    return request


class Gateway:
    """One caller's connection; close it.

    Args:
        credentials: None: without TLS. metadata: sent with each call, such as a token.
        small_window: keep HTTP/2's 64 KiB of answers that nobody has read yet, as slow readers must.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        small_window: bool = False,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
            *proxy_options(address, encrypted=credentials is not None),
            *([("grpc.http2.bdp_probe", 0)] if small_window else []),
        ]
        self._channel = (
            grpc.insecure_channel(address, options=options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=options)
        )
        self._metadata = list(metadata)
        self._stub = EmbeddingServiceStub(self._channel)
        self._media = self._channel.stream_stream("/resonance.v1.EmbeddingService/EmbedMedia")
        self._health = self._channel.unary_unary("/grpc.health.v1.Health/Check")

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Return once it is connected.

        Raises:
            TimeoutError: nobody answered at the address for so long.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout_s)
        except grpc.FutureTimeoutError as late:
            raise TimeoutError(f"no gRPC server answered within {timeout_s:g} s") from late

    def space(self) -> pb.GetSpaceResponse:
        """The space."""
        return self._stub.GetSpace(pb.GetSpaceRequest(), timeout=TIMEOUT_S, metadata=self._metadata)

    def status(self) -> pb.GetStatusResponse:
        """What the gateway does."""
        return self._stub.GetStatus(pb.GetStatusRequest(), timeout=TIMEOUT_S, metadata=self._metadata)

    def health(self) -> None:
        """Ask the health service.

        Raises:
            WrongAnswerError: it does not serve.
        """
        answer = self._health(b"", timeout=TIMEOUT_S, metadata=self._metadata)
        if answer != b"\x08\x01":  # HealthCheckResponse{status: SERVING}
            raise WrongAnswerError(f"health says {answer!r}, expected SERVING")

    def query(self, request: pb.EmbedQueryRequest) -> pb.EmbedQueryResponse:
        """A query."""
        return self._stub.EmbedQuery(request, timeout=TIMEOUT_S, metadata=self._metadata)

    def fuse(self, request: pb.FuseTitleRequest) -> pb.FuseTitleResponse:
        """A title of stored segments."""
        return self._stub.FuseTitle(request, timeout=TIMEOUT_S, metadata=self._metadata)

    def embed(
        self, messages: Iterable[bytes], *, timeout_s: float = TIMEOUT_S, pause_s: float = 0.0
    ) -> Iterator[bytes]:
        """Answers of a call of EmbedMedia, as they come; whoever stops reading cancels it.

        Args:
            pause_s: wait so long after each answer before the next is read.
        """
        call = self._media(iter(messages), timeout=timeout_s, metadata=self._metadata)
        try:
            for answer in call:
                yield answer
                if pause_s:
                    time.sleep(pause_s)
        finally:
            call.cancel()


@dataclass(slots=True)
class Media:
    """What a call of EmbedMedia has answered so far.

    Args:
        media_s: of the whole; 0 where it has no clock. window_s: of a segment.
    """

    media_s: float
    window_s: float
    segments: int = 0
    title: bytes = b""

    def take(self, answer: bytes) -> float:
        """Note an answer, and how many seconds of media came with it."""
        if answer[0] == wire.TITLE:
            self.title = answer
        if answer[0] != wire.SEGMENT:
            return 0.0
        before_s = self.segments * self.window_s
        self.segments += 1
        return max(0.0, min(self.window_s, self.media_s - before_s))

    def check(self, kind: str, expected: int, references: References) -> None:
        """Compare what came with what must.

        Raises:
            WrongAnswerError: segments are missing, there is no title, or another one.
        """
        if self.segments != expected if expected else not self.segments:
            raise WrongAnswerError(f"{self.segments} segments came, expected {expected or 'at least one'}")
        if not self.title:
            raise WrongAnswerError("no title came")
        references.check(kind, wire.answer(self.title).title.vector)


def ended_by(error: Exception) -> Ended:
    """How a call ended that raised."""
    if not isinstance(error, grpc.RpcError):
        return Ended(Result.FAILED, type(error).__name__, str(error)[:300])
    code, details = error.code().name, _details(error)
    retry = details.get("RetryInfo")
    if code == "RESOURCE_EXHAUSTED" and retry is not None:
        delay = retry.retry_delay
        return Ended(Result.REFUSED, code, "", delay.seconds + delay.nanos / 1e9)
    return Ended(Result.FAILED, code, (error.details() or "")[:300])


def refused_as_bad(error: Exception) -> Ended:
    """How a bad file's call ended: its typed error is the answer, everything else is none."""
    ended = ended_by(error)
    if ended.code == "INVALID_ARGUMENT" and isinstance(error, grpc.RpcError):
        info = _details(error).get("ErrorInfo")
        if info is not None and info.domain == DOMAIN and info.reason:
            return Ended(Result.ANSWERED, ended.code)
        return Ended(Result.FAILED, ended.code, f"no ErrorInfo of {DOMAIN}: {ended.note}")
    return ended


def _details(error: grpc.RpcError) -> Mapping[str, Any]:
    """Messages in the status of an error, by name."""
    found: dict[str, Any] = {}
    for key, value in error.trailing_metadata() or ():
        if key == wire.DETAILS_TRAILER:
            for packed in status_pb2.Status.FromString(value).details:
                for kind in (error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo):
                    message = kind()
                    if packed.Unpack(message):
                        found[kind.__name__] = message
    return found
