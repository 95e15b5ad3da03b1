"""The same job on a Ray cluster: Ray Data maps the catalogue over actors that embed; one actor writes.

Ray restarts actors and runs the titles of a lost node again elsewhere; the ledger, an actor on the driver's
node, knows which of them were done and which segments of the others are there. A driver that dies is started
again like any job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from resonance.clients.credentials import Credentials
from resonance.clients.embedder import Embedder
from resonance.clients.errors import ResonanceError, ServerError
from resonance.clients.ingest.embedding import EmbedOptions, Outcome, Result, TitleWorker
from resonance.clients.ingest.job import Given, first_error
from resonance.clients.ingest.journal_records import Fault
from resonance.clients.ingest.ledger import Begun, Ledger, Verdict
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.ingest.types import CatalogueItem
from resonance.space.errors import SpaceError

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Titles of one data set; between two of them the actors run dry for a moment.
TITLES_AT_ONCE = 20_000
#: Titles handed to an actor at once: those it embeds side by side, some times over.
BLOCKS_PER_SIDE = 4
STOPPED = "stopped"
_BESIDE = "beside"  # calls of an actor beside all others
_OUTCOME = pa.schema(
    [
        ("media_id", pa.string()),
        ("result", pa.string()),
        ("duration_s", pa.float64()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where and how wide.

    Attributes:
        address: of the cluster; None: a new one of this machine alone.
        workers: actors that embed; None: one a node.
        side_by_side: titles that each of them embeds at a time.
    """

    address: str | None
    workers: int | None
    side_by_side: int


class LedgerActor:
    """A `Ledger` as an actor; a call at a time, but for `stop`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def open(self, make: Callable[[threading.Event], Ledger]) -> str:
        """Before all else; gives its `remark`. Not by the constructor, for of what that raises Ray tells only
        that the actor died.
        """
        self._ledger = make(self._stopping)
        return self._ledger.remark

    def stop(self) -> None:
        """Let the call under way, beside which this runs, and those after it write no more than they must."""
        self._stopping.set()

    def call(self, name: str, args: Sequence[Any], named: dict[str, Any]) -> Any:
        """A method of it."""
        return getattr(self._ledger, name)(*args, **named)


class RemoteLedger:
    """An `AsyncLedger` that is that actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def _call(self, name: str, *args: Any, **named: Any) -> Any:
        return await self._actor.call.remote(name, args, named)

    async def look(self, item: CatalogueItem, identity: str | None) -> Verdict:
        """See `Ledger.look`."""
        return Verdict(await self._call("look", item, identity))

    async def begin(self, item: CatalogueItem, identity: str | None, content_hash: str) -> Begun:
        """See `Ledger.begin`."""
        begun: Begun = await self._call("begin", item, identity, content_hash)
        return begun

    async def add_segments(
        self, media_id: str, content_hash: str, first: int, messages: Sequence[bytes]
    ) -> None:
        """See `Ledger.add_segments`."""
        await self._call("add_segments", media_id, content_hash, first, messages)

    async def finish(self, media_id: str, content_hash: str, row: bytes) -> None:
        """See `Ledger.finish`."""
        await self._call("finish", media_id, content_hash, row)

    async def fail(
        self,
        item: CatalogueItem,
        content_hash: str,
        *,
        identity: str | None,
        fault: Fault,
    ) -> None:
        """See `Ledger.fail`."""
        await self._call("fail", item, content_hash, identity=identity, fault=fault)


class EmbedTitles:
    """What an actor of the pool does: a block of titles in, a row a title out that says what became of it."""

    def __init__(
        self, server: str, credentials: Credentials, options: EmbedOptions, ledger: Any, side_by_side: int
    ) -> None:
        self._side_by_side = side_by_side
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="resonance-embed", daemon=True).start()
        self._worker = self._run(self._open(server, credentials, options, ledger))

    @staticmethod
    async def _open(server: str, credentials: Credentials, options: EmbedOptions, ledger: Any) -> TitleWorker:
        return TitleWorker(Embedder(server, credentials=credentials), RemoteLedger(ledger), options)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __call__(self, block: pa.Table) -> pa.Table:
        items = [_item(text) for text in block["item"].to_pylist()]
        outcomes = self._run(self._embed(items))
        return pa.Table.from_pylist([{**asdict(o), "result": str(o.result)} for o in outcomes], _OUTCOME)

    async def _embed(self, items: Sequence[CatalogueItem]) -> list[Outcome]:
        places = asyncio.Semaphore(self._side_by_side)

        async def one(item: CatalogueItem) -> Outcome:
            async with places:
                return await self._worker.process(item)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except ExceptionGroup as failed:
            first = first_error(failed)
            if not isinstance(first, ResonanceError | SpaceError):
                raise first from None  # a fault of ours: Ray shows it
            # told as a row, for Ray would try again
            return [Outcome("", Result.FAILED, error=f"{STOPPED} {type(first).__name__}: {first}")]
        return [task.result() for task in tasks]


