"""From a folder of real files to a served space of one's own."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.clients.ingest.catalogue import read_catalogue
from resonance.clients.ingest.types import CatalogueItem
from resonance.export.families import FAMILIES
from resonance.export.heads import with_heads
from resonance.export.onnx_export import ExportError
from resonance.export.weights import (
    FROZEN_SHA256,
    OtherEncoderError,
    WeightsError,
    encoders_of_heads,
    load_weights,
    save_heads,
    weights_sha256,
)
from resonance.space.descriptor import MODALITIES
from resonance.space.reference import Reference
from resonance.training import align
from resonance.training.cli import _export_command
from resonance.training.features import (
    Entry,
    FeatureExtractor,
    ManifestError,
    TitleFeatures,
    cache_features,
    entries,
    feature_file,
    load_features,
    projection_of,
    save_features,
)
from resonance.training.heads import HeadSettings, TooLittleError, title_chunks, train_projections
from resonance.training.loop import LoopSettings
from resonance.training.recalls import chance_recalls, compared_counts, group_recalls
from resonance.training.segments import Segments
from resonance.training.tuning import ENVIRONMENT
from resonance.training.world.factors import draw_title
from resonance.training.world.film import write_film
from tests.small_disk import disk_of

FILMS, SEGMENTS = 8, 4
PREPROCESSING = {graph.model: graph.preprocessing for graph in FAMILIES["tiny"].graphs}
FEW_STEPS = ("--steps", "30", "--fusion-steps", "10")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of films of the world in two groups, one file that is none, and a folder of them."""
    folder = tmp_path_factory.mktemp("library")
    for i in range(FILMS):
        rng = np.random.Generator(np.random.PCG64(i))
        write_film(draw_title(rng, held_out=True), folder / f"{i}.mkv", segments=SEGMENTS, seed=i)
    (folder / "broken.mkv").write_bytes(b"no film at all")
    with (folder / "library.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "transcript", "group"])
        writer.writerows([f"{i}.mkv", f"{i}.srt", "ab"[i % 2]] for i in range(FILMS))
        writer.writerow(["broken.mkv", "", "a"])
    return folder


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(FAMILIES["tiny"])


@pytest.fixture(scope="module")
def titles(library: Path, extractor: FeatureExtractor) -> list[TitleFeatures]:
    told = entries(library / "library.csv")
    files = cache_features(extractor, told, library / "features")
    assert [file is None for file in files] == [False] * FILMS + [True]  # the broken file is left out
    found = load_features(file for file in files if file is not None)
    return [replace(title, group=entry.group) for title, entry in zip(found, told[:-1], strict=True)]


def test_features_hold_what_each_segment_has(titles: list[TitleFeatures]) -> None:
    assert len(titles) == FILMS
    for title in titles:
        assert title.present.shape == (SEGMENTS, 3)
        assert title.present.all()
        np.testing.assert_allclose(title.times_s, np.arange(SEGMENTS) * 8.0, atol=0.1)


def test_cached_titles_are_not_read_again(
    library: Path, extractor: FeatureExtractor, titles: list[TitleFeatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(FeatureExtractor, "title", lambda self, entry: read.append(entry.path))
    problems: list[str] = []
    found = [e for e in entries(library / "library.csv") if e.path.name != "broken.mkv"]
    files = cache_features(
        extractor, found, library / "features", on_title=lambda d, t, problem: problems.append(problem)
    )
    assert len(set(files)) == FILMS
    assert None not in files
    assert read == []
    assert problems == [""] * FILMS


def test_features_of_earlier_versions_are_found(extractor: FeatureExtractor, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    film.write_bytes(b"1234")
    os.utime(film, ns=(0, 5))
    parts = [extractor.descriptor.fingerprint, "", str(film.resolve()), "4", "5"]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    assert feature_file(extractor.descriptor, Entry(film), tmp_path).stem == key


def test_a_group_is_no_part_of_what_a_title_holds(library: Path, extractor: FeatureExtractor) -> None:
    """To name groups for `--balance` later costs no second reading of the library."""
    entry = entries(library / "library.csv")[0]
    assert entry.group == "a"
    places = {feature_file(extractor.descriptor, one, library) for one in (entry, replace(entry, group=""))}
    assert len(places) == 1


def test_a_transcript_that_is_not_there_is_told_though_the_film_was_read_without_one(
    library: Path, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    shutil.copy(library / "0.mkv", tmp_path / "film.mkv")
    problems: list[str] = []
    found = [
        cache_features(
            extractor, [entry], tmp_path / "features", on_title=lambda d, t, problem: problems.append(problem)
        )
        for entry in (
            Entry(tmp_path / "film.mkv"),
            Entry(tmp_path / "film.mkv", tmp_path / "nothere.srt"),
            Entry(tmp_path / "film.mkv", tmp_path / f"{'long' * 100}.srt"),
        )
    ]
    assert [files[0] is None for files in found] == [False, True, True]
    assert problems[0] == ""
    assert "nothere.srt" in problems[1]
    assert all(problems[1:])


class Overflowing(FeatureExtractor):
    """As encoders are whose weights lost a scale; and one sound in them is not a number."""

    def title(self, entry: Entry) -> TitleFeatures:
        title = super().title(entry)
        grown = {"1.mkv": np.float32(1e9), "2.mkv": np.float32("nan")}.get(entry.path.name, np.float32(1))
        return replace(title, features={**title.features, "audio": title.features["audio"] * grown})


def test_features_that_cannot_be_stored_leave_their_title_out(library: Path, tmp_path: Path) -> None:
    problems: list[str] = []
    found = [e for e in entries(library / "library.csv") if e.path.name in ("0.mkv", "1.mkv", "2.mkv")]
    files = cache_features(
        Overflowing(FAMILIES["tiny"]),
        found,
        tmp_path,
        on_title=lambda d, t, problem: problems.append(problem),
    )
    assert [one.suffix for one in tmp_path.iterdir()] == [".npz"]
    kept = [file for file in files if file is not None]
    assert [len(one.present) for one in load_features(kept)] == [SEGMENTS]
    assert files[1:] == [None, None]
    assert problems[0] == ""
    assert re.search(
        r"1\.mkv: the audio encoder says numbers up to \S+e\+\d+; expected .* 65504", problems[1]
    )
    assert "2.mkv: the audio encoder says numbers up to nan; expected finite ones" in problems[2]


def test_projecting_the_features_gives_the_encoders_own_vector(
    library: Path, extractor: FeatureExtractor, titles: list[TitleFeatures]
) -> None:
    from resonance.clients.media.reader import open_media
    from resonance.training.features import projection_of

    with open_media(library / "0.mkv", extractor.descriptor, transcript=library / "0.srt") as reader:
        pcm = next(iter(reader.segments())).pcm
    assert pcm is not None
    audio = extractor.modules["audio"]
    with torch.inference_mode():
        whole = audio(torch.from_numpy(pcm.samples)[None], torch.tensor([[pcm.length]]))[0][0]
        ours = projection_of(audio)(torch.from_numpy(titles[0].features["audio"][0]))
    ours = torch.nn.functional.normalize(ours, dim=0)
    assert float(whole @ ours) > 0.99999  # float16 on disk


def test_what_is_missing_in_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder"):
        entries(tmp_path / "none")
    (tmp_path / "bad.csv").write_text("file\na.mp4\n")
    with pytest.raises(ManifestError, match="row 1 has no 'path'"):
        entries(tmp_path / "bad.csv")
    (tmp_path / "bad.jsonl").write_text('{"path": "a"}\n[1]\n')
    with pytest.raises(ManifestError, match="line 2 is list"):
        entries(tmp_path / "bad.jsonl")
    (tmp_path / "good.jsonl").write_text(json.dumps({"path": "a.mp4", "group": "x"}) + "\n")
    assert [(e.path, e.group) for e in entries(tmp_path / "good.jsonl")] == [(tmp_path / "a.mp4", "x")]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "a.csv",
            "path,group\nfilm.mp4,é\n".encode("latin-1"),
            "it cannot be read .* expected CSV or JSON lines",
        ),
        ("a.csv", b"path,group\nfilm.mp4,a,b\n", "row 1 has more fields than there are columns"),
        ("a.csv", b"file,group\nfilm.mp4,a,b\n", "row 1 has more fields than there are columns"),
        ("a.jsonl", b'{"path": 7.5}\n', "row 1: 'path' is 7.5; expected text"),
        ("a.jsonl", b'{"path": "a.mp4", "group": ["a"]}\n', "row 1: 'group' is .* expected text"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.parquet", b"PAR1", r"its name ends in '\.parquet'; expected a folder, or a manifest in \.csv, "),
        ("film.mkv", b"", r"its name ends in '\.mkv'; expected"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_said(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ManifestError, match=rf"{name}: {said}"):
        entries(tmp_path / name)


def test_manifests_as_spreadsheets_and_programs_write_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffpath,group\r\nfilm.mp4,é\r\n".encode())
    (tmp_path / "a.jsonl").write_text('{"path": "film.mp4", "group": 1, "id": 7, "transcript": null}\n')
    film = tmp_path / "film.mp4"
    assert entries(tmp_path / "a.csv") == [Entry(film, None, "é")]
    assert entries(tmp_path / "a.jsonl") == [Entry(film, None, "1", "7")]
    for name, renamed in (("a.csv", "A.CSV"), ("a.jsonl", "B.ndJSON")):
        assert entries((tmp_path / name).rename(tmp_path / renamed))[0].path == film


def test_titles_of_a_folder_are_those_that_ingest_finds(tmp_path: Path) -> None:
    """A film with two subtitle files is one title; words alone are a title; hidden files are none."""
    names = (
        "b/film.mkv",
        "b/film.srt",
        "b/film.en.vtt",
        "b/talk.srt",
        "a.mp4",
        ".hidden.mp4",
        ".cache/c.mp4",
    )
    for name in (*names, "notes.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = entries(tmp_path)
    assert [e.media_id for e in found] == ["a.mp4", "b/film.mkv", "b/talk.srt"]
    assert [e.path for e in found] == [tmp_path / e.media_id for e in found]
    ours = [given.media_id for given in read_catalogue([str(tmp_path)]) if isinstance(given, CatalogueItem)]
    assert [e.media_id for e in found] == ours


def test_a_file_of_a_folder_whose_name_cannot_be_stored_is_told(
    extractor: FeatureExtractor, tmp_path: Path
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4")).touch()
    problems: list[str] = []
    told = entries(tmp_path)
    files = cache_features(extractor, told, tmp_path / "f", on_title=lambda d, t, one: problems.append(one))
    assert files == [None]
    assert ".mp4: text that is not UTF-8; expected names" in problems[0]


def test_subtitles_that_come_beside_a_film_make_its_features_new(
    library: Path, extractor: FeatureExtractor, tmp_path: Path
) -> None:
    film, words = tmp_path / "film.mkv", tmp_path / "film.srt"
    shutil.copy(library / "0.mkv", film)
    places = [feature_file(extractor.descriptor, Entry(film), tmp_path)]
    for text in ("one", "another"):
        words.write_text(text)
        places.append(feature_file(extractor.descriptor, Entry(film), tmp_path))
    assert len(set(places)) == 3
    assert places[-1] == feature_file(extractor.descriptor, Entry(film, words), tmp_path)


def test_too_little_to_learn_from_is_said(titles: list[TitleFeatures], tmp_path: Path) -> None:
    lonely = [
        TitleFeatures(t.features, t.present & np.array([True, False, False]), t.times_s, "") for t in titles
    ]
    projections = torch.nn.ModuleList(torch.nn.Linear(f.shape[1], 596) for f in titles[0].features.values())
    with pytest.raises(TooLittleError, match="no two modalities"):
        train_projections(projections, Segments.of(lonely), HeadSettings(), tmp_path, torch.device("cpu"))


def test_chunks_of_titles_keep_their_rows(titles: list[TitleFeatures]) -> None:
    rows = sum(len(t.present) for t in titles)
    blocks = torch.arange(rows, dtype=torch.float32).reshape(rows, 1, 1).expand(rows, 3, 596)
    chunks = title_chunks(titles, blocks, SEGMENTS)
    assert chunks is not None
    assert chunks.blocks[:, :, 0, 0].flatten().tolist() == list(range(rows))
    assert chunks.times_s[:, 0].tolist() == [0.0] * FILMS


def test_aligning_a_library_end_to_end(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():  # the process has them already: no restart within a test
        monkeypatch.setenv(name, value)
    heads = tmp_path / "heads.safetensors"
    arguments = ["align", str(library / "library.csv"), "--work", str(tmp_path), "--heads", str(heads)]
    result = CliRunner().invoke(make_app(), [*arguments, *FEW_STEPS, "--balance", "0.5"])
    assert result.exit_code == 0, result.output
    assert "group 'a'" in result.output
    assert result.output.count(f"{library / 'broken.mkv'}: ") == 1
    assert "visual-audio 32" in result.output
    assert "fusion head was NOT trained" not in result.output
    assert (tmp_path / "projections.png").stat().st_size > 5000
    assert (tmp_path / "fusion.png").stat().st_size > 5000

    card = with_heads(FAMILIES["tiny"], heads)
    shas = {g.model: weights_sha256(g.build()) for g in card.graphs}
    ours, theirs = card.describe(shas), FAMILIES["tiny"]
    before = theirs.describe({g.model: weights_sha256(g.build()) for g in theirs.graphs})
    assert ours.trained
    assert ours.fingerprint != before.fingerprint
    assert card.reference is not None  # 32 segments of each modality are enough
    other = tmp_path / "other.safetensors"
    module = torch.nn.ModuleDict({"projection": torch.nn.Linear(3, 5)})
    save_heads({"visual_encoder": module}, other, {"visual_encoder": {}})
    with pytest.raises(WeightsError, match="title_fusion has 0 tensors"):
        load_weights(card.graphs[-1].build(), other, "title_fusion", all_of_it=False)


@pytest.mark.parametrize("scarce", [1.0, 0.5, 0.02, 0.002])
def test_a_modality_that_is_scarce_has_its_share_of_the_reference_set(scarce: float) -> None:
    present = np.ones((20_000, 3), bool)
    present[:, 2] = np.random.default_rng(0).random(len(present)) < scarce
    rows = align.reference_rows(present)
    assert len(rows) == align.REFERENCE_SEGMENTS
    assert (np.diff(rows) > 0).all()
    assert present[rows, 2].sum() >= min(align.REFERENCE_SEGMENTS // 3, present[:, 2].sum())
    if scarce == 1.0:  # nothing is preferred
        drawn = np.random.Generator(np.random.PCG64(0)).permutation(len(present))
        assert rows.tolist() == sorted(drawn[: align.REFERENCE_SEGMENTS])


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ([3] * FILMS, "the longest title has 3 segments; expected 4 stretches of at least 4 segments"),
        ([4] * 3 + [2] * 5, "8 titles have 3 stretches of 4 segments; expected at least 4"),
    ],
)
def test_a_fusion_head_that_titles_are_too_short_for_is_told(
    titles: list[TitleFeatures],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    said: str,
) -> None:
    """Nor is it silently written as if it had been trained."""
    short = [
        replace(
            title,
            features={name: one[:length] for name, one in title.features.items()},
            present=title.present[:length],
            times_s=title.times_s[:length],
        )
        for title, length in zip(titles, lengths, strict=True)
    ]
    monkeypatch.setattr(align, "load_features", lambda files: short)
    heads = tmp_path / "heads.safetensors"
    settings = HeadSettings(loop=LoopSettings(steps=2, learning_rate=1e-3))
    card = FAMILIES["tiny"]
    report = align.align_family(
        card, [tmp_path / str(i) for i in range(FILMS)], settings, tmp_path, heads, torch.device("cpu")
    )
    (told,) = (line for line in report.lines() if "fusion head" in line)
    assert told.startswith("the fusion head was NOT trained, and stays as it was: ")
    assert said in told
    assert not (tmp_path / "fusion.png").exists()


def test_a_report_tells_titles_held_out_beside_those_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty titles of two groups; features that say nothing of each other can only be learned by heart."""
    rng = np.random.default_rng(0)
    widths = {"visual": 256, "audio": 384, "transcript": 128}
    drawn = [
        TitleFeatures(
            {name: rng.normal(size=(4, width)).astype(np.float32) for name, width in widths.items()},
            np.ones((4, 3), bool),
            np.arange(4, dtype=np.float32),
            "ab"[at % 2],
        )
        for at in range(30)
    ]
    monkeypatch.setattr(align, "load_features", lambda files: drawn)
    base = HeadSettings(loop=LoopSettings(steps=20, learning_rate=1e-2, warmup_steps=2))
    settings = replace(base, fusion=replace(base.fusion, loop=replace(base.fusion.loop, steps=1)))
    heads = tmp_path / "heads.safetensors"
    report = align.align_family(
        FAMILIES["tiny"],
        [tmp_path / str(i) for i in range(30)],
        settings,
        tmp_path,
        heads,
        torch.device("cpu"),
    )
    assert report.held_out is not None
    assert set(report.learned.compared.values()) == {24 * 4}
    assert set(report.held_out.compared.values()) == {6 * 4}
    assert all(report.held_out.after[group] >= 0 for group in (0, 1))
    lines = report.lines()
    for where in ("titles that it was aligned on", "titles held out"):
        assert sum(line.endswith(f"; {where})") for line in lines) == 2
    assert sum(line.startswith("gap between groups ") for line in lines) == 2
    assert sum(line.startswith("the projections ") for line in lines) == 1
    assert (tmp_path / "projections.png").stat().st_size > 5000


def test_heads_never_stand_beside_the_reference_set_of_others(
    titles: list[TitleFeatures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a run is stopped: an export would calibrate the new heads on it."""
    monkeypatch.setattr(align, "load_features", lambda files: titles)
    monkeypatch.setattr(align, "plot_losses", stopped)
    heads, reference = tmp_path / "heads.safetensors", tmp_path / "heads.reference.npz"
    base = HeadSettings(loop=LoopSettings(steps=1, learning_rate=1e-3))
    settings = replace(base, fusion=replace(base.fusion, loop=replace(base.fusion.loop, steps=1)))

    def run() -> set[Path]:
        """Those of the files that are new."""
        heads.write_bytes(b"of before")
        reference.write_bytes(b"of before")
        files = [tmp_path / str(i) for i in range(FILMS)]
        with pytest.raises(KeyboardInterrupt):
            align.align_family(FAMILIES["tiny"], files, settings, tmp_path, heads, torch.device("cpu"))
        assert {path.name for path in tmp_path.iterdir()} <= {heads.name, reference.name, "runs"}  # no half
        return {path for path in (heads, reference) if not path.exists() or path.read_bytes() != b"of before"}

    half = tmp_path / f".half-{'0' * 32}-heads.safetensors"
    half.write_bytes(b"of one that was killed")
    assert run() == {heads, reference}
    assert Reference.load(reference).present.shape == (FILMS * SEGMENTS, 3)
    monkeypatch.setattr(np, "savez_compressed", stopped)
    assert run() == set()
    monkeypatch.undo()
    monkeypatch.setattr(align, "load_features", lambda files: titles)
    replace_file = os.replace

    def stopped_at_the_set(source: Path, target: Path) -> None:
        stopped() if target == reference else replace_file(source, target)

    monkeypatch.setattr(os, "replace", stopped_at_the_set)
    assert run() == {heads, reference}
    assert not reference.exists()


def test_features_that_find_no_room_leave_no_half(tmp_path: Path) -> None:
    """Nor what numpy's archive said of itself afterwards, which would fail this as unraisable."""
    title = TitleFeatures(
        {m: np.random.default_rng(1).random((9, 64)) for m in MODALITIES},
        np.ones((9, 3), bool),
        np.arange(9.0),
    )
    with disk_of(1000), pytest.raises(OSError, match="File too large"):
        save_features(tmp_path / "title.npz", title)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_ends_the_encoding(
    extractor: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads would else be made of the few titles that fitted, and every other be encoded for nothing."""
    title = TitleFeatures({m: np.ones((9, 64)) for m in MODALITIES}, np.ones((9, 3), bool), np.arange(9.0))
    monkeypatch.setattr(FeatureExtractor, "title", lambda self, entry: title)
    told = [Entry(tmp_path / f"{at}.mkv") for at in range(2)]
    problems: list[str] = []
    with disk_of(1000), pytest.raises(OSError, match="File too large"):
        cache_features(
            extractor, told, tmp_path / "f", on_title=lambda done, total, one: problems.append(one)
        )
    assert problems == []


def test_heads_that_find_no_room_are_an_error_of_the_system(tmp_path: Path) -> None:
    """Of which the command tells in one line; the library's own was a traceback."""
    built = {g.model: g.build() for g in FAMILIES["tiny"].graphs}
    heads = tmp_path / "heads.safetensors"
    heads.write_bytes(b"of before")
    with disk_of(1 << 16), pytest.raises(OSError, match="File too large"):
        save_heads(built, heads, PREPROCESSING)
    assert heads.read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [heads]


def stopped(*args: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_heads_are_refused_on_other_encoders_than_they_were_made_on(tmp_path: Path) -> None:
    card = FAMILIES["tiny"]
    built = {g.model: g.build() for g in card.graphs}
    heads = tmp_path / "heads.safetensors"
    with torch.no_grad():
        projection_of(built["audio_encoder"]).weight.add_(1.0)  # what aligning changes
    save_heads(built, heads, PREPROCESSING)
    for graph in with_heads(card, heads).graphs:
        graph.build()

    def other_audio() -> torch.nn.Module:
        module = next(g for g in card.graphs if g.model == "audio_encoder").build()
        with torch.no_grad():
            next(p for n, p in module.named_parameters() if not n.startswith("projection.")).add_(1.0)
        return module

    other = tuple(replace(g, build=other_audio) if g.model == "audio_encoder" else g for g in card.graphs)
    refused = {g.model: g for g in with_heads(replace(card, graphs=other), heads).graphs}
    refused["visual_encoder"].build()
    said = r"heads\.safetensors: its audio_encoder was made on weights \w{12}; .* are \w{12}\. .*--checkpoint"
    with pytest.raises(OtherEncoderError, match=said):
        refused["audio_encoder"].build()

    words = next(g for g in card.graphs if g.model == "transcript_encoder")
    retokenized = replace(words, preprocessing={**words.preprocessing, "tokenizer_sha256": "0" * 64})
    (refused_words,) = with_heads(replace(card, graphs=(retokenized,)), heads).graphs
    said = r"its transcript_encoder was made on tokenizer and preprocessing \w{12}; .* are \w{12}\."
    with pytest.raises(OtherEncoderError, match=said):
        refused_words.build()

    old = tmp_path / "old.safetensors"
    save_file(load_file(heads), old)  # as they were before: without metadata
    assert encoders_of_heads(old) == {}
    for graph in with_heads(replace(card, graphs=other), old).graphs:
        graph.build()


def test_heads_that_do_not_say_what_they_were_made_on_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **named: object) -> None:
        raise ExportError("enough")

    monkeypatch.setattr("resonance.export.build.export_family", stop)
    heads = {name: tmp_path / f"{name}.safetensors" for name in ("older", "old", "new")}
    save_heads({g.model: g.build() for g in FAMILIES["tiny"].graphs}, heads["new"], PREPROCESSING)
    tensors, encoders = load_file(heads["new"]), encoders_of_heads(heads["new"])
    save_file(tensors, heads["older"])
    save_file(tensors, heads["old"], {f"{m}.{FROZEN_SHA256}": e.weights or "" for m, e in encoders.items()})
    for name, path in heads.items():
        arguments = ["export", "tiny", "--model-repository", str(tmp_path / "r"), "--heads", str(path)]
        told = CliRunner().invoke(make_app(), arguments).output
        assert ("it does not say which encoders it was made on" in told) == (name == "older")
        assert ("which tokenizer and preprocessing it was made on" in told) == (name == "old")
        assert "enough" in told


def test_the_command_to_export_heads_names_their_encoders() -> None:
    checkpoints = ["visual_encoder=a folder", "audio_encoder=laion/clap"]
    assert _export_command("siglip-clap-minilm", checkpoints, Path("h.safetensors")) == (
        "resonance export siglip-clap-minilm --checkpoint 'visual_encoder=a folder' "
        "--checkpoint audio_encoder=laion/clap --heads h.safetensors"
    )


def test_a_loss_that_is_not_finite_is_said(
    library: Path, titles: list[TitleFeatures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    command = ["align", str(library / "library.csv"), "--work", str(library), "--hardness", "1e39"]
    command += [*FEW_STEPS, "--heads", str(tmp_path / "h.safetensors")]
    result = CliRunner().invoke(make_app(), command)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert re.search(r"projections: the loss is \w+ at step 0; expected a finite one", result.output)


def test_a_checkpoint_of_an_earlier_version_is_said(
    library: Path, titles: list[TitleFeatures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch, "load", lambda path, **how: {"settings": {}, "step": 1})
    monkeypatch.setattr("resonance.training.align._run_name", lambda *of: "before")
    checkpoint = tmp_path / "runs" / "before" / "projections" / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    (tmp_path / "features").symlink_to(library / "features")
    command = ["align", str(library / "library.csv"), "--work", str(tmp_path), *FEW_STEPS]
    result = CliRunner().invoke(make_app(), [*command, "--heads", str(tmp_path / "h.safetensors")])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert "it does not say what it was made of" in result.output
    assert not (tmp_path / "h.safetensors").exists()


def test_a_film_in_two_rows_is_in_the_group_of_each(
    library: Path, titles: list[TitleFeatures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    learned: list[TitleFeatures] = []

    def look(projections: object, fusion: object, titles: list[TitleFeatures], *more: object) -> None:
        learned.extend(titles)
        raise TooLittleError("enough")

    monkeypatch.setattr(align, "train_heads", look)
    (tmp_path / "features").symlink_to(library / "features")
    manifest = library / "twice.csv"
    manifest.write_text("path,transcript,group\nbroken.mkv,,c\n0.mkv,0.srt,a\n0.mkv,0.srt,b\n")
    heads = str(tmp_path / "h.safetensors")
    arguments = ["align", str(manifest), "--work", str(tmp_path), "--heads", heads]
    result = CliRunner().invoke(make_app(), arguments)
    assert result.output.splitlines()[-1] == "enough"
    assert [title.group for title in learned] == ["a", "b"]


def test_what_an_audit_found_enters_the_alignment(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in one folder, with a feed and without: neither goes on with the other's checkpoint."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    feed = tmp_path / "feed.parquet"
    films = [library / f"{i}.mkv" for i in range(FILMS)]
    facts = {"version": 1, "store": "films", "space": {"name": "s", "fingerprint": "f", "trained": True}}
    facts |= {"groups": {"language": ["de"]}, "found": []}
    columns = {"media_id": [p.name for p in films], "uri": [str(p) for p in films]}
    columns["group:language"] = ["de" if i % 2 else "" for i in range(FILMS)]
    schema = pa.schema([(name, pa.string()) for name in columns])
    schema = schema.with_metadata({b"resonance.bias_feed": json.dumps(facts).encode()})
    pq.write_table(pa.table(columns, schema=schema), feed)
    heads = {}
    for name, arguments in (("plain", []), ("fair", ["--fairness", str(feed), "--fairness-weight", "50"])):
        heads[name] = tmp_path / f"{name}.safetensors"
        source = ["align", str(library / "library.csv"), "--work", str(tmp_path), *FEW_STEPS]
        result = CliRunner().invoke(make_app(), [*source, "--heads", str(heads[name]), *arguments])
        assert result.exit_code == 0, result.output
        assert ("8 of 9 titles have a known group; those that deviate: language=de" in result.output) == (
            name == "fair"
        )
    told = re.search(r"depend on the audited groups: (\S+) -> (\S+)", result.output)
    assert told is not None
    assert float(told[2]) < float(told[1])
    plain, fair = (load_file(path) for path in heads.values())
    assert not all(torch.equal(plain[name], fair[name]) for name in plain)

    strange = ["align", str(library), "--work", str(tmp_path), "--fairness", str(library / "library.csv")]
    result = CliRunner().invoke(make_app(), strange)
    assert result.exit_code == 1
    assert "expected a file that `resonance audit bias --feed` wrote" in result.output


def test_recall_by_group_of_perfect_blocks_is_one(titles: list[TitleFeatures]) -> None:
    segments = Segments.of(titles)
    generator = torch.Generator().manual_seed(0)
    one = torch.nn.functional.normalize(torch.randn(len(segments.present), 596, generator=generator), dim=1)
    assert group_recalls(torch.stack([one, one, one], 1), segments) == {0: 1.0, 1: 1.0}


def test_recall_is_told_beside_what_guessing_reaches() -> None:
    """Four segments have picture and sound, two picture and words, one sound and words: too few."""
    has = [(1, 1, 0), (1, 1, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (0, 1, 0)]
    present = torch.tensor(has, dtype=torch.bool)
    features = tuple(torch.ones(6, 2) for _ in range(3))
    groups, titles = torch.tensor([0, 0, 0, 1, 1, 0]), torch.arange(6)
    segments = Segments(features, present, groups, torch.zeros(6, 0), titles)
    assert compared_counts(segments) == {"visual-audio": 4, "visual-transcript": 2}
    assert chance_recalls(segments) == {0: 1 / 4, 1: (1 / 4 + 1 / 2) / 2}
