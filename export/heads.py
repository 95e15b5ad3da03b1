"""Heads that were aligned on a user's own media, put on a family's frozen encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.weights import (
    MadeOn,
    OtherEncoderError,
    encoders_of_heads,
    frozen_sha256,
    load_weights,
    preprocessing_sha256,
)
from resonance.space.descriptor import Descriptor


def with_heads(card: FamilyCard, heads: Path) -> FamilyCard:
    """`card` with the projections and the fusion head of `heads`; its space is a trained one.

    The reference set beside `heads`, if there is one, calibrates it.

    Raises:
        WeightsError: `heads` cannot be read; from the graphs' `build`, where they do not fit.
        OtherEncoderError: from the graphs' `build`, where they were made on other encoders.
    """
    made_on = encoders_of_heads(heads)
    graphs = tuple(
        replace(g, build=partial(_build, g, heads, made_on.get(g.model, MadeOn(None, None))))
        for g in card.graphs
    )
    reference = heads.with_suffix(".reference.npz")
    return replace(
        card,
        graphs=graphs,
        describe=partial(_describe, card.describe),
        reference=reference if reference.exists() else None,
    )


def unsaid(heads: Path) -> str:
    """What `heads` of an earlier version do not say they were made on, which then nothing can check; "" where
    they say all of it.

    Raises:
        WeightsError: `heads` cannot be read.
    """
    made_on = encoders_of_heads(heads).values()
    if not made_on or any(encoder.weights is None for encoder in made_on):
        return "encoders"
    if any(encoder.preprocessing is None for encoder in made_on):
        return "tokenizer and preprocessing"
    return ""


def _build(graph: GraphCard, heads: Path, made_on: MadeOn) -> nn.Module:
    module = graph.build()
    if made_on.weights is not None:
        _check_same(heads, graph.model, "weights", made_on.weights, frozen_sha256(module))
    if made_on.preprocessing is not None:
        came = preprocessing_sha256(graph.preprocessing)
        _check_same(heads, graph.model, "tokenizer and preprocessing", made_on.preprocessing, came)
    load_weights(module, heads, graph.model, all_of_it=False)
    return module


def _check_same(heads: Path, model: str, what: str, made_on: str, came: str) -> None:
    if came != made_on:
        raise OtherEncoderError(
            f"{heads}: its {model} was made on {what} {made_on[:12]}; this family's are {came[:12]}. Export "
            "with the --checkpoint that `resonance align` was given, or align again with this one"
        )


def _describe(describe: Callable[[Mapping[str, str]], Descriptor], weights: Mapping[str, str]) -> Descriptor:
    return replace(describe(weights), trained=True)
