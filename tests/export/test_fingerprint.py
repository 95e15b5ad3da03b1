"""Whatever decides the numbers of a vector decides the fingerprint: weights, constants, sampling rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch

from resonance.export.families import FAMILIES, tiny
from resonance.export.weights import weights_sha256
from resonance.space.descriptor import FINGERPRINTED, Descriptor
from resonance.space.errors import DescriptorError

CARD = FAMILIES["tiny"]


@pytest.fixture(scope="module")
def shas() -> dict[str, str]:
    return {graph.model: weights_sha256(graph.build()) for graph in CARD.graphs}


@pytest.fixture(scope="module")
def descriptor(shas: dict[str, str]) -> Descriptor:
    return CARD.describe(shas)


@pytest.mark.parametrize("model", [g.model for g in CARD.graphs])
def test_any_weight_changes_it(model: str, shas: dict[str, str], descriptor: Descriptor) -> None:
    names = [name for name, _ in tiny.NEW[model]().named_parameters()]
    for name in names:
        module = tiny.trained(model)
        parameter = module.get_parameter(name)
        with torch.no_grad():  # the smallest step of a single number
            first = parameter.view(-1)[0]
            first.copy_(torch.nextafter(first, first + 1))
        changed = CARD.describe({**shas, model: weights_sha256(module)})
        assert changed.fingerprint != descriptor.fingerprint, f"{model}.{name}"


def _other(value: Any) -> Any:
    """A value of the same kind that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "?"
    if isinstance(value, tuple | list):
        return type(value)([*value[:-1], _other(value[-1])])
    return {**value, next(iter(value)): _other(value[next(iter(value))])}


def _preprocessing() -> list[tuple[str, str]]:
    return [(g.model, key) for g in CARD.graphs for key in g.preprocessing]


@pytest.mark.parametrize(("model", "key"), _preprocessing())
def test_any_constant_baked_into_a_graph_changes_it(model: str, key: str, descriptor: Descriptor) -> None:
    encoder = descriptor.encoders[model]
    constants = {**encoder.preprocessing, key: _other(encoder.preprocessing[key])}
    changed = replace(
        descriptor, encoders={**descriptor.encoders, model: replace(encoder, preprocessing=constants)}
    )
    assert changed.fingerprint != descriptor.fingerprint


#: Fields of which only some values are allowed, or whose values hang together with others: what changes.
TOGETHER: dict[tuple[str, str], Callable[[Descriptor], dict[str, dict[str, Any]]]] = {
    ("sampling", "default"): lambda d: {
        "sampling": {"default": "uniform" if d.sampling.default == "keyframes" else "keyframes"}
    },
    ("frames", "interpolation"): lambda d: {"frames": {"interpolation": "bicubic"}},
    ("transcript", "token_buckets"): lambda d: {
        "transcript": {"token_buckets": d.transcript.token_buckets[1:]}
    },
    ("transcript", "max_tokens"): lambda d: {"transcript": {"max_tokens": 512, "token_buckets": (64, 512)}},
    ("segment", "length_s"): lambda d: {
        "segment": {"length_s": 2 * d.segment.length_s},
        "sound": {"window_samples": 2 * d.sound.window_samples},
    },
    ("sound", "sample_rate_hz"): lambda d: {
        "sound": {
            "sample_rate_hz": 2 * d.sound.sample_rate_hz,
            "window_samples": 2 * d.sound.window_samples,
        }
    },
    ("sound", "silence_dbfs"): lambda d: {"sound": {"silence_dbfs": d.sound.silence_dbfs - 1}},
}
#: Fields that the schema fixes to one value, and the one that length and sample rate decide.
FIXED = {
    ("blocks", "width"),
    ("blocks", "order"),
    ("frames", "resize"),
    ("frames", "colour_matrix"),
    ("sound", "window_samples"),
}


def _rules() -> list[tuple[str, str]]:
    parts = [name for name in FINGERPRINTED if name not in ("schema_version", "encoders")]
    sha = dict.fromkeys((g.model for g in CARD.graphs), "0" * 64)
    sample = CARD.describe(sha)
    assert all(is_dataclass(getattr(sample, part)) for part in parts)
    return [(part, f.name) for part in parts for f in fields(getattr(sample, part))]


@pytest.mark.parametrize(("part", "name"), [r for r in _rules() if r not in FIXED])
def test_any_rule_of_sampling_geometry_or_fusion_changes_it(
    part: str, name: str, descriptor: Descriptor
) -> None:
    choose = TOGETHER.get((part, name))
    values = (
        choose(descriptor) if choose else {part: {name: _other(getattr(getattr(descriptor, part), name))}}
    )
    changed = replace(
        descriptor, **{key: replace(getattr(descriptor, key), **new) for key, new in values.items()}
    )
    assert changed.fingerprint != descriptor.fingerprint


@pytest.mark.parametrize(("part", "name"), sorted(FIXED))
def test_a_rule_that_is_fixed_cannot_be_changed(part: str, name: str, descriptor: Descriptor) -> None:
    rules = getattr(descriptor, part)
    with pytest.raises(DescriptorError, match=name):
        replace(descriptor, **{part: replace(rules, **{name: _other(getattr(rules, name))})})


def test_what_decides_no_number_leaves_it(descriptor: Descriptor) -> None:
    sigmas = {q: {b: s + 1 for b, s in row.items()} for q, row in descriptor.sigmas.items()}
    assert replace(descriptor, name="other", sigmas=sigmas).fingerprint == descriptor.fingerprint
