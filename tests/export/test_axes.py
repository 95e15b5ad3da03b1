"""Axes from the file a user edits into space.json, through the exported transcript encoder."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.export import families
from resonance.export.axes import DEFAULT_AXES, AxesFileError, read_axes
from resonance.export.build import export_family
from resonance.export.cards import FamilyCard
from resonance.export.families import FAMILIES
from resonance.export.families.tiny import TINY
from resonance.export.onnx_export import ExportError
from resonance.export.staging import only_export
from resonance.space import MODALITIES, CalibrationError, Descriptor, Reference, sigmas, unit
from resonance.training.world import factors, words
from tests.export.as_exported import graphs_of
from tests.space.strategies import random_reference

GOOD = '[[axes]]\nname = "tension"\nlow = ["calm", " serene "]\nhigh = ["tense"]\n'


@pytest.fixture
def axes_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the exported models, whose graphs another export leaves as they are."""
    with graphs_of(model_repository):
        yield Path(shutil.copytree(model_repository, tmp_path / "models"))


@pytest.fixture
def reference_file(tmp_path: Path) -> Path:
    """Random blocks as a trainer commits them."""
    reference = random_reference(0, 100, gap=1.0, absent=0.2)
    path = tmp_path / "reference.npz"
    np.savez_compressed(path, blocks=reference.blocks.astype(np.float16), present=reference.present)
    return path


def card_of(repository: Path, reference: Path | None) -> FamilyCard:
    """The exported family; its space is that of `repository` but for what is calibrated."""
    plain = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
    bare = replace(plain, axes={}, sigmas={m: dict.fromkeys(MODALITIES, 1.0) for m in MODALITIES})
    return replace(
        FAMILIES[plain.name],
        describe=lambda weights: bare,
        reference=reference,
        axes=DEFAULT_AXES,
    )


def test_a_file_is_read_as_it_is_written(axes_file: Path) -> None:
    (axis,) = read_axes(axes_file)
    assert (axis.name, axis.low, axis.high) == ("tension", ("calm", "serene"), ("tense",))
    axes_file.write_text("# none\n")
    assert read_axes(axes_file) == ()


def test_the_axes_of_tiny_speak_of_its_world_alone() -> None:
    known = {
        *words.FILLER,
        *factors.SETTINGS,
        *factors.SUBJECTS,
        *factors.TENSIONS,
        *factors.PACES,
        *("at", "in", "near"),
    }
    known |= {word for line in words.DIALOGUE for word in line}
    axes = read_axes(TINY.axes)
    assert [axis.name for axis in axes] == ["tension", "pace"]
    for axis in axes:
        for prompt in (*axis.low, *axis.high):
            assert set(re.findall(r"\w+", prompt)) <= known, prompt


