"""The bench of the serving path against a real Triton and gateway: the same work, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from resonance.loadtest.bench import serving_path
from resonance.loadtest.bench.bare import BareModels, Tensors
from resonance.loadtest.bench.baseline import Baseline
from resonance.loadtest.bench.check import BASELINE, checked, names
from resonance.loadtest.bench.path_items import Item, path_items
from resonance.loadtest.bench.serving_path import (
    LEAST_COSINE,
    LEAST_ROUNDS,
    DisagreementError,
    Settings,
    measure_path,
)
from resonance.loadtest.bench.triton_wire import Spent, TritonWire
from resonance.serving.server import TritonServer

#: CPU is counted in ticks of 10 ms; of a round of 50 ms one tick of an idle gateway would be a fifth.
SHORT = Settings(concurrency=4, rounds=1, round_s=0.25, least_each=3)


class OtherWeights(BareModels):
    """A repository on disk that is not the one served."""

    def run(self, model: str, feeds: Tensors) -> Tensors:
        return {name: array[..., ::-1] for name, array in super().run(model, feeds).items()}


@pytest.fixture(scope="module")
def bare(model_repository: Path) -> BareModels:
    return BareModels(model_repository)


@pytest.fixture(scope="module")
def items(bare: BareModels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Item]:
    made = path_items(bare, tmp_path_factory.mktemp("films"), distinct=2)
    return {item.model: item for item in made if item.calls}


def test_every_way_does_the_same_work(
    server: TritonServer, model_repository: Path, bare: BareModels, items: dict[str, Item]
) -> None:
    done: list[str] = []
    rows = measure_path(
        server, model_repository, list(items.values()), settings=SHORT, bare=bare, done=done.append
    )
    assert done == [item.name for item in items.values()]
    assert [row.through for row in rows] == ["triton", "gateway"] * len(items)
    for row in rows:
        assert row.cosine >= LEAST_COSINE
        assert row.queue_share + row.input_share + row.infer_share + row.output_share == pytest.approx(1)
        assert row.requests_per_run >= 1
        assert row.throughput_ratio > 0
        assert (row.gateway_share > 0.1) == (row.through == "gateway")
        assert (row.over_triton is None) == (row.through == "triton")
        assert row.met == ((row.over_triton or row.cpu_ratio) <= row.bar)
    visual, segment = rows[0], rows[-2]
    assert visual.item_ms < segment.item_ms  # a segment's pictures are decoded, and it has sound and words
    assert segment.outside_share is not None
    assert 0 <= segment.outside_share < 1


class NothingSpent:
    """Stands in for what asks Triton what it spent."""

    async def spent(self) -> dict[str, Spent]:
        return {}


@pytest.mark.parametrize(("enough_s", "expected"), [(0.0, LEAST_ROUNDS), (60.0, 5)])
async def test_rounds_end_once_three_took_long_enough(enough_s: float, expected: int) -> None:
    asked: list[str] = []

    def arm(name: str) -> serving_path.Arm:
        async def work(items: int) -> serving_path._Round:
            asked.append(name)
            return serving_path._Round(items, wall_s=1.0, own_s=1.0)

        return work

    settings = replace(SHORT, rounds=5, enough_s=enough_s)
    arms = {name: arm(name) for name in ("bare", "triton")}
    rounds, _ = await serving_path._rounds(cast(TritonWire, NothingSpent()), arms, settings)
    assert [len(of) for of in rounds.values()] == [expected] * 2
    turns = [["bare", "triton"], ["triton", "bare"]] * 3
    assert asked[4:] == [name for turn in turns[:expected] for name in turn]  # each arm warms up twice


def test_the_baseline_has_every_ratio_that_is_checked_and_no_other(items: dict[str, Item]) -> None:
    expected = names(checked(items.values()))
    for machine, ratios in Baseline.load(BASELINE).machines.items():
        assert set(ratios) == expected, machine


def test_other_weights_on_disk_are_refused(
    server: TritonServer, model_repository: Path, items: dict[str, Item]
) -> None:
    with pytest.raises(DisagreementError, match=r"audio_encoder.* through triton: cosine .* at least 0.999"):
        measure_path(
            server,
            model_repository,
            [items["audio_encoder"]],
            settings=SHORT,
            bare=OtherWeights(model_repository),
        )


def test_a_gateway_that_embeds_something_else_is_refused(
    server: TritonServer, model_repository: Path, bare: BareModels, items: dict[str, Item]
) -> None:
    words = items["transcript_encoder"]
    shifted = replace(words, read=lambda number: words.read(1 - number))
    with pytest.raises(DisagreementError, match="through gateway: cosine"):
        measure_path(server, model_repository, [shifted], settings=SHORT, bare=bare)
