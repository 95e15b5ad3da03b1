"""Sliders against a real server: titles whose absent blocks its fusion head inferred, queries it embedded."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding, Segment
from resonance.space import Query, Weights, rank, score

PATTERNS = [p for p in product((True, False), repeat=3) if any(p)]
SLIDERS = [Weights(), Weights(4, 1, 1), Weights(0.25, 3, 0), Weights(0, 0, 1)]
FILMS = ("plants_flower_opening.mp4", "tabletop_toy_elf.webm", "animation_bbb_opening_30s.webm")
SOUND = "bird_robin_whistle.ogg"
WORDS = "A fox at the harbour. It is frantic.", "A dancer in the desert, serene.", "A robot in the library."


async def whole_titles(embedder: Embedder, media: Path) -> list[list[Segment]]:
    """Segments of real pictures, real sound and words, all three there."""
    made = []
    sound = (await embedder.embed(media / "audio" / SOUND)).segments[0]
    for film, words in zip(FILMS, WORDS, strict=True):
        text = (await embedder.embed_text(words)).segments[0]
        segments = []
        for at, seen in enumerate((await embedder.embed(media / "video" / film)).segments[:3]):
            blocks = [s.vector.reshape(3, 596)[m] for m, s in enumerate((seen, sound, text))]
            vector = np.concatenate(blocks).astype(np.float32)
            segments.append(replace(seen, index=at, present=(True, True, True), vector=vector))
        made.append(segments)
    return made


async def test_every_slider_ranks_as_a_query_embedded_with_those_weights(
    embedder: Embedder, media: Path
) -> None:
    titles: list[MediaEmbedding] = []
    for segments in await whole_titles(embedder, media):
        for present in PATTERNS:
            titles.append(await embedder.fuse([replace(s, present=present) for s in segments]))
    assert {t.present for t in titles} == set(PATTERNS)
    stored = np.stack([t.title for t in titles])
    examples = {
        "image": media / "image" / "food_cherries.jpg",
        "sound": media / "audio" / SOUND,
        "text": WORDS[0],
    }
    orders = set()
    for of_query in PATTERNS:
        given = {
            kind: source for (kind, source), there in zip(examples.items(), of_query, strict=True) if there
        }
        unweighted = (await embedder.embed_query(**given)).unweighted  # type: ignore[arg-type]
        query = Query(unweighted.astype(np.float64).reshape(3, 596))
        for weights in SLIDERS:
            again = await embedder.embed_query(**given, weights=weights)  # type: ignore[arg-type]
            assert again.present == of_query
            expected = stored.astype(np.float64) @ again.vector.astype(np.float64)
            np.testing.assert_allclose(score(query, weights, stored), expected, rtol=0, atol=1e-5)
            order = rank(query, weights, stored)
            assert (np.diff(expected[order]) <= 1e-5).all()
            orders.add(tuple(order.tolist()))
    assert len(orders) > len(PATTERNS)  # the sliders do something
