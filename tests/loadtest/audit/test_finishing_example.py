"""The example's store holds what the audit reads of it, and what is planted is found there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from resonance.clients.audit.finishing import audit_finishing
from resonance.clients.audit.finishing_rows import FinishingSettings
from resonance.clients.audit.finishing_weights import FITTED
from resonance.clients.ingest.stores import open_store
from resonance.loadtest.audit.finishing_example import evaluated_catalogue, write_catalogue
from resonance.loadtest.audit.resonance import LOUD, SHOWING, draw_shown, without_chances
from resonance.space.axes import AxisMeter
from resonance.space.blocks import join
from tests.space.strategies import make_descriptor, random_blocks


def test_the_example_is_audited(tmp_path: Path) -> None:
    descriptor = make_descriptor()
    catalogue = evaluated_catalogue()
    vectors = join(random_blocks(0, len(catalogue.titles))).astype(np.float32)
    present = np.ones((len(vectors), 3), np.bool_)
    write_catalogue(str(tmp_path / "store"), catalogue, vectors, present, descriptor)
    with closing(open_store(str(tmp_path / "store"))) as store:
        (batch,) = store.titles(["media_id", "axes", "tags"])
        values = AxisMeter(descriptor.axes).values(vectors, present)[:, 0]
        found = [dict(row)["tension"]["value"] for row in batch["axes"].to_pylist()]
        np.testing.assert_allclose(found, values)
        assert [LOUD in tags for tags in batch["tags"].to_pylist()] == catalogue.loud.tolist()
        log = without_chances(draw_shown(catalogue, 300, SHOWING, seed=0).log)
        audit = audit_finishing(store, log, descriptor, FinishingSettings(draws=100))
    assert audit.weights.method == FITTED
    assert LOUD in {kind.name for kind in audit.kinds if kind.is_abandoned}
    assert audit.correlation.interval[0] > 0
    # vectors are random, so no block's share says anything
    for block in audit.blocks:
        assert block.correlation is not None
        assert abs(block.correlation.value) < 0.06
