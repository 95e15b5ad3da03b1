"""What to say where a package is missing that one of our extras brings."""

from __future__ import annotations


def extra_hint(extra: str) -> str:
    """What to do: the extra, and how where the package came from a checkout.

    No package index is named: the name `resonance` on PyPI is another project's.
    """
    return f"install the extra `{extra}` of this package, e.g. pip install '.[{extra}]' in its checkout"
