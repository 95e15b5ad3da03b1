"""What happens around every call: the caller is told, a span is open, the end is counted, timed and logged.

Handlers are turned into coroutines that write their answers. So a cancelled call is cancelled inside
them, where their work is ended at once, and not when a forgotten generator is collected.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any, NoReturn

import grpc
from google.rpc.status_pb2 import Status

from resonance.clients.errors import AuthenticationError, DeadlineExceededError, InvalidFieldError
from resonance.clients.gateway.faults import INTERNAL_REASON, NO_METHOD_REASON, status_of, to_status
from resonance.serving.gateway.callers import Authenticator, Caller, CallerKind, peer_address
from resonance.serving.gateway.calls import CODES, Call, abort, begin_call
from resonance.serving.gateway.listening import MAX_HEADER_BYTES
from resonance.serving.gateway.logs import FewLines, failure_place
from resonance.serving.gateway.metrics import UNKNOWN_METHOD, GatewayMetrics
from resonance.serving.gateway.reasons import Refusal
from resonance.serving.gateway.running import Endable
from resonance.serving.gateway.tracing import Tracing
from resonance.serving.gateway.unreadable import ReadableRequests, only_request, reading

_log = logging.getLogger("resonance.serving.gateway.calls")
#: Answered without a token: a load balancer has none. They are no work, so none is timed or abandoned.
OPEN_METHODS = ("/grpc.health.v1.Health/",)
#: Of them the one that has no end of its own: its caller closes it, and it ended as it should.
WATCH = "/grpc.health.v1.Health/Watch"
#: The same for no token, a malformed and a wrong one.
UNAUTHENTICATED = "a valid bearer token is needed"
Handler = Callable[[Any, Any], Awaitable[Any]]
#: Makes of a call's requests what its handler gets.
Take = Callable[[Any, Any], Coroutine[Any, Any, Any]]


class _RevokedError(Exception):
    """The token of a call that runs was taken away."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Stands before every handler of a `grpc.aio` server. Handlers are async functions or generators.

    A call of one request is taken as a stream of one: gRPC would read its request, up to the largest message,
    before anybody asks who calls, and wait for it as long as the connection lasts.

    A request that is no message of the method's type is answered INVALID_ARGUMENT, one that does not come for
    `idle_timeout_s` DEADLINE_EXCEEDED. A handler that fails with
    anything else but `context.abort` answers INTERNAL with a number that stands in the log, too; what failed
    is not told to the caller.

    Attributes:
        begun, ended: calls since the start that reached this place, and that left it.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        metrics: GatewayMetrics,
        tracing: Tracing,
        idle_timeout_s: float,
    ) -> None:
        self._authenticator = authenticator
        self._idle_timeout_s = idle_timeout_s
        self._metrics = metrics
        self._tracing = tracing
        self._running: dict[Endable, Caller] = {}
        self._refused_lines, self._open_lines = FewLines(), FewLines()
        self.begun = 0
        self.ended = 0

    def end_revoked(self) -> None:
        """End the calls whose token is one no more: a live feed may last for months."""
        for call, caller in self._running.items():
            if not self._authenticator.still_admits(caller):
                call.end(_RevokedError())

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """See `grpc.aio.ServerInterceptor`."""
        found = await continuation(handler_call_details)
        method = handler_call_details.method
        if found is None:
            # asked for a token like any other: who may not call does not learn what is here
            return grpc.stream_stream_rpc_method_handler(
                self._writing(_not_here, UNKNOWN_METHOD, self._stream)
            )
        handler = found.unary_unary or found.unary_stream or found.stream_unary or found.stream_stream
        take = self._stream if found.request_streaming else self._only
        if found.response_streaming:
            make, wrapped = grpc.stream_stream_rpc_method_handler, self._writing(handler, method, take)
        else:
            make, wrapped = grpc.stream_unary_rpc_method_handler, self._returning(handler, method, take)
        return make(wrapped, reading(found.request_deserializer), found.response_serializer)

    async def _stream(self, requests: Any, context: grpc.aio.ServicerContext) -> ReadableRequests:
        return ReadableRequests(requests, self._idle_timeout_s)

    async def _only(self, requests: Any, context: grpc.aio.ServicerContext) -> Any:
        return await only_request(context, self._idle_timeout_s)

    def _returning(self, handler: Handler, method: str, take: Take) -> Handler:
        async def returning(requests: Any, context: grpc.aio.ServicerContext) -> Any:
            async with self._call(method, context, take(requests, context)) as given:
                return await handler(given, context)

        return returning

    def _writing(self, handler: Callable[..., Any], method: str, take: Take) -> Handler:
        if inspect.isasyncgenfunction(handler):

            async def writing(requests: Any, context: grpc.aio.ServicerContext) -> None:
                async with (
                    self._call(method, context, take(requests, context)) as given,
                    aclosing(handler(given, context)) as answers,
                ):
                    async for answer in answers:
                        await context.write(answer)

            return writing
        return self._returning(handler, method, take)  # it writes itself

    @asynccontextmanager
    async def _call(
        self, method: str, context: grpc.aio.ServicerContext, coming: Coroutine[Any, Any, Any]
    ) -> AsyncIterator[Any]:
        """What `coming` gives, once its caller is let in. A call whose one request never came is none."""
        with closing(coming):  # of a call that is refused nothing is read
            caller = self._let_in(method, context)
            given: Any = None
            if isinstance(caller, Caller):
                try:
                    given = await coming
                except (InvalidFieldError, DeadlineExceededError) as error:
                    caller = to_status(error, "")
        self.begun += 1
        try:
            if not isinstance(caller, Caller):
                await self._refuse(method, context, caller)
            async with self._known_call(method, context, caller):
                yield given
        finally:
            self.ended += 1

    def _let_in(self, method: str, context: grpc.aio.ServicerContext) -> Caller | Status:
        """Who calls, or what it is refused with."""
        metadata = context.invocation_metadata() or ()
        size_bytes = sum(len(key) + len(value) for key, value in metadata)
        if size_bytes > MAX_HEADER_BYTES:
            self._metrics.call_refused(Refusal.HEADER_BYTES)
            too_large = InvalidFieldError("headers", f"{size_bytes:,} bytes", f"at most {MAX_HEADER_BYTES:,}")
            return to_status(too_large, "")
        caller = self._authenticator.caller(
            metadata, context.peer(), context.auth_context(), open_to_all=method.startswith(OPEN_METHODS)
        )
        if caller is None:
            self._metrics.call_unauthenticated(method)
            return to_status(AuthenticationError(UNAUTHENTICATED), "")
        return caller

    @asynccontextmanager
    async def _known_call(
        self, method: str, context: grpc.aio.ServicerContext, caller: Caller
    ) -> AsyncIterator[None]:
        metadata = context.invocation_metadata() or ()
        call = Call(method, caller)
        begin_call(call)
        if caller.kind is CallerKind.TOKEN:
            self._metrics.caller_called(caller.name)
        with self._metrics.call_running(method), self._tracing.call_span(method, metadata):
            code = grpc.StatusCode.UNKNOWN
            try:
                async with self._until_revoked(caller):
                    yield
                code = _set_code(context) or grpc.StatusCode.OK
            except _RevokedError:
                code = grpc.StatusCode.UNAUTHENTICATED
                await abort(context, to_status(AuthenticationError(UNAUTHENTICATED), ""))
            except grpc.aio.AbortError:
                code = _set_code(context) or grpc.StatusCode.UNKNOWN
                raise
            except grpc.aio.InternalError as error:  # what was being written has no reader any more
                code = self._abandon(method, context)
                raise asyncio.CancelledError from error
            except (InvalidFieldError, DeadlineExceededError) as error:
                status = to_status(error, call.media_id)
                code = CODES[status.code]
                await abort(context, status)
            except Exception as error:
                code = grpc.StatusCode.INTERNAL
                incident = secrets.token_hex(4)
                place = failure_place(error)
                _log.error(
                    "a call failed for a fault of this server: %s", place, extra={"incident": incident}
                )
                said = f"internal fault {incident}; the server's log says more"
                await abort(context, status_of(code, INTERNAL_REASON, said))
            except BaseException:  # cancelled: the caller is gone, or waited no longer
                code = self._abandon(method, context)
                raise
            finally:
                self._end(call, code)

    @asynccontextmanager
    async def _until_revoked(self, caller: Caller) -> AsyncIterator[None]:
        """What is done inside is cancelled once the token of `caller` is one no more.

        Raises:
            _RevokedError: it was.
        """
        call = Endable()
        try:
            async with call.until_ended():
                self._running[call] = caller
                yield
        finally:
            self._running.pop(call, None)

    def _abandon(self, method: str, context: grpc.aio.ServicerContext) -> grpc.StatusCode:
        """Its caller is gone, waited no longer, or does not read: the code that it is counted with."""
        if method == WATCH:
            return grpc.StatusCode.OK
        if not method.startswith(OPEN_METHODS):
            self._metrics.call_abandoned(method)
        if (told := _set_code(context)) is not None:
            return told
        remaining_s = context.time_remaining()
        late = remaining_s is not None and remaining_s <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED

    async def _refuse(self, method: str, context: grpc.aio.ServicerContext, status: Status) -> NoReturn:
        code = CODES[status.code]
        self._metrics.call_ended(method, code.name, None)
        caller, name = peer_address(context.peer()), method.rpartition("/")[2]
        if (suppressed := self._refused_lines.suppressed()) is not None:
            said = {"caller": caller, "method": name, "code": code.name}
            _log.info("call refused", extra=said | ({"suppressed": suppressed} if suppressed else {}))
        await abort(context, status)

    def _end(self, call: Call, code: grpc.StatusCode) -> None:
        if code is not grpc.StatusCode.OK:
            self._tracing.fail(code.name)
        is_open = call.method.startswith(OPEN_METHODS)
        self._metrics.call_ended(call.method, code.name, None if is_open else call.seconds)
        # of health checks, which come every few seconds, only what went wrong is worth a line; calls refused
        # for want of room may be hundreds a second, and the metrics count those by reason
        quiet = (is_open and code is grpc.StatusCode.OK) or code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # and what went wrong with them anybody can ask for
        suppressed = self._open_lines.suppressed() if is_open and not quiet else 0
        quiet = quiet or suppressed is None
        _log.log(
            logging.DEBUG if quiet else logging.INFO,
            "call ended",
            extra={
                "media_id": call.media_id,
                "caller": call.caller.name,
                "method": call.method.rpartition("/")[2],
                "code": code.name,
                "duration_ms": round(call.seconds * 1e3, 1),
                "segments": call.segments,
                "received_bytes": call.received_bytes,
                "trace_id": self._tracing.trace_id(),
            }
            | ({"suppressed": suppressed} if suppressed else {}),
        )


async def _not_here(request: Any, context: grpc.aio.ServicerContext) -> None:
    await abort(context, status_of(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD_REASON, "no such method"))


def _set_code(context: grpc.aio.ServicerContext) -> grpc.StatusCode | None:
    """The status that the handler set, or aborted with; gRPC gives a number where it was set as one."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return CODES.get(code) if code else None
