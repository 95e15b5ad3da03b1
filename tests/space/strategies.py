"""Vectors, weights and descriptors to test the space with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from resonance.space import BLOCK_WIDTH, MODALITIES, Descriptor, Reference, unit
from resonance.space.descriptor import (
    SCHEMA_VERSION,
    Axis,
    Blocks,
    EncoderSource,
    FrameGeometry,
    Fusion,
    Sampling,
    Segmenting,
    SignalSpec,
    Sound,
    Transcript,
)

seeds = st.integers(0, 2**32 - 1)
levels = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
weight_triples = st.tuples(levels, levels, levels).filter(any)
presences = st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any)
query_modalities = st.sets(st.sampled_from(MODALITIES), min_size=1)


def random_blocks(seed: int, *shape: int) -> NDArray[np.float64]:
    """Unit blocks [*shape, 3, 596]."""
    return unit(np.random.default_rng(seed).standard_normal((*shape, len(MODALITIES), BLOCK_WIDTH)))


def random_reference(seed: int, rows: int, *, gap: float = 0.0, absent: float = 0.0) -> Reference:
    """Random unit blocks, each modality moved `gap` block lengths its own way; some blocks absent."""
    rng = np.random.default_rng(seed)
    blocks = random_blocks(seed, rows) + gap * unit(rng.standard_normal((len(MODALITIES), BLOCK_WIDTH)))
    present = rng.random((rows, len(MODALITIES))) >= absent
    present[:, 0] |= ~present.any(axis=1)
    return Reference(unit(blocks), present)


def make_axis(**changes: Any) -> Axis:
    """From "calm" to "tense" along the first number of a block, its middle at 0 and its spread 0.1."""
    base = Axis(
        low=("calm", "gentle"),
        high=("tense",),
        direction=(1.0,) + (0.0,) * (BLOCK_WIDTH - 1),
        mean=dict.fromkeys(MODALITIES, 0.0),
        spread=dict.fromkeys(MODALITIES, 0.1),
    )
    return replace(base, **changes)


def make_descriptor(**changes: Any) -> Descriptor:
    """A small valid descriptor; `changes` replace whole fields."""
    base = Descriptor(
        schema_version=SCHEMA_VERSION,
        name="test",
        trained=False,
        blocks=Blocks(width=BLOCK_WIDTH, order=MODALITIES),
        segment=Segmenting(length_s=8.0, min_tail_s=1.0, text_tokens=256),
        frames=FrameGeometry(224, 224, resize="stretch", interpolation="bilinear", colour_matrix="stream"),
        sampling=Sampling("keyframes", 1, 4, 16, uniform_fps=2.0, borrow_within_s=4.0),
        sound=Sound(16_000, 128_000, resampler="swresample", silence_dbfs=-70.0),
        transcript=Transcript(tokenizer="bytes", max_tokens=256, token_buckets=(64, 256)),
        fusion=Fusion(max_segments=1024, absent_blocks="inferred", pooling="attention"),
        encoders={
            "visual_encoder": EncoderSource(
                "here", "Apache-2.0", "0" * 64, preprocessing={"mean": [0.5, 0.5]}
            )
        },
        sigmas={q: {b: 1.0 if q == b else 0.5 for b in MODALITIES} for q in MODALITIES},
        signals={"visual": (SignalSpec("brightness", "luma, 0 to 1"),)},
        axes={"tension": make_axis()},
    )
    return replace(base, **changes)


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    """Descriptors whose sigmas differ from block to block."""
    spread = st.floats(0.01, 10.0)
    return make_descriptor(sigmas={q: {b: draw(spread) for b in MODALITIES} for q in MODALITIES})
