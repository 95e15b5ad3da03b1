"""`resonance titles`, and ids that nobody can be expected to write exactly."""

from __future__ import annotations

import json
import unicodedata
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resonance.clients.cli.arcs import arcs
from resonance.clients.cli.search import search
from resonance.clients.cli.titles import titles
from resonance.clients.cli.titles_run import MOST_IN_A_TABLE
from resonance.clients.discovery.libraries import open_library
from resonance.clients.discovery.reading import known_title
from resonance.clients.discovery.types import Filter
from resonance.clients.errors import UsageError
from resonance.clients.ingest.types import day_of
from resonance.clients.media.text import shown
from resonance.clients.media.types import Damage
from tests.clients.discovery.made import DESCRIPTOR, random_titles, write

#: As macOS writes the name of a file: the accent apart.
APART = unicodedata.normalize("NFD", "films/Café (take 1).mp4")
STEERING = "films/\x1b[31mred.mp4"
NOTHING_LATE = {"late_frames": 0, "late_sound_s": 0.0, "late_cues": 0}
#: The first three are a film of all modalities, one without sound, and a sound; the last has no clock.
MADE = [
    replace(title, media_id=name, clock=name != "talk")
    for title, name in zip(random_titles(4), (APART, "shorts/cafeteria.mp4", STEERING, "talk"), strict=True)
]

app = typer.Typer()
for command in (arcs, search, titles):
    app.command()(command)


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "space.json").write_text(DESCRIPTOR.to_json())
    write(str(tmp_path / "store"), MADE)
    return str(tmp_path / "store")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    return result.exit_code, result.stdout, " ".join(result.stderr.replace("│", " ").split())


def test_titles_are_listed_with_what_is_known_of_them(store: str) -> None:
    code, out, err = run("titles", store)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + len(MADE)
    line = next(line for line in out.splitlines() if "talk" in line)
    assert line.split() == ["talk", "–", "visual", "+", "audio", "+", "transcript", "de", "film,", "rare"]
    line = next(line for line in out.splitlines() if "cafeteria" in line)
    assert line.split() == ["shorts/cafeteria.mp4", "0:24", "visual", "+", "transcript", "de", "film"]


def test_as_json_each_is_an_object_of_its_own(store: str) -> None:
    code, out, _ = run("titles", store, "--json", "--tag", "rare")
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["media_id"] for one in told] == [APART, "talk"]
    assert told[0] == {
        "media_id": APART,
        "uri": f"/library/{APART}.mp4",
        "transcript_uri": None,
        "duration_s": 24.0,
        "modalities": ["visual", "audio", "transcript"],
        "language": "en",
        "tags": ["film", "rare"],
        "attributes": {},
        "damage": {"unreadable_packets": 0, "missing_s": 0.0, **NOTHING_LATE},
    }


def test_a_title_of_damaged_media_says_so(tmp_path: Path) -> None:
    write(str(tmp_path / "store"), [replace(MADE[3], damage=Damage(2, 3.5)), MADE[1]])
    _, out, _ = run("titles", str(tmp_path / "store"))
    assert [", damaged" in line for line in out.splitlines()[1:]] == [
        "talk" in line for line in out.splitlines()[1:]
    ]
    _, out, _ = run("titles", str(tmp_path / "store"), "--json", "talk")
    assert json.loads(out)["damage"] == {"unreadable_packets": 2, "missing_s": 3.5, **NOTHING_LATE}


def test_words_are_found_however_their_letters_are_written(store: str) -> None:
    for words in (("CAFÉ",), ("take", "films/"), (unicodedata.normalize("NFD", "café"),)):
        _, out, _ = run("titles", store, "--json", *words)
        assert [json.loads(line)["media_id"] for line in out.splitlines()] == [APART], words
    assert run("titles", store, "none of them")[0] == 0


