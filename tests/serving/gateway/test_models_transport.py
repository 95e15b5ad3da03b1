"""What callers of a gateway are told of the models behind it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from resonance.clients.errors import (
    DeadlineExceededError,
    OverloadedError,
    RequestRejectedError,
    ResonanceError,
    ServerFaultError,
    ServerUnavailableError,
)
from resonance.serving.gateway.models_transport import ModelsTransport

ADDRESS = "127.0.0.1:22193"


class Scripted:
    """A transport that raises what it is given, one after the other; answers for None."""

    def __init__(self, *errors: ResonanceError | None) -> None:
        self.errors = list(errors)

    async def infer(self, *what: Any, timeout_s: float) -> Any:
        if error := self.errors.pop(0):
            raise error
        return {}

    async def close(self) -> None: ...


async def told(error: ResonanceError) -> ResonanceError:
    with pytest.raises(type(error)) as raised:
        await ModelsTransport(Scripted(error), ADDRESS).infer("m", {}, ("Y",), timeout_s=30)
    assert raised.value.__cause__ is error
    return raised.value


async def test_that_triton_is_away_is_told_without_its_address_and_logged_once_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inner = f"{ADDRESS}: model m: failed to connect to ipv4:{ADDRESS}; is the server running?"
    away = ServerUnavailableError(inner)
    assert str(await told(away)) == "the models do not answer; come again"
    transport = ModelsTransport(Scripted(away, away, None, away), ADDRESS)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        for fails in (True, True, False, True):
            if fails:
                with pytest.raises(ServerUnavailableError):
                    await transport.infer("m", {}, ("Y",), timeout_s=30)
            else:
                await transport.infer("m", {}, ("Y",), timeout_s=30)
    assert [record.getMessage() for record in caplog.records] == [f"the models do not answer: {inner}"] * 2


@pytest.mark.parametrize(
    "kind", [ServerFaultError, DeadlineExceededError, OverloadedError, RequestRejectedError]
)
async def test_what_a_model_says_is_told_without_the_address(kind: type[ResonanceError]) -> None:
    assert (
        str(await told(kind(f"{ADDRESS}: model m: the weights are gone"))) == "model m: the weights are gone"
    )


async def test_when_to_come_again_is_told() -> None:
    error = await told(OverloadedError("full", retry_after_s=2.5))
    assert isinstance(error, OverloadedError)
    assert error.retry_after_s == 2.5
