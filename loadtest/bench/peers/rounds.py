"""Contenders in turn, round after round, and what the medians over the rounds say."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resonance.loadtest.bench.peers.load import Contender, Round, Vectors

WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class PeerRow:
    """Medians over the rounds of one contender.

    Attributes:
        ratio: ours over it in items a second, the median over rounds of the two side by side.
        p99_ratio: ours over it, of the medians over the rounds.
        worst_cosine: with our vector of the same input, over some of them.
    """

    items: str
    contender: str
    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    client_cpu_ms: float
    ours: str
    ratio: float
    p99_ratio: float
    worst_cosine: float
    rounds: int


async def compare(
    items: str,
    ours: Sequence[Contender],
    others: Sequence[Contender],
    concurrencies: Sequence[int],
    cosines: dict[tuple[str, str], float],
    *,
    rounds: int,
    seconds: float,
    on_round: Callable[[str], None] = lambda label: None,
) -> list[PeerRow]:
    """Measure everybody at every concurrency; a row for each pair of ours and another, and for ours itself.

    Args:
        cosines: by (ours, contender), see `worst_cosine`.
        on_round: told before each measurement what is next.
    """
    rows = []
    for concurrency in concurrencies:
        everybody = [*ours, *others]
        for contender in everybody:
            await contender.measure(concurrency, WARM_UP_S)
        taken: dict[str, list[Round]] = {contender.name: [] for contender in everybody}
        for turn in range(rounds):
            # Backwards in every other round, so that nobody always follows the same neighbour.
            for contender in everybody if turn % 2 == 0 else everybody[::-1]:
                on_round(f"{items}, {concurrency} at a time: {contender.name}")
                taken[contender.name].append(await contender.measure(concurrency, seconds))
        for own in ours:
            for contender in (own, *others):
                cosine = 1.0 if contender is own else cosines[own.name, contender.name]
                rows.append(_row(items, own.name, contender.name, concurrency, taken, cosine))
    return rows


def _row(
    items: str, ours: str, name: str, concurrency: int, taken: dict[str, list[Round]], cosine: float
) -> PeerRow:
    own, other = taken[ours], taken[name]

    def median(field: str, of: list[Round]) -> float:
        return statistics.median(getattr(one, field) for one in of)

    return PeerRow(
        items=items,
        contender=name,
        concurrency=concurrency,
        per_s=median("per_s", other),
        p50_ms=median("p50_ms", other),
        p99_ms=median("p99_ms", other),
        server_cpu_ms=median("server_cpu_ms", other),
        client_cpu_ms=median("client_cpu_ms", other),
        ours=ours,
        ratio=statistics.median(a.per_s / b.per_s for a, b in zip(own, other, strict=True)),
        p99_ratio=median("p99_ms", own) / median("p99_ms", other),
        worst_cosine=cosine,
        rounds=len(other),
    )


def worst_cosine(ours: Vectors, other: Vectors, projection: Vectors) -> float:
    """Least cosine of our unit rows [N, 596] and `other` [N, hidden] taken into our space.

    `projection` [596, hidden] is the head that ends our graph and is no part of the checkpoint.

    Raises:
        ValueError: the shapes do not fit.
    """
    if ours.shape != (len(other), projection.shape[0]) or other.shape[1] != projection.shape[1]:
        raise ValueError(
            f"vectors {list(ours.shape)} of ours and {list(other.shape)} of a contender; "
            f"expected [N, {projection.shape[0]}] and [N, {projection.shape[1]}]"
        )
    taken = other.astype(np.float64) @ projection.astype(np.float64).T
    own = ours.astype(np.float64)
    norms = np.linalg.norm(taken, axis=1) * np.linalg.norm(own, axis=1)
    return float(((own * taken).sum(axis=1) / norms).min())
