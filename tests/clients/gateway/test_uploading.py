"""What is sent to a gateway beside the media: the subtitles that belong to them, and to nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from resonance.clients.errors import TranscriptError
from resonance.clients.gateway.uploading import open_upload
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


def test_subtitles_that_are_named_do_not_go_with_a_text(tmp_path: Path) -> None:
    """They would be left out without a word."""
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "a.srt").write_text(SRT)
    with pytest.raises(TranscriptError, match="subtitles for a text"):
        open_upload(tmp_path / "a.txt", transcript=tmp_path / "a.srt", name=None)


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
