"""Libraries to explore: a made one whose server is away, and one of real media behind a real server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from numpy.typing import NDArray
from starlette.testclient import TestClient

from resonance.clients.credentials import Credentials
from resonance.clients.discovery.libraries import open_library
from resonance.clients.embedder import Embedder
from resonance.clients.explorer.app import make_app
from resonance.clients.explorer.catalogue import Catalogue
from resonance.clients.explorer.encoder import EncoderServer
from resonance.clients.explorer.media import MediaShelf
from resonance.clients.explorer.remembered import remember
from resonance.clients.explorer.run import bound_socket, connector
from resonance.clients.explorer.security import loopback_hosts
from resonance.clients.explorer.service import Explorer
from resonance.clients.explorer.settings import ExplorerSettings
from resonance.clients.explorer.viewer import Viewer
from resonance.clients.ingest.stores import open_sink
from resonance.clients.transport import TritonTransport
from resonance.loadtest.ingest.library import make_title
from resonance.serving.server import TritonServer
from resonance.space import unit
from tests.clients.discovery.made import DESCRIPTOR, SPACE, Made
from tests.clients.ingest.running import ingest
from tests.waiting import until

#: Nothing listens there: the discard port.
NOBODY = "127.0.0.1:9"
#: A media id that is markup, a path and a URL at once.
HOSTILE = '../../etc/<img src=x onerror="document.title=1">?a=b#c %2e%2e/\u202e犬'
#: Titles of the made library.
MADE = 16
ORIGIN = {"Origin": "http://127.0.0.1:8765"}


def made_title(media_id: str, uri: str, **facts: Any) -> pa.Table:
    """One title's row, of random blocks."""
    chance = np.random.default_rng(int.from_bytes(media_id.encode(), "big") % 2**63)
    segments = facts.pop("segments", 2)
    row = Made(media_id, unit(chance.standard_normal((segments, 3, 596))), **facts).row()
    at = row.schema.get_field_index("uri")
    return row.set_column(at, row.schema.field("uri"), pa.array([uri]))


def write_store(folder: Path, rows: Sequence[pa.Table]) -> Path:
    sink = open_sink(str(folder), SPACE)
    try:
        sink.write(pa.concat_tables(rows), batch="1")
    finally:
        sink.close()
    return folder


def empty_store(folder: Path) -> str:
    """Of Qdrant: a folder of Parquet without a title is no store."""
    uri = f"qdrant+local:{folder}?name=empty"
    open_sink(uri, SPACE).close()
    return uri


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Titles of each kind, one of a hostile name, one whose media is away, one that names no media."""
    media = tmp_path_factory.mktemp("made-media")
    secret = media / "secret.cfg"
    secret.write_text("password=1")
    rows = []
    for number in range(MADE - 3):
        path = make_title(media, number)
        has = {".wav": (False, True, False), ".png": (True, False, False), ".txt": (False, False, True)}
        present = has.get(path.suffix, (True, True, False))
        rows.append(made_title(f"films/{path.name}", str(path), present=present, tags=("made",)))
    rows.append(made_title(HOSTILE, str(media / "000000.mp4"), tags=("<script>alert(1)</script>",)))
    rows.append(made_title("gone.mp4", str(media / "gone.mp4"), tags=("made", "away")))
    rows.append(made_title("secret", str(secret)))
    return write_store(tmp_path_factory.mktemp("made-store"), rows)


def make_client(
    store: Path | str, cache: Path, settings: ExplorerSettings | None = None, viewer: Viewer | None = None
) -> TestClient:
    """A client of an explorer whose encoder server is away, but whose space is known."""
    settings = settings or ExplorerSettings()
    remember(DESCRIPTOR, cache)
    library = open_library(str(store))
    catalogue = Catalogue(library, settings.browse_timeout_s)
    encoder = EncoderServer(NOBODY, connector(NOBODY, Credentials()), library.space, cache)
    app = make_app(
        Explorer(catalogue, encoder, settings, viewer), MediaShelf(catalogue, settings), loopback_hosts(8765)
    )
    return TestClient(app, base_url="http://127.0.0.1:8765")


@pytest.fixture
def client(made_store: Path, tmp_path: Path) -> Iterator[TestClient]:
    with make_client(made_store, tmp_path) as made:
        yield made


class CountingTransport(TritonTransport):
    """The real one, which counts requests by model."""

    def __init__(self, address: str, counts: Counter[str]) -> None:
        super().__init__(address)
        self._counts = counts

    async def infer(self, model: str, *given: Any, **named: Any) -> dict[str, NDArray[Any]]:
        self._counts[model] += 1
        return await super().infer(model, *given, **named)


@dataclass
class Site:
    """A running explorer. `address` is where its encoder server is looked for."""

    url: str
    address: str
    counts: Counter[str] = field(default_factory=Counter)

    def encoded(self) -> int:
        """Requests to models that encode; the space itself is asked for now and then."""
        return sum(count for model, count in self.counts.items() if model != "space_descriptor")


def serve(store: Path | str, address: str, cache: Path, viewer: Viewer | None = None) -> Iterator[Site]:
    """An explorer in a thread, on a port of the loopback."""
    site = Site("", address)

    def connect(timeout_s: float | None) -> Embedder:
        return Embedder(
            transport=CountingTransport(site.address, site.counts), request_timeout_s=timeout_s or 30
        )

    settings = ExplorerSettings()
    library = open_library(str(store))
    catalogue = Catalogue(library, settings.browse_timeout_s)
    encoder = EncoderServer(address, connect, library.space, cache)
    listening = bound_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    site.url = f"http://127.0.0.1:{port}/"
    app = make_app(
        Explorer(catalogue, encoder, settings, viewer), MediaShelf(catalogue, settings), loopback_hosts(port)
    )
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: running.started)
    try:
        yield site
    finally:
        running.should_exit = True
        thread.join(timeout=20)
        listening.close()
    assert not thread.is_alive()


#: Small files, twelve with pictures and twelve without, so that there is something usual to compare with.
FILMS = (
    *("animals_bug_on_flower_bw.mp4", "people_man_yellow_wall.mp4", "plants_flower_opening.mp4"),
    *("plants_flower_opening.webm", "tabletop_toy_elf.webm", "tabletop_toy_monster.webm"),
    *("tabletop_toy_rabbit.mp4", "fixedcam_bottles_on_shelf.mp4", "people_dark_room_embedded_subs.m4v"),
    *("transcode_elf_mpeg4_noaudio.avi", "transcode_elf_hevc_aac.mp4", "animation_bbb_bunny_5_1_audio.mp4"),
)
SOUNDS = 12


@pytest.fixture(scope="session")
def film_store(media: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real titles, ingested by the command."""
    library = tmp_path_factory.mktemp("film-library")
    for name in FILMS:
        (library / name).symlink_to(media / "video" / name)
    for path in sorted((media / "audio").glob("esc10_*"))[:SOUNDS]:
        (library / path.name).symlink_to(path)
    store = tmp_path_factory.mktemp("film-store")
    code, summary, said = ingest(library, store, server.grpc_address)
    assert code == 0, (summary, said)
    return store


@pytest.fixture(scope="session")
def site(film_store: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The explorer over it, with its server."""
    yield from serve(film_store, server.grpc_address, tmp_path_factory.mktemp("spaces"))
