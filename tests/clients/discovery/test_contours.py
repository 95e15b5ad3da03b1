"""The file of contours: what is in it, what is read again, what happens to broken media."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.discovery.contouring import (
    Outcome,
    StoredSound,
    sound_contour,
    title_contours,
    titles_with_sound,
    update_contours,
)
from resonance.clients.discovery.contours import (
    FIELDS,
    Contours,
    SegmentContour,
    no_contours,
    read_contours,
    write_contours,
)
from resonance.clients.discovery.pitch import HOP_S, RECIPE
from resonance.clients.errors import UsageError
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.stores import open_sink, open_store
from tests.clients.discovery.tunes import REED, stored_tune, sung_tune, tune_notes, write_wav
from tests.clients.ingest.made import SPACE, made_row

#: A job that is stopped by Ctrl-C as a terminal sends it, while its worker waits for another title.
STOPPED = """
import os, signal, sys, time
from pathlib import Path
from resonance.clients.discovery.contouring import StoredSound, update_contours

def stop(outcome):
    time.sleep(0.5)  # by then it waits
    os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    title = StoredSound("a", sys.argv[2], "v1", ((0, 0.0),), 8.0)
    try:
        update_contours(Path(sys.argv[1]), [title], workers=1, on_done=stop)
    except KeyboardInterrupt:
        print("stopped")
