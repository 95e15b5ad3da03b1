"""A taste weighs what was watched, is the sum of its titles, and survives its file."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.discovery.errors import EmptyHistoryError
from resonance.clients.discovery.history import Viewing, read_history
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.taste import (
    ABANDONED_AMOUNT,
    HALF_LIFE_DAYS,
    Taste,
    amounts,
    engagement,
    load_taste,
    make_taste,
    read_taste,
    save_taste,
)
from resonance.clients.discovery.types import Library
from resonance.clients.errors import UsageError
from resonance.space import MODALITIES, SpaceMismatchError, Weights, query_from_vector, score
from resonance.space.scores import own_sigmas
from tests.clients.discovery.explained import DESCRIPTOR, SPACE, random_blocks, stored, write
from tests.small_disk import disk_of
from tests.space.strategies import make_descriptor

OTHER_SPACE = make_descriptor(
    segment=DESCRIPTOR.segment.__class__(4.0, 1.0, 256),
    sound=DESCRIPTOR.sound.__class__(16_000, 64_000, "swresample", -70.0),
)
NOW = datetime(2026, 11, 28, 20, 15, tzinfo=UTC)
TITLES = [stored(f"t{at}", random_blocks(np.random.default_rng(at))) for at in range(12)]
VECTOR = {title.facts.media_id: title.vector for title in TITLES}


def seen(
    media_id: str, completion: float | None = 1.0, *, days_ago: float = 0, signal: str | None = None
) -> Viewing:
    return Viewing(media_id, completion, NOW - timedelta(days=days_ago), signal)


@pytest.fixture(params=["parquet", "qdrant"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Library]:
    uri = f"{tmp_path}/store" if request.param == "parquet" else f"qdrant+local:{tmp_path}/store?name=films"
    write(uri, TITLES)
    with closing(open_library(uri)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("completion", "amount"),
    [
        (0.0, ABANDONED_AMOUNT),
        (0.05, ABANDONED_AMOUNT / 2),
        (0.1, 0.0),
        (0.3, 0.0),
        (0.5, 0.0),
        (0.7, 0.5),
        (0.9, 1.0),
        (1.0, 1.0),
    ],
)
def test_what_a_completion_says(completion: float, amount: float) -> None:
    assert engagement(seen("a", completion)) == pytest.approx(amount)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_watched_never_counts_less(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert engagement(seen("a", low)) <= engagement(seen("a", high))


@pytest.mark.parametrize("completion", [None, 0.0, 0.3, 1.0])
def test_what_was_said_counts_whatever_was_watched(completion: float | None) -> None:
    assert engagement(seen("a", completion, signal="like")) == 1
    assert engagement(seen("a", completion, signal="dislike")) == -1


def test_a_viewing_counts_half_after_the_half_life() -> None:
    found = amounts([seen("old", days_ago=HALF_LIFE_DAYS), seen("new")])
    assert found == {"old": pytest.approx(0.5), "new": pytest.approx(1.0)}
    found = amounts([seen("old", days_ago=20), seen("new")], half_life_days=10)
    assert found["old"] == pytest.approx(0.25)


def test_a_day_on_which_clocks_change_has_its_hours(tmp_path: Path) -> None:
    """From midnight to midnight it was 25 hours, in a Parquet file whose times are of a zone, too."""
    zone = ZoneInfo("Europe/Berlin")
    times = [datetime(2026, 10, day, tzinfo=zone) for day in (25, 26)]
    path = tmp_path / "watched.parquet"
    columns = {"media_id": ["old", "new"], "completion": [1.0, 1.0]}
    pq.write_table(
        pa.table({**columns, "watched_at": pa.array(times, pa.timestamp("us", "Europe/Berlin"))}), path
    )
    given = [Viewing("old", 1.0, times[0]), Viewing("new", 1.0, times[1])]
    for history in (given, read_history(path)):
        found = amounts(history, half_life_days=1)
        assert found == pytest.approx({"old": 2 ** (-25 / 24), "new": 1.0})


def test_viewings_of_one_title_add_up_and_less_like_has_the_last_word() -> None:
    history = [seen("a"), seen("a", days_ago=HALF_LIFE_DAYS), seen("b")]
    assert amounts(history)["a"] == pytest.approx(1.5)
    assert amounts(history, less_like=["a", "z"]) == {"a": -1.0, "b": 1.0, "z": -1.0}


@pytest.mark.parametrize("half_life_days", [0.0, -1.0, float("nan"), float("inf")])
def test_a_half_life_that_is_none_is_refused(half_life_days: float) -> None:
    with pytest.raises(UsageError, match="half-life"):
        amounts([seen("a")], half_life_days=half_life_days)


def test_the_day_it_is_asked_on_does_not_matter() -> None:
    history = [seen("t1"), seen("t2", 0.8, days_ago=100), seen("t3", 0.0, days_ago=3)]
    later = [Viewing(v.media_id, v.completion, v.watched_at + timedelta(days=4000)) for v in history]
    assert amounts(later) == pytest.approx(amounts(history))


def test_a_taste_is_the_weighed_sum_of_its_titles(library: Library) -> None:
    history = [seen("t1"), seen("t2", 0.8, days_ago=100), seen("t3", 0.0), seen("t4", 0.3), seen("gone")]
    taste, blend = make_taste(library, DESCRIPTOR, history)
    raw = {"t1": 1.0, "t2": 0.75 * 2 ** (-100 / HALF_LIFE_DAYS), "t3": -0.25}
    whole = sum(map(abs, raw.values()))
    assert {c.media_id: c.share for c in taste.counted} == pytest.approx(
        {n: a / whole for n, a in raw.items()}
    )
    assert [c.media_id for c in taste.counted] == sorted(raw, key=lambda n: -abs(raw[n]))
    assert taste.unknown == ("gone",)
    expected = sum(a / whole * query_from_vector(VECTOR[n], DESCRIPTOR).blocks for n, a in raw.items())
    np.testing.assert_allclose(taste.query.blocks, expected, atol=1e-12)
    weights = Weights(2, 0.5, 1)
    parts = blend.contributions(weights, VECTOR["t9"])
    for i, counted in enumerate(taste.counted):
        alone = float(score(query_from_vector(VECTOR[counted.media_id], DESCRIPTOR), weights, VECTOR["t9"]))
        assert parts[i].sum() == pytest.approx(counted.share * alone, abs=1e-12)
    assert parts.sum() == pytest.approx(float(score(taste.query, weights, VECTOR["t9"])), abs=1e-12)


def test_less_like_turns_a_taste_away(library: Library) -> None:
    history = [seen("t1"), seen("t2")]
    liked, _ = make_taste(library, DESCRIPTOR, history)
    turned, _ = make_taste(library, DESCRIPTOR, history, less_like=["t2"])
    scores = [float(score(t.query, Weights(), VECTOR["t2"])) for t in (liked, turned)]
    assert scores[1] < scores[0]


@pytest.mark.parametrize(("here", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_titles_of_a_history_are_known_however_their_accents_are_written(
    here: str, there: str, tmp_path: Path
) -> None:
    names = ["é1", "é2", "é3"]
    in_library, in_history = ([unicodedata.normalize(form, n) for n in names] for form in (here, there))
    write(
        tmp_path / "lib",
        [stored(n, random_blocks(np.random.default_rng(at))) for at, n in enumerate(in_library)],
    )
    with closing(open_library(str(tmp_path / "lib"))) as library:
        history = [seen(in_history[0]), seen(in_library[0]), seen(in_history[1]), seen("gone é")]
        taste, _ = make_taste(library, DESCRIPTOR, history, less_like=[in_history[2]])
    shares = {counted.media_id: counted.share for counted in taste.counted}
    assert shares == pytest.approx(dict(zip(in_library, (0.5, 0.25, -0.25), strict=True)))
    assert taste.unknown == ("gone é",)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([], "an empty history"),
        (
            [seen("gone"), seen("lost")],
            "has none of the history's 2 titles, such as 'gone'; expected media",
        ),
        ([seen("t1", 0.3)], r"1 in \S+ were watched too little to say anything; expected one"),
        (
            [seen("t1", 0.3), seen("gone")],
            "to say anything, and it lacks the other 1; expected one",
        ),
    ],
)
def test_a_history_of_which_nothing_is_left_is_refused(
    library: Library, history: list[Viewing], said: str
) -> None:
    with pytest.raises(EmptyHistoryError, match=said):
        make_taste(library, DESCRIPTOR, history)


def test_a_title_to_be_less_like_must_be_there(library: Library) -> None:
    with pytest.raises(UsageError, match="'gone'"):
        make_taste(library, DESCRIPTOR, [seen("t1")], less_like=["gone"])


def test_a_library_of_another_space_is_refused(library: Library) -> None:
    with pytest.raises(SpaceMismatchError):
        make_taste(library, OTHER_SPACE, [seen("t1")])


@pytest.fixture
def taste(tmp_path: Path) -> Taste:
    write(tmp_path / "lib", TITLES)
    with closing(open_library(str(tmp_path / "lib"))) as opened:
        return make_taste(opened, DESCRIPTOR, [seen("t1"), seen("t2", 0.6), seen("t5", 0.0), seen("gone")])[0]


def test_a_saved_taste_is_the_same_bit_for_bit(taste: Taste, tmp_path: Path) -> None:
    path = tmp_path / "taste.json"
    save_taste(taste, path)
    found = load_taste(path, DESCRIPTOR)
    np.testing.assert_array_equal(found.query.blocks, taste.query.blocks)
    np.testing.assert_array_equal(found.sigmas, taste.sigmas)
    assert (found.space, found.counted, found.unknown) == (taste.space, taste.counted, taste.unknown)
    assert found.half_life_days == taste.half_life_days


def test_a_saved_taste_stays_where_a_new_one_has_no_room(taste: Taste, tmp_path: Path) -> None:
    path = tmp_path / "taste.json"
    save_taste(taste, path)
    before = path.read_bytes()
    with disk_of(4096), pytest.raises(UsageError, match="cannot be written"):
        save_taste(taste, path)
    assert path.read_bytes() == before


def test_a_taste_of_another_space_is_refused(taste: Taste, tmp_path: Path) -> None:
    save_taste(taste, tmp_path / "taste.json")
    with pytest.raises(SpaceMismatchError, match=OTHER_SPACE.fingerprint[:12]):
        load_taste(tmp_path / "taste.json", OTHER_SPACE)


def test_a_saved_taste_is_read_with_the_sigmas_of_the_day(tmp_path: Path) -> None:
    """They may change within a space; it then finds what the history would."""
    own = {"visual": 0.07, "audio": 1.0, "transcript": 3.0}
    sigmas = {q: {b: own[q] if q == b else 0.5 for b in MODALITIES} for q in MODALITIES}
    later = replace(DESCRIPTOR, sigmas=sigmas)
    assert later.fingerprint == DESCRIPTOR.fingerprint
    write(tmp_path / "lib", TITLES)
    history = [seen("t1"), seen("t2", 0.6), seen("t5", 0.0)]
    with closing(open_library(str(tmp_path / "lib"))) as library:
        before, after = (make_taste(library, space, history)[0] for space in (DESCRIPTOR, later))
    save_taste(before, tmp_path / "taste.json")
    found = load_taste(tmp_path / "taste.json", later)
    np.testing.assert_allclose(found.query.blocks, after.query.blocks, rtol=1e-12)
    save_taste(found, tmp_path / "again.json")
    np.testing.assert_array_equal(read_taste(tmp_path / "again.json").sigmas, list(own.values()))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 1},
        {"sigmas": None},
        {"sigmas": {"visual": 1.0, "audio": 1.0}},
        {"sigmas": {"visual": 1.0, "audio": 1.0, "transcript": 0.0}},
        {"sigmas": {"visual": 1.0, "audio": 1.0, "transcript": float("inf")}},
        {"blocks": [[0.0] * 596] * 2},
        {"blocks": [["x"] * 596] * 3},
        {"blocks": None},
        {"blocks": [[float("nan")] * 596] * 3},
        {"space": {}},
        {"counted": [{"media_id": "a"}]},
        {"half_life_days": "long"},
    ],
)
def test_files_that_are_no_taste_are_refused(taste: Taste, change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "taste.json"
    save_taste(taste, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="taste --save") as caught:
        load_taste(path, DESCRIPTOR)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b"1"])
def test_bytes_that_are_no_taste_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "taste.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="expected"):
        load_taste(path, DESCRIPTOR)
    with pytest.raises(UsageError, match="No such file"):
        load_taste(tmp_path / "none.json", DESCRIPTOR)
    with pytest.raises(UsageError, match="cannot be written"):
        save_taste(
            Taste(SPACE, query_from_vector(VECTOR["t1"], DESCRIPTOR), own_sigmas(DESCRIPTOR), 1.0, ()),
            tmp_path / "no" / "t.json",
        )