def test_the_default_axes_are_what_the_documents_name() -> None:
    axes = read_axes(DEFAULT_AXES)
    assert [axis.name for axis in axes] == ["tension", "mood", "pace", "scale", "warmth", "gravity"]
    assert all(len(end) >= 3 for axis in axes for end in (axis.low, axis.high))
    text = (Path(__file__).parents[2] / "docs" / "axes.md").read_text(encoding="utf-8")
    for axis in axes:
        assert f"`{axis.name}`" in text
        assert f"{axis.low[0]} to {axis.high[0]}" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes = 3", "axes is a int; expected .*tables"),
        ("axes = [1]", "expected .*tables"),
        ("[[axis]]\nname = 'a'", r"unknown field\(s\) axis"),
        ("[[axes]", "not TOML"),
        (GOOD + GOOD, "axis 'tension': stands 2 times; expected it once"),
        (GOOD.replace("name", "title"), r"axis 1: unknown field\(s\) title; known are name, low, high"),
        (GOOD.replace('name = "tension"', ""), "axis 1: name is None; expected small letters"),
        (GOOD.replace('"tension"', "5"), "axis 1: name is 5"),
        (GOOD.replace("tension", "Very Tense"), "axis 'Very Tense': name is 'Very Tense'; expected"),
        (GOOD.replace("tension", "pacing"), "axis 'pacing': name is that of a measured arc"),
        (GOOD.replace('high = ["tense"]', ""), "axis 'tension': high is missing; expected a list"),
        (GOOD.replace('["tense"]', '"tense"'), "axis 'tension': high is 'tense'; expected a list"),
        (GOOD.replace('["tense"]', "[]"), r"high is \[\]; expected a list of at least one"),
        (GOOD.replace('["tense"]', "[3]"), "high holds 3; expected prompts that are text"),
        (GOOD.replace('["tense"]', '["tense", " "]'), "high holds ' '; expected prompts"),
        (GOOD.replace('["tense"]', '["tense", "tense"]'), "high holds a prompt twice"),
        (GOOD.replace('["tense"]', '["calm"]'), "high is 'calm', as low is; expected prompts of another"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_axis_and_field(
    text: str, message: str, axes_file: Path
) -> None:
    axes_file.write_text(text, encoding="utf-8")
    with pytest.raises(AxesFileError, match=rf"mine\.toml: .*{message}"):
        read_axes(axes_file)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AxesFileError, match=r"gone\.toml: cannot be read"):
        read_axes(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(AxesFileError, match=r"latin\.toml: not UTF-8"):
        read_axes(tmp_path / "latin.toml")


def test_a_reference_gives_sigmas_and_axes_and_the_fingerprint_stays(
    repository: Path, reference_file: Path, axes_file: Path
) -> None:
    plain, _ = export_family(card_of(repository, None), repository)
    assert plain.axes == {}
    assert plain.sigmas["visual"]["audio"] == 1.0
    found, _ = export_family(card_of(repository, reference_file), repository, axes=axes_file)
    assert Descriptor.load(repository / "space_descriptor" / "1" / "space.json") == found
    assert found.fingerprint == plain.fingerprint
    assert found.sigmas == sigmas(Reference.load(reference_file))
    axis = found.axes["tension"]
    assert (axis.low, axis.high) == (("calm", "serene"), ("tense",))


def test_prompts_go_through_the_exported_encoder(
    repository: Path, reference_file: Path, axes_file: Path
) -> None:
    from resonance.export.onnx_export import cpu_session

    card = card_of(repository, reference_file)
    descriptor, _ = export_family(card, repository, axes=axes_file)
    session, tokenizer = cpu_session(repository / "transcript_encoder" / "1" / "model.onnx"), card.tokenizer()

    def block(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        return unit(session.run(None, {"IDS": ids, "MASK": np.ones_like(ids)})[0][0])

    expected = block("tense") - unit(block("calm") + block("serene"))
    np.testing.assert_allclose(descriptor.axes["tension"].direction, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ("calm", "tense " * 300, r"prompt 'tense tense .*' has \d+ tokens; expected at most \d+"),
        # white space is folded before tokens are counted
        ("so  tense", "so tense", "both ends lie in the same place; expected prompts of different meaning"),
    ],
    ids=["long", "alike"],
)
def test_prompts_that_the_encoder_cannot_use_are_refused(
    repository: Path, reference_file: Path, axes_file: Path, low: str, high: str, message: str
) -> None:
    before = contents(repository)
    axes_file.write_text(f'[[axes]]\nname = "tension"\nlow = ["{low}"]\nhigh = ["{high}"]\n')
    with pytest.raises(AxesFileError, match=rf"mine\.toml: axis 'tension': {message}"):
        export_family(card_of(repository, reference_file), repository, axes=axes_file)
    assert contents(repository) == before  # what is served goes on being so


def contents(repository: Path) -> dict[str, bytes]:
    return {str(p.relative_to(repository)): p.read_bytes() for p in repository.rglob("*") if p.is_file()}


def test_an_export_that_was_killed_leaves_nothing(repository: Path, reference_file: Path) -> None:
    card = card_of(repository, reference_file)
    left = repository / "space_descriptor" / "1" / ".export-killed" / "title_fusion" / "1" / "model.onnx.data"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another export")
    with only_export(repository):
        export_family(card, repository)
    assert not [name for name in contents(repository) if ".export" in name or name.endswith(".data")]


def test_a_model_may_stand_on_another_disk(
    repository: Path, reference_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = (repository / "audio_encoder").rename(tmp_path / "disk")
    (repository / "audio_encoder").symlink_to(disk)
    graph = disk / "1" / "model.onnx"
    exported = graph.read_bytes()
    graph.write_bytes(b"of before")

    def within_a_disk(move: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def checked(source: Path, target: Path) -> None:
            if len({disk in Path(path).resolve().parents for path in (source, target)}) > 1:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            move(source, target)

        return checked

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, within_a_disk(getattr(os, name)))
    export_family(card_of(repository, reference_file), repository)
    assert [path.name for path in graph.parent.iterdir()] == ["model.onnx"]
    assert graph.read_bytes() == exported


def test_a_folder_that_cannot_be_written_is_told_before_another_changes(
    repository: Path, reference_file: Path
) -> None:
    folder = repository / "title_fusion" / "1"
    shutil.rmtree(folder)
    folder.write_text("a file")
    before = contents(repository)
    with pytest.raises(FileExistsError, match="title_fusion"):
        export_family(card_of(repository, reference_file), repository)
    assert contents(repository) == before


@pytest.mark.parametrize("moved_by", [1e-5, 0.02])
def test_other_vectors_under_the_fingerprint_that_is_there_are_refused(
    repository: Path, moved_by: float
) -> None:
    golden = repository / "space_descriptor" / "1" / "golden.npz"
    with np.load(golden) as file:
        arrays = dict(file)
    arrays["audio"] = unit(arrays["audio"] + moved_by * np.sign(arrays["audio"]))
    np.savez_compressed(golden, **arrays)  # as of weights that another config.json was read with
    before = contents(repository)
    if moved_by < 1e-4:  # another processor's
        export_family(card_of(repository, None), repository)
        return
    with pytest.raises(ExportError, match=r"same fingerprint .* other vectors \(audio: cosine 0\.\d{6}\)"):
        export_family(card_of(repository, None), repository)
    assert contents(repository) == before
    arrays["ids"] = arrays["ids"][:-1]  # of a release with other golden inputs: nothing can be told
    np.savez_compressed(golden, **arrays)
    export_family(card_of(repository, None), repository)


def test_a_missing_reference_is_refused_before_anything_is_touched(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"gone\.npz: cannot be read"):
        export_family(card_of(repository, tmp_path / "gone.npz"), repository)
    assert (repository / "space_descriptor" / "1" / "space.json").exists()


def export_command(monkeypatch: pytest.MonkeyPatch, card: FamilyCard, *arguments: str | Path) -> str:
    """What `resonance export` of `card` says; its exit code first."""
    monkeypatch.setattr(families, "FAMILIES", {card.name: card})
    shown = CliRunner().invoke(make_app(), ["export", card.name, *map(str, arguments)])
    return f"{shown.exit_code} " + " ".join(shown.output.split())


def test_the_command_says_what_was_calibrated(
    repository: Path, reference_file: Path, axes_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--model-repository", repository)
    said = export_command(monkeypatch, card_of(repository, None), *where)
    assert said.startswith("0 ")
    assert "has no reference set: all sigmas are 1 and the space has no axes" in said
    said = export_command(monkeypatch, card_of(repository, reference_file), *where)
    assert said.endswith("tension, mood, pace, scale, warmth, gravity")
    said = export_command(monkeypatch, card_of(repository, reference_file), *where, "--axes", axes_file)
    assert "calibrated on" in said
    assert said.endswith(": tension")
    axes_file.write_text("[[axes]]\nname = 'calm'\n")
    said = export_command(monkeypatch, card_of(repository, reference_file), *where, "--axes", axes_file)
    assert said.startswith("1 ")
    assert "axis 'calm': low is missing; expected a list of prompts" in said
