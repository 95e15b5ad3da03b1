"""Results as JSON and Parquet carry every number back."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.media.types import SampledBy, StreamSignal
from resonance.clients.output import to_json, write_results
from resonance.clients.results import AxisValue, MediaEmbedding, Segment, SpaceRef, Timing
from resonance.space.errors import SpaceMismatchError
from tests.small_disk import disk_of


def result(name: str = "a.mp4", fingerprint: str = "f" * 64) -> MediaEmbedding:
    rng = np.random.default_rng(0)

    def vector() -> np.ndarray:
        v = rng.standard_normal(1788)
        return (v / np.linalg.norm(v)).astype(np.float32)

    def segment(index: int, start_s: float | None) -> Segment:
        return Segment(
            index=index,
            start_s=start_s,
            end_s=None if start_s is None else start_s + 8,
            present=(True, False, True),
            vector=vector(),
            signals={
                "cut_rate_per_min": StreamSignal(7.5, "packet-size", 0.8),
                "motion": None,
                "brightness": 0.4,
            },
            sampled_by=SampledBy.KEYFRAMES,
            frame_times_s=(0.0, 2.0),
            salience=0.5,
            axes={"tension": 0.25},
        )

    return MediaEmbedding(
        media=name,
        space=SpaceRef("tiny", fingerprint, False),
        duration_s=16.0,
        modalities=("visual", "transcript"),
        title=vector(),
        present=(True, False, True),
        segments=(segment(0, 0.0), segment(1, None)),
        arcs={"brightness": [(4.0, 0.4), (12.0, 0.5)], "tension": [(4.0, 0.25)]},
        timing=Timing(1.0, 2.0, 3.0, 4.0, 5.0),
        axes={"tension": AxisValue(0.25, "calm", "tense")},
    )


def test_json_has_the_documented_fields_and_exact_vectors() -> None:
    given = result()
    read = json.loads(to_json(given))
    assert list(read) == [
        *("media", "space", "duration_s", "modalities", "title", "segments", "arcs", "axes", "timing_ms"),
        "damage",
    ]
    nothing_late = {"late_frames": 0, "late_sound_s": 0.0, "late_cues": 0}
    assert read["damage"] == {"unreadable_packets": 0, "missing_s": 0.0, **nothing_late}
    assert read["space"] == {"name": "tiny", "fingerprint": "f" * 64, "trained": False}
    assert set(read["timing_ms"]) == {"demux", "decode", "queue", "inference", "total"}
    np.testing.assert_array_equal(np.array(read["title"], np.float32), given.title)
    segment = read["segments"][0]
    assert {"start_s", "end_s", "present", "vector", "salience", "signals"} <= set(segment)
    assert segment["present"] == {"visual": True, "audio": False, "transcript": True}
    assert segment["signals"]["cut_rate_per_min"] == {
        "value": 7.5,
        "method": "packet-size",
        "confidence": 0.8,
    }
    assert segment["signals"]["motion"] is None
    assert read["segments"][1]["start_s"] is None
    assert read["arcs"]["brightness"] == [[4.0, 0.4], [12.0, 0.5]]
    assert segment["axes"] == {"tension": 0.25}
    assert read["axes"] == {"tension": {"value": 0.25, "low": "calm", "high": "tense"}}


def test_parquet_brings_vectors_back_exactly_and_names_the_space(tmp_path: Path) -> None:
    path = tmp_path / "vectors.parquet"
    given = [result("a.mp4"), result("b.mp4")]
    write_results(given, path)
    table = pq.read_table(path)
    assert table.schema.metadata[b"resonance.fingerprint"] == b"f" * 64
    assert table.column("media").to_pylist() == ["a.mp4", "b.mp4"]
    np.testing.assert_array_equal(np.array(table.column("title")[0].as_py(), np.float32), given[0].title)
    row = table.to_pylist()[0]
    np.testing.assert_array_equal(
        np.array(row["segments"][0]["vector"], np.float32), given[0].segments[0].vector
    )
    assert row["segments"][0]["signals"]["cut_rate_per_min"]["method"] == "packet-size"
    assert dict(row["arcs"])["brightness"] == [[4.0, 0.4], [12.0, 0.5]]
    assert dict(row["segments"][0]["axes"]) == {"tension": 0.25}
    assert dict(row["axes"])["tension"] == {"value": 0.25, "low": "calm", "high": "tense"}


def test_a_space_without_axes_is_written_too(tmp_path: Path) -> None:
    given = result()
    bare = replace(given, axes={}, segments=tuple(replace(s, axes={}) for s in given.segments))
    write_results([bare], tmp_path / "bare.parquet")
    row = pq.read_table(tmp_path / "bare.parquet").to_pylist()[0]
    assert row["axes"] == row["segments"][0]["axes"] == []
    assert json.loads(to_json(bare))["axes"] == {}


def test_jsonl_is_one_line_a_title(tmp_path: Path) -> None:
    path = tmp_path / "vectors.jsonl"
    write_results([result("a.mp4"), result("b.mp4")], path)
    assert [json.loads(line)["media"] for line in path.read_text().splitlines()] == ["a.mp4", "b.mp4"]


def test_two_spaces_are_never_written_together(tmp_path: Path) -> None:
    with pytest.raises(SpaceMismatchError):
        write_results([result(), result(fingerprint="0" * 64)], tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize("name", ["vectors.jsonl", "vectors.parquet"])
def test_what_was_there_stays_where_a_disk_is_full(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_results([result("a.mp4")], path)
    before = path.read_bytes()
    with disk_of(4096), pytest.raises(OSError, match="File too large"):
        write_results([result("a.mp4"), result("b.mp4")], path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == before


def test_what_is_no_file_is_written_itself_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "file.jsonl")
    write_results([result("a.mp4")], tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    pipe, read = tmp_path / "pipe.jsonl", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_results([result("a.mp4")], pipe)
    reader.join(10)
    assert read == [(tmp_path / "file.jsonl").read_bytes()]


def test_parquet_is_written_into_a_pipe_that_stays_one_when_its_reader_leaves(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe.parquet", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_results([result("a.mp4")], pipe)
    reader.join(10)
    assert pq.read_table(pa.BufferReader(read[0]))["media"].to_pylist() == ["a.mp4"]

    leaver = threading.Thread(target=lambda: pipe.open("rb").close(), daemon=True)
    leaver.start()
    many = [result(f"{number}.mp4") for number in range(50)]  # more than a pipe holds
    with pytest.raises(BrokenPipeError):
        write_results(many, pipe)
    leaver.join(10)
    assert pipe.is_fifo()


def test_unknown_endings_and_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv.*expected \.jsonl or \.parquet"):
        write_results([result()], tmp_path / "x.csv")
    with pytest.raises(ValueError, match="JSON"):
        to_json(replace(result(), duration_s=float("nan")))
