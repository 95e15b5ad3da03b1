"""Who stops waiting for a request leaves it running: cancelled ones may end Triton."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from resonance.clients.errors import DeadlineExceededError
from resonance.clients.in_flight import InFlight
from resonance.clients.transport import TritonTransport


class Request:
    """Ends when it is told to; `cancelled` shows what must not happen."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = self.ended = self.cancelled = False

    async def run(self) -> str:
        self.begun = True
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        self.ended = True
        return "answer"


async def test_who_waits_gets_the_answer_or_the_error() -> None:
    in_flight, request = InFlight(), Request()
    request.may_end.set()
    assert await in_flight.result_of(request.run, timeout_s=1) == "answer"

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_flight.result_of(fails, timeout_s=1)


async def test_a_request_outlives_its_caller_and_its_time() -> None:
    in_flight, given_up, late = InFlight(), Request(), Request()
    caller = asyncio.create_task(in_flight.result_of(given_up.run, timeout_s=5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(TimeoutError):
        await in_flight.result_of(late.run, timeout_s=0.01)
    assert given_up.begun
    assert late.begun
    for request in (given_up, late):
        request.may_end.set()
    await in_flight.settle(1)
    for request in (given_up, late):
        assert request.ended
        assert not request.cancelled


async def test_more_requests_than_may_be_left_wait_for_those_that_are() -> None:
    in_flight, left, next_one = InFlight(most_left=2), [Request(), Request()], Request()
    for request in left:
        with pytest.raises(TimeoutError):
            await in_flight.result_of(request.run, timeout_s=0.01)
    with pytest.raises(TimeoutError):
        await in_flight.result_of(next_one.run, timeout_s=0.01)
    assert not next_one.begun
    left[0].may_end.set()
    next_one.may_end.set()
    assert await in_flight.result_of(next_one.run, timeout_s=1) == "answer"
    await in_flight.settle(0.01)  # the other one hangs, and is not waited for
    assert not left[1].ended
    left[1].may_end.set()
    await in_flight.settle(1)


class Listener:
    """Speaks as much of Triton's protocol as to see calls end."""

    def __init__(self) -> None:
        self.ended = self.cancelled = 0

    async def infer(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return b""


async def test_a_server_sees_no_call_cancelled_nor_its_deadline_passed() -> None:
    listener = Listener()
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(listener.infer)
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ModelInfer": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = TritonTransport(f"127.0.0.1:{port}")
    try:
        calling = asyncio.create_task(transport.infer("model", {}, (), timeout_s=5))
        await asyncio.sleep(0.1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        with pytest.raises(DeadlineExceededError, match=r"model model gave no answer for 0\.05 s"):
            await transport.infer("model", {}, (), timeout_s=0.05)
    finally:
        await transport.close()  # waits for both
        await server.stop(1)
    assert (listener.ended, listener.cancelled) == (2, 0)
