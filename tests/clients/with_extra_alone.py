"""`resonance` as it is where one extra alone is installed.

``python -m tests.clients.with_extra_alone EXTRA ARGUMENTS``
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Absent:
    """Finds no module of a distribution that the extra does not bring."""

    def __init__(self, extra: str) -> None:
        brought = {canonicalize_name(name) for name, _ in closure("resonance", frozenset({extra}))}
        self._absent = {
            module
            for module, names in importlib.metadata.packages_distributions().items()
            if not {canonicalize_name(name) for name in names} & brought
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def closure(name: str, extras: frozenset[str]) -> set[tuple[str, frozenset[str]]]:
    """Distributions that `name` with `extras` needs, itself among them."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        try:
            needs = importlib.metadata.requires(one[0]) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform
            continue
        for text in needs:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in {*one[1], ""}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return found


if __name__ == "__main__":
    chosen = sys.argv.pop(1)
    loaded = {module for module in sys.modules if module.partition(".")[0] == "packaging"}
    for module in loaded:
        del sys.modules[module]
    sys.meta_path.insert(0, Absent(chosen))  # type: ignore[arg-type]
    from resonance.clients.cli.main import main

    main()