"""


def wave(folder: Path, seed: int, **how: float) -> Path:
    return write_wav(folder / f"{seed}.wav", sung_tune(tune_notes(seed), timbre=REED, **how))


def title(path: Path, version: str = "v1", windows: int = 1) -> StoredSound:
    return StoredSound(path.stem, str(path), version, tuple((at, 8.0 * at) for at in range(windows)), 8.0)


def update(path: Path, *titles: StoredSound) -> tuple[Contours, dict[str, str | None]]:
    told: dict[str, str | None] = {}

    def on_done(outcome: Outcome) -> None:
        told[outcome.media_id] = outcome.error

    return update_contours(path, titles, workers=1, on_done=on_done), told


def test_what_is_written_is_read(tmp_path: Path) -> None:
    line = np.array([1.5, np.nan, -30.25], np.float32)
    made = {"b": ("v1", [SegmentContour(0, 0.0, line), SegmentContour(2, 16.0, line[:0])]), "a": ("v2", [])}
    contours = no_contours("recipe").with_titles(made, 0.1)
    write_contours(tmp_path / "c.parquet", contours)
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
    found = read_contours(tmp_path / "c.parquet")
    assert found.recipe == "recipe"
    assert found.titles() == {"b": "v1"}
    assert [(f.name, f.type) for f in found.rows.schema] == FIELDS
    first, second = found.rows.to_pylist()
    assert (first["segment"], second["segment"], second["start_s"], second["hop_s"]) == (0, 2, 16.0, 0.1)
    np.testing.assert_array_equal(np.array(first["contour"], np.float32), line)


def test_segments_that_follow_one_another_are_one_track() -> None:
    line = np.arange(80, dtype=np.float32)
    made = {
        "a": (
            "v",
            [SegmentContour(0, 0.0, line), SegmentContour(1, 8.0, line + 80), SegmentContour(3, 24.0, line)],
        ),
        "b": ("v", [SegmentContour(4, 32.0, line)]),
    }
    tracks = no_contours("r").with_titles(made, 0.1).tracks()
    assert [(t.media_id, t.start_s, len(t.pitches)) for t in tracks] == [
        ("a", 0, 160),
        ("a", 24, 80),
        ("b", 32, 80),
    ]
    np.testing.assert_array_equal(tracks[0].pitches, np.arange(160))
    assert no_contours("r").tracks() == []


@pytest.mark.parametrize("content", ["text", "other parquet"])
def test_another_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.parquet"
    if content == "text":
        path.write_text("no parquet")
    else:
        pq.write_table(pa.table({"media_id": ["a"]}), path)
    with pytest.raises(StoreError, match=r"c\.parquet.*expected a file that `resonance contours` wrote"):
        read_contours(path)


def test_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.mkdir()
    with pytest.raises(StoreError, match="expected a file in a folder that can be written"):
        write_contours(path, no_contours("r"))
    assert list(tmp_path.iterdir()) == [path]


def test_windows_are_those_of_the_store(tmp_path: Path) -> None:
    """Index, start and number of steps of each; a window of silence has no pitch; the tail is short."""
    notes = tune_notes(5)
    silence = np.zeros(8 * 16_000, np.float32)
    tail = sung_tune(notes[:3])
    path = write_wav(tmp_path / "a.wav", np.concatenate([sung_tune(notes), silence, tail]))
    first, second, third = title_contours(title(path, windows=3))
    assert [len(part.contour) for part in (first, second, third)] == [80, 80, 30]
    assert [part.start_s for part in (first, second, third)] == [0.0, 8.0, 16.0]
    assert np.isnan(second.contour).all()
    middles = first.contour[5::10]
    np.testing.assert_allclose(middles, notes, atol=0.3)
    (only,) = title_contours(StoredSound("a", str(path), "v", ((2, 16.0),), 8.0))
    np.testing.assert_array_equal(only.contour, third.contour)


def test_nothing_is_read_twice(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    one, two = wave(tmp_path, 1), wave(tmp_path, 2)
    contours, told = update(out, title(one), title(two))
    assert told == {"1": None, "2": None}
    assert contours.titles() == {"1": "v1", "2": "v1"}
    one.unlink()  # it could not be read again
    contours, told = update(out, title(one), title(two, "v2"))
    assert told == {"2": None}
    assert contours.titles() == read_contours(out).titles() == {"1": "v1", "2": "v2"}
    contours, told = update(out, title(two, "v2"))
    assert told == {}
    assert read_contours(out).titles() == {"2": "v2"}, "what has left the store leaves the file"


def test_broken_media_harms_no_other(tmp_path: Path) -> None:
    broken = tmp_path / "3.wav"
    broken.write_bytes(b"RIFF....WAVEno sound")
    gone = tmp_path / "4.wav"
    contours, told = update(tmp_path / "c.parquet", title(broken), title(gone), title(wave(tmp_path, 1)))
    assert contours.titles() == {"1": "v1"}
    assert told["1"] is None
    assert "3.wav" in (told["3"] or "")
    assert "4.wav" in (told["4"] or "")


def test_a_job_that_is_stopped_keeps_what_it_made(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"

    def stop(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    titles = [title(wave(tmp_path, seed)) for seed in range(1, 5)]
    with pytest.raises(KeyboardInterrupt):
        update_contours(out, titles, workers=1, on_done=stop)
    assert len(read_contours(out).titles()) == 1
    _, told = update(out, *titles)
    assert len(told) == 3


def test_ctrl_c_is_the_commands_alone(tmp_path: Path) -> None:
    """A terminal sends it to the workers too, which would each tell of it at length."""
    told = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path / "c.parquet"), str(wave(tmp_path, 1))],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )
    assert (told.stdout, told.stderr) == ("stopped\n", "")
    assert len(read_contours(tmp_path / "c.parquet").titles()) == 1


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    """As by media that takes all memory: the job ends and says where, and keeps what it made."""
    out = tmp_path / "c.parquet"

    def kill(outcome: Outcome) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    titles = [title(wave(tmp_path, seed)) for seed in range(1, 9)]
    with pytest.raises(StoreError, match="a process ended while it read one of these"):
        update_contours(out, titles, workers=1, on_done=kill)
    assert 1 <= len(read_contours(out).titles()) < 8


def test_contours_of_another_recipe_are_made_again(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    path = wave(tmp_path, 1)
    old = {"1": ("v1", [SegmentContour(0, 0.0, np.zeros(3, np.float32))])}
    write_contours(out, no_contours("another").with_titles(old, 1.0))
    contours, told = update(out, title(path))
    assert told == {"1": None}
    assert (contours.recipe, contours.hop_s()) == (RECIPE, HOP_S)


def test_titles_with_sound(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "store"), SPACE)
    path = wave(tmp_path, 1)
    sink.write(pa.concat_tables([stored_tune("a", path), made_row("film", segments=3)]), batch="1")
    sink.close()
    found = {t.media_id: t for t in titles_with_sound(open_store(str(tmp_path / "store")))}
    assert found["a"] == StoredSound("a", str(path), "v1", ((0, 0.0),), 8.0)
    assert found["film"].windows == ((0, 0.0), (2, 16.0)), "the second window of this title has no sound"
    assert found["film"].window_s == 8.0


def test_a_hum_of_several_windows(tmp_path: Path) -> None:
    notes = tune_notes(5, 20)
    path = write_wav(tmp_path / "hum.wav", sung_tune(notes))
    line = sound_contour(path)
    assert len(line) == 200
    np.testing.assert_allclose(line[5::10], notes, atol=0.3)
    long = write_wav(tmp_path / "long.wav", sung_tune(tune_notes(5, 80)))
    with pytest.raises(UsageError, match="more than 60 s"):
        sound_contour(long)
