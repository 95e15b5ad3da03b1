"""The committed weights do what their model card says, and the way to them runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from resonance.export.contract import ENCODERS
from resonance.export.families import tiny
from resonance.export.weights import load_weights
from resonance.training.evaluate import evaluate
from resonance.training.loop import ResumeError
from resonance.training.recipes import RECIPES
from resonance.training.tiny import load_modules, train_tiny, views_of
from resonance.training.titles import TitleBlocks, shuffled
from resonance.training.towers import draw_rows
from resonance.training.world.cold_start import _words, ndcg
from resonance.training.world.factors import SUBJECT_KINDS
from resonance.training.world.measure import Row, concatenated, recall
from resonance.training.world.pool import Pool, PoolSettings, encode_factors, load_or_render, title_of
from resonance.training.world.views import LARGE, Views, moved, resident
from tests.lengths import short_and_whole

CPU = torch.device("cpu")
#: Held-out titles of another seed than the model card's: fewer, so that CI has time for them. Among 60 or 150
#: clips a query has an easier time than among the 1,001 of `make evaluate-tiny`, whose figures count.
WHOLE = PoolSettings(titles=150, segments_per_title=12, seed=77, held_out=True)
SHORT = replace(WHOLE, titles=60)


@pytest.fixture(scope="module")
def modules() -> Mapping[str, nn.Module]:
    return load_modules(tiny.WEIGHTS)


@pytest.fixture(scope="module", params=short_and_whole(SHORT, WHOLE))
def rows(
    request: pytest.FixtureRequest,
    modules: Mapping[str, nn.Module],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Row]:
    pool = load_or_render(tmp_path_factory.mktemp("pool"), request.param, workers=2)
    return {row.name: row for row in evaluate(pool, modules, load_modules(None), CPU)}


def test_weights_are_small_enough_to_commit() -> None:
    assert tiny.WEIGHTS.stat().st_size + tiny.REFERENCE.stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("query", "k", "bar"),
    [
        ("text", 1, 0.8),
        ("text", 10, 0.95),
        ("audio", 1, 0.8),
        ("audio", 10, 0.95),
        ("image", 1, 0.8),
        ("image", 10, 0.95),
        ("hum", 10, 0.8),
    ],
)
def test_a_query_of_one_modality_finds_its_clip_by_the_others(
    rows: dict[str, Row], query: str, k: int, bar: float
) -> None:
    row = rows[f"{query} -> clip, recall@{k}"]
    assert row.oracle is not None
    assert row.baselines is not None
    assert row.value > row.baselines["untrained"]
    assert row.value >= bar * row.oracle


def test_titles_find_themselves_with_modalities_missing(rows: dict[str, Row]) -> None:
    found = [row for name, row in rows.items() if name.endswith("-> itself, recall@1")]
    assert len(found) == 6
    for row in found:
        assert row.oracle is not None
        assert row.value >= 0.9 * row.oracle, row


def test_the_fusion_head_beats_concatenation_where_modalities_are_missing(rows: dict[str, Row]) -> None:
    for kind in ("itself", "its other half"):
        row = rows[f"whole title -> library with mixed gaps ({kind}), recall@1"]
        assert row.baselines is not None
        assert row.value > row.baselines["concatenation"]
        assert row.value > row.baselines["mean fill"]


def test_a_title_is_told_from_its_shuffle(rows: dict[str, Row]) -> None:
    row = rows["order: told from its shuffle"]
    assert row.baselines is not None
    assert row.value >= 0.95 > row.baselines["mean fill"]


@pytest.mark.parametrize("kind", ["complete", "with gaps"])
def test_multimodal_beats_text_and_tags_on_cold_start(rows: dict[str, Row], kind: str) -> None:
    row = rows[f"cold start, titles {kind}: neighbours' NDCG@10"]
    assert row.baselines is not None
    assert row.value > row.baselines["text only"] > row.baselines["tags only"]


def test_no_figure_is_better_than_an_oracle(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert row.oracle is None or row.value <= row.oracle + 0.05, row


def test_the_recipe_in_the_weights_is_the_one_in_the_code() -> None:
    from dataclasses import asdict

    from safetensors import safe_open

    with safe_open(tiny.WEIGHTS, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["recipe"]) == json.loads(json.dumps(asdict(RECIPES["cpu"])))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_pool_that_is_on_the_device_gives_the_same_bits(
    modules: Mapping[str, nn.Module], tmp_path: Path, bf16: bool
) -> None:
    pool = load_or_render(
        tmp_path, PoolSettings(titles=3, segments_per_title=4, seed=5, wild=4, hum_every=2), workers=1
    )
    assert resident(pool, CPU) == {}  # the memory map is memory here
    there = moved(pool, CPU)
    assert set(there) == set(LARGE)
    mapped, held = (views_of(pool, modules, CPU, arrays) for arrays in ({}, there))
    rows = np.array([7, 0, 3, 13])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for seed in (None, 1, 2):
            a, b = (
                [
                    views.pictures(rows, frames=2, rng=rng and np.random.default_rng(rng)),
                    views.sounds(rows, rng=rng and np.random.default_rng(rng)),
                    views.sounds(rows[:2] // 2, hums=True, rng=rng and np.random.default_rng(rng)),
                    views.words(rows[:3]),
                ]
                for views, rng in ((mapped, seed), (held, seed))
            )
            for one, other in zip(a, b, strict=True):
                assert torch.equal(one, other)


def test_a_batch_has_titles_that_only_marking_and_grouping_tell_apart() -> None:
    settings = PoolSettings(titles=1000, segments_per_title=12, seed=1)
    factors = np.repeat([encode_factors(title_of(settings, t).at(0.0)) for t in range(1000)], 12, axis=0)
    views = SimpleNamespace(pool=Pool(settings, {"factors": factors}))
    towers = RECIPES["cpu"].towers
    for seed in range(5):
        rows = draw_rows(cast(Views, views), towers, np.random.default_rng(seed))
        assert len(rows) == len(np.unique(rows)) == towers.batch
        titles, segments = np.unique(rows // 12, return_counts=True)
        assert (segments == 2).sum() == towers.title_mates // 2
        setting, subject = factors[titles * 12, 0].astype(int), factors[titles * 12, 1].astype(int)
        alike = setting * SUBJECT_KINDS + subject % SUBJECT_KINDS
        others = [len(np.unique(subject[alike == kind])) for kind in alike]
        # 9 to 21 of a batch drawn without them
        assert sum(count == 4 for count in others) > 0.5 * towers.likes
        assert len(np.unique(setting)) == 16


def test_a_short_training_runs_and_what_it_writes_loads(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    notes: list[str] = []
    seconds = train_tiny(RECIPES["smoke"], tmp_path, weights, workers=2, device=CPU, note=notes.append)
    assert set(seconds) == {"rendering", "encoders", "blocks of all titles", "fusion head"}
    before, after = load_modules(None), load_modules(weights)
    for name in (*ENCODERS, "title_fusion"):
        changed = [
            not torch.equal(a, b)
            for a, b in zip(before[name].parameters(), after[name].parameters(), strict=True)
        ]
        assert any(changed), name
    log = (tmp_path / "towers" / "losses.csv").read_text().splitlines()
    assert len(log) == 1 + RECIPES["smoke"].towers.loop.steps
    assert any(line.startswith("fusion head") for line in notes)

    # once more: nothing is trained again, and the time that it took is still told
    again = train_tiny(RECIPES["smoke"], tmp_path, weights, workers=2, device=CPU, note=notes.append)
    for stage in ("encoders", "fusion head"):
        assert again[stage] == seconds[stage] > 0
    other = replace(RECIPES["smoke"], towers=replace(RECIPES["smoke"].towers, batch=16))
    with pytest.raises(ResumeError, match=r"another run \(batch 32, now 16\)"):
        train_tiny(other, tmp_path, weights, workers=2, device=CPU, note=notes.append)
    shutil.rmtree(tmp_path / "towers")
    with pytest.raises(ResumeError, match=r"another run \(encoders\.batch 32, now 16\)"):
        train_tiny(other, tmp_path, weights, workers=2, device=CPU, note=notes.append)


def test_recall_counts_ties_against_it() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert recall(scores, np.array([0, 1]), 1) == 0.5
    assert recall(scores, np.array([0, 1]), 2) == 1.0


def test_scores_that_are_no_numbers_find_nothing() -> None:
    scores = torch.full((2, 3), float("nan"))
    assert recall(scores, np.array([0, 1]), 1) == 0.0
    assert recall(scores, np.array([0, 1]), 2) == 0.0


def test_text_alone_compares_words_whatever_else_a_title_has() -> None:
    """Four times the same words: alone, beside a picture, beside all; and a title without words."""
    blocks = torch.nn.functional.normalize(torch.randn(4, 2, 3, 596), dim=-1)
    blocks[:, :, 2] = blocks[:1, :, 2]
    has = [(0, 0, 1), (1, 0, 1), (1, 1, 1), (1, 1, 0)]
    present = torch.tensor(has, dtype=torch.bool).unsqueeze(1).expand(4, 2, 3)
    words = _words(concatenated(TitleBlocks(blocks, present, torch.zeros(4, 2))))
    expected = torch.ones(4, 4)
    expected[3] = expected[:, 3] = 0.0
    torch.testing.assert_close(words @ words.T, expected)


def test_ndcg_is_one_for_the_true_order_and_less_for_another() -> None:
    gain = np.random.default_rng(0).random((20, 20))
    assert ndcg(gain, gain) == pytest.approx(1.0)
    assert ndcg(-gain, gain) < 0.8


def test_shuffles_are_never_the_order_itself() -> None:
    orders = shuffled(3, 200, np.random.Generator(np.random.PCG64(0)))
    assert not (orders == np.arange(3)).all(1).any()
    assert len({tuple(o) for o in orders}) == 5


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    from resonance.export.weights import WeightsError, save_weights

    path = tmp_path / "other.safetensors"
    save_weights({"visual_encoder": nn.Linear(3, 2)}, path, {})
    with pytest.raises(WeightsError, match=r"visual_encoder has 2 tensors; missing .*encoder"):
        load_weights(tiny.new_visual(), path, "visual_encoder")
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_weights(tiny.new_visual(), path, "visual_encoder")
