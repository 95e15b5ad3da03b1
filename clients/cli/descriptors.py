"""The descriptor that a store's vectors are compared with: a file, or the server's."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

from resonance.clients.credentials import Credentials
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.types import Library
from resonance.clients.embedder import Embedder
from resonance.space.descriptor import Descriptor
from resonance.space.scores import require_same_space


async def descriptor_for(
    library: Library, space: Path | None, server: str, credentials: Credentials
) -> Descriptor:
    """That of `space`, a space.json; without one, that which `server` embeds into.

    Raises:
        SpaceMismatchError: it is not the library's. DescriptorError: the file is none.
        UsageError, ServerError, RequestRejectedError: see `Embedder`.
    """
    if space is not None:
        descriptor = Descriptor.load(space)
        require_same_space(descriptor.fingerprint, library.space.fingerprint, library.uri)
        return descriptor
    fingerprint = library.space.fingerprint
    async with Embedder(server, expected_fingerprint=fingerprint, credentials=credentials) as embedder:
        return await embedder.space()


def descriptor_of_store(uri: str, space: Path | None, server: str, credentials: Credentials) -> Descriptor:
    """The same for a store that is opened only to be asked for its space. Blocks.

    Raises:
        StoreError: it cannot be opened. All else: see `descriptor_for`.
    """
    with closing(open_library(uri)) as library:
        return asyncio.run(descriptor_for(library, space, server, credentials))
