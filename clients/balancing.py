"""Several servers behind one client: which of them a call goes to, and where it goes on when one fails.

A server of a list has a gRPC channel of its own, and calls take them in turn. One channel over all would need
their numeric addresses (`ipv4:` takes no names), would hold every certificate against one name, and would not
say where a call went, so that another try could come back to the server that has just refused. So names,
TLS and re-resolution stay gRPC's own, host by host: each certificate is held against the host it was dialled
by, and a name that resolves to another address is dialled there once its connection breaks.

Within a channel gRPC's round_robin spreads calls over all addresses of its name, and leaves out those whose
health service (grpc.health.v1, Watch) does not say SERVING; it asks for the addresses again when a connection
breaks. gRPC's outlier detection is not used: to it a refused film is a failure of the server.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

from resonance.clients.errors import OverloadedError, ServerError, UsageError

C = TypeVar("C")

#: A server that failed is left alone for so long, unless it says how long or there is no other.
REST_S = 1.0
#: How long a first connection is waited for before a call is made that then says what is wrong.
CONNECT_S = 5.0
#: gRPC asks for the addresses of a name again at most so often; its own bound is half a minute.
RESOLVE_EVERY_MS = 2_000
#: One of several that hangs or is cut off is noticed within 15 s, before a request's deadline (30 s) makes an
#: error of what another could answer. Gateway and Triton allow pings this often.
#: gRPC 1.85 goes by the ping's timeout (a minute), whatever keepalive's own says.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
)
_DNS = "dns:"

_READY, _AWAY = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
_CLOSED = grpc.ChannelConnectivity.SHUTDOWN
_STARTING = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)


def hosts_of(address: str) -> tuple[str, ...]:
    """``a:8080,b:8080`` as its hosts.

    Raises:
        UsageError: an empty or a repeated one.
    """
    hosts = tuple(host.strip() for host in address.split(","))
    if not all(hosts):
        raise UsageError(f"server '{address}' names an empty host; expected HOST:PORT,HOST:PORT")
    if len(set(hosts)) < len(hosts):
        raise UsageError(f"server '{address}' names a host twice; expected each once")
    return hosts


def is_name_of_several(host: str) -> bool:
    """Whether `host` is a gRPC target such as ``dns:///gateways:8080``, whose addresses are servers each."""
    return host.startswith(_DNS)


def round_robin(health_service: str) -> tuple[tuple[str, Any], ...]:
    """Channel options: calls go to all addresses in turn, but to none whose `health_service` does not serve.

    A server without a health service, or without its Watch, counts as serving.
    """
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": health_service},
    }
    return (
        ("grpc.service_config", json.dumps(config)),
        ("grpc.dns_min_time_between_resolutions_ms", RESOLVE_EVERY_MS),
        *KEEPALIVE,
    )


@dataclass(eq=False, slots=True)
class Replica(Generic[C]):
    """One server, or the servers of one name.

    Attributes:
        address: for errors.
        client: what calls are made with.
        channel: what the client sends over; its state says whether the server serves.
        tries: how often a call may try it without a pause; 2 where another of its addresses may do better.
        rests_until: on the monotonic clock.
    """

    address: str
    client: C
    channel: grpc.aio.Channel
    tries: int = 1
    rests_until: float = 0.0

    @property
    def state(self) -> grpc.ChannelConnectivity:
        """Of the channel, which is told to connect where it does not."""
        return self.channel.get_state(try_to_connect=True)

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self.rests_until


