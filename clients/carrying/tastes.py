"""A saved taste in the new space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resonance.clients.carrying.files import CarryFile
from resonance.clients.discovery.taste import Taste
from resonance.space.blocks import FloatArray
from resonance.space.descriptor import MODALITIES, Descriptor
from resonance.space.scores import require_same_space


def own_sigmas(descriptor: Descriptor) -> FloatArray:
    """sigma(m, m) in block order, float64 [3]: what a query "like this title" is divided by."""
    return np.array([descriptor.sigmas[name][name] for name in MODALITIES], np.float64)


def carry_taste(taste: Taste, file: CarryFile, old: Descriptor, new: Descriptor) -> Taste:
    """The same titles count as much as before; only where they stand is carried.

    Raises:
        SpaceMismatchError: taste, map and descriptors are not of the two spaces.
    """
    for found, expected, where in (
        (taste.space.fingerprint, file.old_space.fingerprint, "the taste"),
        (old.fingerprint, file.old_space.fingerprint, "the old space's space.json"),
        (new.fingerprint, file.new_space.fingerprint, "the new space's space.json"),
    ):
        require_same_space(expected, found, where)
    amount = sum(counted.share for counted in taste.counted)
    query = file.carrying.blend(taste.query, amount, own_sigmas(old), own_sigmas(new))
    return replace(taste, space=file.new_space, query=query)
