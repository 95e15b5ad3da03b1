"""An embedder belongs to one event loop, until it is closed: what it says elsewhere and afterwards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.errors import ServerUnavailableError, UsageError

#: Nothing listens there.
NOWHERE = ("grpc://127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2", "grpc://127.0.0.1:1,127.0.0.1:2")
#: Where a call of a connection that is closed may be: at a server, or before it.
CLOSED = r"closed here while a call was under way|asked after it was closed"


@pytest.mark.parametrize("server", NOWHERE[:3])  # several gateways are given seconds to come
def test_it_is_made_anywhere_and_belongs_to_the_loop_of_its_first_call(server: str) -> None:
    embedder = Embedder(server)
    with pytest.raises(ServerUnavailableError):
        asyncio.run(embedder.space())
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(embedder.space())
    asyncio.run(embedder.close())
    with pytest.raises(UsageError, match="asked after it was closed"):
        asyncio.run(embedder.space())


@contextmanager
def silent_server() -> Iterator[str]:
    """Connections are taken, by the kernel, and nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield f"127.0.0.1:{door.getsockname()[1]}"


@pytest.mark.parametrize("form", ["grpc://{0}", "grpc://{0},127.0.0.1:1", "{0}", "{0},127.0.0.1:1"])
async def test_closing_ends_a_call_with_an_error_and_cancels_nobody(form: str) -> None:
    with silent_server() as address:
        embedder = Embedder(form.format(address))
        call = asyncio.create_task(embedder.space())
        await asyncio.sleep(0.2)
        await embedder.close()
        with pytest.raises(UsageError, match=CLOSED):
            async with asyncio.timeout(5):
                await asyncio.shield(call)


@pytest.mark.parametrize("server", NOWHERE)
async def test_closing_ends_a_call_that_waits_for_its_next_try(server: str) -> None:
    embedder = Embedder(server)
    call = asyncio.create_task(embedder.space())
    await asyncio.sleep(0.02)
    await embedder.close()
    with pytest.raises(UsageError, match=CLOSED):
        async with asyncio.timeout(5):
            await asyncio.shield(call)


async def test_who_is_cancelled_is_cancelled() -> None:
    with silent_server() as address:
        async with Embedder(f"grpc://{address}") as embedder:
            call = asyncio.create_task(embedder.space())
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await embedder.space()
