"""Axes of titles: per segment, as arcs and over the whole, up to the command against a real Triton."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance.clients.arcs import ARCS
from resonance.clients.axes import axis_arcs, segment_axes, title_axes
from resonance.clients.embedder import Embedder
from resonance.clients.media.types import SampledBy
from resonance.clients.results import Segment
from resonance.clients.sample import render_sample
from resonance.export import contract
from resonance.export.axes import DEFAULT_AXES
from resonance.export.build import export_family
from resonance.export.families import FAMILIES
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space import AxisMeter, Descriptor, join
from resonance.space.descriptor import MEASURED_ARCS, SignalSpec
from tests.export.as_exported import graphs_of
from tests.space.strategies import make_axis, make_descriptor, random_blocks, random_reference

AXES = {"tension": make_axis(), "mood": make_axis(low=("dark",), high=("bright", "sunny"))}
NAMES = ["tension", "mood", "pace", "scale", "warmth", "gravity"]
SIGNALS = {
    "visual": tuple(SignalSpec(*s) for s in contract.VISUAL_SIGNALS),
    "audio": tuple(SignalSpec(*s) for s in contract.AUDIO_SIGNALS),
}
values = st.floats(0, 1)


def segment(index: int, salience: float, **axes: float) -> Segment:
    return Segment(
        index=index,
        start_s=8.0 * index,
        end_s=8.0 * index + 8,
        present=(True, False, False),
        vector=np.zeros(1788, np.float32),
        signals={},
        sampled_by=SampledBy.NONE,
        frame_times_s=(),
        salience=salience,
        axes=axes,
    )


def test_no_axis_can_take_the_name_of_a_measured_arc() -> None:
    assert tuple(ARCS) == MEASURED_ARCS


def test_a_segment_has_a_value_for_each_axis() -> None:
    vector = join(random_blocks(0)).astype(np.float32)
    found = segment_axes(AxisMeter(AXES), vector, (True, False, True))
    assert list(found) == ["tension", "mood"]
    assert all(type(value) is float and 0 < value < 1 for value in found.values())
    assert segment_axes(AxisMeter({}), vector, (True, True, True)) == {}


@given(st.lists(st.tuples(values, st.floats(1e-6, 1)), min_size=1, max_size=20))
def test_a_title_lies_between_its_segments_by_their_salience(rows: list[tuple[float, float]]) -> None:
    total = sum(weight for _, weight in rows)
    segments = [segment(i, w / total, tension=v, mood=0.5) for i, (v, w) in enumerate(rows)]
    found = title_axes(AXES, segments)
    assert found["mood"].value == 0.5
    assert (found["mood"].low, found["mood"].high) == ("dark", "bright")
    assert found["tension"].value == pytest.approx(sum(v * w for v, w in rows) / total, abs=1e-9)
    assert min(v for v, _ in rows) <= found["tension"].value <= max(v for v, _ in rows)


@given(st.lists(values, max_size=20))
def test_arcs_of_axes_are_smooth_and_have_every_segment(row: list[float]) -> None:
    times_s = [4.0 + 8 * i for i in range(len(row))]
    arcs = axis_arcs(AXES, [(t, {"tension": v, "mood": 0.5}) for t, v in zip(times_s, row, strict=True)])
    assert [t for t, _ in arcs["tension"]] == times_s
    assert all(value == pytest.approx(0.5) for _, value in arcs["mood"])
    assert all(min(row) <= value <= max(row) for _, value in arcs["tension"])


class FakeTransport:
    """A server of text whose space.json can be replaced while it runs."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    async def infer(
        self, model: str, inputs: Mapping[str, Any], outputs: Sequence[str], *, timeout_s: float
    ) -> dict[str, Any]:
        if model == "space_descriptor":
            return {"SPACE": np.array([self.descriptor.to_json().encode()], object)}
        blocks = random_blocks(0).astype(np.float32)
        if model == "transcript_embedding":
            return {"TRANSCRIPT": blocks[2:]}
        assert model == "title_fusion"
        vector = join(blocks).astype(np.float32)
        return {"TITLE": vector, "SEGMENTS": vector[None], "SALIENCE": np.ones(1, np.float32)}

    async def close(self) -> None:
        """Nothing is open."""


