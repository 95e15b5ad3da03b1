"""A Ray cluster of two nodes of which one is killed in the middle of a job."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import ray
from ray.cluster_utils import Cluster as RayCluster

from resonance.clients.credentials import Credentials
from resonance.clients.embedder import Embedder
from resonance.clients.ingest.ray_engine import Cluster, RayJob
from resonance.clients.ingest.settings import IngestSettings
from resonance.clients.results import SpaceRef
from resonance.loadtest.ingest.kills import Killed, Server, compare, ingest_command, to_its_end


async def _space(address: str) -> SpaceRef:
    async with Embedder(address) as embedder:
        found = await embedder.space()
    return SpaceRef.of(found)


async def run_with_a_lost_node(sources: list[str], folder: Path, *, lost_after: int) -> Killed:
    """An undisturbed run on this machine, one on a cluster that loses a node, and the two compared.

    Args:
        lost_after: titles after which the node is killed.

    Raises:
        RuntimeError: the undisturbed job did not come to its end.
    """
    server = Server(folder / "server.log")
    server.start()
    cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        started_s = time.monotonic()
        clean = to_its_end(
            ingest_command(sources, f"{folder}/clean", server.address, folder / "clean.sqlite")
        )
        report = Killed(titles=clean["stored"], quarantined=clean["in_quarantine"])
        report.undisturbed_s = time.monotonic() - started_s
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        settings = IngestSettings(
            sources=tuple(sources), sink=f"{folder}/lost", server=server.address, credentials=Credentials()
        )
        started_s = time.monotonic()
        job = RayJob(
            Cluster(address=cluster.address, workers=2, side_by_side=2),
            partial(settings.open_ledger, await _space(server.address)),
        )
        outcomes = job.run(
            settings.catalogue(), settings.server, settings.credentials, settings.embed_options
        )
        for count, _ in enumerate(outcomes, start=1):
            if count == lost_after:
                cluster.remove_node(other, allow_graceful=False)
                report.nodes_killed += 1
        job.call("write_failures", settings.failed_path)
        job.close()
        report.seconds = time.monotonic() - started_s
        compare(f"{folder}/clean", f"{folder}/lost", Path(clean["quarantine"]), settings.failed_path, report)
        return report
    finally:
        ray.shutdown()
        cluster.shutdown()
        server.stop()
