"""The connection to Triton, whose errors are told to callers of the gateway: they know no Triton."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from resonance.clients.errors import RequestRejectedError, ServerError, ServerUnavailableError
from resonance.clients.transport import Tensors, Transport

_log = logging.getLogger(__name__)


class ModelsTransport:
    """A `Transport` over another one. Its errors name no inner address, and do not advise a caller of the
    gateway to start a Triton; what they were is their `__cause__`.

    Args:
        address: of Triton, as it stands in errors of `inner`.
    """

    def __init__(self, inner: Transport, address: str) -> None:
        self._inner, self._address = inner, address
        self._away = False

    async def infer(
        self, model: str, inputs: Tensors, outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, NDArray[Any]]:
        """See `Transport`."""
        try:
            answer = await self._inner.infer(model, inputs, outputs, timeout_s=timeout_s)
        except ServerUnavailableError as error:
            if not self._away:  # one line, however many calls it costs
                _log.warning("the models do not answer: %s", error)
            self._away = True
            raise ServerUnavailableError(
                "the models do not answer; come again", retry_after_s=error.retry_after_s
            ) from error
        except ServerError as error:
            raise type(error)(self._told(error), retry_after_s=error.retry_after_s) from error
        except RequestRejectedError as error:
            raise RequestRejectedError(self._told(error)) from error
        self._away = False
        return answer

    async def close(self) -> None:
        """See `Transport`."""
        await self._inner.close()

    def _told(self, error: Exception) -> str:
        return str(error).removeprefix(f"{self._address}: ")
