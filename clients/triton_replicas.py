"""Several Tritons as one transport: requests in turn, on at another where one fails, one space alone.

Triton's health service answers Check, whatever the name, and has no Watch (2.51: UNIMPLEMENTED), so gRPC
cannot leave out a server that is connected and not ready. But its port opens when its models have loaded; who
fails or refuses is left alone for a moment; and a connection that is silent for too long is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from numpy.typing import NDArray
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from resonance.clients.balancing import KEEPALIVE, Replica, Replicas, Turn, hosts_of, is_name_of_several
from resonance.clients.channels import Belonging
from resonance.clients.credentials import Credentials
from resonance.clients.errors import ServerFaultError, UsageError
from resonance.clients.transport import ATTEMPTS, RETRIED, WAIT, Tensors, TritonTransport
from resonance.space.descriptor import Descriptor
from resonance.space.errors import DescriptorError, SpaceMismatchError

SPACE_MODEL, SPACE = "space_descriptor", "SPACE"
#: Descriptors whose fingerprints are remembered: those of a few servers, before and after a change.
_REMEMBERED = 8


class TritonReplicas:
    """A `Transport` over `TritonTransport`s, one a host.

    An answer of Triton's does not say of which space it is. So a server is asked for its space before its
    first request, again after each loss of its connection or failure, and all that serve are asked whenever
    the space is asked for, which happens at the end of each title.

    Args:
        address: hosts and ports with commas between.
        credentials: see `TritonTransport`.

    Raises:
        UsageError: an empty or a repeated host, or a name that stands for several servers.
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """

    def __init__(self, address: str, *, credentials: Credentials | None = None) -> None:
        self._transports: list[TritonTransport] = []
        for host in hosts_of(address):
            if is_name_of_several(host):
                raise UsageError(
                    f"'{host}' stands for several Tritons, and which one answers cannot be told, nor whether "
                    "all have one space; name each, or put a gateway before each and use grpc://"
                )
            self._transports.append(
                TritonTransport(host, attempts=1, credentials=credentials, options=KEEPALIVE)
            )
        self._belonging = Belonging(address)
        self._begun: Replicas[TritonTransport] | None = None  # at the first call, on whose loop they stay
        self._fingerprint: str | None = None
        self._fingerprints: dict[bytes, str] = {}
        self._known: set[Replica[TritonTransport]] = set()
        self._watching: list[asyncio.Task[None]] = []

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """See `Transport`.

        Raises:
            SpaceMismatchError: the servers do not embed into one space.
            UsageError: see `Belonging.check`.
        """
        turn = self._replicas().turn()
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=WAIT,
            retry=retry_if_exception_type(RETRIED),
            reraise=True,
        ):
            with attempt, self._belonging.calling():
                return await self._infer_somewhere(turn, model, inputs, outputs, timeout_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self) -> None:
        """See `Transport`."""
        if self._belonging.leave():
            for task in self._watching:
                task.cancel()
            await asyncio.gather(*self._watching, return_exceptions=True)
            await asyncio.gather(*(one.close() for one in self._transports))

    def _replicas(self) -> Replicas[TritonTransport]:
        self._belonging.check()
        if self._begun is None:
            self._begun = Replicas([Replica(one.server, one, one.channel) for one in self._transports])
            self._watching = [asyncio.create_task(self._watch(replica)) for replica in self._begun.all]
        return self._begun

    async def _infer_somewhere(
        self,
        turn: Turn[TritonTransport],
        model: str,
        inputs: Tensors,
        outputs: Sequence[str],
        timeout_s: float,
    ) -> dict[str, NDArray[Any]]:
        """The answer of the first server that gives one; the last error where none does."""
        while True:
            replica = await turn.pick()
            try:
                if model == SPACE_MODEL:
                    return await self._ask_all(replica, inputs, outputs, timeout_s)
                if replica not in self._known:
                    await self._check_space(replica, timeout_s)
                return await replica.client.infer(model, inputs, outputs, timeout_s=timeout_s)
            except RETRIED as error:
                self._known.discard(replica)
                await turn.failed(error, _raise)

    async def _ask_all(
        self, first: Replica[TritonTransport], inputs: Tensors, outputs: Sequence[str], timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """The space of `first`, which that of every other that serves has to equal.

        Raises:
            SpaceMismatchError: of the one whose space is not that of before, where others have that.
        """
        answer = await first.client.infer(SPACE_MODEL, inputs, outputs, timeout_s=timeout_s)
        found = {first: self._fingerprint_in(answer, first.address)}
        others = [replica for replica in self._replicas().serving() if replica is not first]
        answers = await asyncio.gather(
            *(other.client.infer(SPACE_MODEL, inputs, outputs, timeout_s=timeout_s) for other in others),
            return_exceptions=True,
        )
        for other, theirs in zip(others, answers, strict=True):
            if isinstance(theirs, RETRIED):
                continue  # it is asked again before anything is asked of it
            if isinstance(theirs, BaseException):
                raise theirs
            found[other] = self._fingerprint_in(theirs, other.address)
        expected = found[first]
        if self._fingerprint is not None and self._fingerprint in found.values():
            expected = self._fingerprint
        for replica, fingerprint in found.items():
            _check(expected, fingerprint, replica.address)
        self._fingerprint, self._known = expected, set(found)
        return answer

    async def _check_space(self, replica: Replica[TritonTransport], timeout_s: float) -> None:
        """Ask one server for its space.

        Raises:
            SpaceMismatchError: it is another than the others'. ServerError: no answer.
        """
        answer = await replica.client.infer(SPACE_MODEL, {}, (SPACE,), timeout_s=timeout_s)
        found = self._fingerprint_in(answer, replica.address)
        self._fingerprint = self._fingerprint or found
        _check(self._fingerprint, found, replica.address)
        self._known.add(replica)

    def _fingerprint_in(self, answer: dict[str, NDArray[Any]], address: str) -> str:
        """Of a descriptor, which is read once: its axes are thousands of numbers to check."""
        text: bytes = answer[SPACE][0]
        if text not in self._fingerprints:
            try:
                descriptor = Descriptor.from_json(text.decode(), where=f"the space.json of {address}")
            except DescriptorError as malformed:
                raise ServerFaultError(str(malformed)) from malformed
            if len(self._fingerprints) >= _REMEMBERED:
                self._fingerprints.clear()
            self._fingerprints[text] = descriptor.fingerprint
        return self._fingerprints[text]

    async def _watch(self, replica: Replica[TritonTransport]) -> None:
        """Forget what is known of a server whose connection is lost: another may come back in its place."""
        while (state := replica.state) is not grpc.ChannelConnectivity.SHUTDOWN:
            if state is not grpc.ChannelConnectivity.READY:
                self._known.discard(replica)
            await replica.channel.wait_for_state_change(state)


async def _raise(error: Exception) -> None:
    raise error


def _check(expected: str, found: str, address: str) -> None:
    if found != expected:
        raise SpaceMismatchError(expected, found, address)
