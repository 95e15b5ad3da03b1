"""Errors of the embedding space.

SpaceError
├── DescriptorError   space.json is missing a field, has a wrong one, or does not match its fingerprint
├── BlockError        a vector or block has the wrong width, dtype, norm or holds NaN
├── WeightError       weights are NaN, infinite, unknown, all zero or, of modalities, negative
├── SpaceMismatchError     vectors of two different spaces met
├── ArcError          an arc's times or values cannot be smoothed or resampled
├── CalibrationError  a reference set or the ends of an axis cannot be calibrated with
└── CarryingError     vectors cannot be carried from one space to another with what was given
"""

from __future__ import annotations

#: Of a fingerprint, in messages; more where two begin alike.
_SHOWN_DIGITS = 12


class SpaceError(ValueError):
    """Root of every error that `resonance.space` raises."""


class DescriptorError(SpaceError):
    """A space descriptor is malformed; the message names the field, what came and what was expected."""


class BlockError(SpaceError):
    """A vector, block or presence mask does not fit the space."""


class WeightError(SpaceError):
    """Weights, of modalities or of the titles that a taste is made of, cannot be used."""


class SpaceMismatchError(SpaceError):  # the state of two spaces, not the fault of one
    """Two fingerprints that must agree differ: vectors of two spaces are never compared or stored together.

    Attributes:
        expected, found: the two fingerprints in full.
    """

    def __init__(self, expected: str, found: str, where: str) -> None:
        self.expected = expected
        self.found = found
        self._where = where
        digits = _SHOWN_DIGITS
        while found[:digits] == expected[:digits] and digits < len(found):
            digits += 1
        super().__init__(
            f"{where}: space {found[:digits]}, expected space {expected[:digits]}; vectors of two spaces are "
            "never compared: use the server, store or file of the expected one, or embed the media again "
            "with it"
        )

    def __reduce__(self) -> tuple[type[SpaceMismatchError], tuple[str, str, str]]:
        """It can be pickled, as errors of one argument can."""
        return type(self), (self.expected, self.found, self._where)


class ArcError(SpaceError):
    """Arc times or values are unusable."""


class CalibrationError(SpaceError):
    """A reference set, or the ends of an axis, are unusable; says what came and what was expected."""


class CarryingError(SpaceError):
    """A map from one space to another cannot be fitted or is none; says what came and what was expected."""
