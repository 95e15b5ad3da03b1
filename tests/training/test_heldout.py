"""Projections learn what holds for other titles too, and stop before they learn a library by heart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from resonance.space.descriptor import MODALITIES
from resonance.training import heldout
from resonance.training.align_report import RecallMoved, kept_line
from resonance.training.features import TitleFeatures
from resonance.training.heads import HeadSettings, train_projections
from resonance.training.heldout import LEAST_JUDGED, HeldOut, held_out_titles
from resonance.training.loop import LoopSettings
from resonance.training.plot import plot_losses
from resonance.training.recalls import mean_recall, means, pair_recalls, shared_pairs
from resonance.training.segments import Segments, project

CPU = torch.device("cpu")
SEGMENTS, CAUSES, WIDTH = 4, 12, 48
SETTINGS = HeadSettings(
    loop=LoopSettings(steps=100, learning_rate=1e-2, warmup_steps=10, checkpoint_every=50, bf16=False)
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices so small are multiplied sooner by one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_titles(
    count: int, *, group: str = "", segments: int = SEGMENTS, seed: int = 0
) -> list[TitleFeatures]:
    """Each modality sees the causes of a segment in its own way, the same in every library, with noise."""
    views = [np.random.default_rng(m).normal(size=(CAUSES, WIDTH)) / CAUSES**0.5 for m in range(3)]
    rng = np.random.default_rng([seed, 7])
    found = []
    for _ in range(count):
        causes = rng.normal(size=(segments, CAUSES))
        features = {
            m: (causes @ view + 0.7 * rng.normal(size=(segments, WIDTH))).astype(np.float32)
            for m, view in zip(MODALITIES, views, strict=True)
        }
        present = np.ones((segments, 3), bool)
        found.append(TitleFeatures(features, present, np.arange(segments, dtype=np.float32), group))
    return found


def make_projections(*, aligned: bool) -> nn.ModuleList:
    """Those that read the causes off each view, or any."""
    torch.manual_seed(0)
    found = nn.ModuleList(nn.Linear(WIDTH, 596, bias=False) for _ in MODALITIES)
    if aligned:
        spread = np.random.default_rng(9).normal(size=(CAUSES, 596))
        for m, one in enumerate(found):
            view = np.random.default_rng(m).normal(size=(CAUSES, WIDTH)) / CAUSES**0.5
            weight = torch.from_numpy((np.linalg.pinv(view) @ spread).T.astype(np.float32))
            one.load_state_dict({"weight": weight})
    return found


def recall(projections: nn.ModuleList, segments: Segments) -> float:
    with torch.inference_mode():
        return mean_recall(project(projections, segments.features), segments)


def align(
    projections: nn.ModuleList, folder: Path, settings: HeadSettings = SETTINGS, titles: int = 30
) -> HeldOut:
    library = make_titles(titles)
    chosen = torch.from_numpy(np.repeat(held_out_titles(library, 0.1, 0), SEGMENTS))
    segments = Segments.of(library)
    held = train_projections(
        projections, segments.take(~chosen), settings, folder, CPU, segments.take(chosen)
    )
    assert held is not None
    return held


def test_what_is_aligned_already_is_not_unlearned(tmp_path: Path) -> None:
    """To the end of the steps other titles lose most; held-out ones tell it in time."""
    others = Segments.of(make_titles(60, seed=1))
    projections = make_projections(aligned=True)
    before = recall(projections, others)
    held = align(projections, tmp_path / "held")
    assert recall(projections, others) > before - 0.03
    assert held.kept < SETTINGS.loop.steps

    library = Segments.of(make_titles(30))
    by_heart = make_projections(aligned=True)
    train_projections(by_heart, library, SETTINGS, tmp_path / "all", CPU)
    assert recall(by_heart, library) > 0.95
    assert recall(by_heart, others) < before - 0.1


def test_what_can_be_learned_is_learned(tmp_path: Path) -> None:
    others = Segments.of(make_titles(60, seed=1))
    projections = make_projections(aligned=False)
    before = recall(projections, others)
    held = align(projections, tmp_path, titles=120)
    assert recall(projections, others) > before + 0.2
    assert held.kept > 0
    plot_losses(tmp_path / "losses.csv", tmp_path / "losses.png", "projections", held)
    assert (tmp_path / "losses.png").stat().st_size > 5000


def test_a_run_that_was_stopped_keeps_the_same_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = make_projections(aligned=True)
    expected = align(straight, tmp_path / "a")
    look = HeldOut.look

    def stopping(self: HeldOut, step: int, steps: int) -> None:
        if step == 75:
            raise KeyboardInterrupt
        look(self, step, steps)

    monkeypatch.setattr(HeldOut, "look", stopping)
    with pytest.raises(KeyboardInterrupt):
        align(make_projections(aligned=True), tmp_path / "b")
    monkeypatch.setattr(HeldOut, "look", look)
    for _ in range(2):  # the second finds a run that is finished
        resumed = make_projections(aligned=True)
        held = align(resumed, tmp_path / "b")
        assert (held.kept, held.looks) == (expected.kept, expected.looks)
        for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_with_a_fairness_term_the_last_step_is_kept_and_a_fall_is_told(tmp_path: Path) -> None:
    library = [replace(title, audited=(at % 2,)) for at, title in enumerate(make_titles(30))]
    chosen = torch.from_numpy(np.repeat(held_out_titles(library, 0.1, 0), SEGMENTS))
    segments = Segments.of(library)
    settings = replace(SETTINGS, fairness=8.0)
    projections = make_projections(aligned=True)
    held = train_projections(
        projections, segments.take(~chosen), settings, tmp_path, CPU, segments.take(chosen)
    )
    assert held is not None
    assert held.kept == SETTINGS.loop.steps
    assert held.looks[-1][1] < held.looks[0][1]
    assert "found WORSE than before" in kept_line(held, SETTINGS.loop.steps)


def test_titles_are_held_out_whole_and_of_each_group_alike() -> None:
    titles = [*make_titles(150, group="a"), *make_titles(50, group="b")]
    chosen = held_out_titles(titles, 0.1, 3)
    assert chosen.sum() == 20
    assert chosen[150:].sum() == 5
    assert (held_out_titles(titles, 0.1, 3) == chosen).all()
    assert (held_out_titles(titles, 0.1, 4) != chosen).any()
    assert not held_out_titles(titles, 0.0, 3).any()


def test_a_film_in_two_rows_is_held_out_from_both() -> None:
    """Under two paths and in two groups; it counts once, so as many films are held out as of each once."""
    films = make_titles(60, group="a")
    copies = [replace(film, features={m: f.copy() for m, f in film.features.items()}) for film in films]
    twice = [*films, *(replace(film, group="b") for film in copies)]
    chosen = held_out_titles(twice, 0.1, 0)
    assert (chosen[:60] == held_out_titles(films, 0.1, 0)).all()
    assert (chosen[60:] == chosen[:60]).all()
    assert not held_out_titles(make_titles(5) * 10, 0.1, 0).any(), "five films are too few, however often"


@pytest.mark.parametrize(("count", "segments", "held"), [(24, 4, 6), (23, 4, 0), (96, 1, 24), (95, 1, 0)])
def test_more_are_held_out_of_small_libraries_and_none_of_tiny_ones(
    count: int, segments: int, held: int
) -> None:
    assert LEAST_JUDGED == 24
    chosen = held_out_titles(make_titles(count, segments=segments), 0.1, 0)
    assert chosen.sum() == held
    if not held:
        assert "NO title was held out, as 25% of the titles have fewer than 24 segments" in kept_line(
            None, 500
        )


def test_segments_of_one_modality_judge_nothing() -> None:
    alone = [replace(t, present=t.present & np.array([True, False, False])) for t in make_titles(200)]
    assert not held_out_titles(alone, 0.1, 0).any()


def test_few_of_many_segments_have_two_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those alone are looked at."""
    monkeypatch.setattr(heldout, "MOST_JUDGED", 30)
    segments = Segments.of(make_titles(100))
    present = segments.present.clone()
    present[:-30, 1:] = False
    held = HeldOut(
        make_projections(aligned=True),
        replace(segments, present=present),
        balance=0.0,
        keep_best=True,
        device=CPU,
    )
    held.look(0, 10)
    assert held.looks[0][1] > 0.5


