"""Searches by the shape of arcs, over real stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from resonance.clients.discovery import rows
from resonance.clients.discovery.arc_search import (
    LEAST_POINTS,
    WARPING,
    Unusable,
    distances_to,
    find_arcs,
    shapes_like,
)
from resonance.clients.discovery.arc_shapes import POINTS, SHAPES, drawn_shape, named_shape, shape_of
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.rows import vectors_of
from resonance.clients.discovery.types import Filter, Library
from resonance.clients.errors import UsageError
from resonance.clients.ingest.rows import title_row
from resonance.clients.ingest.stores import open_sink
from resonance.clients.ingest.types import CatalogueItem
from resonance.clients.media.types import SampledBy
from resonance.clients.results import MediaEmbedding, Segment, SpaceRef, Timing

SPACE = SpaceRef("test", "d" * 64, True)
MOVING = [name for name in SHAPES if name != "steady"]
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Made:
    media_id: str
    arcs: Mapping[str, Points]
    tags: tuple[str, ...] = ()
    language: str | None = None

    def row(self) -> pa.Table:
        vector = np.full(1788, 1788**-0.5, np.float32)
        here = (True, True, True)
        segment = Segment(0, 0.0, 8.0, here, vector, {}, SampledBy.KEYFRAMES, (), 1.0)
        result = MediaEmbedding(
            media=self.media_id,
            space=SPACE,
            duration_s=None,
            modalities=("visual",),
            title=vector,
            present=here,
            segments=(segment,),
            arcs=self.arcs,  # type: ignore[arg-type]  # unknown values too
            timing=Timing(0, 0, 0, 0, 0),
        )
        item = CatalogueItem(
            media_id=self.media_id,
            uri=f"/library/{self.media_id}.mp4",
            language=self.language,
            tags=self.tags,
        )
        return title_row(item, "v1", result)


def points(
    corners: Sequence[tuple[float, float]],
    *,
    segments: int = 20,
    low: float = 0.2,
    high: float = 0.8,
    noise: float = 0.0,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """An arc through corners (share of the time, height), a point each 8 s."""
    chance = np.random.default_rng(seed)
    shares, heights = zip(*corners, strict=True)
    values = np.interp(np.linspace(0, 1, segments), shares, heights) * (high - low) + low
    values = np.clip(values + chance.normal(0, noise, segments), 0, 1)
    return [(8.0 * at + 4, float(value)) for at, value in enumerate(values)]


def same_shape_in_many_forms(name: str) -> list[Made]:
    """Loud and quiet, long and short, noisy."""
    forms = [(20, 0.2, 0.8), (9, 0.0, 0.3), (200, 0.55, 1.0), (40, 0.4, 0.6)]
    return [
        Made(
            f"{name}-{at}",
            {"tension": points(SHAPES[name], segments=n, low=lo, high=hi, noise=0.01, seed=at)},
        )
        for at, (n, lo, hi) in enumerate(forms)
    ]


OpenLibrary = Callable[[Sequence[Made]], Library]


@pytest.fixture(params=["parquet", "qdrant"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLibrary]:
    opened: list[Library] = []

    def store(titles: Sequence[Made]) -> Library:
        parquet = request.param == "parquet"
        uri = str(tmp_path / "store") if parquet else f"qdrant+local:{tmp_path}/store?name=films"
        with closing(open_sink(uri, SPACE)) as sink:
            sink.write(pa.concat_tables([title.row() for title in titles]), batch="1")
        opened.append(open_library(uri))
        return opened[-1]

    yield store
    for library in opened:
        library.close()


def names(found: Sequence[object]) -> list[str]:
    return [hit.facts.media_id for hit in found]  # type: ignore[attr-defined]


def test_each_named_shape_finds_its_own_in_every_form_and_flat_titles_last_of_those_alike(
    stored: OpenLibrary,
) -> None:
    flats = [
        Made(f"flat-{i}", {"tension": points([(0, 0.5), (1, 0.5)], noise=0.004, seed=i)}) for i in range(5)
    ]
    library = stored([made for name in MOVING for made in same_shape_in_many_forms(name)] + flats)
    for name in MOVING:
        hits = find_arcs(library, {"tension": named_shape(name)}, limit=100).hits
        assert {media_id.rpartition("-")[0] for media_id in names(hits)[:4]} == {name}
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
        assert hits[3].distance < 0.35
        distances = {hit.facts.media_id: hit.distance for hit in hits}
        assert all(0.85 < distances[flat.media_id] < 1.1 for flat in flats)
    steady = find_arcs(library, {"tension": named_shape("steady")}, limit=5).hits
    assert {media_id.rpartition("-")[0] for media_id in names(steady)} == {"flat"}


def test_a_hit_has_what_is_stored_and_no_vector_is_read(
    stored: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made("film", {"tension": points(SHAPES["rise"])}, tags=("drama",), language="de")
    library = stored([made])
    read: list[str] = []

    def counted(column: pa.FixedSizeListArray) -> np.ndarray:
        read.append("vectors")
        return vectors_of(column)

    monkeypatch.setattr(rows, "vectors_of", counted)
    (hit,) = find_arcs(library, {"tension": named_shape("rise")}).hits
    assert not read
    assert hit.facts.uri == "/library/film.mp4"
    assert hit.facts.tags == ("drama",)
    assert hit.arcs == made.arcs
    assert hit.distance == hit.distances["tension"] < 0.05


def test_titles_without_a_shape_are_left_out_and_counted(stored: OpenLibrary) -> None:
    rise = points(SHAPES["rise"])
    holes: Points = [(t, None if 40 < t < 60 else v) for t, v in rise]
    library = stored(
        [
            Made("whole", {"tension": rise}),
            Made("small holes", {"tension": holes}),
            Made("absent", {"pacing": rise}),
            Made("empty", {"tension": [], "pacing": rise}),
            Made("nothing known", {"tension": [(time_s, None) for time_s, _ in rise], "pacing": rise}),
            Made("short", {"tension": rise[: LEAST_POINTS - 1]}),
            Made("torn", {"tension": [*rise[:6], *rise[14:]]}),
            Made("torn at its end", {"tension": rise[:12], "pacing": rise}),
            Made("broken", {"tension": [rise[1], rise[0], *rise[2:]]}),
            Made("infinite", {"tension": [*rise[:-1], (rise[-1][0], float("inf"))]}),
        ]
    )
    found = find_arcs(library, {"tension": named_shape("rise")}, limit=100)
    assert sorted(names(found.hits)) == ["small holes", "whole"]
    assert found.compared == 2
    assert found.left_out == {
        Unusable.ABSENT: 3,
        Unusable.SHORT: 1,
        Unusable.TORN: 2,
        Unusable.BROKEN: 2,
    }
    assert all(hit.distance < 0.1 for hit in found.hits)


def test_three_points_of_a_short_clip_are_a_shape(stored: OpenLibrary) -> None:
    library = stored([Made(name, {"tension": points(SHAPES[name], segments=3)}) for name in ("rise", "peak")])
    assert names(find_arcs(library, {"tension": named_shape("peak")}).hits)[0] == "peak"
    assert names(find_arcs(library, {"tension": named_shape("rise")}).hits)[0] == "rise"


def test_filters_decide_who_is_looked_at(stored: OpenLibrary) -> None:
    rise = {"tension": points(SHAPES["rise"])}
    library = stored(
        [
            Made("a", rise, ("drama", "short"), "de"),
            Made("b", rise, ("drama",), "en"),
            Made("c", rise, (), "de"),
            Made("d", {"pacing": rise["tension"]}, ("other",), "fr"),
        ]
    )
    wanted = {"tension": named_shape("rise")}

    def found(**only: object) -> set[str]:
        return set(names(find_arcs(library, wanted, only=Filter(**only)).hits))  # type: ignore[arg-type]

    assert found() == {"a", "b", "c"}
    assert found(tags=("drama",)) == {"a", "b"}
    assert found(languages=("de",)) == {"a", "c"}
    assert found(tags=("drama",), languages=("de",), excluded=frozenset("b")) == {"a"}
    assert found(excluded=frozenset("a")) == {"b", "c"}
    assert found(tags=("nothing has it",)) == set()
    # one that is not looked at is not left out either
    assert find_arcs(library, wanted, only=Filter(tags=("drama",))).left_out == {}
    assert len(find_arcs(library, wanted, limit=2).hits) == 2


def test_several_arcs_count_alike(stored: OpenLibrary) -> None:
    kinds = {
        "both": ("rise", "rise"),
        "one": ("rise", "fall"),
        "other": ("peak", "rise"),
        "none": ("fall", "fall"),
    }
    library = stored(
        [
            Made(media_id, {"tension": points(SHAPES[tension]), "pace": points(SHAPES[pace])})
            for media_id, (tension, pace) in kinds.items()
        ]
        + [Made("without", {"tension": points(SHAPES["rise"])})]
    )
    wanted = dict.fromkeys(("tension", "pace"), named_shape("rise"))
    found = find_arcs(library, wanted)
    assert names(found.hits) == ["both", "other", "one", "none"]
    assert found.left_out == {Unusable.ABSENT: 1}
    for hit in found.hits:
        assert hit.distance == pytest.approx(np.mean(list(hit.distances.values())))
        for name in wanted:
            alone = find_arcs(library, {name: wanted[name]}).hits
            assert {h.facts.media_id: h.distance for h in alone}[hit.facts.media_id] == hit.distances[name]


def test_like_a_title_finds_those_that_run_like_it(stored: OpenLibrary) -> None:
    library = stored([made for name in MOVING for made in same_shape_in_many_forms(name)])
    for name in MOVING:
        wanted = shapes_like(library, f"{name}-0", ["tension"])
        hits = find_arcs(library, wanted, limit=4).hits
        assert hits[0].facts.media_id == f"{name}-0"
        assert hits[0].distance == pytest.approx(0, abs=1e-9)
        assert {media_id.rpartition("-")[0] for media_id in names(hits)} == {name}
    with pytest.raises(UsageError, match=r"no title 'gone' in .*store"):
        shapes_like(library, "gone", ["tension"])
    with pytest.raises(UsageError, match=r"title 'rise-0': no arc 'pace'; expected one of tension"):
        shapes_like(library, "rise-0", ["pace"])


def test_like_a_title_that_stands_still_finds_such_and_not_its_noise(stored: OpenLibrary) -> None:
    def flat(seed: int) -> Made:
        return Made(f"flat-{seed}", {"tension": points([(0, 0.3), (1, 0.3)], noise=0.003, seed=seed)})

    library = stored([flat(seed) for seed in range(4)] + same_shape_in_many_forms("rise"))
    hits = find_arcs(library, shapes_like(library, "flat-0", ["tension"]), limit=4).hits
    assert set(names(hits)) == {f"flat-{seed}" for seed in range(4)}


def test_an_arc_that_no_title_has_is_refused_with_those_there_are(stored: OpenLibrary) -> None:
    library = stored([Made("film", {"pacing": points(SHAPES["rise"]), "energy": points(SHAPES["fall"])})])
    with pytest.raises(UsageError, match=r"arc 'tension'; expected one of energy, pacing"):
        find_arcs(library, {"tension": named_shape("rise")})
    with pytest.raises(UsageError, match="limit 0"):
        find_arcs(library, {"energy": named_shape("rise")}, limit=0)
    with pytest.raises(UsageError, match="0 arcs"):
        find_arcs(library, {})


def test_a_drawn_curve_is_searched_as_a_named_one(stored: OpenLibrary) -> None:
    library = stored([made for name in MOVING for made in same_shape_in_many_forms(name)])
    drawn = find_arcs(library, {"tension": drawn_shape("5,4,3,4,5")}, limit=4)
    assert names(drawn.hits) == names(find_arcs(library, {"tension": named_shape("comeback")}, limit=4).hits)


def warped(a: np.ndarray, b: np.ndarray, reach: int) -> float:
    """Dynamic time warping by its definition: root mean square over the points, within a band."""
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0
    for i in range(len(a)):
        for j in range(max(0, i - reach), min(len(b), i + reach + 1)):
            before = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
            cost[i + 1, j + 1] = (a[i] - b[j]) ** 2 + before
    return float(np.sqrt(cost[-1, -1] / len(a)))


@pytest.mark.parametrize("warping", [0.0, WARPING, 0.3, 1.0])
def test_distances_are_what_the_definition_gives(warping: float) -> None:
    chance = np.random.default_rng(3)
    wanted, *others = shape_of(np.cumsum(chance.normal(size=(9, POINTS)), axis=1))
    found = distances_to(wanted, np.array(others), warping=warping)
    reach = round(warping * POINTS)
    np.testing.assert_allclose(found, [warped(wanted, other, reach) for other in others], rtol=1e-9)


def test_what_comes_a_little_earlier_is_nearer_than_without_warping() -> None:
    shifted = shape_of(np.interp(np.linspace(0, 1, POINTS), [0, 0.42, 1], [0, 1, 0]))[np.newaxis]
    peak = named_shape("peak")
    assert distances_to(peak, shifted)[0] < 0.6 * distances_to(peak, shifted, warping=0.0)[0]


def test_distances_to_nothing_are_none() -> None:
    assert distances_to(named_shape("rise"), np.zeros((0, POINTS))).shape == (0,)
