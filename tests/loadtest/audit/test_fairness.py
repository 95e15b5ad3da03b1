"""The short form of the measurement of the fairness term; docs/audit-bias.md has the long one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from resonance.loadtest.audit.fairness import LOOP, measure, plot, summarise
from resonance.loadtest.audit.fairness_features import KINDS, MARKED_KIND, Planted, draw_titles
from tests.lengths import long


def test_drawn_groups_are_even_and_the_mark_is_the_group_s_alone() -> None:
    drawn = draw_titles(400, Planted(), 1)
    for kind in range(KINDS):
        assert drawn.group[drawn.kinds == kind].mean() == 0.2
    plain = draw_titles(400, Planted(mark=0.0), 1)
    differ = [
        not np.array_equal(one.features["audio"], other.features["audio"])
        for one, other in zip(drawn.titles, plain.titles, strict=True)
    ]
    np.testing.assert_array_equal(differ, drawn.group)
    real = draw_titles(400, Planted(real=0.1), 1)
    assert real.group[real.kinds == MARKED_KIND].mean() == 0.3


def test_a_measurement_has_a_row_of_each_weight_and_its_pictures(tmp_path: Path) -> None:
    """Of two steps: what they say is in the long form."""
    page = tmp_path / "change.html"
    runs = measure([0], (8.0,), loop=replace(LOOP, steps=2, warmup_steps=1), html=page)
    assert [(run.weight, run.again) for run in runs] == [(0.0, False), (0.0, True), (8.0, False)]
    assert page.read_text().count("data:image/png") == 2
    plot(summarise(runs)).savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@long
def test_the_term_halves_a_planted_over_representation(tmp_path: Path) -> None:
    page = tmp_path / "change.html"
    plain, again, fair = measure([0], (8.0,), html=page)
    assert plain.found
    assert plain.after == plain.before > 0.05
    assert fair.before == again.before == plain.before
    assert again.again
    assert again.near_after > 0.8 * plain.near_before  # another training alone does not help
    assert fair.after < plain.before / 2
    assert fair.near_after < plain.near_before / 2
    assert plain.recall - fair.recall < 0.1
    assert page.read_text().count("data:image/png") == 2
    plot(summarise([plain, again, fair])).savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
