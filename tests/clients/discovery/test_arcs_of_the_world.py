"""The named shapes find the titles of the procedural world that have them; in full: docs/arcs.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resonance.export.families import tiny
from resonance.loadtest.discovery.arc_store import write_store
from resonance.loadtest.discovery.arc_titles import AXES, LABELS, Rendered, flat_titles, level_titles
from resonance.loadtest.discovery.arcs import BAR, POOL, Curves, precisions, sweep
from resonance.space.descriptor import Descriptor
from resonance.training.tiny import load_modules
from resonance.training.world.pool import load_or_render
from tests.lengths import long

#: A third of the titles of the full measure, so that CI has time to render them; another seed.
SHORT = replace(POOL, titles=120, seed=42)


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    found = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    if not set(AXES) <= set(found.axes):
        pytest.skip(f"the exported family {found.name} has no axes {', '.join(AXES)}; export tiny")
    return found


def test_the_worlds_labels_are_named_shapes_and_its_titles_have_them() -> None:
    titles = level_titles(POOL)
    assert len(LABELS) == 6
    levels = titles.levels[..., 0]
    rising, falling = (levels[titles.labels == LABELS.index(name)] for name in ("rise", "fall"))
    assert (np.diff(rising, axis=1) >= 0).all()
    assert (np.diff(falling, axis=1) <= 0).all()


def test_every_shape_finds_its_titles_by_their_true_levels(descriptor: Descriptor, tmp_path: Path) -> None:
    titles = level_titles(POOL).as_told()
    uri = str(tmp_path / "store")
    write_store(uri, titles.arcs(descriptor.axes))
    for row in precisions(uri, "true", titles):
        assert row.precision >= BAR, row


@long
def test_every_shape_finds_its_titles_as_tiny_sees_and_hears_them(
    descriptor: Descriptor, tmp_path: Path
) -> None:
    pool = load_or_render(tmp_path / "pool", SHORT, workers=2)
    rendered = Rendered.of(pool, load_modules(tiny.WEIGHTS), descriptor.axes)
    titles = rendered.titles()
    uri = str(tmp_path / "store")
    write_store(uri, titles.arcs(descriptor.axes), rendered.vectors)
    found = precisions(uri, "tiny", titles)
    assert {row.arcs for row in found} == {"tension", "pace", "tension+pace"}
    for row in found:
        # ten of the 20 titles a shape have to come first; the full measure holds tension to the bar too
        assert row.precision >= (0.6 if row.arcs == "tension" else BAR), row
    assert np.mean([row.precision for row in found if row.arcs == "tension"]) >= BAR
    flats = rendered.composed(flat_titles(20, SHORT.segments_per_title), seed=3)
    for among in sweep("flats", Curves.of(titles + flats, descriptor.axes), setting=0):
        assert among.precision >= BAR, among
