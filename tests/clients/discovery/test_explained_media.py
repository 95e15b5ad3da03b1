"""Titles of real pictures, sounds and words with one of the three in common: it is what is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resonance.clients.discovery.explanation import explain_suggestion
from resonance.clients.discovery.reasons import reasons_of
from resonance.clients.discovery.sentences import sentence_of
from resonance.clients.discovery.types import StoredTitle, TitleFacts
from resonance.clients.embedder import Embedder
from resonance.clients.results import Segment
from resonance.space import MODALITIES, Weights
from tests.clients.discovery.explained import sample_of

SUBJECTS = ("fox", "dancer", "robot", "sailor", "child", "horse", "painter", "wolf")
SETTINGS = ("harbour", "desert", "library", "forest", "market", "station", "island", "kitchen")
NOUNS = dict(zip(MODALITIES, ("pictures", "sound", "words"), strict=True))
HANDS, OTHERS = 20, 60

Items = tuple[np.ndarray, np.ndarray, np.ndarray]


class Maker:
    """Fuses titles of chosen items, with the server's fusion head."""

    def __init__(self, embedder: Embedder, pool: dict[str, list[np.ndarray]], pattern: Segment) -> None:
        self._embedder, self._pool, self._pattern = embedder, pool, pattern
        self.segments = 1

    def drawn(self, chance: np.random.Generator, avoiding: Items | None = None) -> Items:
        """An item of each modality a segment, by its place in the pool; none of `avoiding`."""
        found = []
        for m, name in enumerate(MODALITIES):
            free = np.setdiff1d(np.arange(len(self._pool[name])), [] if avoiding is None else avoiding[m])
            found.append(chance.choice(free, self.segments, replace=False))
        return found[0], found[1], found[2]

    async def title(self, media_id: str, items: Items) -> StoredTitle:
        segments = []
        for at in range(self.segments):
            blocks = [self._pool[name][items[m][at]] for m, name in enumerate(MODALITIES)]
            segments.append(
                replace(
                    self._pattern,
                    index=at,
                    start_s=8.0 * at,
                    end_s=8.0 * at + 8,
                    present=(True, True, True),
                    vector=np.concatenate(blocks).astype(np.float32),
                )
            )
        fused = await self._embedder.fuse(segments, name=media_id)
        facts = TitleFacts(media_id=media_id, uri="", present=fused.present, axes=fused.axes)
        return StoredTitle(facts, fused.title, fused.segments, fused.arcs)


async def maker_of(embedder: Embedder, media: Path) -> Maker:
    pool: dict[str, list[np.ndarray]] = {name: [] for name in MODALITIES}
    pictures, sounds = (sorted(p for p in (media / kind).iterdir()) for kind in ("image", "audio"))
    words = [
        f"the {subject} at the {setting}"
        for subject, setting in zip(SUBJECTS * 4, sorted(SETTINGS * 4), strict=True)
    ]
    for m, (name, sources) in enumerate(zip(MODALITIES, (pictures[:30], sounds[:40], words), strict=True)):
        for source in sources:
            made = await (
                embedder.embed_text(str(source)) if name == "transcript" else embedder.embed(source)
            )
            segment = made.segments[0]
            if segment.present[m]:
                pool[name].append(segment.vector.reshape(3, 596)[m])
    return Maker(embedder, pool, segment)


@pytest.mark.parametrize(("segments", "bar"), [(1, 0.9), (3, 0.6)])
async def test_what_two_titles_have_in_common_is_what_is_named(
    embedder: Embedder, media: Path, segments: int, bar: float
) -> None:
    """Of one segment, a title's blocks are its items'; of three, fusion mixes them by order and context."""
    maker, descriptor = await maker_of(embedder, media), await embedder.space()
    maker.segments = segments
    chance = np.random.default_rng(1)
    sample = sample_of([await maker.title(f"other {i}", maker.drawn(chance)) for i in range(OTHERS)])
    first: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for hand in range(HANDS):
        items = maker.drawn(chance)
        a = await maker.title(f"a {hand}", items)
        for m, name in enumerate(MODALITIES):
            other = list(maker.drawn(chance, avoiding=items))
            order = chance.permutation(segments)
            other[m] = items[m][order]
            b = await maker.title(f"b {hand} {name}", (other[0], other[1], other[2]))
            facts = explain_suggestion(a, b, Weights(), descriptor, sample)
            moment = facts.blocks[m].moment
            assert moment is not None
            assert order[moment.b_index] == moment.a_index  # where the item in common is
            reasons = reasons_of(facts)
            named = [block.modality for block in reasons.blocks]
            first[named[0] if named and named[0] != name else "right" if named else "nothing"] += 1
            said[f"its {NOUNS[name]}" in sentence_of(facts)] += 1
    print(f"\n{segments} segments: in the sentence {said[True]} of {said.total()}; named first {dict(first)}")
    assert first["right"] >= bar * HANDS * len(MODALITIES)
    assert said[True] >= first["right"]
