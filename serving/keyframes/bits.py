"""Reading of headers bit by bit: fixed lengths, and the Exp-Golomb codes of H.264 and HEVC."""

from __future__ import annotations

#: Longest run of zeros before an Exp-Golomb code of 32 bits (Rec. H.264, 9.1).
_MOST_ZEROS = 31


class MalformedError(ValueError):
    """A header that ends too early, or says what its format does not allow or this project does not read."""


def unescaped(unit: bytes) -> bytes:
    """A NAL unit without the bytes that keep start codes out of it (Rec. H.264, 7.3.1): 03 after 00 00.

    Three zeros do not occur in a NAL unit, so no 00 00 03 overlaps with another.
    """
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


def need(holds: bool, what: str) -> None:
    """Refuse a header unless `holds`.

    Raises:
        MalformedError: it does not; `what` says what came.
    """
    if not holds:
        raise MalformedError(what)


class Bits:
    """The bits of `data`, the highest of each byte first.

    Every reading raises `MalformedError` where the data end before it does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        end = self._at + count
        if end > 8 * len(self._data):
            raise MalformedError(f"{count} bits wanted at bit {self._at} of {8 * len(self._data)}")
        covering = int.from_bytes(self._data[self._at >> 3 : end + 7 >> 3], "big")
        self._at = end
        return covering >> -end % 8 & (1 << count) - 1

    def flag(self) -> bool:
        """One bit."""
        return bool(self.u(1))

    def marker(self) -> None:
        """One bit that is always set (ISO/IEC 14496-2)."""
        need(self.flag(), "a marker bit of 0")

    def ue(self, most: int = (1 << 32) - 2) -> int:
        """An unsigned Exp-Golomb code (Rec. H.264, 9.1) of at most `most`."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            need(zeros <= _MOST_ZEROS, "an Exp-Golomb code of more than 31 zeros")
        value = (1 << zeros) - 1 + self.u(zeros)
        need(value <= most, f"a value of {value}; expected at most {most}")
        return value

    def se(self) -> int:
        """A signed Exp-Golomb code (Rec. H.264, 9.1.1): 0, 1, -1, 2, -2, ..."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)