class Replicas(Generic[C]):
    """The servers of one address, at least one."""

    def __init__(self, replicas: Sequence[Replica[C]]) -> None:
        self.all = tuple(replicas)
        self._next = 0

    def turn(self) -> Turn[C]:
        """For one call, with all its tries."""
        return Turn(self)

    def serving(self) -> list[Replica[C]]:
        """Those that are connected and healthy, in the order in which they are due."""
        return [replica for replica in self.due() if replica.state is _READY]

    def due(self) -> tuple[Replica[C], ...]:
        """All, from the one that is due."""
        return self.all[self._next :] + self.all[: self._next]

    def take(self, replica: Replica[C]) -> None:
        """The one after it is due next."""
        self._next = (self.all.index(replica) + 1) % len(self.all)

    async def connected(self, timeout_s: float) -> None:
        """Return once one serves, all are away, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.until(
                    lambda: bool(self.serving()) or not any(r.state in _STARTING for r in self.all)
                )

    async def back(self, timeout_s: float) -> None:
        """Return once one serves or the time is over; at once where there is but one address."""
        if len(self.all) == 1 and not is_name_of_several(self.all[0].address):
            return  # nobody asks for its health: that it does not serve is its own to say
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: bool(self.serving()))

    async def until(self, come: Callable[[], bool]) -> None:
        """Return once their states are such that `come` says so.

        gRPC changes them in a thread of its own, at any time: they are taken before `come` looks, for from
        states that are found only when waiting begins, what is waited for may never change again.

        Raises:
            UsageError: they were closed here, and nothing will come.
        """
        while True:
            known = [replica.state for replica in self.all]
            if come():
                return
            if _CLOSED in known:
                raise UsageError(f"{self.all[0].address}: closed here while a call was under way")
            await self._changed(known)

    async def _changed(self, known: Sequence[grpc.ChannelConnectivity]) -> None:
        """Return once the state of one of them is not that of `known`."""
        pairs = zip(self.all, known, strict=True)
        waits = [asyncio.ensure_future(r.channel.wait_for_state_change(state)) for r, state in pairs]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class Turn(Generic[C]):
    """The tries of one call: each server once, without a pause between, before any is tried again."""

    def __init__(self, replicas: Replicas[C]) -> None:
        self._replicas = replicas
        self._tried: dict[Replica[C], int] = {}
        self._last: Replica[C] | None = None

    async def pick(self) -> Replica[C]:
        """Where to try now: a server that serves and has not failed a moment ago, as far as there is one."""
        replicas = self._replicas
        if len(replicas.all) > 1 and not replicas.serving():
            await replicas.connected(CONNECT_S)
        due = replicas.due()
        if len(due) > 1:
            due = tuple(sorted(due, key=self._reluctance))  # stable: in turn among equals
        picked = self._last = due[0]
        replicas.take(picked)
        self._tried[picked] = self._tried.get(picked, 0) + 1
        return picked

    def _reluctance(self, replica: Replica[C]) -> tuple[bool, bool, bool]:
        return replica.state is not _READY, self._spent(replica), replica.resting

    def _spent(self, replica: Replica[C]) -> bool:
        return self._tried.get(replica, 0) >= replica.tries

    def progressed(self) -> None:
        """Something new arrived: the other servers may be tried at once again."""
        if self._last is not None:
            self._tried = {self._last: 1}

    async def failed(self, error: Exception, wait: Callable[[Exception], Awaitable[None]]) -> None:
        """After a try that failed with `error`: at once where another serves that was not tried, else `wait`,
        or as much of it as passes until another serves: at a client's first call one may still connect.

        Servers of which none serves, as they have just been started, refuse a call in no time: they are given
        `REST_S` more.

        Raises:
            Exception: what `wait` raises, which gets `error` and gives up by raising it.
        """
        if self._last is not None:
            asked_s = (error.retry_after_s or 0.0) if isinstance(error, ServerError) else 0.0
            # a full one knows when it has a place; that may be in 50 ms
            knows = isinstance(error, OverloadedError) and asked_s
            self._last.rests_until = time.monotonic() + (asked_s if knows else max(asked_s, REST_S))
        if self.another():
            return
        if await self._another_comes(asyncio.ensure_future(wait(error))):
            return
        await self._replicas.back(REST_S)
        self._tried.clear()

    async def _another_comes(self, pause: asyncio.Future[None]) -> bool:
        """Whether another serves before `pause` is over, whose error is raised."""
        comes = asyncio.ensure_future(self._replicas.until(self.another))
        try:
            await asyncio.wait({pause, comes}, return_when=asyncio.FIRST_COMPLETED)
            if pause.done():
                await pause
                return False
            await comes
            return True
        finally:
            pause.cancel()
            comes.cancel()
            await asyncio.gather(comes, return_exceptions=True)

    def another(self) -> bool:
        """Whether a server is there, connected and healthy, that this call has not tried since its pause."""
        return any(
            not self._spent(replica)
            and (replica is self._last or not replica.resting)
            and replica.state is _READY
            for replica in self._replicas.all
        )
