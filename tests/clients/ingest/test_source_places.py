"""A host that is away costs its own titles, not the job."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from resonance.clients.ingest.errors import SourceUnavailableError
from resonance.clients.ingest.source_places import SourcePlaces
from resonance.serving.server import TritonServer
from tests.clients.ingest.object_stores import RangeServer
from tests.clients.ingest.running import ingest, stored


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock: Clock) -> SourcePlaces:
    return SourcePlaces(600.0, clock)


def away(uri: str = "http://gone/1.mp4") -> SourceUnavailableError:
    return SourceUnavailableError(uri, "refused")


def test_titles_of_a_place_wait_for_it_together_and_are_then_tried_once(
    places: SourcePlaces, clock: Clock
) -> None:
    assert not places.is_given_up(away())
    clock.now_s += 59
    assert not places.is_given_up(away("http://gone/2.mp4"))
    clock.now_s += 1
    assert places.is_given_up(away("http://gone/2.mp4"))
    assert places.is_given_up(away("http://gone/3.mp4"))  # at its first try
    assert not places.is_given_up(away("http://elsewhere/1.mp4"))


def test_a_place_that_answers_again_is_waited_for_anew(places: SourcePlaces, clock: Clock) -> None:
    places.is_given_up(away())
    clock.now_s += 70
    places.answered("http://gone/9.mp4")
    assert not places.is_given_up(away())


def test_a_job_ends_where_nothing_answers_and_not_where_something_does(
    places: SourcePlaces, clock: Clock
) -> None:
    places.is_given_up(away())
    clock.now_s += 599
    places.answered("/films/here.mp4")
    clock.now_s += 599
    assert places.is_given_up(away())
    clock.now_s += 1
    with pytest.raises(
        SourceUnavailableError, match=r"http://gone/7\.mp4: its host or store does not answer"
    ):
        places.is_given_up(away("http://gone/7.mp4"))


def test_rows_of_a_host_that_is_away_stop_no_others_and_are_tried_by_the_next_job(
    library: Path, server: TritonServer, tmp_path: Path
) -> None:
    sink, manifest = tmp_path / "sink", tmp_path / "titles.csv"
    names = ("000008.png", "000009.txt")
    with closing(RangeServer(library)) as host:
        host.fails_at = range(1_000_000)
        far = "".join(f"far {at},{host.url}/000008.png\n" for at in range(6))
        manifest.write_text("id,uri\n" + far + "".join(f"{name},{library / name}\n" for name in names))
        options = ("--concurrency", "3", "--patience-s", "20")
        code, summary, said = ingest(manifest, sink, server.grpc_address, *options)
        assert (code, summary["embedded"], summary["failed"]) == (1, 2, 6), said
        assert set(stored(sink)) == set(names)
        assert f"{host.url}/000008.png: its host or store does not answer" in " ".join(said.split())
        assert "titles there wait up to 2 s for it" in said
        host.fails_at = ()
        code, summary, said = ingest(manifest, sink, server.grpc_address, *options)
    assert (code, summary["embedded"], summary["unchanged"], summary["failed"]) == (0, 6, 2, 0), said
    assert len(stored(sink)) == 8
