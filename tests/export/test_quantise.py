"""8-bit artifacts: taken only where they equal fp32 and no row sees another, else fp32 stays."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner

from resonance.export import contract, onnx_files
from resonance.export.cards import FamilyCard, GraphCard
from resonance.export.families import FAMILIES
from resonance.export.int8_graphs import artifact_of, blocks_graph, linears, rows_graph, save
from resonance.export.onnx_export import cpu_session, make_inputs
from resonance.export.onnx_files import data_of, save_graph, size_of
from resonance.export.quantise import (
    BLOCKS,
    FP32,
    INDEPENDENCE,
    MIXED,
    ROWS,
    Candidate,
    _session_of,
    default_candidates,
    quantise_family,
    quantise_graph,
)
from resonance.export.reference import Reference, Row, read_reference
from resonance.export.report import artifact_table, verdict_lines
from resonance.loadtest.bench.int8_cpu import batch_scaled_graph
from resonance.space.descriptor import Descriptor
from tests.export.as_exported import graphs_of
from tests.lengths import short_and_whole

ENCODERS = ("visual_encoder", "audio_encoder", "transcript_encoder")


@pytest.fixture(scope="module")
def tiny() -> FamilyCard:
    return FAMILIES["tiny"]


@pytest.fixture
def fp32(model_repository: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an exported encoder that a test may replace."""

    def copied(name: str) -> Path:
        path = tmp_path / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        shutil.copy(model_repository / name / "1" / "model.onnx", path)
        assert artifact_of(path) == FP32
        return path

    return copied


def card_of(family: FamilyCard, name: str) -> GraphCard:
    return next(g for g in family.graphs if g.model == name)


def made_rows(name: str, count: int = 4) -> list[Row]:
    """Rows of noise, each at a level of its own: where rows shared a scale, the quiet ones would suffer."""
    rows = []
    for seed in range(count):
        inputs = make_inputs(contract.model(name), batch=1, seed=seed)
        if "PCM" in inputs:
            inputs["PCM"] *= np.float32(10.0**-seed)
        rows.append(Row(f"noise {seed}", inputs))
    return rows


def only(artifact: str, build: Callable[[Path], onnx.ModelProto]) -> Callable[..., Iterator[Candidate]]:
    """Candidates that are one."""

    def candidates(path: Path, card: GraphCard, rows: Sequence[Row]) -> Iterator[Candidate]:
        yield Candidate(artifact, lambda: build(path))

    return candidates


