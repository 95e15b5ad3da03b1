"""How many titles to embed side by side: as many as the server is made for, by its own word."""

from __future__ import annotations

from tritonclient.utils import InferenceServerException

from resonance.clients.balancing import hosts_of
from resonance.clients.credentials import Credentials
from resonance.clients.embedder import GATEWAY, TRITON
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.transport import error_of, triton_client

#: Beside those that keep the server busy: a title that is being opened or hashed keeps nothing busy.
SPARE = 1
#: What a title asks first and most of; its instances are how many segments the server computes at a time.
MODEL = "visual_encoder"
_TIMEOUT_S = 30.0


async def titles_side_by_side(server: str, credentials: Credentials | None) -> int:
    """Titles at a time that keep the servers busy, and no more; several are taken to be alike.

    Raises:
        ServerUnavailableError: no server answers. ServerError, RequestRejectedError: it does not say.
        CredentialsError: a file cannot be read, or a token would travel in the open.
    """
    address = server.removeprefix(GATEWAY).removeprefix(TRITON)
    hosts = hosts_of(address)
    if server.startswith(GATEWAY):
        async with GatewayEmbedder(address, credentials=credentials) as gateway:
            each = (await gateway.status()).max_uploads
    else:
        each = await _instances(hosts[0], credentials or Credentials())
    return max(each, 1) * len(hosts) + SPARE


async def _instances(address: str, credentials: Credentials) -> int:
    client = triton_client(address, credentials)
    try:
        answer = await client.get_model_config(
            MODEL, headers=dict(credentials.metadata()), client_timeout=_TIMEOUT_S
        )
    except InferenceServerException as error:
        raise error_of(error, f"{address}: the config of {MODEL}") from error
    finally:
        await client.close()
    return sum(group.count for group in answer.config.instance_group)
