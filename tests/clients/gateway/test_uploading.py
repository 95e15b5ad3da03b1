"""What is sent to a gateway beside the media: the subtitles that belong to them, and to nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

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


def test_subtitles_that_are_named_go_with_a_picture_for_the_server_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "film.srt").write_text(SRT)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "film.jpg")
    upload = open_upload(tmp_path / "film.jpg", transcript=tmp_path / "film.srt", name=None)
    assert upload.subtitles is not None
    upload.close()
