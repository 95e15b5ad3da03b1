"""Sequence and picture parameter sets and slices of H.264, as far as an IDR picture's size takes them."""

from __future__ import annotations

from resonance.serving.keyframes.bits import Bits, MalformedError, need, unescaped
from resonance.serving.keyframes.units import Header, Key, avcc, extradata_first, found, nal_units

_SLICE, _PARTITIONS, _IDR, _SPS, _PPS = 1, range(2, 5), 5, 7, 8  # Rec. H.264, table 7-1
#: Baseline, Main and High: what NVDEC decodes (Video Codec SDK, support matrix). High 4:4:4 Predictive
#: codes pictures of 4:2:0 without loss, and Extended has slices in pieces.
_PROFILES = frozenset((66, 77, 100))
_HIGH = 100  # of these the one with fields on chroma and scaling lists
#: Bytes of a slice that hold its first three fields.
_SLICE_HEAD_BYTES = 32


def avc_header(extradata: bytes, data: bytes) -> Header:
    """The header of an H.264 packet of one IDR picture in frames.

    Raises:
        MalformedError: it is not one, or a parameter set that it names is not there.
    """
    units = nal_units(extradata, data, avcc)
    extra = dict(_keyed(unit) for unit in units.extradata if _kind(unit) in (_SPS, _PPS))
    own: dict[Key, bytes] = {}
    slices: list[tuple[int, int]] = []  # first macroblock and PPS
    for unit in units.packet:
        kind = _kind(unit)
        need(kind != _SLICE and kind not in _PARTITIONS, f"a slice of type {kind}; expected 5, of an IDR")
        if kind == _IDR:
            slices.append(_slice(unit))
        elif kind in (_SPS, _PPS):
            need(not slices, "a parameter set after a slice")
            key, body = _keyed(unit)
            own[key] = body
    need(bool(slices), "no slice")
    # A second picture in the packet would have a slice that begins at 0 as well.
    need(
        not slices[0][0] and all(first for first, _ in slices[1:]), "slices that are not those of one picture"
    )
    both = {**extra, **own}
    wanted: dict[Key, bytes] = {}
    for _, pps_id in slices:
        wanted[_PPS, pps_id] = found((_PPS, pps_id), both)
    sps_ids = {_sps_of(pps) for pps in wanted.values()}
    need(len(sps_ids) == 1, f"slices of several sequences: {sorted(sps_ids)}")
    key = (_SPS, sps_ids.pop())
    wanted[key] = found(key, both)
    width_px, height_px = _size(wanted[key])
    return Header(width_px, height_px, wants_extradata=extradata_first(wanted, own, extra, units))


def _kind(unit: bytes) -> int:
    return unit[0] & 0x1F


def _keyed(unit: bytes) -> tuple[Key, bytes]:
    """Type and id of an SPS or PPS, and what comes after the unit's first byte."""
    body = unescaped(unit)[1:]
    bits = Bits(body)
    if _kind(unit) == _SPS:
        bits.u(24)  # profile, constraints, level
        return (_SPS, bits.ue(31)), body
    return (_PPS, bits.ue(255)), body


def _slice(unit: bytes) -> tuple[int, int]:
    """First macroblock and PPS of a slice (7.3.3)."""
    bits = Bits(unescaped(unit[:_SLICE_HEAD_BYTES])[1:])
    first = bits.ue()
    slice_type = bits.ue(9)
    need(slice_type % 5 in (2, 4), f"a slice of type {slice_type} in an IDR picture; expected I or SI")
    return first, bits.ue(255)


def _sps_of(pps: bytes) -> int:
    """The id of the SPS that a PPS names (7.3.2.2)."""
    bits = Bits(pps)
    bits.ue(255)
    sps_id = bits.ue(31)
    bits.u(2)  # entropy coding, order of fields
    need(bits.ue() == 0, "more than one slice group, which NVDEC does not decode")
    return sps_id


def _size(sps: bytes) -> tuple[int, int]:
    """Width and height of the cropped picture (7.3.2.1.1, 7.4.2.1.1)."""
    bits = Bits(sps)
    profile = bits.u(8)
    need(profile in _PROFILES, f"profile {profile}; expected one of {sorted(_PROFILES)}")
    bits.u(16)  # constraints, level
    bits.ue(31)
    if profile == _HIGH:
        chroma, *depths = bits.ue(), bits.ue(), bits.ue()
        need((chroma, depths) == (1, [0, 0]), f"chroma format {chroma}, bits 8 + {depths}; expected 4:2:0, 8")
        need(not bits.flag(), "lossless macroblocks, which NVDEC does not decode")
        if bits.flag():
            for place in range(8):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if place < 6 else 64)
    bits.ue(12)  # log2_max_frame_num_minus4
    order = bits.ue(2)
    if order == 0:
        bits.ue(12)
    elif order == 1:
        bits.flag()
        bits.se()
        bits.se()
        for _ in range(bits.ue(255)):
            bits.se()
    bits.ue(16)  # reference frames
    bits.flag()
    width_px, height_px = 16 * (bits.ue(1023) + 1), 16 * (bits.ue(1023) + 1)
    need(bits.flag(), "pictures may be fields; NVDEC gives a frame for a pair of them, DALI gets one")
    bits.flag()
    if not bits.flag():
        return width_px, height_px
    left, right, top, bottom = (2 * bits.ue(8191) for _ in range(4))  # in chroma samples, of 2x2 pixels
    # What DALI makes of a picture that does not begin in the corner is not known.
    if left or top or right >= width_px or bottom >= height_px:
        raise MalformedError(f"{width_px}x{height_px} cropped by {(left, right, top, bottom)}")
    return width_px - right, height_px - bottom


def _skip_scaling_list(bits: Bits, count: int) -> None:
    """7.3.2.1.1.1: a list ends early where the next scale comes to 0."""
    last = 8
    for _ in range(count):
        last = (last + bits.se()) % 256
        if last == 0:
            return
