"""The index of an MP4 is found wherever it stands, and no hostile size leads anywhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.media.mp4_index import IndexPlace, IndexProbe, upload_order
from resonance.clients.media.ranges import Ranges


def _box(kind: bytes, body: int, *, size: int | None = None, long: int | None = None) -> bytes:
    stated = body + 8 if size is None else size
    if long is not None:
        return (1).to_bytes(4, "big") + kind + long.to_bytes(8, "big") + bytes(body)
    return stated.to_bytes(4, "big") + kind + bytes(body)


HEAD, DATA, INDEX = _box(b"ftyp", 16), _box(b"mdat", 1000), _box(b"moov", 100)


def _probe(data: bytes, order: Sequence[tuple[int, int]], *, size_known: bool = True) -> IndexPlace | None:
    there = Ranges()
    probe = IndexProbe(lambda offset, size: data[offset : offset + size], len(data) if size_known else None)
    for offset, length in order:
        there.add(offset, offset + length)
        if (place := probe.look(there, (offset, length))) is not None:
            return place
    return None


def _chunks(data: bytes, size: int = 64) -> list[tuple[int, int]]:
    return [(at, min(size, len(data) - at)) for at in range(0, len(data), size)]


def test_an_index_at_the_end_is_sent_after_the_head() -> None:
    data = HEAD + DATA + INDEX
    order = upload_order(io.BytesIO(data), len(data))
    assert order == [(0, 24 + 16), (24 + 1008, 108), (40, 992)]
    assert _probe(data, order) == IndexPlace.FIRST
    assert _probe(data, _chunks(data)) == IndexPlace.LAST
    assert _probe(data, _chunks(data), size_known=False) == IndexPlace.LAST
    several = HEAD + DATA + _box(b"free", 30) + DATA + INDEX + b"tail"
    order = upload_order(io.BytesIO(several), len(several))
    assert sum(length for _, length in order) == len(several)
    assert _probe(several, order) == IndexPlace.FIRST
    long = HEAD + _box(b"mdat", 1000, long=1016) + INDEX
    assert upload_order(io.BytesIO(long), len(long))[1] == (24 + 1016, 108)


def test_an_index_at_the_front_and_other_files_are_sent_as_they_are() -> None:
    for data, place in (
        (HEAD + INDEX + DATA, IndexPlace.FIRST),
        (b"\x1aE\xdf\xa3" + bytes(500), IndexPlace.NONE),
        (b"RIFF" + bytes(500), IndexPlace.NONE),
    ):
        assert upload_order(io.BytesIO(data), len(data)) == [(0, len(data))]
        assert _probe(data, _chunks(data)) == place
    assert upload_order(io.BytesIO(b""), 0) == []
    assert _probe(HEAD, [(0, 4)]) is None  # not known yet


@pytest.mark.parametrize(
    "data",
    [
        HEAD + _box(b"mdat", 100, size=0),  # lasts to the end: there is no index
        HEAD + _box(b"mdat", 100, size=4) + INDEX,
        HEAD + _box(b"mdat", 100, size=2**31) + INDEX,
        HEAD + _box(b"mdat", 100, long=3) + INDEX,
        HEAD + _box(b"mdat", 100, long=2**64 - 1) + INDEX,
        HEAD + _box(b"mdat", 0, size=1)[:8],
        _box(b"free", 0) * 5000 + INDEX,
        HEAD + DATA,
    ],
)
def test_hostile_sizes_end_the_search(data: bytes) -> None:
    assert upload_order(io.BytesIO(data), len(data)) == [(0, len(data))]
    assert _probe(data, _chunks(data)) in (IndexPlace.NONE, IndexPlace.LAST)


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_are_covered_once(tail: bytes, chunk: int) -> None:
    data = HEAD + tail
    order = upload_order(io.BytesIO(data), len(data))
    assert sorted(x for offset, length in order for x in range(offset, offset + length)) == list(
        range(len(data))
    )
    _probe(data, _chunks(data, chunk))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=20))
def test_ranges_are_a_set_of_positions(pieces: list[tuple[int, int]]) -> None:
    ranges, there = Ranges(), set[int]()
    for start, length in pieces:
        new = set(range(start, start + length)) - there
        assert ranges.add(start, start + length) == len(new)
        there |= new
    assert [p for p in range(90) if p in ranges] == sorted(there)
    for position in range(85):
        end = position
        while end in there:
            end += 1
        assert ranges.end_of(position) == end
    assert len(ranges) == sum(1 for p in there if p - 1 not in there)


def test_real_files(media: Path) -> None:
    last = 0
    for path in sorted((media / "video").iterdir()):
        data = path.read_bytes()
        order = upload_order(io.BytesIO(data), len(data))
        if len(order) > 1:
            last += 1
            assert any(b"moov" in data[offset : offset + length] for offset, length in order[:-1])
            assert _probe(data, _chunks(data, 1 << 18)) in (IndexPlace.LAST, IndexPlace.FIRST)
        assert sum(length for _, length in order) == len(data)
        assert _probe(data, order) == (
            IndexPlace.NONE if path.suffix not in (".mp4", ".mov", ".m4v", ".3gp") else IndexPlace.FIRST
        )
    assert last >= 8
