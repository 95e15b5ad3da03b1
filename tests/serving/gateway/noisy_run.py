"""A run of the gateway's doors with marked content in everything that is sent; its log is read by a test."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import grpc
import trustme

from resonance.serving.gateway.core_log import StderrLines
from resonance.serving.gateway.log_format import LogFormat
from resonance.serving.gateway.logs import configure_logs
from resonance.serving.gateway.tokens import TokenFile
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc as pb_grpc
from tests.serving.gateway.door import (
    ALICE,
    CONTENT,
    ask,
    bearer,
    open_door,
    until,
    write_certificate,
    write_tokens,
)

WRONG_TOKEN = "W" * 40
TRANSCRIPT, MEDIA = "marked words of the dialogue", "marked bytes of the film"
#: None of it may stand in a log.
SECRETS = (ALICE, WRONG_TOKEN, CONTENT, TRANSCRIPT, MEDIA, "0.123456")


async def run(folder: Path, log_format: LogFormat) -> None:
    authority = trustme.CA()
    tls = write_certificate(folder, authority.issue_cert("localhost"))
    path = write_tokens(folder / "tokens")
    tokens = TokenFile(path)
    async with open_door(tls=tls, tokens=tokens) as door:
        with StderrLines(on_handshake_failed=door.metrics.handshake_failed) as lines:
            # everything that is logged at any level, libraries' debugging too
            configure_logs(log_format, stream=lines.stream, level=logging.DEBUG)
            await ask(door.plain(), bearer(ALICE))
            for headers in (bearer(ALICE), bearer(WRONG_TOKEN), {"authorization": WRONG_TOKEN}):
                for method in ("GetSpace", "GetStatus", "EmbedQuery"):
                    await ask(door.secure(authority), headers, method)
            async with door.secure(authority) as channel:
                stub = pb_grpc.EmbeddingServiceStub(channel)
                for media_id in ("film-7", "x\nforged line\r\nforged again \x1b[1m"):
                    await _embed(stub, media_id)
                call = stub.EmbedMedia(_requests("hang"), metadata=tuple(bearer(ALICE).items()))
                running = "/resonance.v1.EmbeddingService/EmbedMedia"
                await until(lambda: door.metrics.value("calls_running", method=running) == 1)
                call.cancel()
                await until(lambda: door.metrics.abandoned() == 1)
            path.write_text(f"alice {ALICE}\nbob {WRONG_TOKEN} and more\n")
            await asyncio.sleep(1.1)
            await ask(door.secure(authority), bearer(ALICE))
        configure_logs(log_format)


def _requests(media_id: str) -> list[pb.EmbedMediaRequest]:
    return [
        pb.EmbedMediaRequest(start=pb.EmbedMediaStart(media_id=media_id)),
        pb.EmbedMediaRequest(stored=pb.StoredSegments(segments=[pb.Segment(vector=[0.123456] * 1788)])),
        pb.EmbedMediaRequest(chunk=pb.Chunk(data=MEDIA.encode())),
        pb.EmbedMediaRequest(cue=pb.Cue(start_s=0, end_s=1, text=TRANSCRIPT)),
    ]


async def _embed(stub: pb_grpc.EmbeddingServiceStub, media_id: str) -> None:
    try:
        async for _ in stub.EmbedMedia(
            _requests(media_id), metadata=tuple(bearer(ALICE).items()), timeout=10
        ):
            pass
    except grpc.aio.AioRpcError as error:
        print(error.code(), file=sys.stdout)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), LogFormat(sys.argv[2])))
