"""A map between two spaces as a file: `carry.npz`, arrays and the two spaces, without pickle."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from resonance.clients.errors import UsageError
from resonance.clients.new_files import whole_file
from resonance.clients.results import SpaceRef
from resonance.space.carrying import Carrying
from resonance.space.errors import CarryingError

_FORMAT, _VERSION = "resonance-carry", 1
_EXPECTED = "a file that `resonance carry` wrote"


@dataclass(frozen=True, slots=True, eq=False)
class CarryFile:
    """A map, and from which space to which."""

    carrying: Carrying
    old_space: SpaceRef
    new_space: SpaceRef


def save_carrying(file: CarryFile, path: Path) -> None:
    """Write it, whole or not at all; matrices as float32, 1.3 MB each before compression.

    Raises:
        UsageError: it cannot be written.
    """
    facts = {
        "format": _FORMAT,
        "version": _VERSION,
        "old_space": asdict(file.old_space),
        "new_space": asdict(file.new_space),
    }
    arrays = io.BytesIO()  # into a file that finds no room, numpy's archive ends in tracebacks of its own
    np.savez_compressed(
        arrays,
        facts=np.array(json.dumps(facts)),
        rotations=file.carrying.rotations.astype(np.float32),
        old_means=file.carrying.old_means.astype(np.float32),
        new_means=file.carrying.new_means.astype(np.float32),
    )
    try:
        with whole_file(path) as half:
            half.write_bytes(arrays.getbuffer())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def load_carrying(path: Path) -> CarryFile:
    """Read what `save_carrying` wrote.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            if (facts["format"], facts["version"]) != (_FORMAT, _VERSION):
                raise ValueError(f"format {facts['format']!r}, version {facts['version']!r}")
            carrying = Carrying(
                *(arrays[name].astype(np.float64) for name in ("rotations", "old_means", "new_means"))
            )
        return CarryFile(carrying, SpaceRef(**facts["old_space"]), SpaceRef(**facts["new_space"]))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from error
    except (
        *(KeyError, TypeError, ValueError, AttributeError, EOFError, CarryingError),
        *(zipfile.BadZipFile, zlib.error, RecursionError),
        *(SyntaxError, tokenize.TokenError),  # of numpy's reader of headers
    ) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}; expected {_EXPECTED}") from error