def linear_bytes(path: Path) -> int:
    """Size of the weights of the linear layers, of which 8 bits save three quarters; the rest of a file
    (convolutions, tables, the transform to a spectrum) stays as it is."""
    model = onnx.load(path)
    named = {i.name: i for i in model.graph.initializer}
    return sum(numpy_helper.to_array(named[layer.weight]).nbytes for layer in linears(model))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_artifact_that_holds_takes_the_place_of_fp32_and_says_so(
    name: str, fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    path = fp32(name)
    before, of_layers = path.stat().st_size, linear_bytes(path)
    report = quantise_graph(card_of(tiny, name), path, made_rows(name))
    assert report.chosen == artifact_of(path) == ROWS
    (trial,) = report.trials
    assert trial.min_cosine >= 0.999
    assert trial.batch_max_abs <= INDEPENDENCE
    assert trial.max_abs > 0  # it is not fp32 under another name
    assert path.stat().st_size == trial.size_bytes < before - 0.7 * of_layers
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", ENCODERS)
def test_dynamic_quantisation_over_the_batch_is_refused(
    name: str, fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    path = fp32(name)
    before = path.read_bytes()
    report = quantise_graph(card_of(tiny, name), path, made_rows(name), only("dynamic", batch_scaled_graph))
    (trial,) = report.trials
    assert trial.batch_max_abs > 10 * INDEPENDENCE
    assert any("alone and in a batch differ" in why for why in trial.refused)
    assert report.chosen == FP32
    assert path.read_bytes() == before


@pytest.mark.parametrize("build", [rows_graph, blocks_graph], ids=[ROWS, BLOCKS])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_is_the_same_in_every_batch(
    name: str, build: Callable[[Path], onnx.ModelProto], fp32: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    save(build(fp32(name)), path, "test")
    session = cpu_session(path)
    rows = [row.inputs for row in made_rows(name, 8)]
    alone = [session.run(None, row)[0][0] for row in rows]
    for size in (2, 3, 8):
        for start in range(0, 8 - size + 1, size):
            members = rows[start : start + size]
            together = session.run(None, {k: np.concatenate([m[k] for m in members]) for k in members[0]})[0]
            for i, vector in enumerate(together):
                np.testing.assert_allclose(vector, alone[start + i], atol=INDEPENDENCE, rtol=0)


def test_a_graph_below_the_floor_is_refused_by_name_and_fp32_kept(
    fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    def broken(path: Path) -> onnx.ModelProto:
        model = rows_graph(path)
        weight = next(i for i in model.graph.initializer if i.name.endswith("_int8"))
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        return model

    path = fp32("transcript_encoder")
    before = path.read_bytes()
    card, rows = card_of(tiny, "transcript_encoder"), made_rows("transcript_encoder")
    report = quantise_graph(card, path, rows, only("broken", broken))
    assert report.chosen == FP32
    assert path.read_bytes() == before
    assert report.trials[0].refused[0].startswith(f"cosine {report.trials[0].min_cosine:.6f} on noise")
    assert any("fp32 kept: no candidate held" in line for line in verdict_lines([report]))


def test_signals_are_held_to_their_tolerance(fp32: Callable[[str], Path], tiny: FamilyCard) -> None:
    def louder(path: Path) -> onnx.ModelProto:
        model = rows_graph(path)
        luma = next(i for i in model.graph.initializer if i.name == "signals.luma")
        luma.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(luma), luma.name))
        return model

    path = fp32("visual_encoder")
    card, rows = card_of(tiny, "visual_encoder"), made_rows("visual_encoder", 2)
    report = quantise_graph(card, path, rows, only("louder", louder))
    assert report.chosen == FP32
    assert report.trials[0].refused[0].startswith("VISUAL_SIGNALS differs by")


@pytest.mark.parametrize("name", ENCODERS)
def test_signals_and_front_ends_keep_their_constants(name: str, fp32: Callable[[str], Path]) -> None:
    path = fp32(name)
    session_in, session_out = cpu_session(path), path.with_name("int8.onnx")
    save(rows_graph(path), session_out, "test")
    floats = {
        i.name: numpy_helper.to_array(i)
        for i in onnx.load(session_out).graph.initializer
        if i.data_type == onnx.TensorProto.FLOAT
    }
    for constant in onnx.load(path).graph.initializer:
        if constant.name in ("reduce", "mel") or constant.name.startswith(("power.", "signals.")):
            np.testing.assert_array_equal(floats[constant.name], numpy_helper.to_array(constant))
    for row in made_rows(name):
        want, got = session_in.run(None, row.inputs), cpu_session(session_out).run(None, row.inputs)
        for a, b in zip(want[1:], got[1:], strict=True):
            np.testing.assert_array_equal(a, b)


def test_where_all_layers_fall_short_the_harmful_ones_stay_fp32(
    fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    path = fp32("transcript_encoder")
    card, rows = card_of(tiny, "transcript_encoder"), made_rows("transcript_encoder")
    whole = quantise_graph(card, path, rows, only(ROWS, rows_graph)).trials[0].min_cosine
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    path = fp32("transcript_encoder")
    halfway = 1 - (1 - whole) / 2
    strict = GraphCard(**{f: getattr(card, f) for f in card.__slots__} | {"artifact_floor": halfway})
    report = quantise_graph(strict, path, rows)
    assert [t.artifact for t in report.trials][:2] == [ROWS, MIXED]
    taken = report.taken()
    assert taken is not None
    assert taken.min_cosine >= halfway
    if taken.artifact == MIXED:
        assert 0 < taken.fp32_layers < taken.layers


def test_candidates_come_in_their_order_and_a_failing_one_is_only_a_line(
    fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    path = fp32("transcript_encoder")
    card, rows = card_of(tiny, "transcript_encoder"), made_rows("transcript_encoder")
    order = [c.artifact for c in default_candidates(path, card, rows)]
    assert order[0] == ROWS
    assert order[-1] == BLOCKS

    def impossible(path: Path) -> onnx.ModelProto:
        raise ValueError("no such thing\nwith details")

    report = quantise_graph(card, path, rows, only("impossible", impossible))
    assert report.trials[0].refused == ["cannot be made: no such thing"]
    assert report.chosen == FP32


@pytest.mark.parametrize("apart", ["fp32", "both"])
def test_weights_beside_the_graph_count_and_go_with_it(
    apart: str, fp32: Callable[[str], Path], tiny: FamilyCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, card = fp32("transcript_encoder"), card_of(tiny, "transcript_encoder")
    rows, whole, data = made_rows("transcript_encoder"), path.stat().st_size, data_of(path)
    monkeypatch.setattr(onnx_files, "MOST_INLINE_BYTES", 0)
    save_graph(onnx.load(path), path)
    before = path.stat().st_size + data.stat().st_size
    assert path.stat().st_size < 0.2 * before
    assert 0.9 * whole < before < 1.1 * whole
    in_memory = _session_of(onnx.load(path))  # a probe for the most harmful layers, as large as fp32
    for a, b in zip(*(s.run(None, rows[0].inputs) for s in (in_memory, cpu_session(path))), strict=True):
        np.testing.assert_array_equal(a, b)
    if apart == "fp32":
        monkeypatch.undo()
    report = quantise_graph(card, path, rows)
    assert report.fp32_bytes == before
    assert report.chosen == artifact_of(path) == ROWS
    assert data.exists() == (apart == "both")
    assert report.trials[-1].size_bytes == size_of(path) < before
    cpu_session(path).run(None, rows[0].inputs)


def test_blocks_are_made_without_a_line_for_every_node(
    fp32: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """onnxruntime's module is imported anew, as in a process that has set up no logging."""
    root = logging.getLogger()
    monkeypatch.delitem(sys.modules, "onnxruntime.quantization.matmul_nbits_quantizer", raising=False)
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    assert len(blocks_graph(fp32("transcript_encoder")).graph.node) > 100
    assert (root.handlers, root.level) == ([], level)
    assert capsys.readouterr() == ("", "")


def test_an_encoder_without_reference_media_stays_fp32(
    model_repository: Path, tmp_path: Path, tiny: FamilyCard
) -> None:
    repository = tmp_path / "models"
    for graph in tiny.graphs:
        shutil.copytree(model_repository / graph.model, repository / graph.model)
    fusion = (repository / "title_fusion" / "1" / "model.onnx").read_bytes()
    reference = Reference("made", {"transcript_encoder": made_rows("transcript_encoder")})
    reports = {r.model: r for r in quantise_family(tiny, repository, reference)}
    assert {name: r.chosen for name, r in reports.items()} == {
        "visual_encoder": FP32,
        "audio_encoder": FP32,
        "transcript_encoder": ROWS,
    }
    for name, report in reports.items():
        note = json.loads((repository / name / "1" / "artifact.json").read_text())
        assert note["artifact"] == report.chosen == artifact_of(repository / name / "1" / "model.onnx")
    assert "no reference media" in reports["audio_encoder"].note
    assert (repository / "title_fusion" / "1" / "model.onnx").read_bytes() == fusion
    assert not (repository / "title_fusion" / "1" / "artifact.json").exists()
    assert artifact_table(reports.values(), reference).row_count == 4


def test_a_film_of_a_codec_that_nothing_knows_is_counted_and_left_out(
    tmp_path: Path, model_repository: Path, tiny: FamilyCard
) -> None:
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in (av.VideoFrame(64, 64, "yuv420p"), None):
            container.mux(stream.encode(picture))
    written = film.read_bytes()
    film.write_bytes(written.replace(b"avc1", b"CRAW"))
    with av.open(str(film)) as container:
        assert container.streams.video[0].codec_context is None
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    reference = read_reference(tmp_path, descriptor, tiny.tokenizer())
    assert (reference.rows, reference.unreadable) == ({}, 1)
    film.write_bytes(written)
    assert len(read_reference(tmp_path, descriptor, tiny.tokenizer()).rows["visual_encoder"]) == 1


def test_a_picture_whose_chunks_are_broken_is_counted_and_left_out(
    tmp_path: Path, model_repository: Path, tiny: FamilyCard
) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(picture)
    written = picture.read_bytes()
    at = written.index(b"IDAT", written.index(b"IDAT") + 4)  # a second piece, met by the decoder
    picture.write_bytes(written[: at - 4] + b"\x01" + written[at - 4 :])
    with Image.open(picture) as opened, pytest.raises(SyntaxError):
        opened.load()
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    reference = read_reference(tmp_path, descriptor, tiny.tokenizer())
    assert (reference.rows, reference.unreadable) == ({}, 1)


def test_candidates_are_made_where_a_server_does_not_look(
    fp32: Callable[[str], Path], tiny: FamilyCard
) -> None:
    path, seen = fp32("transcript_encoder"), []

    def look(path: Path) -> onnx.ModelProto:
        seen.extend(file.name for file in path.parent.iterdir() if file != path)
        raise ValueError("enough")

    quantise_graph(
        card_of(tiny, "transcript_encoder"), path, made_rows("transcript_encoder"), only("none", look)
    )
    assert [name[0] for name in seen] == ["."]


@pytest.mark.parametrize("encoders", short_and_whole(("transcript_encoder",), ENCODERS))
def test_real_media_accept_8_bits_and_refuse_batch_scaling(
    media: Path,
    model_repository: Path,
    fp32: Callable[[str], Path],
    tiny: FamilyCard,
    encoders: Sequence[str],
) -> None:
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    reference = read_reference(media, descriptor, tiny.tokenizer())
    for name in encoders:
        rows = reference.rows[name]
        assert len(rows) >= 16
        assert len({row.label for row in rows}) >= 4
        path = fp32(name)
        refused = quantise_graph(card_of(tiny, name), path, rows[::3], only("dynamic", batch_scaled_graph))
        assert refused.chosen == FP32
        assert refused.trials[0].batch_max_abs > INDEPENDENCE
        assert quantise_graph(card_of(tiny, name), path, rows[::3]).chosen != FP32


def test_export_int8_from_the_command_line(tmp_path: Path, model_repository: Path) -> None:
    from resonance.clients.cli.main import make_app

    repository = tmp_path / "models"
    command = ["export", "tiny", "--int8", "--model-repository", str(repository)]
    with graphs_of(model_repository):
        result = CliRunner().invoke(make_app(), command)
    assert result.exit_code == 0, result.output
    for name in ENCODERS:
        folder = repository / name / "1"
        note = json.loads((folder / "artifact.json").read_text())
        assert note["artifact"].startswith("int8"), note
        assert artifact_of(folder / "model.onnx") == note["artifact"]
        assert "no real media was given" in note["reference"]
        fp32_file = model_repository / name / "1" / "model.onnx"
        saved = note["fp32_bytes"] - (folder / "model.onnx").stat().st_size
        assert saved > 0.7 * linear_bytes(fp32_file)
        assert note["fp32_bytes"] == pytest.approx(fp32_file.stat().st_size, rel=0.05)
    space = [
        Descriptor.load(r / "space_descriptor" / "1" / "space.json") for r in (repository, model_repository)
    ]
    assert space[0].fingerprint == space[1].fingerprint
