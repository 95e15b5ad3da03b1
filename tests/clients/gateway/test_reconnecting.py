"""A title over calls that break: each segment once, in order, then the title, or one clear error."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resonance.clients.credentials import Credentials
from resonance.clients.errors import (
    AuthenticationError,
    CorruptMediaError,
    CredentialsError,
    DeadlineExceededError,
    MediaLimitError,
    NotMediaError,
    NotResumableError,
    OverloadedError,
    ServerFaultError,
    ServerUnavailableError,
    SpaceChangedError,
    SupersededError,
    TranscriptError,
    UsageError,
)
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.retrying import Retrying, RetryPolicy
from resonance.clients.gateway.titles import UploadProgress
from resonance.clients.gateway.uploading import CHUNK_BYTES
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceMismatchError
from resonance.v1 import embedding_pb2 as pb
from tests.clients.gateway.broken_gateway import BrokenGateway, Call, completes, hangs, make_segment
from tests.clients.gateway.conftest import FAST

GONE = ServerUnavailableError("shutting down", retry_after_s=0.05)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(3 * CHUNK_BYTES + 5))
    return path


async def parts_of(
    embedder: GatewayEmbedder, source: Path | bytes | io.IOBase, **options: object
) -> list[Part]:
    return [part async for part in embedder.stream(source, **options)]  # type: ignore[arg-type]


async def test_a_title_goes_on_where_calls_break(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    async def first(call: Call) -> None:
        await call.begun.wait()
        await call.answer(info=pb.MediaInfo(container="mov", duration_s=32.0))
        await call.segment(0)
        await call.segment(2)  # a window without content is left out
        await call.fail(GONE)

    async def second(call: Call) -> None:
        await call.complete.wait()
        await call.fail(OverloadedError("full", retry_after_s=0.01))

    async def third(call: Call) -> None:
        await call.complete.wait()
        await call.answer(info=pb.MediaInfo(container="mov", duration_s=32.0))
        await call.segment(3)
        await call.title(3)

    broken.scripts = [first, second, third]
    content = await asyncio.to_thread(film.read_bytes)
    began = time.monotonic()
    parts = await parts_of(impatient, film)
    assert time.monotonic() - began > 0.06  # both waits that were asked for
    assert [type(p).__name__ for p in parts] == [
        "MediaInfo",
        "Segment",
        "Segment",
        "Segment",
        "MediaEmbedding",
    ]
    assert [p.index for p in parts if isinstance(p, Segment)] == [0, 2, 3]
    title = parts[-1]
    assert isinstance(title, MediaEmbedding)
    assert [s.index for s in title.segments] == [0, 2, 3]
    assert title.media == str(film)
    assert [call.stored for call in broken.calls] == [[], [0, 2], [0, 2]]
    assert len({call.start.idempotency_key for call in broken.calls}) == 1
    assert len(broken.calls[0].start.idempotency_key) == 32
    whole = b"".join(data for _, data in sorted(broken.calls[2].received.items()))
    assert whole == content
    assert broken.calls[2].start.size_bytes == len(whole)


async def test_the_index_at_the_end_of_an_mp4_is_sent_first(
    broken: BrokenGateway, impatient: GatewayEmbedder, tmp_path: Path
) -> None:
    def box(kind: bytes, size: int) -> bytes:
        return size.to_bytes(4, "big") + kind + os.urandom(size - 8)

    broken.scripts = [completes]
    film = box(b"ftyp", 32) + box(b"mdat", 2 * CHUNK_BYTES) + box(b"moov", CHUNK_BYTES + 7)
    await parts_of(impatient, film)
    received = broken.calls[0].received
    index_at = 32 + 2 * CHUNK_BYTES
    assert [at for at in received if at >= index_at] == [index_at, index_at + CHUNK_BYTES]
    assert list(received).index(index_at + CHUNK_BYTES) < min(
        n for n, at in enumerate(received) if len(received[at]) > 64 and at < index_at
    )
    assert b"".join(data for _, data in sorted(received.items())) == film


async def test_the_callers_own_segments_are_stored_and_not_handed_out_again(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    async def script(call: Call) -> None:
        await call.complete.wait()
        await call.segment(200)
        await call.title(201)

    broken.scripts = [script]
    done = [make_segment(i) for i in range(200)]  # 1.5 MB: more than one message
    parts = await parts_of(impatient, film, done=done)
    assert [p.index for p in parts if isinstance(p, Segment)] == [200]
    assert broken.calls[0].stored == list(range(200))
    assert isinstance(parts[-1], MediaEmbedding)
    assert len(parts[-1].segments) == 201


async def test_it_gives_up_after_its_attempts_and_raises_the_last_error(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    async def script(call: Call) -> None:
        await call.fail(GONE)

    broken.scripts = [script]
    with pytest.raises(ServerUnavailableError, match="shutting down"):
        await parts_of(impatient, film)
    assert len(broken.calls) == FAST.attempts


@pytest.mark.parametrize(
    "error",
    [
        CorruptMediaError("film", "nothing", "a film"),
        SupersededError("another call took its place"),
        AuthenticationError("no token"),
        DeadlineExceededError("no message for 60 s"),
    ],
)
async def test_what_would_fail_again_is_raised_at_once(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path, error: Exception
) -> None:
    async def script(call: Call) -> None:
        await call.fail(error)

    broken.scripts = [script]
    with pytest.raises(type(error)):
        await parts_of(impatient, film)
    assert len(broken.calls) == 1


async def test_a_refusal_in_the_middle_of_an_upload_arrives_as_what_it_is(
    broken: BrokenGateway, impatient: GatewayEmbedder, tmp_path: Path
) -> None:
    """Writes that fail because the call is over must not hide why it is."""
    big = tmp_path / "big.mp4"
    with big.open("wb") as file:
        file.truncate(64 << 20)

    async def refuses(call: Call) -> None:
        await call.begun.wait()
        await call.fail(MediaLimitError("big", "64 MiB", "less"))

    async def title(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await call.title(1)

    for _ in range(20):
        broken.scripts, broken.calls = [refuses], []
        with pytest.raises(MediaLimitError, match="64 MiB"):
            await parts_of(impatient, big)
        broken.scripts, broken.calls = [title], []
        parts = await parts_of(impatient, big)
        assert isinstance(parts[-1], MediaEmbedding)
        assert len(broken.calls) == 1


async def test_a_pipe_is_sent_as_it_comes_and_cannot_be_resumed(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    async def breaks(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await call.fail(GONE)

    for script, error in ((completes, None), (breaks, NotResumableError)):
        broken.scripts, broken.calls = [script], []
        read_end, write_end = os.pipe()
        os.write(write_end, b"x" * 1000)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            if error is None:
                await parts_of(impatient, pipe, name="pipe")
                assert broken.calls[0].received == {0: b"x" * 1000}
                assert broken.calls[0].start.size_bytes == 0
            else:
                with pytest.raises(error, match="after 1 segments") as refused:
                    await parts_of(impatient, pipe, name="pipe")
                assert refused.value.retry_after_s == GONE.retry_after_s  # for who has the media once more
                assert len(broken.calls) == 1


async def test_a_pipe_that_waits_for_its_sender_keeps_no_other_call_from_its_thread(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    """A handful of cameras or slow browsers took all threads of the loop, and nothing else went on."""

    broken.scripts = [completes]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as pipe, os.fdopen(write_end, "wb") as sender:
        waiting = asyncio.create_task(impatient.embed(pipe, name="camera"))
        await asyncio.sleep(0.3)  # it reads
        async with asyncio.timeout(2.0):
            await asyncio.to_thread(time.sleep, 0)
            await impatient.embed_text("meanwhile")
        sender.write(b"picture")
        sender.close()
        await waiting
    assert broken.calls[0].received == {0: b"picture"}


async def cancelled(call: Call) -> None:
    """Wait until the server knows."""
    async with asyncio.timeout(5.0):
        await call.cancelled.wait()


async def test_leaving_early_cancels_the_call(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    broken.scripts = [hangs]
    stream = impatient.stream(film)
    async for part in stream:
        assert isinstance(part, Segment)
        break
    await stream.aclose()
    await cancelled(broken.calls[0])


async def test_a_cancelled_caller_is_cancelled_and_so_is_its_call(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    broken.scripts = [hangs]
    stream = impatient.stream(film)
    await anext(stream)
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await cancelled(broken.calls[0])


async def test_leaving_while_a_slow_file_is_read_stops_nobody_else(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    """As one of a network's: what is under way cannot be cut short, and the loop must not wait for it."""
    reading = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reading.set()
            time.sleep(1.0)
            return super().read(size)

    async def script(call: Call) -> None:
        await asyncio.Event().wait()

    broken.scripts = [script]
    embedding = asyncio.create_task(impatient.embed(Slow(b"film")))
    assert await asyncio.to_thread(reading.wait, 5.0)
    embedding.cancel()
    started = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - started < 0.5
    with pytest.raises(asyncio.CancelledError):
        await embedding


