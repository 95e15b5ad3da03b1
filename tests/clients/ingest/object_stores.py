"""Stores over HTTP on the loopback: S3 by moto, Google's by an emulator, and a plain server of ranges."""

from __future__ import annotations

import http.server
import os
import re
import threading
import urllib.request
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import s3fs
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from resonance.serving.ports import choose_ports

# gcsfs asks over gRPC what kind of bucket it is, which no emulator answers; it looks when it is imported
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
import gcsfs


class S3:
    """A server of S3 with a bucket ``library``."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        host, port = server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def put(self, key: str, data: bytes) -> None:
        s3fs.S3FileSystem(use_listings_cache=False).pipe(key, data)

    def take_no_strangers(self) -> None:
        """From now on only keys that were made by this server are known to it, and none was made."""
        self._auth(b"0")

    def take_strangers(self) -> None:
        self._auth(b"inf")

    def forget(self) -> None:
        """What servers before it were given: all of a process share it."""
        self._post("reset", b"")

    def _auth(self, count: bytes) -> None:
        self._post("reset-auth", count)

    def _post(self, what: str, data: bytes) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/{what}", data=data, headers={"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request) as answer:
            answer.read()


@contextmanager
def s3_server() -> Iterator[S3]:
    """A running server that the environment names, as it does for a real one."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    store = S3(server)
    store.forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", store.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "made-up")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # those of an earlier test know its address
        s3fs.S3FileSystem().mkdir("library")
        try:
            yield store
        finally:
            server.stop()
            s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def gcs_server() -> Iterator[gcsfs.GCSFileSystem]:
    """A running server of Google's, named by the environment; its files by what is handed out.

    The emulator sends every object whole, whatever range is asked for: only small ones are read rightly.
    """
    port = choose_ports("127.0.0.1", {"store": 0})["store"]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="library")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        gcsfs.GCSFileSystem.clear_instance_cache()
        try:
            yield gcsfs.GCSFileSystem(token="anon")  # noqa: S106  of nobody
        finally:
            server.stop()
            gcsfs.GCSFileSystem.clear_instance_cache()


class RangeServer:
    """Files of a folder over HTTP, in ranges.

    Attributes:
        url: without a slash at its end. sent: (offset, size in bytes) of each answer.
        fails_at: numbers of calls, from 0, that it breaks off.
        ranges: whether it knows of them.
    """

    def __init__(self, folder: Path) -> None:
        self.sent: list[tuple[int, int]] = []
        self.calls = 0
        self.fails_at: Container[int] = ()
        self.ranges = True
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _answer(self, *, body: bool) -> None:
                outer.calls += 1
                if outer.calls - 1 in outer.fails_at:
                    self.close_connection = True
                    return
                path = folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                size = os.path.getsize(path)
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if not outer.ranges:
                    asked = None
                first, last = (
                    (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
                )
                count = max(last - first + 1, 0)
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(count))
                self.send_header("Accept-Ranges", "bytes" if outer.ranges else "none")
                if asked:
                    self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
                self.end_headers()
                if body:
                    with path.open("rb") as file:
                        file.seek(first)
                        self.wfile.write(file.read(count))
                    outer.sent.append((first, count))

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def sent_bytes(self) -> int:
        return sum(size for _, size in self.sent)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
