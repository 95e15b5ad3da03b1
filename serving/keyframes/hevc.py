"""Parameter sets and slice segments of HEVC, as far as the size of an IRAP picture takes them."""

from __future__ import annotations

from resonance.serving.keyframes.bits import Bits, MalformedError, need, unescaped
from resonance.serving.keyframes.units import Header, Key, extradata_first, found, hvcc, nal_units

# Rec. H.265, table 7-1; reserved types among the slices are refused with those that are no IRAP.
_SLICES, _IRAP, _VPS, _SPS, _PPS = range(32), range(16, 22), 32, 33, 34
_SETS = (_VPS, _SPS, _PPS)
#: Main, Main 10 and Main Still Picture; others have tools that NVDEC does not decode.
_PROFILES = frozenset((1, 2, 3))
_SLICE_HEAD_BYTES = 32
_PROFILE_BITS, _LEVEL_BITS = 88, 8


def hevc_header(extradata: bytes, data: bytes) -> Header:
    """The header of an HEVC packet of one picture at which decoding can begin.

    Raises:
        MalformedError: it is not one, or a parameter set that it names is not there.
    """
    units = nal_units(extradata, data, hvcc)
    extra = dict(_keyed(unit) for unit in units.extradata if _kind(unit) in _SETS and not _layer(unit))
    own: dict[Key, bytes] = {}
    slices: list[bytes] = []
    for unit in units.packet:
        kind = _kind(unit)
        if kind in _SLICES:
            need(kind in _IRAP and not _layer(unit), f"a slice of type {kind}, layer {_layer(unit)}")
            slices.append(unescaped(unit[:_SLICE_HEAD_BYTES])[2:])
        elif kind in _SETS and not _layer(unit):
            need(not slices, "a parameter set after a slice")
            key, body = _keyed(unit)
            own[key] = body
    need(bool(slices), "no slice segment")
    firsts = [bool(head) and head[0] >> 7 == 1 for head in slices]
    need(firsts[0] and not any(firsts[1:]), "slice segments that are not those of one picture")
    both = {**extra, **own}
    wanted: dict[Key, bytes] = {}
    for head in slices:
        key = (_PPS, _pps_of(head))
        wanted[key] = found(key, both)
    _check_shown(slices[0], both)
    sps_ids = {_sps_of(pps) for pps in wanted.values()}
    need(len(sps_ids) == 1, f"slices of several sequences: {sorted(sps_ids)}")
    key = (_SPS, sps_ids.pop())
    sps = wanted[key] = found(key, both)
    key = (_VPS, sps[0] >> 4)
    wanted[key] = found(key, both)
    if not units.start_codes:
        # FFmpeg puts the record's sets after the packet's own, before its first slice: they come last.
        for key in wanted:
            need(extra.get(key, wanted[key]) == wanted[key], f"two different parameter sets {key}")
    width_px, height_px = _size(sps)
    return Header(width_px, height_px, wants_extradata=extradata_first(wanted, own, extra, units))


def _kind(unit: bytes) -> int:
    return unit[0] >> 1 & 0x3F


def _layer(unit: bytes) -> int:
    """nuh_layer_id (7.3.1.2): above 0 for further views and finer layers."""
    need(len(unit) > 2, f"a unit of {len(unit)} byte(s); expected 3 or more")
    return (unit[0] & 1) << 5 | unit[1] >> 3


def _keyed(unit: bytes) -> tuple[Key, bytes]:
    """Type and id of a parameter set, and what comes after the unit's first two bytes."""
    kind, body = _kind(unit), unescaped(unit)[2:]
    bits = Bits(body)
    if kind == _VPS:
        return (kind, bits.u(4)), body
    if kind == _SPS:
        return (kind, _up_to_id(bits)), body
    return (kind, bits.ue(63)), body


def _up_to_id(bits: Bits) -> int:
    """The id of an SPS, after the profile and level of its sub-layers (7.3.2.2.1, 7.3.3)."""
    bits.u(4)
    sub_layers = bits.u(3)
    need(sub_layers < 7, "8 sub-layers; expected at most 7")
    bits.u(1)
    bits.u(_PROFILE_BITS + _LEVEL_BITS)
    there = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.u(2 * (8 - sub_layers))
    for profile, level in there:
        bits.u(_PROFILE_BITS * profile + _LEVEL_BITS * level)
    return bits.ue(15)


def _pps_of(head: bytes) -> int:
    """The id of the PPS of a slice segment of an IRAP picture (7.3.6.1)."""
    bits = Bits(head)
    bits.u(2)  # the first of its picture; no output of those before
    return bits.ue(63)


def _sps_of(pps: bytes) -> int:
    """The id of the SPS that a PPS names (7.3.2.3.1)."""
    bits = Bits(pps)
    bits.ue(63)
    return bits.ue(15)


def _check_shown(head: bytes, sets: dict[Key, bytes]) -> None:
    """Refuse a picture whose first slice says that it is not to be output (7.3.6.1: pic_output_flag)."""
    bits = Bits(head)
    bits.u(2)
    pps = Bits(found((_PPS, bits.ue(63)), sets))
    pps.ue(63)
    pps.ue(15)
    pps.flag()  # dependent slice segments
    told = pps.flag()
    bits.u(pps.u(3))  # extra bits of slice headers
    slice_type = bits.ue(2)
    need(slice_type == 2, f"a slice of type {slice_type} in an IRAP picture; expected 2, I")
    need(not told or bits.flag(), "a picture that is not to be output")


def _size(sps: bytes) -> tuple[int, int]:
    """Width and height within the conformance window (7.3.2.2.1)."""
    profile = Bits(sps[1:]).u(8) & 0x1F
    need(profile in _PROFILES, f"profile {profile}; expected one of {sorted(_PROFILES)}")
    bits = Bits(sps)
    _up_to_id(bits)
    chroma = bits.ue(3)
    need(chroma == 1, f"chroma format {chroma}; expected 1, 4:2:0")
    width_px, height_px = bits.ue(16_888), bits.ue(16_888)  # of level 6.2 (A.4.1)
    left = right = top = bottom = 0
    if bits.flag():
        left, right, top, bottom = (2 * bits.ue(8191) for _ in range(4))  # in chroma samples
    depths = bits.ue(8), bits.ue(8)
    need(depths == (0, 0), f"samples of 8 + {depths} bits; expected 8")
    # What DALI makes of a picture that does not begin in the corner is not known.
    if left or top or right >= width_px or bottom >= height_px:
        raise MalformedError(f"{width_px}x{height_px} cropped by {(left, right, top, bottom)}")
    return width_px - right, height_px - bottom