async def test_closing_the_embedder_ends_a_title_with_an_error(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    broken.scripts = [hangs]
    stream = impatient.stream(film)
    await anext(stream)
    await impatient.close()
    with pytest.raises(UsageError, match="closed here"):
        await anext(stream)


async def test_a_silent_gateway_is_given_up(broken: BrokenGateway, film: Path) -> None:
    async def script(call: Call) -> None:
        await asyncio.Event().wait()

    broken.scripts = [script]
    async with GatewayEmbedder(broken.address, retries=FAST, silence_s=0.3) as embedder:
        with pytest.raises(DeadlineExceededError, match="nothing answered"):
            await parts_of(embedder, film)


async def test_a_gateway_that_takes_nothing_stops_the_reading(
    broken: BrokenGateway, impatient: GatewayEmbedder, tmp_path: Path
) -> None:
    """A file of 256 MiB against a gateway that reads one chunk: it stays on disk."""
    big = tmp_path / "big.mp4"
    with big.open("wb") as file:
        file.truncate(256 << 20)
    broken.read_media = False
    asked = asyncio.Event()

    async def script(call: Call) -> None:
        await asyncio.sleep(1.0)
        asked.set()
        await call.segment(0)
        await call.title(1)

    broken.scripts = [script]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = await parts_of(impatient, big)
    assert isinstance(parts[-1], MediaEmbedding)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 48 * 1024
    assert len(broken.calls[0].received) == 1


async def test_a_malformed_answer_is_the_servers_fault(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path
) -> None:
    async def nan(call: Call) -> None:
        message = pb.Segment(index=0, present=pb.Presence(audio=True), vector=[float("nan")] * 1788)
        await call.answer(segment=message)
        await asyncio.Event().wait()

    async def twice(call: Call) -> None:
        await call.segment(0)
        await call.segment(0)

    async def no_title(call: Call) -> None:
        await call.answer(info=pb.MediaInfo(container="mov"))

    for script, words in ((nan, r"vector\[0\]"), (twice, "index"), (no_title, "without a title")):
        broken.scripts = [script]
        with pytest.raises(ServerFaultError, match=words):
            await parts_of(impatient, film)


async def test_another_space_than_before_is_told_and_asked_anew(
    broken: BrokenGateway, impatient: GatewayEmbedder, film: Path, descriptor: Descriptor
) -> None:
    async def script(call: Call) -> None:
        await call.fail(SpaceMismatchError(call.start.expected_fingerprint, "cd" * 32, "the server"))

    broken.scripts = [script]
    with pytest.raises(SpaceChangedError, match="cdcdcdcdcdcd"):
        await parts_of(impatient, film)
    assert broken.spaces_asked == 1
    await impatient.space()
    assert broken.spaces_asked == 2
    async with GatewayEmbedder(broken.address, expected_fingerprint="ab" * 32) as strict:
        with pytest.raises(SpaceMismatchError):
            await parts_of(strict, film)
    async with GatewayEmbedder(broken.address, expected_fingerprint=descriptor.fingerprint) as strict:
        with pytest.raises(SpaceMismatchError):
            await parts_of(strict, film)


async def test_what_goes_with_a_call(broken: BrokenGateway, tmp_path: Path) -> None:
    async def script(call: Call) -> None:
        await call.complete.wait()
        await call.answer(progress=pb.Progress(received_bytes=7, segments=1, media_s=8.0))
        await call.segment(0)
        await call.title(1)

    broken.scripts = [script]
    text, srt, film, token = (tmp_path / n for n in ("a.md", "a.srt", "film.mp4", "token"))
    text.write_bytes(b"\xef\xbb\xbfna\xc3\xafve")
    srt.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    (tmp_path / "film.en.vtt").write_bytes(b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n")
    film.write_bytes(b"not read here")
    token.write_text("t0ken\n")
    heard: list[UploadProgress] = []
    async with GatewayEmbedder(broken.address, credentials=Credentials(token_file=token)) as embedder:
        await parts_of(embedder, text)
        await parts_of(embedder, srt)
        await parts_of(embedder, film, sampling="uniform", on_progress=heard.append)
        await parts_of(embedder, film, transcript=srt)
        await parts_of(embedder, b"bytes", name="n" * 600)
        await embedder.embed_text("words", name="t")
    starts = [call.start for call in broken.calls]
    assert [s.mode for s in starts] == [3, 4, 1, 1, 1, 3]
    assert [s.subtitles.format for s in starts] == ["", "srt", "vtt", "srt", "", ""]
    assert broken.calls[0].received[0] == "naïve".encode()
    assert broken.calls[1].received[0] == srt.read_bytes()
    assert starts[1].subtitles.data == b""
    assert starts[2].subtitles.data.startswith(b"WEBVTT")
    assert [s.sampling for s in starts] == [0, 0, 2, 0, 0, 0]
    assert starts[4].media_id == "n" * 512
    assert {call.metadata["authorization"] for call in broken.calls} == {"Bearer t0ken"}
    assert heard == [UploadProgress(7, 1, 8.0)]


async def test_what_cannot_be_sent_is_refused_here(impatient: GatewayEmbedder, tmp_path: Path) -> None:
    film, empty = tmp_path / "film.mp4", tmp_path / "empty.mp4"
    film.write_bytes(b"x")
    empty.touch()
    for source, options, error in (
        (tmp_path / "none.mp4", {}, NotMediaError),
        (empty, {}, NotMediaError),
        (tmp_path, {}, NotMediaError),
        (io.StringIO("text"), {}, UsageError),
        (film, {"sampling": "often"}, UsageError),
        (film, {"transcript": tmp_path / "none.srt"}, TranscriptError),
        (film, {"transcript": film}, TranscriptError),
    ):
        with pytest.raises(error):
            await parts_of(impatient, source, **options)  # type: ignore[arg-type]
    with pytest.raises(CredentialsError):
        GatewayEmbedder("broken.example:8080", credentials=Credentials(token="abc"))  # noqa: S106


def test_waits_grow_are_random_and_end() -> None:
    policy = RetryPolicy(attempts=5, retry_for_s=100.0, first_wait_s=1.0, most_wait_s=3.0)
    retrying = Retrying(policy, chance=lambda: 1.0)
    plain = ServerFaultError("x")
    assert [retrying.next_wait_s(plain) for _ in range(5)] == [1.0, 2.0, 3.0, 3.0, None]
    retrying.progressed()
    assert retrying.next_wait_s(OverloadedError("x", retry_after_s=10.0)) == 11.0
    assert retrying.next_wait_s(OverloadedError("x", retry_after_s=1000.0)) is None
    assert Retrying(policy, chance=lambda: 0.0).next_wait_s(plain) == 0.0
    short = OverloadedError("x", retry_after_s=0.25)
    assert [retrying.next_wait_s(short) for _ in range(9)] == [1.25] * 9  # a full server is no failure
    retrying.progressed()
    assert [retrying.next_wait_s(OverloadedError("x", retry_after_s=s)) for s in (0.0, 2.0)] == [
        1.0,
        4.0,
    ]  # those are
    assert retrying.next_wait_s(plain) == 3.0
    assert Retrying(RetryPolicy(attempts=1)).next_wait_s(short) is None  # one try is one
    for wrong in ({"attempts": 0}, {"retry_for_s": -1.0}, {"most_wait_s": float("inf")}):
        with pytest.raises(UsageError):
            RetryPolicy(**wrong)  # type: ignore[arg-type]
