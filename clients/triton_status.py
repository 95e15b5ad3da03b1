"""What a Triton without a gateway says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritonclient.utils import InferenceServerException

from resonance.clients.credentials import Credentials
from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import TritonTransport, error_of, triton_client


@dataclass(frozen=True, slots=True)
class TritonModel:
    """A loaded model: whether Triton calls it ready, and its inferences since the start.

    A model whose process died is still called ready; a gateway, which tries each model, knows better.
    """

    name: str
    serving: bool
    inferences: int


@dataclass(frozen=True, slots=True)
class TritonStatus:
    """The space and the models."""

    fingerprint: str
    space_name: str
    models: tuple[TritonModel, ...]


async def triton_status(
    address: str, credentials: Credentials | None = None, *, timeout_s: float = 30.0
) -> TritonStatus:
    """Ask the Triton at `address`, host:port.

    Raises:
        ServerError, RequestRejectedError: no answer. CredentialsError: see `TritonTransport`.
    """
    credentials = credentials or Credentials()
    transport = TritonTransport(address, credentials=credentials)
    try:
        descriptor = await ServedSpace(transport, timeout_s=timeout_s).ask()
    finally:
        await transport.close()
    client = triton_client(address, credentials)
    options: dict[str, Any] = {"headers": dict(credentials.metadata()), "client_timeout": timeout_s}
    try:
        statistics = await client.get_inference_statistics(**options)
        models = [
            TritonModel(m.name, await client.is_model_ready(m.name, m.version, **options), m.inference_count)
            for m in sorted(statistics.model_stats, key=lambda m: str(m.name))
        ]
    except InferenceServerException as fault:
        raise error_of(fault, address) from fault
    finally:
        await client.close()
    return TritonStatus(descriptor.fingerprint, descriptor.name, tuple(models))
