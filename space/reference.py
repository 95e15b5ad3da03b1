"""The reference set: blocks of many segments, over which sigmas and axes are calibrated."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resonance.space.blocks import BoolArray, FloatArray
from resonance.space.descriptor import BLOCK_WIDTH, MODALITIES
from resonance.space.errors import CalibrationError

#: With n blocks the standard error of a standard deviation is 1/sqrt(2n) of it: 13% at 30.
FEWEST_BLOCKS = 30
#: How far from 1 the norm of a given block may be: half precision, normalised before it was rounded.
NORM_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Blocks of R segments, best of R different titles.

    blocks: float16, 32 or 64 [R, 3, 596], unit where present; what stands in an absent block is never
    read. present: bool [R, 3], which modalities a segment really has (an inferred block is absent).

    Raises:
        CalibrationError: other shapes or types, a present block that is not finite or not unit, or fewer
            than `FEWEST_BLOCKS` of a modality.
    """

    blocks: NDArray[np.floating[Any]]
    present: BoolArray

    def __post_init__(self) -> None:
        rows = len(self.present) if np.ndim(self.present) else 0
        shape = (rows, len(MODALITIES), BLOCK_WIDTH)
        if self.blocks.dtype.kind != "f" or self.blocks.shape != shape:
            raise CalibrationError(
                f"blocks are {self.blocks.dtype} of shape {self.blocks.shape}; expected floats of {shape}"
            )
        if self.present.dtype != np.bool_ or self.present.shape != shape[:2]:
            raise CalibrationError(
                f"present is {self.present.dtype} of shape {self.present.shape}; expected bool of {shape[:2]}"
            )
        for row, modality in enumerate(MODALITIES):
            given = self.blocks[self.present[:, row], row].astype(np.float64)  # (n, 596)
            if len(given) < FEWEST_BLOCKS:
                raise CalibrationError(
                    f"{len(given)} {modality} blocks are present; expected at least {FEWEST_BLOCKS}"
                )
            norms = np.linalg.norm(given, axis=1)
            if not (np.abs(norms - 1) <= NORM_TOLERANCE).all():  # NaN is refused as well
                worst = norms[np.argmax(np.nan_to_num(np.abs(norms - 1), nan=np.inf))]
                raise CalibrationError(f"a present {modality} block has norm {worst:.3g}; expected 1")

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read an .npz with the arrays `blocks` and `present`.

        Raises:
            CalibrationError: it cannot be read, lacks an array, or see the class.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                blocks, present = arrays["blocks"], arrays["present"]
        except OSError as error:
            raise CalibrationError(f"{path}: cannot be read ({error.strerror or error})") from error
        except KeyError as error:
            raise CalibrationError(f"{path}: {error.args[0]}; expected 'blocks' and 'present'") from error
        except (ValueError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
            raise CalibrationError(f"{path}: not an .npz of plain arrays ({error})") from error
        try:
            return cls(blocks, present)
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}") from error

    def of(self, modality: str) -> FloatArray:
        """The present blocks of `modality`, float64 [n, 596], made unit once more."""
        rows = self.zeroed(modality)
        return np.asarray(rows[self.present[:, MODALITIES.index(modality)]])

    def zeroed(self, modality: str) -> FloatArray:
        """One row a segment, float64 [R, 596]: its unit block, or zeros where `modality` is absent."""
        column = MODALITIES.index(modality)
        there = self.present[:, column]
        rows = np.zeros((len(there), BLOCK_WIDTH))
        given = self.blocks[there, column].astype(np.float64)
        rows[there] = given / np.linalg.norm(given, axis=1, keepdims=True)
        return rows
