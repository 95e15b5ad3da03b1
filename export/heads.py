"""Heads that were aligned on a user's own media, put on a family's frozen encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from resonance.export.cards import FamilyCard
from resonance.export.weights import load_weights
from resonance.space.descriptor import Descriptor


def with_heads(card: FamilyCard, heads: Path) -> FamilyCard:
    """`card` with the projections and the fusion head of `heads`; its space is a trained one.

    The reference set beside `heads`, if there is one, calibrates it.

    Raises:
        WeightsError: from the graphs' `build`, where `heads` do not fit.
    """
    graphs = tuple(replace(g, build=partial(_build, g.build, heads, g.model)) for g in card.graphs)
    reference = heads.with_suffix(".reference.npz")
    return replace(
        card,
        graphs=graphs,
        describe=partial(_describe, card.describe),
        reference=reference if reference.exists() else None,
    )


def _build(build: Callable[[], nn.Module], heads: Path, model: str) -> nn.Module:
    module = build()
    load_weights(module, heads, model, all_of_it=False)
    return module


def _describe(describe: Callable[[Mapping[str, str]], Descriptor], weights: Mapping[str, str]) -> Descriptor:
    return replace(describe(weights), trained=True)
