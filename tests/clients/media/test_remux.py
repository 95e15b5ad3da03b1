"""What an address sends, repacked: every picture and sample, nothing of this machine, no password told."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from resonance.clients.errors import NotMediaError
from resonance.clients.media import remux
from resonance.clients.media.remux import Remuxed, is_address, told_address
from tests.clients.media.synthetic import film, read_number

RATE = 10
TIMES_S = [n / RATE for n in range(30)]


class Site:
    """Files at an address of the loopback. `pause` after so many bytes of a film: nothing more comes."""

    def __init__(self, files: dict[str, bytes], pause: int | None) -> None:
        self.over = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = files.get(self.path.partition("?")[0].strip("/"))
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:pause])
                if pause is not None:
                    site.over.wait()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def site(files: dict[str, bytes], *, pause: int | None = None) -> Iterator[str]:
    with closing(Site(files, pause)) as running:
        yield running.address


def with_sound(data: bytes, container: str, codec: str) -> bytes:
    """The film with a second stream: three seconds of silence."""
    output = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(output, "w", format=container) as target:
        pictures = target.add_stream_from_template(source.streams.video[0], opaque=True)
        sound = target.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame(
            format="s16" if codec == "pcm_s16le" else "flt" if codec == "libopus" else "fltp",
            layout="mono",
            samples=3 * 48_000,
        )
        frame.sample_rate, frame.pts = 48_000, 0
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        packets = [*sound.encode(frame), *sound.encode(None)]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        target.mux(packets)
    return output.getvalue()


@pytest.mark.parametrize(
    ("container", "video", "audio", "repacked"),
    [
        ("mpegts", "libx264", "aac", "mpegts"),
        ("flv", "libx264", "aac", "mpegts"),
        ("matroska", "libx264", "libopus", "mpegts"),
        ("webm", "libvpx-vp9", "libopus", "matroska,webm"),
        ("matroska", "libx264", "pcm_s16le", "matroska,webm"),
    ],
)
def test_every_picture_comes_through(container: str, video: str, audio: str, repacked: str) -> None:
    options = {"deadline": "realtime"} if video == "libvpx-vp9" else {"preset": "ultrafast"}
    container_first = "matroska" if container == "flv" else container
    data = film(TIMES_S, codec=video, container=container_first, gop=10, rate=RATE, options=options)
    with site({"live": with_sound(data, container, audio)}) as address:
        remuxed = Remuxed(f"http://{address}/live", "live")
        with closing(remuxed):
            sent = remuxed.pipe.read()
        assert remuxed.fault is None
    with av.open(io.BytesIO(sent)) as found:
        assert found.format.name == repacked
        assert {s.type for s in found.streams} == {"video", "audio"}
        numbers = [read_number(f.to_ndarray(format="rgb24")) for f in found.decode(video=0)]
    assert numbers == list(range(len(TIMES_S)))


def test_a_clock_that_begins_anew_goes_on() -> None:
    """As where the sender was started again, or a broadcast joins in another one."""
    data = film(TIMES_S, container="mpegts", gop=10, rate=RATE)
    with site({"live": data * 2}) as address, closing(Remuxed(f"http://{address}/live", "live")) as remuxed:
        sent = remuxed.pipe.read()
    with av.open(io.BytesIO(sent)) as found:
        frames = [(f.time, read_number(f.to_ndarray(format="rgb24"))) for f in found.decode(video=0)]
    assert [number for _, number in frames] == list(range(len(TIMES_S))) * 2
    times = [time for time, _ in frames]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx((2 * len(TIMES_S) - 1) / RATE, abs=1 / RATE)


def test_a_playlist_plays_what_is_at_its_address_and_opens_no_file(tmp_path: Path) -> None:
    data = film(TIMES_S, container="mpegts", gop=10, rate=RATE)
    (tmp_path / "private.ts").write_bytes(data)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
    files = {
        "near.m3u8": playlist.format("part.ts").encode(),
        "part.ts": data,
        "evil.m3u8": playlist.format(f"file://{tmp_path}/private.ts").encode(),
    }
    with site(files) as address:
        with closing(Remuxed(f"http://{address}/near.m3u8", "near")) as remuxed:
            assert len(remuxed.pipe.read()) > len(data) // 2
        with pytest.raises(NotMediaError, match=r"^evil: it cannot be opened"):
            Remuxed(f"http://{address}/evil.m3u8", "evil")


def test_what_cannot_be_opened_is_told_without_passwords() -> None:
    with site({"page": b"<html>no film</html>"}) as address:
        for path, why in (("none", "404 Not Found"), ("page", "Invalid data")):
            url = f"http://anna:secret@{address}/{path}?token=secret"
            with pytest.raises(NotMediaError, match=why) as raised:
                Remuxed(url, told_address(url))
            assert str(raised.value).startswith(f"http://{address}/{path}: ")
            assert "secret" not in str(raised.value)
    with pytest.raises(NotMediaError, match="Connection refused"):
        Remuxed("rtsp://127.0.0.1:9/1", "camera")
    for url in ("file:///etc/passwd", "concat://a", "srt://127.0.0.1:9"):
        assert is_address(url)
        with pytest.raises(NotMediaError, match=r"an address of '.*'; expected rtsp:// or rtmp://"):
            Remuxed(url, "camera")
    assert not is_address("a film.ts")
    assert not is_address(Path("rtsp://camera"))


def test_a_sender_that_falls_silent_is_told_apart_from_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remux, "READ_TIMEOUT_S", 0.5)
    data = film([n / RATE for n in range(300)], container="mpegts", gop=10, rate=RATE, size=(256, 192))
    with site({"live": data}, pause=len(data) * 3 // 4) as address:
        began_s = time.monotonic()
        with closing(Remuxed(f"http://{address}/live", "live")) as remuxed:
            sent = remuxed.pipe.read()
    assert time.monotonic() - began_s < 10
    assert len(sent) > len(data) // 2
    assert remuxed.fault is not None
    assert str(remuxed.fault).startswith("live: it broke off (")


def test_who_leaves_stops_the_sender() -> None:
    data = film([n / RATE for n in range(300)], container="mpegts", gop=10, rate=RATE, size=(256, 192))
    with site({"live": data}) as address:
        remuxed = Remuxed(f"http://{address}/live", "live")
        assert remuxed.pipe.read(1000)
        remuxed.close()
        (thread,) = [t for t in threading.enumerate() if t.name == "resonance-remux"]
        thread.join(10)
        assert not thread.is_alive()
        assert remuxed.fault is None
