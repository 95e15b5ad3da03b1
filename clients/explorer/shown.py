"""Titles, hits and arcs as the page gets them: plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from resonance.clients.arcs import runs_of
from resonance.clients.discovery.search import TitleHit
from resonance.clients.discovery.types import StoredTitle, TitleFacts
from resonance.clients.explorer.keys import key_of
from resonance.clients.explorer.why import Reason
from resonance.clients.results import Segment
from resonance.space.descriptor import MODALITIES
from resonance.space.scores import Query, Weights, score


def shown_title(facts: TitleFacts) -> dict[str, Any]:
    """A title by its key, with what its catalogue says."""
    return {
        "key": key_of(facts.media_id),
        "media_id": facts.media_id,
        "name": PurePosixPath(facts.media_id.rstrip("/")).name or facts.media_id,
        "language": facts.language,
        "tags": list(facts.tags),
        "attributes": dict(facts.attributes),
        "duration_s": facts.duration_s,
        "present": dict(zip(MODALITIES, facts.present, strict=True)),
    }


def shown_hit(hit: TitleHit, reasons: Sequence[Reason], sentence: str) -> dict[str, Any]:
    """A result: the title, its score, the shares that it is the sum of and why, its best segment."""
    segment = hit.segment
    return {
        **shown_title(hit.facts),
        "score": hit.score,
        "sentence": sentence,
        "shares": [
            {
                "modality": reason.share.modality,
                "value": reason.share.value,
                "inferred": reason.share.inferred,
                "usual": None if reason.usual is None else reason.usual.mean,
            }
            for reason in reasons
        ],
        "segment": None
        if segment is None
        else {
            "index": segment.index,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "score": segment.score,
        },
    }


def shown_details(title: StoredTitle) -> dict[str, Any]:
    """A title with its segments and its arcs, by runs. Arcs of axes carry the labels of their ends."""
    axes = title.facts.axes
    return {
        **shown_title(title.facts),
        "segments": [_shown_segment(segment) for segment in title.segments],
        "arcs": [
            {
                "name": name,
                "low": axes[name].low if name in axes else None,
                "high": axes[name].high if name in axes else None,
                "runs": runs_of(points),
            }
            for name, points in title.arcs.items()
        ],
    }


def _shown_segment(segment: Segment) -> dict[str, Any]:
    return {
        "index": segment.index,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "present": dict(zip(MODALITIES, segment.present, strict=True)),
        "salience": segment.salience,
    }


def segment_scores(query: Query, weights: Weights, segments: Sequence[Segment]) -> list[float]:
    """How well each segment answers, in order."""
    if not segments:
        return []
    vectors = np.stack([segment.vector for segment in segments])  # (N, 1788)
    return [float(value) for value in score(query, weights, vectors)]
