"""The main job against a real Triton: real media in, vectors out."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.errors import (
    InvalidFieldError,
    MediaError,
    NoModalityError,
    NotMediaError,
    ServerUnavailableError,
)
from resonance.clients.media.types import MediaInfo, SampledBy
from resonance.clients.results import MediaEmbedding, Segment
from resonance.serving.server import TritonServer
from resonance.space.errors import SpaceMismatchError

ROOT3 = 3**0.5
GOOD = "video/transcode_elf_hevc_aac.mp4"
ODD_TIMEOUT_S = 10.0


def check(result: MediaEmbedding) -> None:
    """What holds for every title."""
    assert result.title.shape == (1788,)
    assert result.title.dtype == np.float32
    assert result.title.flags.writeable  # as a gateway's client gives it, and torch asks for
    assert np.linalg.norm(result.title) == pytest.approx(1, abs=1e-5)
    assert sum(s.salience or 0 for s in result.segments) == pytest.approx(1, abs=1e-4)
    assert len(result.space.fingerprint) == 64
    for segment in result.segments:
        assert any(segment.present)
        assert segment.vector.flags.writeable
        blocks = segment.vector.reshape(3, 596) * ROOT3
        np.testing.assert_allclose(np.linalg.norm(blocks, axis=1), 1, atol=1e-5)
        if segment.start_s is not None and segment.end_s is not None:
            assert 0 <= segment.start_s <= segment.end_s
    for points in result.arcs.values():
        assert all(0 <= value <= 1 for _, value in points)


@pytest.mark.parametrize("kind", ["video", "audio", "image"])
async def test_every_real_file_embeds(embedder: Embedder, media: Path, kind: str) -> None:
    expected = {"video": "visual", "audio": "audio", "image": "visual"}[kind]
    paths = sorted((media / kind).iterdir())
    assert paths
    failed = []
    for path in paths:
        try:
            result = await embedder.embed(path)
            check(result)
            assert expected in result.modalities
        except (MediaError, AssertionError) as problem:
            failed.append(f"{path.name}: {problem!r}")
    assert not failed, "\n".join(failed)


async def test_odd_files_embed_or_fail_typed_and_quickly_and_harm_no_other(
    embedder: Embedder, media: Path, server: TritonServer
) -> None:
    expected = (await embedder.embed(media / GOOD)).title
    failed = []
    for path in sorted((media / "odd").iterdir()):
        good = asyncio.create_task(embedder.embed(media / GOOD))
        started = time.monotonic()
        try:
            check(await embedder.embed(path))
        except MediaError as error:
            text = str(error)
            if "\n" in text or "; expected " not in text:
                failed.append(f"{path.name}: not one clear line: {text!r}")
        except Exception as error:
            failed.append(f"{path.name}: {error!r}")
        took_s = time.monotonic() - started
        if took_s > ODD_TIMEOUT_S:
            failed.append(f"{path.name}: took {took_s:.1f} s")
        np.testing.assert_allclose((await good).title, expected, atol=1e-6, err_msg=path.name)
    assert not failed, "\n".join(failed)
    assert server.check() == []  # no stub died


async def test_the_same_media_twice_gives_the_same_vector(embedder: Embedder, media: Path) -> None:
    path = media / "video" / "animals_dog_by_fireplace_vfr.mp4"
    first, second = await embedder.embed(path), await embedder.embed(path)
    assert len(first.segments) == len(second.segments)
    np.testing.assert_allclose(first.title, second.title, atol=1e-6)
    for a, b in zip(first.segments, second.segments, strict=True):
        np.testing.assert_allclose(a.vector, b.vector, atol=1e-6)


async def test_path_bytes_and_file_object_are_the_same_media(embedder: Embedder, media: Path) -> None:
    path = media / GOOD
    results = [
        await embedder.embed(path),
        await embedder.embed(path.read_bytes(), name="bytes"),
        await embedder.embed(io.BytesIO(path.read_bytes()), name="object"),
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result.title, results[0].title, atol=1e-6)
    with path.open("rb") as file:
        np.testing.assert_allclose((await embedder.embed(file)).title, results[0].title, atol=1e-6)


async def test_alone_and_in_a_crowd_agree(embedder: Embedder, media: Path) -> None:
    paths = sorted((media / "image").iterdir())[:12]
    alone = [(await embedder.embed(p)).title for p in paths]
    crowd = await asyncio.gather(*(embedder.embed(p) for p in paths))
    for a, b in zip(alone, crowd, strict=True):
        assert float(a @ b.title) >= 0.99999


async def test_different_media_differ(embedder: Embedder, media: Path) -> None:
    paths = [media / "image" / n for n in ("food_cherries.jpg", "bird_peacock.jpg", "frame_bug.jpg")]
    titles = np.stack([(await embedder.embed(p)).title for p in paths])
    cosines = titles @ titles.T
    assert cosines[np.triu_indices(3, 1)].max() < 0.9999


async def test_uniform_sampling_sees_two_frames_a_second(embedder: Embedder, media: Path) -> None:
    result = await embedder.embed(media / "video" / "people_man_yellow_wall.mp4", sampling="uniform")
    check(result)
    first = result.segments[0]
    assert first.sampled_by is SampledBy.UNIFORM
    assert len(first.frame_times_s) == 16
    assert np.diff(first.frame_times_s) == pytest.approx(0.5, abs=0.06)


async def test_segments_arrive_before_the_title_and_in_order(embedder: Embedder, media: Path) -> None:
    parts = [p async for p in embedder.stream(media / "video" / "people_man_yellow_wall.mp4")]
    assert isinstance(parts[0], MediaInfo)
    assert isinstance(parts[-1], MediaEmbedding)
    streamed = parts[1:-1]
    assert [s.index for s in streamed if isinstance(s, Segment)] == [0, 1, 2]
    for early, late in zip(streamed, parts[-1].segments, strict=True):
        assert isinstance(early, Segment)
        np.testing.assert_array_equal(early.vector, late.vector)


async def test_text_alone(embedder: Embedder) -> None:
    sentence = await embedder.embed_text("A quiet harbour at dawn.")
    check(sentence)
    assert sentence.modalities == ("transcript",)
    assert sentence.segments[0].start_s is None
    article = await embedder.embed_text("The tide turned and the boats came home. " * 40)
    assert len(article.segments) > 3
    with pytest.raises(NoModalityError):
        await embedder.embed_text("  \n ")


async def test_transcript_from_a_sidecar_changes_the_transcript_alone(
    embedder: Embedder, media: Path
) -> None:
    video = media / "video" / "tabletop_toy_rabbit.mp4"
    without = await embedder.embed(video)
    words = await embedder.embed(video, transcript=media / "subtitles" / "tabletop_toy_rabbit.en.vtt")
    assert "transcript" not in without.modalities
    assert "transcript" in words.modalities
    a, b = (r.segments[0].vector.reshape(3, 596) for r in (without, words))
    np.testing.assert_allclose(a[:2], b[:2], atol=1e-6)
    assert words.segments[0].signals["words_per_second"]


async def test_embedded_subtitles_are_read(embedder: Embedder, media: Path) -> None:
    result = await embedder.embed(media / "video" / "people_dark_room_embedded_subs.m4v")
    assert "transcript" in result.modalities


async def test_a_server_of_another_space_is_refused(server: TritonServer, media: Path) -> None:
    async with Embedder(server.grpc_address, expected_fingerprint="0" * 64) as embedder:
        with pytest.raises(SpaceMismatchError, match="000000000000"):
            await embedder.embed(media / GOOD)


@pytest.mark.parametrize("server", ["127.0.0.1:1", "grpc://127.0.0.1:1"])
@pytest.mark.parametrize("cut", ["1a06db3c10ce", "AB" * 32, "zz", ""])
def test_a_fingerprint_that_is_none_is_refused(server: str, cut: str) -> None:
    with pytest.raises(InvalidFieldError, match=f"expected_fingerprint: '{cut}'; expected all 64"):
        Embedder(server, expected_fingerprint=cut)


async def test_no_server_is_a_typed_error(media: Path) -> None:
    async with Embedder("127.0.0.1:1") as embedder:
        with pytest.raises(ServerUnavailableError):
            await embedder.embed(media / GOOD)


async def test_leaving_a_stream_early_ends_its_threads(embedder: Embedder, media: Path) -> None:
    for _ in range(5):
        stream = embedder.stream(media / "video" / "fixedcam_people_at_table_139s.mp4")
        async for part in stream:
            if isinstance(part, Segment):
                break
        await stream.aclose()
    assert not [t for t in threading.enumerate() if t.name.startswith("resonance-read")]


class Camera:
    """A pipe without an end; it gives something every few milliseconds."""

    def __init__(self) -> None:
        self.reads = 0

    def seekable(self) -> bool:
        return False

    def read(self, size: int) -> bytes:
        self.reads += 1
        time.sleep(0.005)
        return bytes(1000)


async def test_leaving_ends_the_copying_of_a_pipe(server: TritonServer) -> None:
    """Else it fills the disk, and keeps the program from ending."""
    async with Embedder(server.grpc_address) as embedder:
        await embedder.space()  # connecting takes as long as it takes
        camera = Camera()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await embedder.embed(camera)  # type: ignore[arg-type]
    deadline_s = time.monotonic() + 5.0
    while any(t.name.startswith("resonance-source") for t in threading.enumerate()):
        assert time.monotonic() < deadline_s, "it is still copied"
        await asyncio.sleep(0.01)
    before = camera.reads
    assert before
    await asyncio.sleep(0.1)
    assert camera.reads == before
    assert not [t.name for t in threading.enumerate() if t.name.startswith("resonance-source")]


@pytest.mark.parametrize("ask", ["embed_text", "embed_query"])
async def test_text_that_is_not_utf8_is_refused(embedder: Embedder, ask: str) -> None:
    call = embedder.embed_text("caf\udce9") if ask == "embed_text" else embedder.embed_query(text="caf\udce9")
    with pytest.raises(NotMediaError, match="text that is not UTF-8; expected UTF-8 text"):
        await call
