"""The seam: statuses become typed errors, and none is left out."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from resonance.clients.errors import (
    DeadlineExceededError,
    RequestRejectedError,
    ResonanceError,
    ServerUnavailableError,
)
from resonance.clients.transport import ERRORS_BY_STATUS, TritonTransport
from resonance.serving.server import TritonServer


def test_every_status_has_an_error() -> None:
    assert set(ERRORS_BY_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert all(issubclass(error, ResonanceError) for error in ERRORS_BY_STATUS.values())


async def test_no_server_is_one_clear_error() -> None:
    transport = TritonTransport("127.0.0.1:1", attempts=2)
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1: .*resonance serve"):
        await transport.infer("space_descriptor", {}, ("SPACE",), timeout_s=5)
    await transport.close()


async def test_a_wrong_request_names_the_model(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    with pytest.raises(RequestRejectedError, match="audio_encoder"):
        await transport.infer("audio_encoder", {"PCM": np.zeros((1, 5), np.float32)}, ("AUDIO",), timeout_s=5)
    with pytest.raises(ResonanceError, match="no_such_model"):
        await transport.infer("no_such_model", {}, ("X",), timeout_s=5)
    await transport.close()


async def test_a_deadline_is_kept(server: TritonServer) -> None:
    transport = TritonTransport(server.grpc_address)
    pcm = {"PCM": np.zeros((64, 128_000), np.float32), "PCM_LENGTH": np.ones((64, 1), np.int64)}
    with pytest.raises(DeadlineExceededError):
        await transport.infer("audio_encoder", pcm, ("AUDIO",), timeout_s=0.05)
    await transport.close()