async def test_corrected_axes_are_used_from_the_next_title_on() -> None:
    transport = FakeTransport(make_descriptor(axes={}, signals=SIGNALS))
    async with Embedder(transport=transport) as embedder:
        assert (await embedder.embed_text("words")).axes == {}
        first = await embedder.space()
        transport.descriptor = make_descriptor(axes=AXES, signals=SIGNALS)
        assert (await embedder.embed_text("words")).axes == {}  # its segments were read before
        assert (await embedder.space()).axes == AXES
        assert (await embedder.space()).fingerprint == first.fingerprint
        assert list((await embedder.embed_text("words")).axes) == list(AXES)


@pytest.fixture(scope="module")
def calibrated_server(
    model_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A real Triton whose space has the default axes, calibrated on random blocks."""
    folder = tmp_path_factory.mktemp("calibrated")
    reference = random_reference(0, 200)
    np.savez_compressed(folder / "reference.npz", blocks=reference.blocks, present=reference.present)
    repository = Path(shutil.copytree(model_repository, folder / "models"))
    plain = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
    card = replace(FAMILIES[plain.name], describe=lambda _: plain, reference=folder / "reference.npz")
    with graphs_of(model_repository):
        export_family(card, repository, axes=DEFAULT_AXES)
    with TritonServer(ServerSettings(model_repository=repository)) as running:
        yield running


async def test_a_text_reads_as_the_end_it_repeats(calibrated_server: TritonServer) -> None:
    async with Embedder(calibrated_server.grpc_address) as embedder:
        axes = (await embedder.space()).axes
        for name, axis in axes.items():
            low = await embedder.embed_text(axis.low[0])
            high = await embedder.embed_text(axis.high[0])
            assert low.axes[name].value < high.axes[name].value, name
            assert low.axes[name].low == axis.low[0]
            assert low.segments[0].axes[name] == pytest.approx(low.axes[name].value)
            assert low.arcs[name] == []  # text has no clock


async def test_stored_vectors_read_like_the_results(calibrated_server: TritonServer, tmp_path: Path) -> None:
    sample, _ = render_sample(tmp_path / "sample.mp4", 20.0)
    async with Embedder(calibrated_server.grpc_address) as embedder:
        meter = AxisMeter((await embedder.space()).axes)
        result = await embedder.embed(sample)
    again = meter.values(
        np.stack([s.vector for s in result.segments]), np.array([s.present for s in result.segments])
    )
    np.testing.assert_allclose(again, [[*s.axes.values()] for s in result.segments], atol=1e-9)
    assert [*result.arcs] == [*MEASURED_ARCS, *NAMES]


def test_the_command_writes_axes_as_json_parquet_and_picture(
    calibrated_server: TritonServer, tmp_path: Path
) -> None:
    sample, _ = render_sample(tmp_path / "sample.mp4", 20.0)
    command = [str(Path(sys.executable).with_name("resonance")), "embed", str(sample)]
    command += ["--server", calibrated_server.grpc_address]

    def run(*more: str | Path) -> str:
        shown = subprocess.run(
            [*command, *map(str, more)], capture_output=True, text=True, timeout=120, check=False
        )
        assert shown.returncode == 0, shown.stderr
        return shown.stdout

    table, picture = tmp_path / "out.parquet", tmp_path / "arcs.png"
    title = json.loads(run("--json", "--output", table, "--plot", picture))
    assert list(title["axes"]) == NAMES
    assert set(title["axes"]["tension"]) == {"value", "low", "high"}
    assert len(title["segments"]) == 3
    for name in NAMES:
        assert len(title["arcs"][name]) == 3
        assert all(0 <= s["axes"][name] <= 1 for s in title["segments"])
    row = pq.read_table(table).to_pylist()[0]
    assert dict(row["axes"]) == title["axes"]
    assert {name: [list(p) for p in points] for name, points in row["arcs"]} == title["arcs"]
    assert [dict(s["axes"]) for s in row["segments"]] == [s["axes"] for s in title["segments"]]
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = run()
    assert "axes tension 0." in said
    for word in (*NAMES, title["axes"]["tension"]["low"], title["axes"]["scale"]["high"]):
        assert word in said
    assert max(map(len, said.splitlines()[2:])) <= 80
