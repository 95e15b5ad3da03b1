"""The seam under the embedder: named tensors to a named model and back. Tests replace this alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from resonance.clients.channels import CONNECT_TIMEOUT_MS, Belonging
from resonance.clients.credentials import Credentials, proxy_options
from resonance.clients.errors import (
    DeadlineExceededError,
    OverloadedError,
    RequestRejectedError,
    ResonanceError,
    ServerFaultError,
    ServerUnavailableError,
)
from resonance.clients.in_flight import InFlight

Tensors = Mapping[str, NDArray[Any]]


class Transport(Protocol):
    """Carries one request to a model and its answer back.

    `infer` raises only members of `resonance.clients.errors`.
    """

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """The named outputs of `model` for `inputs`, within `timeout_s` seconds."""
        ...

    async def close(self) -> None:
        """Free the connection."""
        ...


#: Every status a server can answer with, as this client's error. A test checks that none is missing.
ERRORS_BY_STATUS: Mapping[grpc.StatusCode, type[ResonanceError]] = {
    grpc.StatusCode.CANCELLED: ServerFaultError,
    grpc.StatusCode.UNKNOWN: ServerFaultError,
    grpc.StatusCode.INVALID_ARGUMENT: RequestRejectedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    # a model that is not there is the server's fault: it is being loaded, or was left out
    grpc.StatusCode.NOT_FOUND: ServerFaultError,
    grpc.StatusCode.ALREADY_EXISTS: RequestRejectedError,
    grpc.StatusCode.PERMISSION_DENIED: RequestRejectedError,
    grpc.StatusCode.UNAUTHENTICATED: RequestRejectedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.FAILED_PRECONDITION: RequestRejectedError,
    grpc.StatusCode.ABORTED: ServerFaultError,
    grpc.StatusCode.OUT_OF_RANGE: RequestRejectedError,
    grpc.StatusCode.UNIMPLEMENTED: RequestRejectedError,
    grpc.StatusCode.INTERNAL: ServerFaultError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DATA_LOSS: ServerFaultError,
}

#: Inference has no side effects, so these are safe to try again.
RETRIED = (ServerUnavailableError, OverloadedError, ServerFaultError)
ATTEMPTS, WAIT = 4, wait_random_exponential(multiplier=0.1, max=2.0)

#: A server that was started again is found at once; gRPC's own pauses grow to two minutes.
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def triton_client(server: str, credentials: Credentials) -> triton.InferenceServerClient:
    """The library's client of the Triton at `server`, host:port, over a channel of its own.

    Raises:
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """
    return _client_maker(server, credentials)()


def _client_maker(
    server: str, credentials: Credentials, options: Sequence[tuple[str, int]] = ()
) -> Callable[[], triton.InferenceServerClient]:
    """Makes that client; the files of `credentials` are read now, so that errors are those of now."""
    credentials.check_for(server)
    proxy = proxy_options(server, encrypted=credentials.secure)
    return partial(
        triton.InferenceServerClient,
        server,
        creds=credentials.channel(),
        channel_args=[*CHANNEL_OPTIONS, *proxy, *options],
    )


#: A request that nobody waits for any more ends after so long at the latest, at a server that hangs.
LEFT_BEHIND_S = 60.0
#: How long the end of such requests is waited for when the connection is closed.
SETTLE_S = 5.0


class TritonTransport:
    """Unary requests to a Triton server over gRPC; none is cancelled, see `resonance.clients.in_flight`.

    Args:
        server: host:port of Triton's gRPC endpoint.
        attempts: tries in all for a request that failed for the server's or the network's fault.
        credentials: certificates, and a token for what stands before Triton, which checks none itself.
        headers: further ones, asked for at each request, such as those of its trace.
        options: of the gRPC channel, beside `CHANNEL_OPTIONS`.

    Raises:
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """

    def __init__(
        self,
        server: str,
        *,
        attempts: int = ATTEMPTS,
        credentials: Credentials | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.server = server
        self._headers = headers
        self._credentials = credentials or Credentials()
        self._make_client = _client_maker(server, self._credentials, options)
        self._made: triton.InferenceServerClient | None = None  # at the first call, on whose loop it stays
        self._belonging = Belonging(server)
        self._attempts = attempts
        self._in_flight = InFlight()

    @property
    def channel(self) -> grpc.aio.Channel:
        """Its state says whether the server can be reached; the library keeps it to itself.

        Raises:
            UsageError: see `Belonging.check`.
        """
        return self._client()._channel

    def _client(self) -> triton.InferenceServerClient:
        self._belonging.check()
        if self._made is None:
            self._made = self._make_client()
        return self._made

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """See `Transport`."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=WAIT,
            retry=retry_if_exception_type(RETRIED),
            reraise=True,
        ):
            with attempt:
                return await self._infer_once(model, inputs, outputs, timeout_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _infer_once(
        self, model: str, inputs: Tensors, outputs: Sequence[str], timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        async def request() -> triton.InferResult:
            return await self._client().infer(
                model,
                [_input(name, array) for name, array in inputs.items()],
                outputs=[triton.InferRequestedOutput(name) for name in outputs],
                client_timeout=timeout_s + LEFT_BEHIND_S,
                headers={**dict(self._credentials.metadata()), **self._headers()},
            )

        try:
            with self._belonging.calling():
                answer = await self._in_flight.result_of(request, timeout_s=timeout_s)
        except TimeoutError:
            raise DeadlineExceededError(
                f"{self.server}: model {model} gave no answer for {timeout_s:g} s; is it overloaded?"
            ) from None
        except InferenceServerException as fault:
            raise error_of(fault, f"{self.server}: model {model}") from fault
        result: dict[str, NDArray[Any]] = {}
        for name in outputs:
            array = answer.as_numpy(name)
            if array is None:
                raise ServerFaultError(f"{self.server}: model {model} gave no output {name}; expected it")
            result[name] = array
        return result

    async def close(self) -> None:
        """See `Transport`."""
        if self._belonging.leave():
            await self._in_flight.settle(SETTLE_S)
            if self._made is not None:
                await self._made.close()


def error_of(fault: InferenceServerException, where: str) -> ResonanceError:
    """Triton's error as this client's, by its status; `where` says of which server and model."""
    status = str(fault.status() or "")
    code = getattr(grpc.StatusCode, status.removeprefix("StatusCode."), grpc.StatusCode.UNKNOWN)
    message = " ".join(str(fault.message()).split())
    if code is grpc.StatusCode.UNAVAILABLE:
        if "Socket closed" in message:  # something answers there, and it is no gRPC
            message += "; is this a gRPC port? Triton's is 8001 where its HTTP port is 8000"
        else:
            message += "; is the server running? start one with `resonance serve`"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        message += "; is this a Triton? a gateway is grpc://HOST:PORT"
    return ERRORS_BY_STATUS[code](f"{where}: {message}")


def _input(name: str, array: NDArray[Any]) -> Any:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor
