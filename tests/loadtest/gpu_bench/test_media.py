"""Films, decoding apart and NVDEC's part of it, as far as they run on a CPU."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from resonance.loadtest import films
from resonance.loadtest.gpu_bench import (
    child,
    decode_part,
    end_to_end_part,
    latency_part,
    media,
    nvdec,
    pipeline,
)
from resonance.loadtest.gpu_bench.apart import Apart, ApartError
from resonance.loadtest.gpu_bench.measure import Bench
from resonance.loadtest.gpu_bench.media import choose_keyframes
from resonance.loadtest.gpu_bench.results import PartResult
from resonance.loadtest.gpu_bench.timing import Deadline, StageClock
from resonance.serving.launch import die_with_parent
from tests.loadtest.gpu_bench.small import bench, quick_job


class Replayed:
    """In the place of a CUDA graph: does again what was captured, and writes over the output."""

    def __init__(self, call: Any) -> None:
        self.call, self.out = call, call()

    def replay(self) -> None:
        self.out.copy_(self.call())


def test_segments_from_a_graph_are_those_that_were_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(call: Any) -> tuple[Replayed, torch.Tensor]:
        graph = Replayed(call)
        return graph, graph.out

    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    clock, rng = StageClock("cpu"), np.random.default_rng(3)
    assert built.fixed(2, 4, 128_000).fed_by == "launches: no NVIDIA GPU"
    monkeypatch.setattr(pipeline, "has_graphs", lambda device: True)
    monkeypatch.setattr(pipeline, "captured", captured)
    fixed = built.fixed(2, 4, 128_000)
    assert fixed.fed_by == "CUDA graph"
    before = None
    for _ in range(2):
        frames = rng.integers(0, 256, (2, 4, 224, 224, 3), dtype=np.uint8)
        pcm, ids = (0.1 * rng.standard_normal((2, 128_000))).astype(np.float32), built.ids(2)
        want = built.vectors(frames, pcm, ids, StageClock("cpu"))
        torch.testing.assert_close(fixed.run(frames, pcm, ids, clock), want, atol=1e-5, rtol=0)
        assert before is None or not torch.allclose(want, before, atol=1e-3)
        before = want
    assert set(clock.read()) == {"copy", "graph"}


def test_segments_that_cannot_be_captured_are_launched_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(call: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    monkeypatch.setattr(pipeline, "has_graphs", lambda device: True)
    monkeypatch.setattr(pipeline, "captured", refuse)
    monkeypatch.setattr(pipeline, "device_lost", lambda device: False)
    fixed = built.fixed(1, 4, 128_000)
    assert fixed.fed_by.startswith("launches: the capture is refused (RuntimeError: operation not permitted")
    frames, pcm = np.zeros((1, 4, 224, 224, 3), np.uint8), np.zeros((1, 128_000), np.float32)
    assert fixed.run(frames, pcm, built.ids(1), StageClock("cpu")).isfinite().all()


def test_stretches_that_were_decoded_before_the_clock_ran_are_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers, stretch_s = 3, 0.1

    def read(path: str, first: int, count: int, sampling: str) -> media.Stretch:
        time.sleep(stretch_s)
        return media.Stretch(np.zeros(0, np.uint8), np.zeros(0, np.float32), {}, 0)

    monkeypatch.setattr(media, "read_stretch", read)
    fixed = pipeline.Fixed(lambda *segments: torch.ones(1), "launches")
    built: Any = SimpleNamespace(device="cpu", fixed=lambda *shape: fixed, ids=lambda segments: torch.ones(1))
    with ThreadPoolExecutor(workers) as pool:
        row: Any = end_to_end_part.run_decoded_here(pool, workers, built, Path("film"), 120, "uniform", 0.25)
    seconds_of_film_a_second = workers * end_to_end_part.SEGMENTS * media.SEGMENT_S / stretch_s
    # they all decode for as long as each other, so every round of them ends at once
    assert 0.6 < row["hours_per_hour"] / seconds_of_film_a_second < 1.02


def test_keyframes_nearest_to_the_quarters_are_chosen_once_and_in_order() -> None:
    times = [0.0, 2.0, 4.0, 6.0, 6.9, 8.0, 15.0]
    clips = choose_keyframes([(t, t) for t in times], 0.0, 3)
    assert [[t for t, _ in clip] for clip in clips] == [[0.0, 2.0, 4.0, 6.9], [8.0, 15.0], []]


def test_the_film_of_the_bars_is_one_as_services_stream_it() -> None:
    """The same rate, grain and encoder as the films that the CPU's figures are measured on."""
    streamed = films.streamed("h264", 1080)
    made_of = {"name": "", "loop_s": 0}
    assert replace(media.FILM, **made_of) == replace(streamed, **made_of)
    assert (
        media.FILM.loop_s % films.SCENE_S == 0
    )  # where the loop begins anew the picture changes as in a cut
    assert media.FILM.loop_s * media.FILM.bit_rate / 8 < 10e6  # and it is made in seconds
    assert set(media.LABELS) == {media.FILM, media.EASY_FILM, media.QUICK_FILM}


