"""space.json: what is missing, unknown or wrong is refused by name; the fingerprint covers what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.space import BLOCK_WIDTH, MODALITIES, Descriptor, DescriptorError
from resonance.space.descriptor import FINGERPRINTED, EncoderSource, Segmenting, SignalSpec
from tests.space.strategies import make_axis, make_descriptor

GOOD = make_descriptor()
#: Objects whose names are data, not fields.
OPEN = {"encoders", "sigmas", "signals", "axes", "preprocessing", "mean", "spread", *MODALITIES}
GOOD_AXIS = json.loads(GOOD.to_json())["axes"]["tension"]


def fields(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all fields of the file that must be there."""
    if isinstance(value, dict):
        for name, child in value.items():
            if not path or path[-1] not in OPEN:
                yield (*path, name)
            if name != "preprocessing":
                yield from fields(child, (*path, name))


def without_fingerprint() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(GOOD.to_json())
    return data


FIELDS = [p for p in fields(without_fingerprint()) if p != ("fingerprint",)]


def at(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The object that holds the last name of `path`."""
    for name in path[:-1]:
        data = data[name]
    return data


def refused(data: object) -> str:
    with pytest.raises(DescriptorError) as caught:
        Descriptor.from_json(json.dumps(data), where="here.json")
    assert str(caught.value).startswith("here.json: ")
    return str(caught.value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text(GOOD.to_json(), encoding="utf-8")
    assert Descriptor.load(path) == GOOD
    assert Descriptor.load(str(path)).fingerprint == GOOD.fingerprint


def inside(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values) | st.tuples(values, values) | st.dictionaries(st.text(), values)


finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(), inside, max_leaves=8
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text())
def test_any_preprocessing_and_name_survive_the_file(preprocessing: dict[str, Any], name: str) -> None:
    source = EncoderSource("here", "MIT", "f" * 64, preprocessing)
    descriptor = make_descriptor(name=name, encoders={"visual_encoder": source})
    assert Descriptor.from_json(descriptor.to_json()) == descriptor


def test_whole_numbers_and_lists_have_the_fingerprint_of_floats_and_tuples() -> None:
    same = make_descriptor(
        segment=Segmenting(length_s=8, min_tail_s=1, text_tokens=256),
        blocks=replace(GOOD.blocks, order=list(MODALITIES)),
    )
    assert same == GOOD
    assert Descriptor.from_json(same.to_json()).fingerprint == GOOD.fingerprint


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_a_missing_field_is_named(path: tuple[str, ...]) -> None:
    data = without_fingerprint()
    del at(data, path)[path[-1]]
    if path == ("axes",):  # may be left out: edited, for its fingerprint still holds
        assert Descriptor.from_json(json.dumps(data)).axes == {}
        return
    assert path[-1] in refused(data)


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
@pytest.mark.parametrize("wrong", [None, [], {}, "x", True, -1, 1.5, 10**400, [None], {"x": None}], ids=repr)
def test_a_field_of_the_wrong_type_or_value_is_named(path: tuple[str, ...], wrong: object) -> None:
    data = without_fingerprint()
    parent, name = at(data, path), path[-1]
    if type(wrong) is type(parent[name]) or (isinstance(parent[name], float) and wrong in (-1, 1.5)):
        return  # that type is right; values have tests of their own
    parent[name] = wrong
    assert name in refused(data)


@pytest.mark.parametrize("path", sorted({p[:-1] for p in FIELDS if not OPEN & {*p[-2:-1]}}))
def test_an_unknown_field_is_named(path: tuple[str, ...]) -> None:
    data = without_fingerprint()
    at(data, (*path, "flavour"))["flavour"] = 1
    assert "flavour" in refused(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("blocks", "order"), ["audio", "visual", "transcript"]),
        (("blocks", "width"), 512),
        (("segment", "length_s"), 0.0),
        (("segment", "min_tail_s"), 9.0),
        (("segment", "text_tokens"), 0),
        (("frames", "width"), 0),
        (("frames", "resize"), "crop"),
        (("frames", "interpolation"), "nearest"),
        (("frames", "colour_matrix"), "bt709"),
        (("sampling", "default"), "random"),
        (("sampling", "keyframes_frames"), 0),
        (("sampling", "uniform_fps"), 0.0),
        (("sampling", "borrow_within_s"), -1.0),
        (("sound", "window_samples"), 127_999),
        (("sound", "sample_rate_hz"), 0),
        (("transcript", "token_buckets"), []),
        (("transcript", "token_buckets"), [256, 64]),
        (("transcript", "token_buckets"), [0, 256]),
        (("transcript", "max_tokens"), 255),
        (("fusion", "max_segments"), 0),
        (("encoders", "visual_encoder", "weights_sha256"), "abc"),
        (("sigmas", "smell"), {"visual": 1.0}),
        (("sigmas", "visual"), {"visual": 1.0, "audio": 1.0}),
        (("sigmas", "visual", "audio"), 0.0),
        (("axes", "tension", "direction"), [1.0] * (BLOCK_WIDTH - 1)),
        (("axes", "tension", "direction"), [0.0] * BLOCK_WIDTH),
        (("axes", "tension", "low"), []),
        (("axes", "tension", "high"), [""]),
        (("axes", "tension", "mean"), {"visual": 0.0}),
        (("axes", "tension", "spread"), {"visual": 1.0, "audio": 1.0}),
        (("axes", "tension", "spread", "audio"), 0.0),
        (("axes", "brightness"), GOOD_AXIS),
        (("axes", "So Tense"), GOOD_AXIS),
    ],
)  # fmt: skip
def test_a_value_that_contradicts_the_space_is_named(path: tuple[str, ...], value: object) -> None:
    data = without_fingerprint()
    at(data, path)[path[-1]] = value
    assert path[0] in refused(data)
    with pytest.raises(DescriptorError, match=path[0]):  # the constructor refuses it too
        make_descriptor(**{path[0]: data[path[0]]})


CHANGES: dict[str, object] = {
    "name": "other",
    "trained": True,
    "segment": replace(GOOD.segment, min_tail_s=2.0),
    "frames": replace(GOOD.frames, width=225),
    "sampling": replace(GOOD.sampling, keyframes_frames=8),
    "sound": replace(GOOD.sound, silence_dbfs=-60.0),
    "transcript": replace(GOOD.transcript, tokenizer="words"),
    "fusion": replace(GOOD.fusion, pooling="mean"),
    "encoders": {"visual_encoder": replace(GOOD.encoders["visual_encoder"], weights_sha256="1" * 64)},
    "sigmas": {q: dict.fromkeys(MODALITIES, 2.0) for q in MODALITIES},
    "signals": {"visual": (SignalSpec("motion", "0 to 1"),)},
    "axes": {},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_fingerprint_covers_what_decides_a_vector_and_nothing_else(name: str) -> None:
    changed = make_descriptor(**{name: CHANGES[name]})
    assert changed != GOOD
    assert (changed.fingerprint != GOOD.fingerprint) == (name in FINGERPRINTED)


def test_every_field_of_the_descriptor_has_its_change() -> None:
    # two are fixed: any other value is refused
    assert {*CHANGES, "schema_version", "blocks"} == set(without_fingerprint()) - {"fingerprint"}


def test_lists_of_numbers_stand_on_one_line() -> None:
    lines = GOOD.to_json().splitlines()
    assert sum(line.count("0.0,") > BLOCK_WIDTH - 3 for line in lines) == 1
    assert max(len(line) for line in lines if '"direction"' not in line) < 120
    odd = make_descriptor(name="[\n  1,\n  2\n]", axes={"a": make_axis(low=("[\n1\n]", "[ 1, 2 ]"))})
    assert Descriptor.from_json(odd.to_json()) == odd


def test_of_an_encoder_weights_and_preprocessing_count_and_the_rest_does_not() -> None:
    encoder = GOOD.encoders["visual_encoder"]
    for change, covered in (
        ({"source": "elsewhere"}, False),
        ({"licence": "MIT"}, False),
        ({"preprocessing": {"mean": [0.5, 0.4]}}, True),
    ):
        changed = make_descriptor(encoders={"visual_encoder": replace(encoder, **change)})
        assert (changed.fingerprint != GOOD.fingerprint) == covered


def test_an_edited_file_is_refused() -> None:
    text = GOOD.to_json()
    with pytest.raises(DescriptorError, match="edited"):
        Descriptor.from_json(text.replace('"silence_dbfs": -70.0', '"silence_dbfs": -50.0'))
    with pytest.raises(DescriptorError, match="fingerprint"):
        Descriptor.from_json(text.replace(GOOD.fingerprint, "0" * 64))
    assert Descriptor.from_json(text.replace('"licence": "Apache-2.0"', '"licence": "MIT"')).name == "test"


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"x"', "{}", "[" * 100_000, '{"a": ' + "1" * 5000 + "}",
        GOOD.to_json().replace("8.0", "NaN"),
        GOOD.to_json().replace("-70.0", "1e999"),
        GOOD.to_json().replace('"name": "test"', '"name": "test", "name": "test"'),
    ],
)  # fmt: skip
def test_text_that_is_no_descriptor_is_refused(text: str) -> None:
    with pytest.raises(DescriptorError, match=r"^space\.json: "):
        Descriptor.from_json(text)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"gone\.json: cannot be read"):
        Descriptor.load(tmp_path / "gone.json")
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xe9"}')
    with pytest.raises(DescriptorError, match=r"latin\.json: not UTF-8"):
        Descriptor.load(tmp_path / "latin.json")


@pytest.mark.parametrize("value", [float("nan"), object(), {1: 2}, b"x"])
def test_preprocessing_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(DescriptorError, match=r"encoders\.visual_encoder\.preprocessing"):
        make_descriptor(encoders={"visual_encoder": EncoderSource("a", "b", "0" * 64, {"x": value})})
