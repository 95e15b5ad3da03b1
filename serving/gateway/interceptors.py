"""What happens around every call: the caller is told, a span is open, the end is counted, timed and logged.

Handlers are turned into coroutines that write their answers. So a cancelled call is cancelled inside
them, where their work is ended at once, and not when a forgotten generator is collected.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn

import grpc
from google.rpc.status_pb2 import Status

from resonance.clients.errors import AuthenticationError, InvalidFieldError
from resonance.clients.gateway.faults import INTERNAL_REASON, NO_METHOD_REASON, status_of, to_status
from resonance.serving.gateway.callers import Authenticator, Caller, CallerKind, peer_address
from resonance.serving.gateway.calls import CODES, Call, abort, begin_call
from resonance.serving.gateway.listening import MAX_HEADER_BYTES
from resonance.serving.gateway.logs import failure_place
from resonance.serving.gateway.metrics import UNKNOWN_METHOD, GatewayMetrics
from resonance.serving.gateway.reasons import Refusal
from resonance.serving.gateway.running import Endable
from resonance.serving.gateway.tracing import Tracing
from resonance.serving.gateway.unreadable import ReadableRequests, readable, reading

_log = logging.getLogger("resonance.serving.gateway.calls")
#: Answered without a token: a load balancer has none. They are no work, so none is timed or abandoned.
OPEN_METHODS = ("/grpc.health.v1.Health/",)
#: Of them the one that has no end of its own: its caller closes it, and it ended as it should.
WATCH = "/grpc.health.v1.Health/Watch"
#: The same for no token, a malformed and a wrong one.
UNAUTHENTICATED = "a valid bearer token is needed"
Handler = Callable[[Any, Any], Awaitable[Any]]


class _RevokedError(Exception):
    """The token of a call that runs was taken away."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Stands before every handler of a `grpc.aio` server. Handlers are async functions or generators.

    A request that is no message of the method's type is answered INVALID_ARGUMENT. A handler that fails with
    anything else but `context.abort` answers INTERNAL with a number that stands in the log, too; what failed
    is not told to the caller.

    Attributes:
        begun, ended: calls since the start that reached this place, and that left it.
    """

    def __init__(self, authenticator: Authenticator, metrics: GatewayMetrics, tracing: Tracing) -> None:
        self._authenticator = authenticator
        self._metrics = metrics
        self._tracing = tracing
        self._running: dict[Endable, Caller] = {}
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
            return grpc.stream_stream_rpc_method_handler(self._writing(_not_here, UNKNOWN_METHOD))
        handler = _checked(
            found.unary_unary or found.unary_stream or found.stream_unary or found.stream_stream,
            streaming=found.request_streaming,
        )  # of the one that is set
        if found.response_streaming:
            make = (
                grpc.stream_stream_rpc_method_handler
                if found.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            wrapped = self._writing(handler, method)
        else:
            make = (
                grpc.stream_unary_rpc_method_handler
                if found.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            wrapped = self._returning(handler, method)
        return make(wrapped, reading(found.request_deserializer), found.response_serializer)

    def _returning(self, handler: Handler, method: str) -> Handler:
        async def returning(request: Any, context: grpc.aio.ServicerContext) -> Any:
            async with self._call(method, context):
                return await handler(request, context)

        return returning

    def _writing(self, handler: Callable[..., Any], method: str) -> Handler:
        if inspect.isasyncgenfunction(handler):

            async def writing(request: Any, context: grpc.aio.ServicerContext) -> None:
                async with self._call(method, context), aclosing(handler(request, context)) as answers:
                    async for answer in answers:
                        await context.write(answer)

            return writing
        return self._returning(handler, method)  # it writes itself

    @asynccontextmanager
    async def _call(self, method: str, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        self.begun += 1
        try:
            async with self._known_call(method, context):
                yield
        finally:
            self.ended += 1

    @asynccontextmanager
    async def _known_call(self, method: str, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
        metadata = context.invocation_metadata() or ()
        size_bytes = sum(len(key) + len(value) for key, value in metadata)
        if size_bytes > MAX_HEADER_BYTES:
            self._metrics.call_refused(Refusal.HEADER_BYTES)
            too_large = InvalidFieldError("headers", f"{size_bytes:,} bytes", f"at most {MAX_HEADER_BYTES:,}")
            await self._refuse(method, context, to_status(too_large, ""))
        caller = self._authenticator.caller(
            metadata, context.peer(), context.auth_context(), open_to_all=method.startswith(OPEN_METHODS)
        )
        if caller is None:
            self._metrics.call_unauthenticated(method)
            await self._refuse(method, context, _unauthenticated())
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
                await abort(context, _unauthenticated())
            except grpc.aio.AbortError:
                code = _set_code(context) or grpc.StatusCode.UNKNOWN
                raise
            except grpc.aio.InternalError as error:  # what was being written has no reader any more
                code = self._abandon(method, context)
                raise asyncio.CancelledError from error
            except InvalidFieldError as error:
                code = grpc.StatusCode.INVALID_ARGUMENT
                await abort(context, to_status(error, call.media_id))
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
        _log.info("call refused", extra={"caller": caller, "method": name, "code": code.name})
        await abort(context, status)

    def _end(self, call: Call, code: grpc.StatusCode) -> None:
        if code is not grpc.StatusCode.OK:
            self._tracing.fail(code.name)
        is_open = call.method.startswith(OPEN_METHODS)
        self._metrics.call_ended(call.method, code.name, None if is_open else call.seconds)
        # of health checks, which come every few seconds, only what went wrong is worth a line; calls refused
        # for want of room may be hundreds a second, and the metrics count those by reason
        quiet = (is_open and code is grpc.StatusCode.OK) or code is grpc.StatusCode.RESOURCE_EXHAUSTED
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
            },
        )


def _checked(handler: Callable[..., Any], *, streaming: bool) -> Callable[..., Any]:
    """`handler`, which gets only requests that could be read."""
    check = ReadableRequests if streaming else readable
    if inspect.isasyncgenfunction(handler):

        async def answers(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with aclosing(handler(check(request), context)) as given:
                async for answer in given:
                    yield answer

        return answers

    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        return await handler(check(request), context)

    return answer


def _unauthenticated() -> Status:
    return to_status(AuthenticationError(UNAUTHENTICATED), "")


async def _not_here(request: Any, context: grpc.aio.ServicerContext) -> None:
    await abort(context, status_of(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD_REASON, "no such method"))


def _set_code(context: grpc.aio.ServicerContext) -> grpc.StatusCode | None:
    """The status that the handler set, or aborted with; gRPC gives a number where it was set as one."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return CODES.get(code) if code else None