@pytest.mark.parametrize("keyframes_only", [False, True])
def test_dali_decodes_as_many_frames_as_it_is_asked_for(tmp_path: Path, keyframes_only: bool) -> None:
    from resonance.loadtest.gpu_bench.dali_decode import DaliDecoder, film_files

    film = next(f for f in media.CODECS if f.name == "vp9")
    path = media.make(replace(film, width=320, height=180, loop_s=4), tmp_path, whole=False)
    assert len(film_files(path, keyframes_only=True)) == 2
    decoder = DaliDecoder("cpu")
    assert not decoder.missing()
    assert decoder.frames_per_s(path, keyframes_only=keyframes_only, seconds=0.2) > 25
    h264 = media.make(replace(media.QUICK_FILM, loop_s=4), tmp_path, whole=False)
    with pytest.raises(RuntimeError):  # DALI on the CPU knows no H.264
        decoder.frames_per_s(h264, keyframes_only=keyframes_only, seconds=0.1)


def test_keyframes_that_dali_decodes_are_pyavs_and_become_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vp9 = next(f for f in media.CODECS if f.name == "vp9")
    film = replace(vp9, name="vp9_180p_1min", width=320, height=180, loop_s=6)
    path = media.make(film, tmp_path, whole=True)
    built = pipeline.Pipeline.build("cpu", torch.float32, quick=True, note=lambda text: None)
    decoder = nvdec.KeyframePictures("cpu", rows=32)
    assert not decoder.missing()
    decoded, encoded = (media.read_stretch(str(path), 0, 4, how) for how in ("keyframes", "encoded"))
    assert len(encoded.files) == 4 * media.KEYFRAMES
    assert encoded.frames.size == 0
    assert np.array_equal(encoded.pcm, decoded.pcm)
    pyav = decoded.frames.reshape(-1, 224, 224, 3).astype(np.int16)
    difference = np.abs(decoder.pictures(encoded.files).numpy() - pyav).mean(axis=(1, 2, 3))
    assert difference.max() < 5
    decoder.check(encoded.files)
    monkeypatch.setattr(nvdec, "pyav_picture", lambda file: np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match=r"picture \d+ of DALI, CPU differs from PyAV's by .* below 5"):
        decoder.check(encoded.files)
    monkeypatch.undo()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), die_with_parent) as pool:
        row = end_to_end_part.run_decoded_there(pool, 1, built, decoder, path, film.duration_s, 0.5)
    assert row["hours_per_hour"] > 0  # type: ignore[operator]
    assert row["cpu_decode_s_per_h"] == 0  # the workers decode sound alone
    assert row["decoder_busy"] > 0  # type: ignore[operator]
    assert row["frames_decoded_per_s"] == pytest.approx(row["hours_per_hour"] / 8 * 4)  # type: ignore[operator]
    found, segment = bench(0.0), latency_part.Segment(path)
    decoder = nvdec.KeyframePictures("cpu", rows=media.KEYFRAMES)
    alone = latency_part.measure_decoded_there(found, segment, built, decoder)
    assert alone["p95_ms"] >= alone["p50_ms"] > alone["decode_p50_ms"] > 0  # type: ignore[operator]
    assert len(segment.files()) == media.KEYFRAMES
    monkeypatch.setattr(nvdec, "pyav_picture", lambda file: np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match=r"picture \d+ of DALI, CPU differs from PyAV's"):
        latency_part.measure_decoded_there(found, segment, built, decoder)


def test_memory_that_dali_wrote_nothing_into_is_no_record(tmp_path: Path) -> None:
    from resonance.loadtest.gpu_bench.dali_decode import DaliRun, pyav_pictures

    film = next(f for f in media.CODECS if f.name == "vp9")
    path = media.make(replace(film, width=320, height=180, loop_s=4), tmp_path, whole=False)
    expected = pyav_pictures(path, 2, keyframes_only=True)
    decoder = DaliRun("cpu")
    got = [picture[None] for picture in expected] * 3
    decoder._check(path, got, 1, expected)
    with pytest.raises(ValueError, match=r"sample 1 of DALI, CPU differs .* by \d+\.\d of 255 levels"):
        decoder._check(path, [got[0], np.zeros_like(got[1])], 1, expected)
    with pytest.raises(ValueError, match=r"sample 0 .* expected below 5"):
        decoder._check(path, got[::-1], 1, expected)  # another keyframe's
    with pytest.raises(ValueError, match=r"gave \[1, 2\] frames a sample; expected 1"):
        decoder._check(path, [got[0], np.repeat(got[1], 2, 0)], 1, expected)
    with pytest.raises(ValueError, match="PyAV decodes 2 of the first 3 keyframes"):
        pyav_pictures(path, 3, keyframes_only=True)


