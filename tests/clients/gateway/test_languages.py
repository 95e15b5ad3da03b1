"""The programs of docs/gateway.md and docs/languages.md in Go, Node and Java: built, run, equal to Python.

`make test-languages` puts there what they need: Debian's packages, and npm's in build/languages/node_modules.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trustme

from resonance.clients.credentials import Credentials
from resonance.clients.embedder import Embedder
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.server import TritonServer
from tests.serving.gateway.door import ALICE, write_certificate, write_tokens

pytestmark = pytest.mark.languages

ROOT = Path(__file__).resolve().parents[3]
GO_SOURCES, JARS = Path("/usr/share/gocode"), Path("/usr/share/java")
NODE_MODULES = ROOT / "build" / "languages" / "node_modules"
#: Of Debian; everything that grpc-netty asks for at run time.
JAVA_LIBRARIES = (
    *(f"grpc-{part}" for part in ("api", "context", "core", "netty", "protobuf", "protobuf-lite", "stub")),
    "netty-all",
    *(f"netty-{part}" for part in ("buffer", "codec", "codec-http", "codec-http2", "codec-socks", "common")),
    *(f"netty-{part}" for part in ("handler", "handler-proxy", "resolver", "transport")),
    *("perfmark-api", "protobuf", "gson", "guava", "geronimo-annotation-1.3-spec"),
)
CLASS_PATH = ":".join(str(JARS / f"{name}.jar") for name in JAVA_LIBRARIES)
GO = {"GO111MODULE": "off", "GRPC_GO_RETRY": "on"}
PROTO = "resonance/v1/embedding.proto"
#: A film of nine segments: more than gRPC keeps of a call to send it again.
FILM = "video/animation_tos_battle_70s.webm"
TEXT = "a quiet harbour at dawn"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    code: int
    said: str
    complained: str


async def run(*command: str | Path, **more: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | GO | more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return Ran(process.returncode or 0, said.decode(), complained.decode())


async def built(*command: str | Path, **more: str) -> None:
    done = await run(*command, **more)
    assert done.code == 0, done.complained


def program(document: str, language: str) -> str:
    text = (ROOT / "docs" / document).read_text()
    (block,) = [part for part in text.split("```")[1::2] if part.startswith(f"{language}\n")]
    return block.partition("\n")[2]


async def made(document: str, language: str, folder: Path) -> tuple[str | Path, ...]:
    """The program of a document, and what it is started with."""
    source = program(document, language)
    if language == "js":
        (folder / "program.js").write_text(source)
        (folder / "node_modules").symlink_to(NODE_MODULES)
        return ("node", folder / "program.js")
    (folder / "src" / "program").mkdir(parents=True)
    if language == "go":
        (folder / "src" / "program" / "main.go").write_text(source)
        await built("protoc", "-I=proto", f"--go_out={folder}/src", f"--go-grpc_out={folder}/src", PROTO)
        where = {"GOPATH": f"{folder}:{GO_SOURCES}", "GOFLAGS": ""}
        assert await run("gofmt", "-l", folder / "src" / "program") == Ran(0, "", "")
        await built("go", "build", "-o", folder / "program", "program", **where)
        return (folder / "program",)
    (folder / "src" / "Upload.java").write_text(source)
    plugin = f"--plugin=protoc-gen-grpc-java={shutil.which('grpc_java_plugin')}"
    out = f"{folder}/src"
    await built("protoc", "-I=proto", f"--java_out={out}", f"--grpc-java_out={out}", plugin, PROTO)
    sources = sorted((folder / "src").rglob("*.java"))
    await built("javac", "-nowarn", "-cp", CLASS_PATH, "-d", folder, *sources)
    return ("java", "-cp", f"{folder}:{CLASS_PATH}", "Upload")


@asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@pytest.mark.parametrize("language", ["js", "go", "java"])
async def test_uploads_of_which_most_are_refused_at_first_are_all_those_of_python(
    server: TritonServer, media: Path, tmp_path: Path, language: str
) -> None:
    film, at_once = media / FILM, 6
    command = await made("languages.md", language, tmp_path)
    limits = GatewayLimits(max_uploads=1, max_queued=1)
    settings = GatewaySettings(triton=server.grpc_address, port=0, metrics_port=0, limits=limits)
    async with running(settings) as gateway, GatewayEmbedder(gateway.address) as python:
        expected = await python.embed(film)
        ends = await asyncio.gather(*(run(*command, gateway.address, film) for _ in range(at_once)))
        assert sum((await python.status()).refused.values()) > 0
        failed = await run(*command, gateway.address, ROOT / "README.md")
        unread = await run(*command, gateway.address, ROOT / "docs")
    for ended in ends:
        assert ended.code == 0, ended.complained
        found = json.loads(ended.said)
        np.testing.assert_allclose(found["title"], expected.title, atol=1e-6)
        vectors = [segment.vector for segment in expected.segments]
        np.testing.assert_allclose(found["segments"], vectors, atol=1e-6)
    assert (failed.code, unread.code) == (1, 1)
    assert "README.md: bytes of no known kind" in failed.complained
    assert "directory" in unread.complained


@pytest.mark.parametrize("language", ["js", "go"])
async def test_a_query_with_tls_and_a_token_is_that_of_python(
    server: TritonServer, tmp_path: Path, language: str
) -> None:
    command = await made("gateway.md", language, tmp_path)
    authority, tokens = trustme.CA(), write_tokens(tmp_path / "tokens")
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    settings = GatewaySettings(
        triton=server.grpc_address,
        port=0,
        metrics_port=0,
        tls=write_certificate(tmp_path, authority.issue_cert("localhost")),
        token_file=tokens,
        limits=GatewayLimits(max_queries=1, max_queued_queries=1),
    )
    async with running(settings) as gateway:
        address = f"localhost:{gateway.port}"
        ask = (*command, address, tmp_path / "authority.pem")
        ends = await asyncio.gather(*(run(*ask, ALICE, TEXT) for _ in range(4)))
        refused = await run(*ask, "x" * 40, TEXT)
        credentials = Credentials(ca_file=tmp_path / "authority.pem", token=ALICE)
        async with Embedder(f"grpc://{address}", credentials=credentials) as python:
            expected = await python.embed_query(text=TEXT)
    for ended in ends:
        assert ended.code == 0, ended.complained
        np.testing.assert_allclose(json.loads(ended.said), expected.vector, atol=1e-6)
    assert refused.code != 0
    assert "a valid bearer token is needed" in refused.complained
