"""What is read from a library and cannot be ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.clients.ingest.errors import StoreError


def check_finite(uri: str, media_ids: Sequence[Any], numbers: NDArray[np.float32]) -> None:
    """Refuse NaN and infinity: they rank nowhere, and make every mean that they are in one of them.

    Args:
        media_ids: the title of each row, as text or as Arrow has it.
        numbers: vectors [n, 1788], or their scores [n], which are not finite where they are not.

    Raises:
        StoreError: names the first such title.
    """
    finite = np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
    if not finite.all():
        raise StoreError(
            uri,
            f"title '{media_ids[int(np.argmin(finite))]}' has a vector with NaN or infinity",
            "finite numbers: `resonance validate` counts such titles; ingest them again",
        )
