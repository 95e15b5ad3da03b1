"""NAL units of H.264 and HEVC in packets and extradata, and which parameter sets a decoder will find.

DALI reads a file through FFmpeg and its filters `h264_mp4toannexb` and `hevc_mp4toannexb`. Those turn
lengths into start codes and put the record's parameter sets before a keyframe, but hand on data that has
start codes as they are. Extradata with start codes never reach NVDEC's parser so, unless they stand in
the packet itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from resonance.serving.keyframes.bits import MalformedError, need

_START = b"\x00\x00\x01"
#: Type of a parameter set and its id.
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Header:
    """What a keyframe says of itself.

    Attributes:
        width_px, height_px: of the picture to be shown, cropped, before any rotation.
        full_range: luma goes from 0 to 255; told here of VP9 alone.
        wants_extradata: the packet is decodable only with the extradata before its own bytes.
    """

    width_px: int
    height_px: int
    full_range: bool = False
    wants_extradata: bool = False


@dataclass(frozen=True, slots=True)
class Units:
    """NAL units, without start codes or lengths.

    Attributes:
        extradata, packet: where they stand.
        start_codes: how they are told apart in the packet; false: by their lengths.
    """

    extradata: list[bytes]
    packet: list[bytes]
    start_codes: bool


def nal_units(extradata: bytes, data: bytes, record: Callable[[bytes], tuple[int, list[bytes]]]) -> Units:
    """The units of a keyframe and of its stream's extradata.

    Args:
        record: reads extradata that are an avcC or hvcC record: bytes of a length, and the units.

    Raises:
        MalformedError: a unit reaches beyond its packet, there is something else than units, or the
            extradata are neither such a record nor units with start codes.
    """
    if extradata[:1] == b"\x01":
        length_bytes, sets = record(extradata)
        return Units(sets, list(_by_length(data, length_bytes)), start_codes=False)
    return Units(_by_start_code(extradata) if extradata else [], _by_start_code(data), start_codes=True)


def avcc(record: bytes) -> tuple[int, list[bytes]]:
    """Bytes of a length, SPS and PPS of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    need(len(record) >= 7, f"an avcC record of {len(record)} bytes; expected 7 or more")
    sps, at = _counted(record, 6, record[5] & 0x1F)
    need(at < len(record), "an avcC record without a count of PPS")
    pps, _ = _counted(record, at + 1, record[at])
    return (record[4] & 3) + 1, sps + pps


def hvcc(record: bytes) -> tuple[int, list[bytes]]:
    """Bytes of a length, and all units of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    need(len(record) >= 23, f"an hvcC record of {len(record)} bytes; expected 23 or more")
    found: list[bytes] = []
    at = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[at + 1 : at + 3], "big")
        units, at = _counted(record, at + 3, count)
        found += units
    return (record[21] & 3) + 1, found


def extradata_first(
    wanted: Mapping[Key, bytes], own: Mapping[Key, bytes], extra: Mapping[Key, bytes], units: Units
) -> bool:
    """Whether the extradata must stand before the packet, so that NVDEC's parser gets the sets `wanted`.

    Args:
        own, extra: the sets of the packet and of the extradata.

    Raises:
        MalformedError: it may not get all of them either way.
    """
    if wanted.keys() <= own.keys():
        return False
    if units.start_codes:
        # A sequence that is told anew takes with it the picture parameter sets told before.
        changed = [key for key in own.keys() & extra.keys() if own[key] != extra[key]]
        need(not changed, f"parameter sets {changed} that the packet and the extradata tell differently")
        return True
    # The filters put in the record's sets as a whole, in part or not at all where the packet has some.
    need(not own, f"parameter sets {sorted(own)} in the packet; expected none, or all of {sorted(wanted)}")
    return False


def found(key: Key, sets: Mapping[Key, bytes]) -> bytes:
    """The parameter set of that key.

    Raises:
        MalformedError: there is none.
    """
    if key not in sets:
        raise MalformedError(f"no parameter set of type {key[0]} and id {key[1]}; found {sorted(sets)}")
    return sets[key]


def _counted(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """`count` units from `at` on, each after its length in 2 bytes, and where they end."""
    units = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(record[at : at + 2], "big")
        need(at + 2 < end <= len(record), f"a unit up to byte {end} of a record of {len(record)}, or empty")
        units.append(record[at + 2 : end])
        at = end
    return units, at


def _by_start_code(data: bytes) -> list[bytes]:
    """Units of a byte stream (Rec. H.264, annex B); zeros at their ends belong to none."""
    before, *parts = data.split(_START)
    need(bool(parts) and not before.strip(b"\x00"), "something else than a start code at the beginning")
    return [unit for part in parts if (unit := part.rstrip(b"\x00"))]


def _by_length(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at + length_bytes
        at = start + int.from_bytes(data[at:start], "big")
        need(start < at <= len(data), f"a unit up to byte {at} of a packet of {len(data)}, or empty")
        yield data[start:at]
