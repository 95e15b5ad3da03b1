"""A live stream over calls and addresses that break: it goes on with what happens then."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from resonance.clients.errors import (
    DeadlineExceededError,
    InvalidFieldError,
    NotMediaError,
    NotResumableError,
    ServerUnavailableError,
    UsageError,
)
from resonance.clients.gateway import live
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.live import LiveStream
from resonance.clients.pipeline import Part
from resonance.clients.results import MediaEmbedding, Segment
from tests.clients.gateway.broken_gateway import BrokenGateway, Call, make_segment

GONE = ServerUnavailableError("shutting down", retry_after_s=0.6)
PACKET = b"\x47" + bytes(187)
MPEG_TS = 8 * PACKET
AFTERWARDS = 3 * PACKET
MATROSKA = b"\x1aE\xdf\xa3" + bytes(2000)


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, Callable[[bytes], None], Callable[[], None]]]:
    """What is read, what is written to it, and its end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as read, os.fdopen(writing, "wb", buffering=0) as write:
        yield read, lambda data: None if write.write(data) == len(data) else pytest.fail("cut"), write.close


async def breaks(call: Call) -> None:
    await call.begun.wait()
    await call.segment(0)
    await call.segment(1)
    await call.title(2, rolling=True)
    await call.fail(GONE)


async def goes_on(call: Call) -> None:
    await call.begun.wait()
    await call.segment(2)
    await call.complete.wait()
    await call.title(3)


async def follow(embedder: GatewayEmbedder, stream: LiveStream, found: list[object]) -> None:
    """What came, and that it broke."""
    async for part in embedder.follow(stream, on_break=lambda error: found.append("broke")):
        found.append(told(part))


def told(part: Part) -> object:
    if isinstance(part, Segment):
        return part.index
    assert isinstance(part, MediaEmbedding)
    return "so far" if part.rolling else "in all", len(part.segments)