def test_rows_of_held_out_groups_weigh_what_they_weigh_in_the_loss() -> None:
    """Group 0, of three in four, is found; group 1 is not."""
    segments = Segments.of([*make_titles(30, group="a"), *make_titles(10, group="b")])
    rows = nn.functional.normalize(torch.randn(160, 596, generator=torch.Generator().manual_seed(0)), dim=1)
    other = rows.clone()
    other[120:] = rows[120:].roll(1, 0)
    blocks = torch.stack([rows, other, rows.roll(1, 0)], 1)
    segments = replace(segments, present=segments.present & torch.tensor([True, True, False]))
    assert mean_recall(blocks, segments) == pytest.approx(0.75)
    assert mean_recall(blocks, segments, balance=1.0) == pytest.approx(0.5)


def test_two_segments_with_words_do_not_decide_which_look_is_best() -> None:
    """Before, the two segments that have words are found by all pairs; after, all but their words are."""
    segments = Segments.of(make_titles(30))
    rows = nn.functional.normalize(torch.randn(120, 596, generator=torch.Generator().manual_seed(0)), dim=1)
    present = segments.present.clone()
    present[2:, 2] = False
    segments = replace(segments, present=present)
    few = torch.stack([rows, torch.cat([rows[:2], rows[2:].roll(7, 0)]), rows], 1)
    words_crossed = torch.stack([rows, rows, torch.cat([rows[:2].flip(0), rows[2:]])], 1)
    assert mean_recall(few, segments) == pytest.approx((2 + 2 + 2) / 124)
    assert mean_recall(words_crossed, segments) == pytest.approx((120 + 0 + 0) / 124)


def test_groups_are_compared_by_the_pairs_that_all_of_them_have() -> None:
    """Both groups are found alike by picture and sound. One has words too, which nobody finds: that lowers
    the mean over its pairs, and is no gap."""
    segments = Segments.of([*make_titles(10, group="a"), *make_titles(10, group="b")])
    rows = nn.functional.normalize(torch.randn(80, 596, generator=torch.Generator().manual_seed(0)), dim=1)
    blocks = torch.stack([rows, rows, rows.roll(1, 0)], 1)
    present = segments.present.clone()
    present[40:, 2] = False
    segments = replace(segments, present=present)
    assert shared_pairs(segments) == ("visual-audio",)
    assert means([pair_recalls(blocks, segments)["visual-audio"]]) == {0: 1.0, 1: 1.0}
    told = RecallMoved.of("here", segments, blocks, blocks)
    assert told.after[0] < 0.5 < told.after[1]
    assert "gap between groups 0.000 -> 0.000 (by visual-audio)" in told.lines(("a", "b"))

    present[40:49, 2], present[40:, 1] = True, False  # nine segments are too few
    told = RecallMoved.of("here", replace(segments, present=present), blocks, blocks)
    assert told.lines(("a", "b"))[-1].startswith(
        "the gap between groups cannot be told: no pair of modalities"
    )
