"""Descriptors seen so far, so that a library can be explored while its encoder server is away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from resonance.clients.new_files import whole_file
from resonance.space.descriptor import Descriptor
from resonance.space.errors import DescriptorError


def spaces_folder() -> Path:
    """Where they are: `resonance/spaces` in the user's cache (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resonance" / "spaces"


def remembered(fingerprint: str, folder: Path) -> Descriptor | None:
    """The descriptor of a space, None where it was never seen or the file is no longer one."""
    path = folder / f"{fingerprint}.json"
    if not path.is_file():
        return None
    try:
        descriptor = Descriptor.load(path)
    except DescriptorError:
        return None
    return descriptor if descriptor.fingerprint == fingerprint else None


def remember(descriptor: Descriptor, folder: Path) -> None:
    """Keep it. A cache that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / f"{descriptor.fingerprint}.json") as file:
            file.write_text(descriptor.to_json(), encoding="utf-8")