async def test_a_pipe_goes_on_with_what_happens_after_a_break(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    broke, again = asyncio.Event(), asyncio.Event()

    async def first(call: Call) -> None:
        broke.set()
        await breaks(call)

    async def second(call: Call) -> None:
        again.set()
        await goes_on(call)

    async def send(write: Callable[[bytes], None], end: Callable[[], None]) -> None:
        write(MPEG_TS)
        await broke.wait()
        await asyncio.sleep(0.3)  # of the 0.6 s that the gateway asks for
        write(b"lost")
        await again.wait()
        write(AFTERWARDS)
        end()

    broken.scripts = [first, second]
    broke_with: list[Exception] = []
    found: list[object] = []
    with pipe() as (read, write, end):
        sending = asyncio.create_task(send(write, end))
        stream = LiveStream(read, name="cam-1")
        async for part in impatient.follow(stream, rolling_every=2, on_break=broke_with.append):
            found.append(told(part))
        await sending
    assert found == [0, 1, ("so far", 2), 2, ("in all", 3)]
    (error,) = broke_with
    assert isinstance(error, ServerUnavailableError)
    one, other = broken.calls
    assert (one.start.live, one.start.rolling_title_segments, one.start.media_id) == (True, 2, "cam-1")
    assert one.start == other.start
    assert (one.stored, other.stored) == ([], [0, 1])
    assert one.received == {0: MPEG_TS}
    assert other.received == {0: AFTERWARDS}


async def test_what_cannot_be_read_from_its_middle_is_not_sent_from_there(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    broken.scripts = [breaks, goes_on]
    found: list[object] = []
    with pipe() as (read, write, _):
        write(MATROSKA)
        with pytest.raises(NotResumableError, match=r"^cam-1: .* from its middle; send MPEG-TS") as raised:
            await follow(impatient, LiveStream(read, name="cam-1"), found)
    assert found == [0, 1, ("so far", 2)]  # it does not go on
    assert raised.value.retry_after_s == pytest.approx(GONE.retry_after_s)
    assert len(broken.calls) == 1


async def test_a_stream_that_was_not_begun_waits_for_the_gateway(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    async def refuses(call: Call) -> None:
        await call.fail(ServerUnavailableError("starting", retry_after_s=0.01))

    broken.scripts = [refuses, goes_on]
    with pipe() as (read, write, end):
        stream = LiveStream(read, name="cam-1")
        writing = asyncio.get_running_loop().call_later(0.3, lambda: (write(MATROSKA), end()))
        found = [
            told(part) async for part in impatient.follow(stream, done=[make_segment(0), make_segment(1)])
        ]
        writing.cancel()
    assert found == [2, ("in all", 3)]
    assert broken.calls[-1].stored == [0, 1]
    assert broken.calls[-1].received == {0: MATROSKA}


async def test_an_end_from_outside_brings_the_title(
    broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    broken.scripts = [goes_on]
    found: list[object] = []
    with pipe() as (read, write, _):
        stream = LiveStream(read)
        assert stream.name == "media"
        write(MPEG_TS)
        async with asyncio.timeout(5):
            async for part in impatient.follow(stream, done=[make_segment(0), make_segment(1)]):
                found.append(told(part))
                stream.end()
        assert not read.closed  # the caller's own
    assert found == [2, ("in all", 3)]


@pytest.mark.parametrize("by", ["itself", "the caller"])
async def test_what_ends_while_no_call_is_there_has_a_title(
    by: str, broken: BrokenGateway, impatient: GatewayEmbedder
) -> None:
    async def takes_the_rest(call: Call) -> None:
        await call.complete.wait()
        assert not call.received
        await call.fail(NotMediaError("cam-1", "no bytes at all", "a container"))

    broken.scripts = [breaks, takes_the_rest]
    found: list[object] = []
    with pipe() as (read, write, end):
        write(MPEG_TS)
        stream = LiveStream(read, name="cam-1")
        async for part in impatient.follow(stream):
            found.append(told(part))
            if found[-1] == ("so far", 2):
                end() if by == "itself" else stream.end()
    assert found == [0, 1, ("so far", 2), ("in all", 2)]


async def test_a_stream_that_pauses_is_waited_for(broken: BrokenGateway, impatient: GatewayEmbedder) -> None:
    async def pauses(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await call.segment(1)
        await call.fail(DeadlineExceededError("nothing came for 120 s"))

    broken.scripts = [pauses, goes_on]
    found: list[object] = []
    with pipe() as (read, write, end):
        write(MPEG_TS)
        stream = LiveStream(read, name="cam-1")
        async for part in impatient.follow(stream):
            found.append(told(part))
            if found[-1] == 1:
                asyncio.get_running_loop().call_later(0.5, lambda: (write(AFTERWARDS), end()))
    assert found == [0, 1, 2, ("in all", 3)]


async def test_a_title_of_no_segments_is_refused(impatient: GatewayEmbedder) -> None:
    with pipe() as (read, _, _), pytest.raises(InvalidFieldError, match="rolling_every"):
        await anext(impatient.follow(LiveStream(read), rolling_every=0))


async def test_a_path_waits_for_its_sender(
    broken: BrokenGateway, impatient: GatewayEmbedder, tmp_path: Path
) -> None:
    broken.scripts = [goes_on]
    path = tmp_path / "camera"
    os.mkfifo(path)
    writing = asyncio.create_task(asyncio.to_thread(path.write_bytes, MPEG_TS))
    done = [make_segment(0), make_segment(1)]
    found = [told(part) async for part in impatient.follow(LiveStream(path), done=done)]
    await writing
    assert found == [2, ("in all", 3)]
    assert broken.calls[0].start.media_id == str(path)
    for other, came in (
        (tmp_path / "none", "a path where nothing is"),
        (Path(__file__), "a file that is whole"),
    ):
        with pytest.raises(UsageError, match=rf"came {came}; expected a pipe or an address"):
            LiveStream(str(other))


class Camera:
    """An address whose first answer breaks off, which is away for a while, and then ends."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, url: str, name: str) -> Camera:
        self.opened.append(url)
        if len(self.opened) == 2:
            raise NotMediaError(
                name, "it cannot be opened (Connection refused)", "an address that sends media"
            )
        reading, writing = os.pipe()
        self.pipe = os.fdopen(reading, "rb")
        os.write(writing, MPEG_TS)
        os.close(writing)
        self.fault = NotMediaError(name, "it broke off", "a stream") if len(self.opened) == 1 else None
        return self

    def close(self) -> None:
        self.pipe.close()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    camera = Camera()
    monkeypatch.setattr(live, "Remuxed", camera)
    return camera


async def test_an_address_that_breaks_off_is_opened_again(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera
) -> None:
    async def first(call: Call) -> None:
        await call.complete.wait()
        await call.segment(0)
        await call.segment(1)
        await call.title(2)

    broken.scripts = [first, goes_on]
    url = "rtsp://anna:secret@camera/1?key=secret"
    found = [told(part) async for part in impatient.follow(LiveStream(url))]
    # of the call that broke off nothing is lost, and it is not the end
    assert found == [0, 1, ("so far", 2), 2, ("in all", 3)]
    assert camera.opened == [url] * 3
    assert [call.stored for call in broken.calls] == [[], [0, 1]]
    assert {call.start.media_id for call in broken.calls} == {"rtsp://camera/1"}


async def test_an_address_without_an_end_is_opened_again_at_its_end(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera
) -> None:
    async def another(call: Call) -> None:
        at = 2 * len(broken.calls) - 2
        await call.complete.wait()
        await call.segment(at)
        await call.segment(at + 1)
        await call.title(at + 2)

    broken.scripts = [another]
    stream = LiveStream("rtsp://camera/1", endless=True)
    found: list[object] = []
    async for part in impatient.follow(stream):
        found.append(told(part))
        if found[-1] == 5:
            stream.end()
    # its end is that of the caller: the last title is of all
    assert found == [0, 1, ("so far", 2), 2, 3, ("so far", 4), 4, 5, ("so far", 6), ("in all", 6)]
    with pipe() as (read, _, _), pytest.raises(UsageError, match="a pipe without an end"):
        LiveStream(read, endless=True)


async def test_an_address_is_opened_once_at_a_time(camera: Camera) -> None:
    with closing(LiveStream("rtsp://camera/1")) as stream:
        await stream.open()
        pipe = camera.pipe
        camera.opened.append("another")  # the next one finds it
        await stream.open()
        assert pipe.closed
        assert not camera.pipe.closed
    assert camera.pipe.closed


async def test_who_leaves_while_an_address_is_opened_leaves_nothing_open(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, answered, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(url: str, name: str) -> Camera:
        answered.set()
        assert answers.wait(5)
        return camera(url, name)

    monkeypatch.setattr(live, "Remuxed", slow)
    monkeypatch.setattr(camera, "close", closed.set, raising=False)
    with closing(LiveStream("rtsp://camera/1")) as stream:
        opening = asyncio.create_task(stream.open())
        await asyncio.to_thread(answered.wait, 5)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    answers.set()
    assert await asyncio.to_thread(closed.wait, 5)
    camera.pipe.close()


def test_an_address_that_makes_no_sense_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no address; expected one such as rtsp://") as raised:
        LiveStream("http://anna:secret@[bad")
    assert "secret" not in str(raised.value)


async def test_an_end_is_heard_while_the_next_try_is_waited_for(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera
) -> None:
    async def full(call: Call) -> None:
        await call.begun.wait()
        await call.segment(0)
        await call.fail(ServerUnavailableError("shutting down", retry_after_s=8))

    broken.scripts = [full]
    stream = LiveStream("rtsp://camera/1")
    found: list[object] = []
    async with asyncio.timeout(5):
        async for part in impatient.follow(stream):
            found.append(told(part))
            if found == [0]:
                asyncio.get_running_loop().call_later(0.3, stream.end)
    assert found == [0, ("in all", 1)]
    assert camera.opened == ["rtsp://camera/1"]


async def test_an_end_is_heard_while_an_address_is_opened_again(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first(call: Call) -> None:
        await call.complete.wait()
        await call.segment(0)
        await call.title(1)

    async def nothing_more(call: Call) -> None:
        await call.complete.wait()
        await call.fail(NotMediaError("cam-1", "no bytes at all", "a container"))

    answers = threading.Event()

    def hangs(url: str, name: str) -> Camera:
        if camera.opened:
            assert answers.wait(20)
        return camera(url, name)

    monkeypatch.setattr(live, "Remuxed", hangs)
    broken.scripts = [first, nothing_more]
    stream = LiveStream("rtsp://camera/1")
    found: list[object] = []
    try:
        async with asyncio.timeout(5):
            async for part in impatient.follow(stream):
                found.append(told(part))
                if found[-1] == ("so far", 1):
                    asyncio.get_running_loop().call_later(0.5, stream.end)
    finally:
        answers.set()
    assert found == [0, ("so far", 1), ("in all", 1)]


async def test_an_address_that_was_never_there_is_told_at_once(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera
) -> None:
    camera.opened.append("another")  # so that the next one finds nobody
    with pytest.raises(NotMediaError, match=r"^rtsp://camera/1: .*refused"):
        await follow(impatient, LiveStream("rtsp://camera/1"), [])
    assert not broken.calls


async def test_an_address_that_stays_away_is_given_up(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(url: str, name: str) -> Camera:
        if not camera.opened:
            return camera(url, name)
        raise NotMediaError(name, "it cannot be opened (Connection refused)", "an address that sends media")

    async def first(call: Call) -> None:
        await call.complete.wait()
        await call.segment(0)
        await call.title(1)

    monkeypatch.setattr(live, "Remuxed", away)
    broken.scripts = [first]
    found: list[object] = []
    with pytest.raises(NotMediaError, match="refused"):
        await follow(impatient, LiveStream("rtsp://camera/1"), found)
    assert found == [0, ("so far", 1), "broke"]  # once, however often it was tried


async def test_who_leaves_ends_the_call_and_what_was_opened(
    broken: BrokenGateway, impatient: GatewayEmbedder, camera: Camera
) -> None:
    async def first(call: Call) -> None:
        await call.segment(0)
        await asyncio.Event().wait()

    broken.scripts = [first]
    async with aclosing(impatient.follow(LiveStream("rtsp://camera/1"))) as parts:
        assert told(await anext(parts)) == 0
    await asyncio.wait_for(broken.calls[0].cancelled.wait(), 5)
    assert camera.pipe.closed
