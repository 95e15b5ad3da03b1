"""Opening media anywhere: ranges alone are transferred, and a fault of a store is not one of the media."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import pytest

from resonance.clients.errors import (
    CredentialsError,
    DeadlineExceededError,
    NotMediaError,
    ServerFaultError,
    ServerUnavailableError,
    TranscriptError,
    UsageError,
)
from resonance.clients.ingest.errors import SourceUnavailableError
from resonance.clients.ingest.file_systems import asked, file_system
from resonance.clients.ingest.opening import (
    BLOCK_BYTES,
    content_hash,
    identity,
    open_uri,
    read_subtitles,
)
from resonance.clients.ingest.uris import beside, local_path, suffix
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import SegmentInput
from resonance.serving.ports import choose_ports
from tests.clients.ingest.object_stores import S3, RangeServer, gcs_server, gcsfs, s3_server
from tests.clients.media.conftest import make_descriptor
from tests.clients.media.same import assert_same

SUBTITLES = b"1\n00:00:00,000 --> 00:00:02,000\nhello\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as store:
        yield store


@pytest.fixture(scope="module")
def films(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real film with sound, again and again: some three minutes, its index at the end and at the start."""
    folder = tmp_path_factory.mktemp("films")
    source = media / "video" / "tabletop_toy_crystal.mp4"
    for name, options in (("end.mp4", {}), ("start.mp4", {"movflags": "faststart"}), ("film.mkv", {})):
        _repeat(source, folder / name, times=16, options=options)
    return folder