def test_a_table_ends_somewhere_and_says_so(tmp_path: Path) -> None:
    made = random_titles(MOST_IN_A_TABLE + 1, segments=1)
    write(str(tmp_path / "store"), made)
    _, out, err = run("titles", str(tmp_path / "store"))
    assert len(out.splitlines()) == 1 + MOST_IN_A_TABLE
    assert err == f"the first {MOST_IN_A_TABLE}; more with --limit"
    for words, limit in ((("t30",), 1), ((), len(made))):  # no more than there are
        _, out, err = run("titles", str(tmp_path / "store"), *words, "--limit", str(limit))
        assert (len(out.splitlines()), err) == (1 + limit, "")
    _, out, err = run("titles", str(tmp_path / "store"), "--json")
    assert (len(out.splitlines()), err) == (len(made), "")


def test_what_steers_a_terminal_is_spelled_out(store: str) -> None:
    space = str(Path(store).parent / "space.json")
    for arguments in (("titles", store), ("search", store, "--like", "talk", "--space", space)):
        code, out, _ = run(*arguments)
        assert code == 0
        assert "\x1b" not in out
        assert "films/\\x1b[31mred.mp4" in out
    assert "\x1b" not in run("arcs", store, "--like", "\x1b[31mred")[2]


def test_what_turns_the_direction_of_names_is_spelled_out() -> None:
    assert shown("films/\u202egpj.4pm") == r"films/\u202egpj.4pm"  # a terminal shows films/mp4.jpg
    assert shown("a\u2066b\u2069\u2028c") == r"a\u2066b\u2069\u2028c"
    for name in ("סרט\u200f.mp4", "فيلم.mp4", "👨\u200d👩.mp4"):
        assert shown(name) == name


def test_an_id_is_taken_however_its_accents_are_written_and_is_no_answer_to_itself(store: str) -> None:
    together = unicodedata.normalize("NFC", APART)
    assert together != APART
    with closing(open_library(store)) as library:
        assert known_title(library, together).facts.media_id == APART
    space = str(Path(store).parent / "space.json")
    code, out, _ = run("search", store, "--like", together, "--space", space, "--json")
    assert code == 0
    found = [hit["media_id"] for hit in json.loads(out)["hits"]]
    assert sorted(found) == sorted(one.media_id for one in MADE if one.media_id != APART)
    code, out, _ = run("arcs", store, "--like", together, "--arc", "pacing", "--json")
    assert code == 0
    assert APART not in out


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("cafeteria.mp4", "such as 'shorts/cafeteria.mp4' (`"),
        ("other/cafeteria.mkv", "such as 'shorts/cafeteria.mp4' (`"),
        ("shorts/", "such as 'shorts/cafeteria.mp4' (`"),
        ("nothing like it", "expected a media id of it (`resonance titles` lists them)"),
        ("", "expected a media id of it (`resonance titles` lists them)"),
    ],
)
def test_who_gives_a_wrong_id_is_told_near_ones(store: str, given: str, named: str) -> None:
    with closing(open_library(store)) as library, pytest.raises(UsageError) as refused:
        known_title(library, given)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-03-15", date(2026, 3, 15)),
        (" 2026-03-15T23:30:00-05:00 ", date(2026, 3, 15)),
        ("20260315", date(2026, 3, 15)),
        ("2026-03", date(2026, 3, 1)),
        ("2026", date(2026, 1, 1)),
        ("2026-13", None),
        ("٢٠٢٦", None),
        ("March 2026", None),
        ("", None),
    ],
)
def test_a_month_or_a_year_counts_as_its_first_day(written: str, day: date | None) -> None:
    assert day_of({"date": written}) == day


def test_titles_of_a_year_are_found_since_it(tmp_path: Path) -> None:
    made = [
        replace(title, attributes={"date": year})
        for title, year in zip(random_titles(2), ("1989", "1990"), strict=True)
    ]
    write(str(tmp_path / "store"), made)
    with closing(open_library(str(tmp_path / "store"))) as library:
        found = library.nearest_titles(made[0].vector, 5, Filter(since=date(1990, 1, 1)))
    assert [one.facts.media_id for one in found] == ["t1"]
