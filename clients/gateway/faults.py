"""Errors as google.rpc.Status and back, by one table that a test holds complete.

Codes are chosen for callers that know nothing but them: what comes with UNAVAILABLE or RESOURCE_EXHAUSTED may
be sent again after the RetryInfo's delay, what comes with INVALID_ARGUMENT would fail again the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from resonance.clients import errors as e
from resonance.clients.transport import ERRORS_BY_STATUS
from resonance.space import errors as s

DOMAIN = "resonance"
STATUS_TRAILER = "grpc-status-details-bin"
#: What the retries of a service config go by, in every language: gRPC itself does not look into RetryInfo.
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
#: gRPC refuses more than 8 KiB of trailers; a status stands in them twice, and text may grow threefold.
MAX_TEXT_BYTES = 512
#: Asked of callers where the error does not say how long to wait.
DEFAULT_RETRY_S = 1.0
#: More than a day is no hint of a server in its right mind.
MAX_RETRY_S = 86_400.0

#: What gRPC itself says of a message or headers over a bound, and what follows it here. It comes with the
#: code of a server that is full and without details, and never passes.
_TOO_LARGE = {
    "message larger than max": (
        " bytes; send less in one message: a smaller or shorter example, a smaller frame, fewer segments (a "
        "gateway's bound is --max-message-bytes)"
    ),
    "received metadata size exceeds hard limit": "; send less metadata with a call",
    "headers over ": "; send less metadata with a call",  # of gateways of before
}

#: Of headers of the answer, which this side refuses.
_OF_THE_ANSWER = "Stream removed"

Kind = type[Exception]
_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Fault:
    """How an error class travels. `retry`: the same call may succeed after a while; RetryInfo says when."""

    code: grpc.StatusCode
    retry: bool = False

    def __post_init__(self) -> None:
        if self.retry and self.code not in (_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED):
            raise ValueError(f"{self.code} with a delay to retry after; callers would not look for it")


#: Every class of clients/errors.py and space/errors.py. `reason_of` is its ErrorInfo.reason.
FAULTS: Mapping[Kind, Fault] = {
    e.ResonanceError: Fault(_Code.INTERNAL),
    e.MediaError: Fault(_Code.INVALID_ARGUMENT),
    e.NotMediaError: Fault(_Code.INVALID_ARGUMENT),
    e.CorruptMediaError: Fault(_Code.INVALID_ARGUMENT),
    e.NoModalityError: Fault(_Code.INVALID_ARGUMENT),
    # the media itself is over the limit and always will be; want of capacity is OverloadedError
    e.MediaLimitError: Fault(_Code.INVALID_ARGUMENT),
    # not DEADLINE_EXCEEDED: jobs try that again, and what makes a decoder spin once would make it spin again
    e.MediaStalledError: Fault(_Code.INVALID_ARGUMENT),
    e.TranscriptError: Fault(_Code.INVALID_ARGUMENT),
    e.ServerError: Fault(_Code.INTERNAL),
    e.ServerUnavailableError: Fault(_Code.UNAVAILABLE, retry=True),
    e.DeadlineExceededError: Fault(_Code.DEADLINE_EXCEEDED),
    e.OverloadedError: Fault(_Code.RESOURCE_EXHAUSTED, retry=True),
    # a model's process died or a model failed: embedding has no side effects, so trying again is safe
    e.ServerFaultError: Fault(_Code.UNAVAILABLE, retry=True),
    # what was embedded so far is of the old space: not to be retried from where it broke, but from the start
    e.SpaceChangedError: Fault(_Code.ABORTED),
    e.SupersededError: Fault(_Code.ABORTED),
    e.NotResumableError: Fault(_Code.ABORTED),
    e.RequestRejectedError: Fault(_Code.INVALID_ARGUMENT),
    e.AuthenticationError: Fault(_Code.UNAUTHENTICATED),
    e.UsageError: Fault(_Code.INVALID_ARGUMENT),
    e.InvalidFieldError: Fault(_Code.INVALID_ARGUMENT),
    e.CredentialsError: Fault(_Code.INVALID_ARGUMENT),
    s.SpaceError: Fault(_Code.INVALID_ARGUMENT),
    s.DescriptorError: Fault(_Code.INTERNAL),  # the server's own file
    s.BlockError: Fault(_Code.INVALID_ARGUMENT),
    s.WeightError: Fault(_Code.INVALID_ARGUMENT),
    s.SpaceMismatchError: Fault(_Code.FAILED_PRECONDITION),
    s.ArcError: Fault(_Code.INVALID_ARGUMENT),
    s.CalibrationError: Fault(_Code.INTERNAL),  # the server's own file
    s.CarryingError: Fault(_Code.INVALID_ARGUMENT),
}


def reason_of(kind: Kind) -> str:
    """``NotMediaError`` as ``NOT_MEDIA``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__.removesuffix("Error"))
    return words.upper()


