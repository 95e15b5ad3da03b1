"""Heads that were aligned on a user's own media, put on a family's frozen encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from resonance.export.cards import FamilyCard
from resonance.export.weights import OtherEncoderError, encoders_of_heads, frozen_sha256, load_weights
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
        replace(g, build=partial(_build, g.build, heads, g.model, made_on.get(g.model))) for g in card.graphs
    )
    reference = heads.with_suffix(".reference.npz")
    return replace(
        card,
        graphs=graphs,
        describe=partial(_describe, card.describe),
        reference=reference if reference.exists() else None,
    )


def _build(build: Callable[[], nn.Module], heads: Path, model: str, made_on: str | None) -> nn.Module:
    module = build()
    if made_on is not None and (came := frozen_sha256(module)) != made_on:
        raise OtherEncoderError(
            f"{heads}: its {model} was made on weights {made_on[:12]}; this family's are {came[:12]}. Export "
            "with the --checkpoint that `resonance align` was given, or align again with this one"
        )
    load_weights(module, heads, model, all_of_it=False)
    return module


def _describe(describe: Callable[[Mapping[str, str]], Descriptor], weights: Mapping[str, str]) -> Descriptor:
    return replace(describe(weights), trained=True)
