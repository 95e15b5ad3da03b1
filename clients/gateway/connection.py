"""The connection to one gateway or several: options, and single calls with a deadline and another try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc

from resonance.clients.balancing import Replica, Replicas, Turn, hosts_of, is_name_of_several, round_robin
from resonance.clients.channels import CONNECT_TIMEOUT_MS, Belonging
from resonance.clients.credentials import Credentials, proxy_options
from resonance.clients.errors import InvalidFieldError, ServerFaultError
from resonance.clients.gateway.faults import from_rpc_error
from resonance.clients.gateway.retrying import Retrying, RetryPolicy, may_retry
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc

#: What a gateway's health is asked by: it serves while all its models do.
HEALTH_SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name

#: A title of a film of three hours with eight arcs is about 0.4 MB; one of 100,000 segments still fits.
MAX_ANSWER_BYTES = 64 << 20
#: A dead peer is noticed within 40 s, and balancers that drop a silent connection after a minute see traffic.
#: The gateway allows pings this often; others answer too many of them with GOAWAY, which is tried again.
KEEPALIVE_EVERY_MS, KEEPALIVE_TIMEOUT_MS = 30_000, 10_000
#: After a restart of the server the next connection is tried soon, not after gRPC's two minutes.
RECONNECT_FIRST_MS, RECONNECT_MOST_MS = 100, 2_000

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),  # what is too large is the server's to say
    ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # a minute else, whatever the line above says
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MOST_MS),
    ("grpc.enable_retries", 0),  # calls are tried again here, where it is known what was answered
)


class GatewayConnection:
    """The gateway at `address`, or the gateways: see `resonance.clients.balancing`.

    Args:
        address: host:port; several with commas between; or ``dns:///host:port``: one an address of the name.
        timeout_s: deadline of a single call.
        retries: how often a single call is tried, with a pause between; all that serve are one try.

    Raises:
        UsageError: an empty or a repeated host.
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """

    def __init__(
        self, address: str, credentials: Credentials | None, *, timeout_s: float, retries: RetryPolicy
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._retries = retries
        self._credentials = credentials or Credentials()
        self._hosts = hosts_of(address)
        for host in self._hosts:
            self._credentials.check_for(host)
        self._encryption = self._credentials.channel()
        self._belonging = Belonging(address)
        self._replicas: Replicas[Any] | None = None  # made at the first call, on whose loop they stay

    def _replica(self, host: str) -> Replica[Any]:
        # One gateway alone is asked whatever its health: it says itself what does not serve.
        balanced = len(self._hosts) > 1 or is_name_of_several(host)
        more = dict(round_robin(HEALTH_SERVICE)) if balanced else {}
        encryption = self._encryption
        proxy = proxy_options(host, encrypted=encryption is not None)
        options = (*(dict(OPTIONS) | more).items(), *proxy)
        channel = (
            grpc.aio.secure_channel(host, encryption, options=options)
            if encryption is not None
            else grpc.aio.insecure_channel(host, options=options)
        )
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        return Replica(host, stub, channel, tries=2 if is_name_of_several(host) else 1)

    def turn(self) -> Turn[Any]:
        """The tries of one call; a replica's `client` is its stub.

        Raises:
            UsageError: see `calling`.
        """
        self._belonging.check()
        if self._replicas is None:
            self._replicas = Replicas([self._replica(host) for host in self._hosts])
        return self._replicas.turn()

    def calling(self) -> AbstractContextManager[None]:
        """Around a call.

        Raises:
            UsageError: on another event loop than the first call, in a forked process, or closed here.
        """
        return self._belonging.calling()

    async def close(self) -> None:
        """End what is under way and free the connections."""
        if self._belonging.leave() and self._replicas is not None:
            await asyncio.gather(*(replica.channel.close(None) for replica in self._replicas.all))

    @contextmanager
    def reading_answer(self) -> Iterator[None]:
        """Around the reading of an answer: a field that is not allowed there is the server's fault."""
        try:
            yield
        except InvalidFieldError as wrong:
            raise ServerFaultError(f"{self.address}: answered {wrong}") from wrong

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call. A token file is read, in a thread.

        Without one no thread is asked for: calls would wait while others read their media in all there are.

        Raises:
            CredentialsError: it holds no token.
        """
        if self._credentials.token_file is None:
            return self._credentials.metadata()
        return await asyncio.to_thread(self._credentials.metadata)

    async def ask(self, method: str, request: object) -> Any:
        """One answer to one request to `method`, tried again, and elsewhere, where that may help.

        Raises:
            ResonanceError, SpaceError: as the gateway raised it; DeadlineExceededError after `timeout_s`.
            UsageError: see `calling`.
        """
        turn, retrying = self.turn(), Retrying(self._retries)
        with self.calling():
            while True:
                replica = await turn.pick()
                call = getattr(replica.client, method)
                try:
                    return await call(request, timeout=self.timeout_s, metadata=await self.metadata())
                except grpc.aio.AioRpcError as fault:
                    error = from_rpc_error(fault, replica.address)
                    if not may_retry(error):
                        raise error from fault
                await turn.failed(error, retrying.wait_after)
