"""Waiting for one of several servers whose connection comes in between: gRPC makes it in its own thread."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import grpc
import pytest

from resonance.clients.balancing import Replica, Replicas
from resonance.clients.errors import OverloadedError, ServerUnavailableError

CONNECTING, READY = grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.READY


class Channel:
    """A channel that connects right after its state was asked for the `nth` time, or else a moment later."""

    def __init__(self, nth: int, state: grpc.ChannelConnectivity = CONNECTING) -> None:
        self._left, self._state = nth, state
        self._waits: list[asyncio.Future[None]] = []

    def get_state(self, *, try_to_connect: bool) -> grpc.ChannelConnectivity:
        state = self._state
        self._left -= 1
        if self._left == 0:
            self._connect()
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        if self._state is last_observed_state:
            loop = asyncio.get_running_loop()
            self._waits.append(loop.create_future())
            loop.call_later(0.05, self._connect)
            await self._waits[-1]

    def _connect(self) -> None:
        if self._state is not READY:
            self._state = READY
            for wait in self._waits:
                if not wait.done():
                    wait.set_result(None)


def replicas_of(*channels: Channel) -> Replicas[Any]:
    return Replicas([Replica(f"server{at}", None, cast("Any", c)) for at, c in enumerate(channels)])


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("waits", ["connected", "back"])
async def test_a_connection_that_comes_in_between_is_noticed(waits: str, nth: int) -> None:
    replicas = replicas_of(Channel(nth), Channel(nth))
    async with asyncio.timeout(1.0):
        await getattr(replicas, waits)(60.0)
    assert replicas.serving()


@pytest.mark.parametrize("nth", range(1, 9))
async def test_one_that_connects_in_between_ends_the_pause_after_another_failed(nth: int) -> None:
    turn = replicas_of(Channel(0, READY), Channel(nth)).turn()

    async def pause(error: Exception) -> None:
        await asyncio.sleep(60.0)

    async with asyncio.timeout(1.0):
        assert (await turn.pick()).address == "server0"
        await turn.failed(ServerUnavailableError("gone"), pause)
        assert (await turn.pick()).address == "server1"


@pytest.mark.parametrize(
    ("error", "rests_s"),
    [
        (OverloadedError("full", retry_after_s=0.05), 0.05),
        (OverloadedError("full", retry_after_s=2.0), 2.0),
        (OverloadedError("full"), 1.0),
        (ServerUnavailableError("stops", retry_after_s=0.05), 1.0),
    ],
)
async def test_who_is_full_is_left_alone_for_as_long_as_it_asks(error: Exception, rests_s: float) -> None:
    turn = replicas_of(Channel(0, READY), Channel(0, READY)).turn()

    async def pause(error: Exception) -> None:
        raise AssertionError("another serves")

    picked = await turn.pick()
    before = time.monotonic()
    await turn.failed(error, pause)
    assert picked.rests_until == pytest.approx(before + rests_s, abs=0.04)
