"""Tests that take long: in short in CI, whole in `make test-long`."""

from __future__ import annotations

import pytest

long = pytest.mark.long


def short_and_whole(short: object, whole: object) -> list[object]:
    """Values of a parameter: the short one for CI, the other for `make test-long`."""
    return [pytest.param(short, id="short"), pytest.param(whole, id="whole", marks=long)]
