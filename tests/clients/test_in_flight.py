"""Who stops waiting for a request leaves it running: cancelled ones may end Triton."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import numpy as np
import pytest

from resonance.clients.in_flight import InFlight
from resonance.clients.transport import TritonTransport
from resonance.serving.server import TritonServer


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


async def test_triton_sees_no_cancelled_request(server: TritonServer) -> None:
    rows = 64
    inputs = {
        "BLOCKS": np.ones((rows, 3, 596), np.float32),
        "PRESENT": np.ones((rows, 3), np.bool_),
        "TIMES": np.arange(rows, dtype=np.float32),
    }
    before = cancelled_requests(server)
    transport = TritonTransport(server.grpc_address)
    try:
        for number in range(60):
            request = transport.infer("title_fusion", inputs, ("TITLE",), timeout_s=5)
            calling = asyncio.create_task(request)
            await asyncio.sleep(number % 6 * 1e-3)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
        answer = await transport.infer("title_fusion", inputs, ("TITLE",), timeout_s=5)
        assert np.linalg.norm(answer["TITLE"]) == pytest.approx(1.0, abs=1e-3)
    finally:
        await transport.close()
    assert cancelled_requests(server) == before


def cancelled_requests(server: TritonServer) -> float:
    """Of title_fusion, as Triton counts them."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    told = re.findall(r'nv_inference_request_failure{[^}]*model="title_fusion"[^}]*} (\d+)', text)
    assert told, "Triton counts failures by model and reason"
    return sum(map(float, told))
