"""What is sent to a gateway beside the media: the subtitles that belong to them, and to nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from resonance.clients.errors import TranscriptError
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.uploading import open_upload
from resonance.clients.media.reader import open_media
from resonance.space.descriptor import Descriptor
from tests.clients.media.synthetic import SRT, even_times, film


@pytest.mark.parametrize("named", ["film.jpg", "film.tbn"], ids=["by-its-name", "by-its-content"])
def test_subtitles_go_with_the_film_and_not_with_its_poster(named: str, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(film(even_times(2, 10), rate=10))
    (tmp_path / "film.srt").write_text(SRT)
    Image.new("RGB", (32, 32), "red").save(tmp_path / named, format="JPEG")
    for name, subtitles in (("film.mp4", SRT.encode()), (named, None)):
        upload = open_upload(tmp_path / name, transcript=None, name=None)
        try:
            assert (upload.subtitles.data if upload.subtitles else None) == subtitles
            assert upload.size_bytes == (tmp_path / name).stat().st_size
        finally:
            upload.close()


@pytest.mark.parametrize(("named", "kind"), [("a.txt", "a text"), ("b.srt", "subtitles")])
def test_subtitles_that_are_named_do_not_go_with_words(
    named: str, kind: str, tmp_path: Path, descriptor: Descriptor
) -> None:
    """They would be left out without a word."""
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / named).write_text(SRT)
    with pytest.raises(TranscriptError, match=f"subtitles for {kind}"):
        open_upload(tmp_path / named, transcript=tmp_path / "a.srt", name=None)
    with pytest.raises(TranscriptError, match=f"subtitles for {kind}"):
        open_media(tmp_path / named, descriptor, transcript=tmp_path / "a.srt")


async def test_a_file_is_closed_that_was_being_opened_when_the_upload_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    upload = open_upload(tmp_path / "film.mp4", transcript=None, name=None)
    opening, opened = threading.Event(), list[BinaryIO]()

    def slowly() -> BinaryIO:
        opening.set()
        time.sleep(0.2)
        opened.append((tmp_path / "film.mp4").open("rb"))
        return opened[0]

    monkeypatch.setattr(upload.source, "open", slowly)
    sending = asyncio.create_task(anext(upload.chunks()))
    assert await asyncio.to_thread(opening.wait, 5.0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.sleep(0.3)
    assert [file.closed for file in opened] == [True]


def test_subtitles_that_are_named_go_with_a_picture_for_the_server_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "film.srt").write_text(SRT)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "film.jpg")
    upload = open_upload(tmp_path / "film.jpg", transcript=tmp_path / "film.srt", name=None)
    assert upload.subtitles is not None
    upload.close()


SENDS_STDIN = """
import asyncio, sys
from resonance.clients.gateway.uploading import open_upload

async def main():
    upload = open_upload(sys.stdin.buffer, transcript=None, name=None)
    async with asyncio.timeout(0.2):
        await anext(upload.chunks())

try:
    asyncio.run(main())
except TimeoutError:
    print("left")
"""
COPIES_STDIN = """
import sys
from resonance.clients.errors import MediaStalledError
from resonance.clients.media.source import MediaSource
from resonance.clients.media.types import Limits

try:
    MediaSource(sys.stdin.buffer, name=None, limits=Limits(stall_timeout_s=0.2))
except MediaStalledError:
    print("left")
"""


@pytest.mark.parametrize("program", [SENDS_STDIN, COPIES_STDIN], ids=["sent", "copied"])
def test_a_program_ends_as_ever_that_left_standard_input_while_it_waited(program: str) -> None:
    """Python closes it in the end, and aborts where a thread sits in a read of it."""
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert (running.stdout.read(), running.stderr.read()) == (b"left\n", b"")
        assert running.wait(10.0) == 0


async def test_what_is_buffered_of_a_pipe_is_sent_too() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as sender:
        sender.write(b"header\nmedia")
        sender.flush()
        assert pipe.readline() == b"header\n"
        sender.write(b" and more")
        sender.close()
        upload = open_upload(pipe, transcript=None, name=None)
        assert b"".join([chunk.data async for chunk in upload.chunks()]) == b"media and more"
        upload.close()
        assert not pipe.closed


@pytest.mark.parametrize("ended", [False, True])
async def test_a_pipe_that_was_opened_here_is_closed_at_once(tmp_path: Path, ended: bool) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    sender = asyncio.create_task(asyncio.to_thread(fifo.open, "wb", buffering=0))
    upload = await asyncio.to_thread(open_upload, fifo, transcript=None, name=None)
    with await sender as sending:
        chunks = upload.chunks()
        sending.write(b"film")
        assert (await anext(chunks)).data == b"film"
        if ended:
            sending.close()
            assert [chunk async for chunk in chunks] == []
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(chunks)
        async with asyncio.timeout(2.0):
            await asyncio.to_thread(upload.close)
        assert upload.pipe is not None
        assert upload.pipe.closed


@pytest.mark.parametrize("asked", ["stream", "embed_query"])
async def test_pipes_without_a_sender_keep_none_of_the_loops_threads(
    impatient: GatewayEmbedder, tmp_path: Path, asked: str
) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(max_workers=1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        await impatient.space()
        if asked == "stream":
            opening = asyncio.ensure_future(impatient.embed(fifo))
        else:
            opening = asyncio.ensure_future(impatient.embed_query([("image", fifo)]))
        try:
            await asyncio.sleep(0.2)
            async with asyncio.timeout(2.0):
                assert await asyncio.to_thread(lambda: "free") == "free"
            assert not opening.done()
        finally:
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))  # the thread that was left behind ends