class RayJob:
    """Opened once a process, and closed. Everything here blocks.

    Args:
        make_ledger: opens the ledger, in its actor on this node; the event is `Ledger`'s `stopping`.

    Raises:
        ServerError: no such cluster. Others: see `Ledger`.
    """

    def __init__(self, cluster: Cluster, make_ledger: Callable[[threading.Event], Ledger]) -> None:
        self._cluster = cluster
        self._stopping, self._is_over = threading.Event(), False
        self._ending = threading.Lock()
        if not ray.is_initialized():
            try:
                ray.init(
                    cluster.address, include_dashboard=False, log_to_driver=False, logging_level="WARNING"
                )
            except ConnectionError as error:
                raise ServerError(f"Ray at {cluster.address}: {error}") from error
        ray.data.DataContext.get_current().enable_progress_bars = False  # the job shows its own
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": here, "concurrency_groups": {_BESIDE: 1}}
        self._ledger = ray.remote(**options)(LedgerActor).remote()
        try:
            remark = self._got(self._ledger.open.remote(make_ledger))
        except BaseException:
            ray.shutdown()
            raise
        if remark:
            _log.warning("%s", remark)

    def call(self, name: str, *args: Any, **named: Any) -> Any:
        """A method of the ledger. Errors are its own."""
        return self._got(self._ledger.call.remote(name, args, named))

    @staticmethod
    def _got(answer: Any) -> Any:
        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:  # its text is the actor's traceback
            if isinstance(error.cause, ResonanceError | SpaceError):
                raise error.cause from None
            raise

    def stop(self) -> None:
        """Let `run` come to its end after the titles under way; from any thread, also when all is over."""
        self._stopping.set()
        with self._ending:
            if not self._is_over:
                self._ledger.stop.options(concurrency_group=_BESIDE).remote()

    def run(
        self, items: Iterator[Given], server: str, credentials: Credentials, options: EmbedOptions
    ) -> Iterator[Outcome]:
        """Embed all `items`; gives what became of each, as it comes.

        Raises:
            ServerError: server or sink were away for too long, or are of another space; the text says which.
        """
        while not self._stopping.is_set() and (rows := list(islice(items, TITLES_AT_ONCE))):
            for row in rows:
                if isinstance(row, FaultyRow):
                    yield self._refuse(row)
            titles = [row for row in rows if isinstance(row, CatalogueItem)]
            if titles:
                yield from self._embed(titles, server, credentials, options)
        self.call("flush")

    def _refuse(self, row: FaultyRow) -> Outcome:
        item = CatalogueItem(media_id=row.where, uri=row.where)
        fault = Fault(type(row.error).__name__, str(row.error), attempts=1, own_fault=True)
        self.call("fail", item, "", identity=None, fault=fault)
        return Outcome(row.where, Result.FAILED, error=f"{fault.error_type}: {fault.error}")

    def _embed(
        self, titles: Sequence[CatalogueItem], server: str, credentials: Credentials, options: EmbedOptions
    ) -> Iterator[Outcome]:
        nodes = sum(node["Alive"] for node in ray.nodes())
        workers = self._cluster.workers or nodes
        # a worker's share of the end of the catalogue is small, and blocks are many enough to go round
        size = max(1, min(BLOCKS_PER_SIDE * self._cluster.side_by_side, len(titles) // (4 * workers)))
        blocks = [
            pa.table({"item": [json.dumps(asdict(item)) for item in titles[at : at + size]]})
            for at in range(0, len(titles), size)
        ]
        outcomes = ray.data.from_arrow(blocks).map_batches(
            EmbedTitles,
            fn_constructor_args=(server, credentials, options, self._ledger, self._cluster.side_by_side),
            batch_size=None,
            batch_format="pyarrow",
            concurrency=(1, workers) if workers > 1 else 1,
        )
        for block in outcomes.iter_batches(batch_size=None, batch_format="pyarrow"):
            if self._stopping.is_set():
                return
            for row in block.to_pylist():
                if row["error"].startswith(STOPPED):
                    raise ServerError(row["error"].removeprefix(STOPPED).strip())
                yield Outcome(row["media_id"], Result(row["result"]), row["duration_s"], row["error"])

    def close(self) -> None:
        """Close the ledger and leave the cluster. Errors of the ledger are its own."""
        try:
            self.call("close")
        finally:
            with self._ending:
                self._is_over = True
                ray.shutdown()


def _item(text: str) -> CatalogueItem:
    fields = json.loads(text)
    return CatalogueItem(**{**fields, "tags": tuple(fields["tags"])})