_KINDS: Mapping[str, Kind] = {reason_of(kind): kind for kind in FAULTS}
INTERNAL_REASON, NO_METHOD_REASON = "INTERNAL", "NO_SUCH_METHOD"


def listed_kind(error: BaseException) -> Kind | None:
    """The class as which `error` travels: its own, or the nearest above one that a module keeps to itself."""
    return next((kind for kind in type(error).__mro__ if kind in FAULTS), None)


def to_status(error: BaseException, media_id: str) -> Status:
    """`error` with its details, for the trailer `grpc-status-details-bin`.

    An error that is not ours says nothing but that it happened: its text may hold what is nobody's business.
    """
    kind = listed_kind(error)
    if kind is None:
        status = status_of(_Code.INTERNAL, INTERNAL_REASON, "the server failed; its log says why")
    else:
        status = Status(code=_number(FAULTS[kind].code), message=_bounded(str(error)))
        info = details.ErrorInfo(reason=reason_of(kind), domain=DOMAIN)
        for name in ("came", "expected", "found", "field"):
            if isinstance(value := getattr(error, name, None), str):
                info.metadata[name] = _bounded(value)
        _add(status, info)
    if media_id:
        _add(status, details.ResourceInfo(resource_type="media", resource_name=_bounded(media_id)))
    if kind is not None:
        _add_particulars(status, error, FAULTS[kind])
    return status


def status_of(code: grpc.StatusCode, reason: str, message: str) -> Status:
    """What stands behind no class of error."""
    status = Status(code=_number(code), message=message)
    _add(status, details.ErrorInfo(reason=reason, domain=DOMAIN))
    return status