def _repeat(source: Path, path: Path, *, times: int, options: dict[str, str]) -> None:
    with av.open(str(path), "w", options=options) as out:
        with av.open(str(source)) as first:
            streams = {s.index: out.add_stream_from_template(s) for s in first.streams.get()}
        shift_s = Fraction(0)
        for _ in range(times):
            with av.open(str(source)) as film:
                length_s = Fraction(film.duration or 0, av.time_base)
                for packet in film.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    ticks = int(shift_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
            shift_s += length_s


@pytest.fixture
def server(films: Path) -> Iterator[RangeServer]:
    with closing(RangeServer(films)) as running:
        yield running


def _segments(source: Path | io.IOBase, name: str = "film") -> list[SegmentInput]:
    with open_media(source, make_descriptor(), name=name) as reader:  # type: ignore[arg-type]
        return list(reader.segments())


@pytest.mark.parametrize("name", ["end.mp4", "start.mp4", "film.mkv"])
def test_a_film_is_transferred_once_and_not_much_more(name: str, films: Path, server: RangeServer) -> None:
    size_bytes = (films / name).stat().st_size
    assert size_bytes > 20 * BLOCK_BYTES  # far more than what is held of it
    with open_uri(f"{server.url}/{name}") as file:
        far = _segments(file)
    assert_same(far, _segments(films / name))
    assert len(far) > 20
    assert size_bytes <= server.sent_bytes <= 1.25 * size_bytes
    assert max(size for _, size in server.sent) <= BLOCK_BYTES


def test_of_a_film_that_is_only_looked_into_little_is_transferred(films: Path, server: RangeServer) -> None:
    size_bytes = (films / "end.mp4").stat().st_size
    with open_uri(f"{server.url}/end.mp4") as file:
        assert file.read(8)[4:] == b"ftyp"
        file.seek(-64, io.SEEK_END)
        assert file.read() == (films / "end.mp4").read_bytes()[-64:]
    assert server.sent_bytes <= 4 * BLOCK_BYTES < size_bytes / 4


@pytest.mark.parametrize("first", [1, 4, 12])
def test_a_store_that_breaks_off_is_not_taken_for_a_film_that_ends(first: int, server: RangeServer) -> None:
    with open_uri(f"{server.url}/end.mp4") as file:
        server.fails_at = range(server.calls + first, 1000)
        with pytest.raises((ServerUnavailableError, ServerFaultError), match=r"end\.mp4"):
            _segments(file)


@pytest.mark.parametrize("first", [1, 4, 12])
def test_a_call_that_broke_off_once_is_made_again(first: int, films: Path, server: RangeServer) -> None:
    with open_uri(f"{server.url}/end.mp4") as file:
        server.fails_at = [server.calls + first]
        assert_same(_segments(file), _segments(films / "end.mp4"))
    assert server.calls > first


@pytest.mark.parametrize("name", ["end.mp4", "start.mp4", "film.mkv"])
@pytest.mark.parametrize("at", [2, 21])
def test_one_read_that_failed_is_not_left_out(name: str, at: int, films: Path) -> None:
    """Though the next ones succeed: demuxers would go on behind the gap."""
    inner = (films / name).open("rb")
    reads = 0

    class Failing(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal reads
            reads += 1
            if reads - 1 == at:
                raise OSError("reset once")
            return super().read(size)

    class Store(fsspec.AbstractFileSystem):  # type: ignore[misc]
        protocol = "failing"

        def open(self, path: str, *args: object, **options: object) -> Failing:
            return Failing(inner.raw)  # type: ignore[attr-defined]

    fsspec.register_implementation("failing", Store, clobber=True)
    with open_uri(f"failing://{name}") as file, pytest.raises(ServerFaultError, match="reset once"):
        _segments(file)
    assert reads > at


def test_a_server_without_ranges_is_refused(server: RangeServer) -> None:
    server.ranges = False
    with pytest.raises(NotMediaError, match="answers ranges"):
        open_uri(f"{server.url}/end.mp4")


def test_a_server_that_is_not_there_may_come_back() -> None:
    port = choose_ports("127.0.0.1", {"store": 0})["store"]
    with pytest.raises(SourceUnavailableError, match=f"127.0.0.1:{port}.*does not answer.*Connect"):
        open_uri(f"http://127.0.0.1:{port}/film.mp4")


def test_an_object_of_s3_is_known_by_its_etag_and_read_in_ranges(s3: S3, films: Path) -> None:
    data = (films / "start.mp4").read_bytes()[: 5 * BLOCK_BYTES + 7]
    s3.put("library/a/Film #1 [x]?.mp4", data)
    uri = "s3://library/a/Film #1 [x]?.mp4"
    known = identity(uri)
    assert known.size_bytes == len(data)
    assert known.version is not None
    assert known.version.startswith("etag:")
    assert content_hash(uri) == known.version
    with open_uri(uri) as file:
        file.seek(4 * BLOCK_BYTES - 3)
        assert file.read(10) == data[4 * BLOCK_BYTES - 3 : 4 * BLOCK_BYTES + 7]
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]
    s3.put("library/a/Film #1 [x]?.mp4", b"another")
    assert identity(uri).version != known.version


def test_subtitles_of_a_store_count_in_what_a_title_is_known_by(s3: S3) -> None:
    s3.put("library/film.mp4", b"film")
    s3.put("library/film.srt", SUBTITLES)
    alone, both = (
        content_hash("s3://library/film.mp4"),
        content_hash("s3://library/film.mp4", "s3://library/film.srt"),
    )
    assert alone != both
    s3.put("library/film.srt", SUBTITLES.replace(b"hello", b"howdy"))
    assert content_hash("s3://library/film.mp4", "s3://library/film.srt") != both
    assert identity("s3://library/film.mp4", "s3://library/film.srt") != identity("s3://library/film.mp4")
    assert read_subtitles("s3://library/film.srt").data.endswith(b"howdy\n")


@pytest.mark.parametrize("uri", ["s3://library/none.mp4", "s3://no-such-bucket/film.mp4"])
def test_what_a_store_does_not_have_is_the_title_s_own_fault(s3: S3, uri: str) -> None:
    for ask in (open_uri, identity, content_hash):
        with pytest.raises(NotMediaError, match=uri):
            ask(uri)


def test_keys_that_a_store_does_not_know_are_nobody_s_media_s_fault(s3: S3) -> None:
    s3.put("library/film.mp4", b"film")
    s3.take_no_strangers()
    try:
        for ask in (open_uri, identity, content_hash):
            with pytest.raises(CredentialsError, match="credentials that the store takes"):
                ask("s3://library/film.mp4")
    finally:
        s3.take_strangers()
    assert identity("s3://library/film.mp4").size_bytes == 4


def test_google_s_store() -> None:
    data = os.urandom(100) * 1000
    with gcs_server() as store:
        store.pipe("library/film.mp4", data)
        known = identity("gs://library/film.mp4")
        assert known.size_bytes == len(data)
        assert known.version is not None
        assert known.version.startswith("md5hash:")
        with open_uri("gs://library/film.mp4") as file:
            file.seek(70_001)
            assert file.read() == data[70_001:]
        with pytest.raises(NotMediaError, match="none"):
            identity("gs://library/none.mp4")


def test_of_a_file_system_that_knows_no_versions_the_bytes_are_read() -> None:
    fsspec.filesystem("memory").pipe("/library/film.mp4", b"film")
    assert identity("memory://library/film.mp4").version is None
    assert content_hash("memory://library/film.mp4") == _blake2b(b"film")


def _blake2b(data: bytes) -> str:
    return f"blake2b:{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def test_a_local_file_is_known_by_its_time_and_hashed_by_its_bytes(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    before = identity(str(film))
    assert before == identity(film.as_uri())
    assert content_hash(str(film)) == _blake2b(b"film")
    (tmp_path / "film.en.srt").write_bytes(SUBTITLES)
    assert identity(str(film)) != before
    assert content_hash(str(film)) == f"{_blake2b(b'film')}+{_blake2b(SUBTITLES)}"
    (tmp_path / "film.en.srt").unlink()
    assert identity(str(film)) == before
    os.utime(film, ns=(0, 0))
    assert identity(str(film)) != before
    assert content_hash(str(film)) == _blake2b(b"film")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, came in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe.mp4", "pipe"),
        (Path("/dev/zero"), "device"),
        (tmp_path / "none.mp4", "No such file"),
        (tmp_path / ("x" * 300), "name too long"),
        (tmp_path / "a\0b", "null byte"),
    ):
        began_s = time.monotonic()
        with pytest.raises(NotMediaError, match=came):
            content_hash(str(path))
        assert time.monotonic() - began_s < 1