def test_a_codec_that_dali_is_not_sent_is_skipped_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resonance.loadtest.gpu_bench import decode_part
    from resonance.loadtest.gpu_bench.dali_decode import DaliDecoder

    films = [f for f in media.CODECS if f.name in ("vp9", "av1")]
    small = tuple(replace(f, width=320, height=180, loop_s=4) for f in films)
    monkeypatch.setattr(media, "CODECS", small)
    monkeypatch.setattr(decode_part, "DECODERS", (DaliDecoder("cpu"),))
    result = PartResult()
    decode_part.measure_decode(Bench("cpu", torch.float32, False, 0.0, result, Deadline(60)), tmp_path)
    assert result.errors == []
    (row,) = result.rows
    assert row["codec"] == "vp9"
    assert row["frames_per_s"] > 0
    assert row["keyframes_per_s"] > 0
    (skipped,) = result.skipped
    assert skipped.startswith("av1, DALI, CPU: ")
    assert skipped.endswith("av1 is not sent to DALI, but to PyAV")


def sleep_and_tell(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"


def die() -> None:
    os._exit(3)


def refuse() -> None:
    raise ValueError("no such codec")


def test_what_hangs_or_dies_apart_takes_nothing_along() -> None:
    apart = Apart()
    with pytest.raises(ValueError, match="no such codec"):
        apart.call(refuse, timeout_s=30)
    assert apart.call(sleep_and_tell, 0.0, timeout_s=30) == "awake"
    with pytest.raises(ApartError, match=r"no answer within 0\.3 s"):
        apart.call(sleep_and_tell, 60.0, timeout_s=0.3)
    with pytest.raises(ApartError, match="exit code 3"):
        apart.call(die, timeout_s=30)
    assert apart.call(sleep_and_tell, 0.0, timeout_s=30) == "awake"
    apart.close()


def test_a_decoder_that_refuses_everything_is_told_and_has_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        name = "refusing"

        def missing(self) -> str:
            return ""

        def frames_per_s(self, path: Path, *, keyframes_only: bool, seconds: float) -> float:
            raise RuntimeError("no NVDEC here")

        def close(self) -> None:
            pass

    monkeypatch.setattr(media, "CODECS", (replace(media.QUICK_FILM, loop_s=4),))
    monkeypatch.setattr(decode_part, "DECODERS", (Refusing(),))
    found = bench(0.0)
    found.quick = False
    decode_part.measure_decode(found, tmp_path)
    assert found.result.rows == []
    assert len(found.result.errors) == 2


def test_processes_that_decode_have_no_torch(tmp_path: Path) -> None:
    """Of a part in a process of its own: Python tells every import of it and of those that it spawns."""
    job = quick_job(tmp_path, "end_to_end")
    ran = subprocess.run(
        [*child.PROGRAM, json.dumps(asdict(job))],
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0
    imported = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()]
    assert imported.count("resonance.loadtest.gpu_bench.media") == 2  # the part's own, and its decoder's
    assert imported.count("torch") == 1


def test_agreement_of_samplings_is_scored_right() -> None:
    from resonance.loadtest.bench.sampling import agreement

    uniform = np.eye(4, dtype=np.float32)
    same = agreement("same", list("abcd"), uniform, uniform)
    assert (same.cosine_min, same.finds_itself, same.same_nearest, same.between_others) == (1, 1, 1, 0)
    swapped = agreement("swapped", list("abcd"), uniform[[1, 0, 2, 3]], uniform)
    assert (swapped.cosine_min, swapped.finds_itself, swapped.least) == (0, 0.5, "a")
    with pytest.raises(ValueError, match="4 and 3 vectors; expected two or more, as many"):
        agreement("fewer", list("abcd"), uniform, uniform[:3])


def test_keyframes_decode_to_as_many_frames_as_the_film_has(tmp_path: Path) -> None:
    from resonance.loadtest.bench.decoding import measure_gain
    from resonance.loadtest.films import H264_2S

    # the middle of several: what else runs in this process may stretch one of them
    gain = measure_gain(replace(H264_2S, width=320, height=180, loop_s=4), tmp_path, rounds=9)
    assert (gain.frames, gain.keyframes) == (4 * 25, 2)
    assert gain.gain > 1