def trailer_of(status: Status) -> tuple[tuple[str, str | bytes], ...]:
    """What ends a call with `status`: its details, and their RetryInfo once more, in whole milliseconds."""
    trailer: list[tuple[str, str | bytes]] = [(STATUS_TRAILER, status.SerializeToString())]
    retry = details.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            trailer.append((PUSHBACK_TRAILER, str(-(-retry.retry_delay.ToNanoseconds() // 1_000_000))))
    return tuple(trailer)


def _add_particulars(status: Status, error: BaseException, fault: Fault) -> None:
    if isinstance(error, e.UsageError | s.WeightError | s.BlockError):
        field = getattr(error, "field", "weights" if isinstance(error, s.WeightError) else "")
        bad = details.BadRequest.FieldViolation(field=_bounded(field), description=status.message)
        _add(status, details.BadRequest(field_violations=[bad]))
    if isinstance(error, e.MediaLimitError | e.OverloadedError):
        subject = error.media if isinstance(error, e.MediaLimitError) else "server"
        over = details.QuotaFailure.Violation(subject=_bounded(subject), description=status.message)
        _add(status, details.QuotaFailure(violations=[over]))
    if fault.retry:
        after_s = error.retry_after_s if isinstance(error, e.ServerError) else None
        retry = details.RetryInfo()
        retry.retry_delay.FromNanoseconds(int((DEFAULT_RETRY_S if after_s is None else after_s) * 1e9))
        _add(status, retry)


def from_rpc_error(error: grpc.aio.AioRpcError, server: str) -> Exception:
    """The error that the gateway at `server` raised, of its own class; else one by the code alone."""
    code = error.code()
    status = _status_in(error)
    if status is None:
        said = f"{server}: {_one_line(error.details()) or code.name}"
        if code is _Code.RESOURCE_EXHAUSTED:
            for sign, advice in _TOO_LARGE.items():
                if sign in said and _OF_THE_ANSWER not in said:
                    return e.RequestRejectedError(f"{said}{advice}")
        return _by_code(code, f"{said}{_advice(code)}", None)
    message = _one_line(status.message or error.details())
    info, retry_after_s, media = details.ErrorInfo(), None, "media"
    for detail in status.details:
        retry, resource = details.RetryInfo(), details.ResourceInfo()
        try:
            if detail.Unpack(retry):
                retry_after_s = min(max(retry.retry_delay.ToNanoseconds() / 1e9, 0.0), MAX_RETRY_S)
            elif detail.Unpack(resource):
                media = resource.resource_name
            else:
                detail.Unpack(info)
        except DecodeError:
            continue  # what cannot be read says nothing
    kind = _KINDS.get(info.reason) if info.domain == DOMAIN else None
    if kind is None:
        return _by_code(code, f"{server}: {message}", retry_after_s)
    return _rebuilt(kind, message, dict(info.metadata), media, server, retry_after_s)


def _rebuilt(
    kind: Kind,
    message: str,
    metadata: Mapping[str, str],
    media: str,
    server: str,
    retry_after_s: float | None,
) -> Exception:
    came, expected = metadata.get("came", message), metadata.get("expected", "")
    if issubclass(kind, e.MediaError):
        return kind(media, came, expected)
    if issubclass(kind, e.ServerError):
        return kind(f"{server}: {message}", retry_after_s=retry_after_s)
    if issubclass(kind, e.InvalidFieldError):
        return kind(metadata.get("field", ""), came, expected)
    if issubclass(kind, s.SpaceMismatchError):
        return kind(expected, metadata.get("found", ""), server)
    if issubclass(kind, e.RequestRejectedError):
        return kind(f"{server}: {message}")
    return kind(message)


def _by_code(code: grpc.StatusCode, message: str, retry_after_s: float | None) -> Exception:
    if code is _Code.UNAUTHENTICATED:
        return e.AuthenticationError(message)
    kind: Callable[..., Exception] = ERRORS_BY_STATUS[code]
    if issubclass(ERRORS_BY_STATUS[code], e.ServerError):
        return kind(message, retry_after_s=retry_after_s)
    return kind(message)


def _advice(code: grpc.StatusCode) -> str:
    if code is _Code.UNAVAILABLE:
        return (
            "; is the gateway running (`resonance serve --gateway`), and with TLS if and only if this is "
            "(--tls, and --tls-ca where its certificate is of an authority of your own)?"
        )
    if code is _Code.UNIMPLEMENTED:
        return "; is this a gateway? Triton itself is triton://HOST:PORT"
    return ""


def _status_in(error: grpc.aio.AioRpcError) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_TRAILER and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _add(status: Status, detail: object) -> None:
    status.details.add().Pack(detail)


def _number(code: grpc.StatusCode) -> int:
    return int(code.value[0])


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _bounded(text: str) -> str:
    """`text` in one line, without what cannot be encoded, cut to `MAX_TEXT_BYTES`."""
    data = _one_line(text).encode("utf-8", "replace")
    if len(data) <= MAX_TEXT_BYTES:
        return data.decode()
    return data[: MAX_TEXT_BYTES - 3].decode("utf-8", "ignore") + "…"