def test_a_scheme_that_nothing_reads() -> None:
    with pytest.raises(NotMediaError, match="nope"):
        open_uri("nope://library/film.mp4")
    with pytest.raises(UsageError, match="adlfs"):  # a package that is not installed here
        open_uri("abfs://library/film.mp4")


def test_a_transcript_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match="SubRip"):
        read_subtitles(str(tmp_path / "film.pdf"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("gone"), SourceUnavailableError),
        (TimeoutError("late"), DeadlineExceededError),
        (OSError(5, "Input/output error"), ServerFaultError),
        (gcsfs.retry.HttpError({"code": 401, "message": "Invalid Credentials"}), CredentialsError),
        (gcsfs.retry.HttpError({"code": 500, "message": "oops"}), ServerFaultError),
        (OSError("Forbidden: b/library/o"), NotMediaError),
        (ValueError("not JSON"), ServerFaultError),
        (KeyError("items"), ServerFaultError),
    ],
)
def test_what_errors_of_stores_mean(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"gs://library/film\.mp4"):
        asked("gs://library/film.mp4", _raising(error))


def _raising(error: Exception) -> Callable[[], None]:
    def ask() -> None:
        raise error

    return ask


def test_paths_and_uris() -> None:
    assert local_path("film.mp4") == Path("film.mp4")
    assert local_path("file:///library/a%20film.mp4") == Path("/library/a film.mp4")
    assert local_path("s3://library/film.mp4") is None
    assert beside("s3://library/lists/list.csv", "../film.mp4") == "s3://library/film.mp4"
    assert beside("/library/list.csv", "film.mp4") == "/library/film.mp4"
    assert beside("/library/list.csv", "s3://other/film.mp4") == "s3://other/film.mp4"
    assert suffix("s3://library/FILM.MP4") == ".mp4"


def test_google_s_file_system_is_given_a_timeout() -> None:
    with gcs_server():
        system, _ = file_system("gs://library/film.mp4")
        assert isinstance(system, gcsfs.GCSFileSystem)
        assert system.requests_timeout == 15.0


def test_subtitles_belong_to_a_film_and_not_to_its_poster(tmp_path: Path) -> None:
    """New subtitles would embed the poster again."""
    names = ("film.mp4", "film.jpg", "film.PNG", "film.txt")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())

    def seen() -> list[tuple[str | None, str]]:
        return [(identity(str(tmp_path / n)).version, content_hash(str(tmp_path / n))) for n in names]

    before = seen()
    (tmp_path / "film.srt").write_bytes(SUBTITLES)
    film, *others = seen()
    assert film[0] != before[0][0]
    assert film[1].startswith(f"{before[0][1]}+")
    assert others == before[1:]
