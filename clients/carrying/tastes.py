"""A saved taste in the new space."""

from __future__ import annotations

from dataclasses import replace

from resonance.clients.carrying.files import CarryFile
from resonance.clients.discovery.taste import Taste
from resonance.space.descriptor import Descriptor
from resonance.space.scores import own_sigmas, require_same_space


def carry_taste(taste: Taste, file: CarryFile, new: Descriptor) -> Taste:
    """The same titles count as much as before; only where they stand is carried.

    Raises:
        SpaceMismatchError: taste, map and descriptor are not of the two spaces.
    """
    for found, expected, where in (
        (taste.space.fingerprint, file.old_space.fingerprint, "the taste"),
        (new.fingerprint, file.new_space.fingerprint, "the new space's space.json"),
    ):
        require_same_space(expected, found, where)
    amount = sum(counted.share for counted in taste.counted)
    sigmas = own_sigmas(new)
    query = file.carrying.blend(taste.query, amount, taste.sigmas, sigmas)
    return replace(taste, space=file.new_space, query=query, sigmas=sigmas)
