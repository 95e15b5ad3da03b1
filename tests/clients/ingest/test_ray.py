"""The same job on a cluster of two nodes, of which one is killed: everything is stored once; a ledger that
cannot be opened says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from resonance.clients.credentials import Credentials
from resonance.clients.ingest.catalogue import read_catalogue
from resonance.clients.ingest.embedding import EmbedOptions
from resonance.clients.ingest.errors import JournalError, PruneError
from resonance.clients.ingest.pending import row_bytes
from resonance.clients.ingest.ray_engine import Cluster, RayJob
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.ingest.stores import open_sink
from resonance.clients.results import SpaceRef
from resonance.loadtest.ingest.library import make_title
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceMismatchError
from tests.clients.ingest.conftest import BAD
from tests.clients.ingest.made import OTHER_SPACE, SPACE, made_item, made_row
from tests.clients.ingest.running import ingest, stored
from tests.lengths import short_and_whole


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    made = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.mark.timeout(120)
def test_a_ledger_that_cannot_be_opened_says_why(cluster: RayCluster, tmp_path: Path) -> None:
    settings = IngestSettings(
        sources=(str(tmp_path),), sink=str(tmp_path / "sink"), server="nowhere", credentials=Credentials()
    )
    wide = Cluster(address=cluster.address, workers=1, side_by_side=1)
    sink = open_sink(settings.sink, OTHER_SPACE)
    sink.write(made_row("one", space=OTHER_SPACE), batch="1")
    sink.close()
    with pytest.raises(SpaceMismatchError, match="vectors of two spaces"):
        RayJob(wide, partial(settings.open_ledger, SPACE))
    assert not ray.is_initialized()
    ledger = settings.open_ledger(OTHER_SPACE)
    try:
        with pytest.raises(JournalError, match="another job"):
            RayJob(wide, partial(settings.open_ledger, OTHER_SPACE))
    finally:
        ledger.close()
    assert not ray.is_initialized()


@pytest.mark.timeout(120)
def test_a_job_that_is_told_to_stop_leaves_new_labels_to_the_next_one(
    cluster: RayCluster, tmp_path: Path
) -> None:
    settings = IngestSettings(
        sources=("all",), sink=str(tmp_path / "sink"), server="nowhere", credentials=Credentials()
    )
    ledger = settings.open_ledger(SPACE)
    ledger.begin(made_item("one"), "size 1", "v1")
    ledger.finish("one", "v1", row_bytes(made_row("one")))
    ledger.flush()
    ledger.look(replace(made_item("one"), tags=("new",)), "size 1")
    ledger.close()
    wide, tags = Cluster(address=cluster.address, workers=1, side_by_side=1), []
    for stops in (True, False):
        job = RayJob(wide, partial(settings.open_ledger, SPACE))
        if stops:
            job.stop()
            time.sleep(1.0)  # nothing waits for it
        assert list(job.run(iter([]), settings.server, settings.credentials, EmbedOptions())) == []
        job.close()
        job.stop()
        tags.append(stored(tmp_path / "sink")["one"]["tags"])
    assert tags == [["news", "short"], ["new"]]


def test_a_ledger_of_a_cluster_is_stopped_beside_a_call_that_takes_long(
    cluster: RayCluster, tmp_path: Path
) -> None:
    class Waiting:
        remark = ""

        def __init__(self, stopping: threading.Event) -> None:
            self._stopping = stopping

        def flush(self) -> bool:
            return self._stopping.wait(60)

        def close(self) -> None:
            pass

    job = RayJob(Cluster(address=cluster.address, workers=1, side_by_side=1), cast(Any, Waiting))
    with ThreadPoolExecutor(1) as thread:
        flushing = thread.submit(job.call, "flush")
        time.sleep(0.5)
        job.stop()
        assert flushing.result(30)
    job.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("count", short_and_whole(12, 40))
def test_a_node_that_is_killed_loses_nothing(
    cluster: RayCluster, server: TritonServer, model_repository: Path, tmp_path: Path, count: int
) -> None:
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    titles = tmp_path / "titles"
    titles.mkdir()
    for number in range(count):
        make_title(titles, number)
    for name, data in BAD.items():
        (titles / name).write_bytes(data)
    settings = IngestSettings(
        sources=(str(titles),),
        sink=str(tmp_path / "sink"),
        server=server.grpc_address,
        credentials=Credentials(),
        batch_titles=8,
    )
    found = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    space = SpaceRef.of(found)
    job = RayJob(
        Cluster(address=cluster.address, workers=2, side_by_side=2), partial(settings.open_ledger, space)
    )
    outcomes = []
    for outcome in job.run(
        read_catalogue(settings.sources), settings.server, settings.credentials, EmbedOptions()
    ):
        outcomes.append(outcome)
        if len(outcomes) == 4:
            cluster.remove_node(other, allow_graceful=False)
    assert len(outcomes) == count + len(BAD)
    job.call("write_failures", settings.failed_path)
    with pytest.raises(PruneError, match=rf"^0 of {count} stored titles") as refused:
        job.call("end_catalogue", (), -1.0)  # of which none is few enough
    assert type(refused.value) is PruneError
    job.close()
    code, _, _ = ingest(titles, tmp_path / "undisturbed", server.grpc_address)
    assert code == 1
    assert stored(tmp_path / "sink") == stored(tmp_path / "undisturbed")
    assert len(stored(tmp_path / "sink")) == count
    reasons = [
        {row["media_id"]: row["error"] for row in pq.read_table(path).to_pylist()}
        for path in (settings.failed_path, tmp_path / "undisturbed" / "_resonance" / "failed.parquet")
    ]
    assert reasons[0] == reasons[1]
    assert reasons[0].keys() == BAD.keys()
