"""space.json: complete, validated by field name, and bound to its fingerprint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resonance.space.descriptor import FINGERPRINTED, Descriptor, EncoderSource, SignalSpec
from resonance.space.errors import DescriptorError
from tests.space.conftest import make_descriptor

BASE = make_descriptor()


def edited(change: Any, *, keep_fingerprint: bool = True) -> str:
    data = json.loads(BASE.to_json())
    change(data)
    if not keep_fingerprint:
        del data["fingerprint"]
    return json.dumps(data)


def test_it_reads_back_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text(BASE.to_json())
    read = Descriptor.load(path)
    assert read == replace(read)
    assert read.fingerprint == BASE.fingerprint
    assert read.to_json() == BASE.to_json()


@pytest.mark.parametrize("field", sorted(set(json.loads(BASE.to_json())) - {"fingerprint", "axes"}))
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(DescriptorError, match=field):
        Descriptor.from_json(edited(lambda d: d.pop(field)))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d["segment"].update(length_s="8"), r"segment\.length_s"),
        (lambda d: d["segment"].update(colour="red"), "colour"),
        (lambda d: d["frames"].update(width=224.5), r"frames\.width"),
        (lambda d: d.update(trained=1), "trained"),
        (lambda d: d["blocks"].update(width=595), r"blocks\.width"),
        (lambda d: d["blocks"].update(order=["audio", "visual", "transcript"]), r"blocks\.order"),
        (lambda d: d["sound"].update(window_samples=100), r"sound\.window_samples"),
        (lambda d: d["transcript"].update(token_buckets=[256, 32]), r"transcript\.token_buckets"),
        (lambda d: d["transcript"].update(max_tokens=300), r"transcript\.max_tokens"),
        (lambda d: d["sampling"].update(default="often"), r"sampling\.default"),
        (lambda d: d["sigmas"]["audio"].update(visual=0.0), r"sigmas\.audio"),
        (lambda d: d["sigmas"].pop("visual"), r"sigmas\.visual"),
        (lambda d: d.update(axes={"tension": [1.0]}), r"axes\.tension"),
        (lambda d: d.update(schema_version=2), "schema_version"),
    ],
)
def test_a_wrong_field_is_named(change: Any, named: str) -> None:
    with pytest.raises(DescriptorError, match=named):
        Descriptor.from_json(edited(change))


def test_an_edited_file_is_refused() -> None:
    with pytest.raises(DescriptorError, match="fingerprint"):
        Descriptor.from_json(edited(lambda d: d["segment"].update(min_tail_s=2.0)))
    with pytest.raises(DescriptorError, match="fingerprint"):
        Descriptor.from_json(edited(lambda d: None, keep_fingerprint=False))


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense"])
def test_what_is_no_descriptor_is_refused(text: str) -> None:
    with pytest.raises(DescriptorError):
        Descriptor.from_json(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"none\.json"):
        Descriptor.load(tmp_path / "none.json")


SOURCE = BASE.encoders["visual_encoder"]
DECIDES = {
    "segment": replace(BASE.segment, min_tail_s=2.0),
    "frames": replace(BASE.frames, interpolation="bicubic"),
    "sampling": replace(BASE.sampling, borrow_within_s=3.0),
    "sound": replace(BASE.sound, silence_dbfs=-60.0),
    "transcript": replace(BASE.transcript, tokenizer="words"),
    "fusion": replace(BASE.fusion, pooling="mean"),
    "encoders": {"visual_encoder": replace(SOURCE, weights_sha256="1" * 64)},
}
DOES_NOT = {
    "name": "other",
    "trained": True,
    "encoders": {"visual_encoder": EncoderSource("there", "MIT", "0" * 64, {"mean": [0.5]})},
    "sigmas": {q: dict.fromkeys(row, 2.0) for q, row in BASE.sigmas.items()},
    "signals": {"visual": (SignalSpec("brightness", "nits"),), "audio": ()},
    "axes": {"tension": tuple([0.0] * 596)},
}


def test_every_fingerprinted_field_is_tried() -> None:
    fixed = {"schema_version", "blocks"}  # validation allows one value only
    assert set(DECIDES) == set(FINGERPRINTED) - fixed


@pytest.mark.parametrize("field", DECIDES)
def test_what_decides_a_vector_changes_the_fingerprint(field: str) -> None:
    assert make_descriptor(**{field: DECIDES[field]}).fingerprint != BASE.fingerprint


@pytest.mark.parametrize("field", DOES_NOT)
def test_what_does_not_decide_a_vector_keeps_it(field: str) -> None:
    assert make_descriptor(**{field: DOES_NOT[field]}).fingerprint == BASE.fingerprint


def test_preprocessing_decides() -> None:
    changed = {"visual_encoder": replace(SOURCE, preprocessing={"mean": [0.4]})}
    assert make_descriptor(encoders=changed).fingerprint != BASE.fingerprint
