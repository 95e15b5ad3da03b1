"""The service as any caller sees it: plain stubs against a real gateway before a real Triton."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from resonance.clients.embedder import Embedder
from resonance.clients.gateway.connection import GatewayConnection
from resonance.clients.gateway.faults import STATUS_TRAILER
from resonance.clients.gateway.retrying import RetryPolicy
from resonance.clients.results import MediaEmbedding
from resonance.serving.errors import PortTakenError, ServingError
from resonance.serving.gateway import calls, exchange, health_service
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.server import SERVICE, Gateway
from resonance.serving.server import TritonServer
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import EmbeddingServiceStub

from .conftest import MakeGateway
from .door import ALICE, BOB, bearer, write_tokens

SHORT = "video/transcode_elf_hevc_aac.mp4"
LONG = "video/people_man_yellow_wall.mp4"  # its index stands at its end
INDEX_FIRST = "video/animation_claymation_man_tree.mp4"
CHUNK_BYTES = 64 * 1024
DETAILS = (
    details.ErrorInfo,
    details.ResourceInfo,
    details.BadRequest,
    details.QuotaFailure,
    details.RetryInfo,
)


def started(**fields: Any) -> pb.EmbedMediaRequest:
    given = {"media_id": "film", "mode": pb.MODE_ENCODED} | fields
    return pb.EmbedMediaRequest(start=pb.EmbedMediaStart(**given))


def chunks(data: bytes) -> list[pb.EmbedMediaRequest]:
    return [
        pb.EmbedMediaRequest(chunk=pb.Chunk(offset_bytes=at, data=data[at : at + CHUNK_BYTES]))
        for at in range(0, len(data), CHUNK_BYTES)
    ]


def frame(time_s: float, side_px: int = 32, level: int = 90) -> pb.EmbedMediaRequest:
    rgb = bytes([level]) * (side_px * side_px * 3)
    return pb.EmbedMediaRequest(frame=pb.Frame(time_s=time_s, width_px=side_px, height_px=side_px, rgb=rgb))


def by_kind(answers: Sequence[pb.EmbedMediaResponse]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for answer in answers:
        kind = answer.WhichOneof("message")
        found.setdefault(str(kind), []).append(getattr(answer, str(kind)))
    return found


async def answers_of(
    stub: EmbeddingServiceStub, requests: Iterable[pb.EmbedMediaRequest], **options: Any
) -> list[pb.EmbedMediaResponse]:
    return [answer async for answer in stub.EmbedMedia(iter(requests), **options)]


async def rest_of(call: Any) -> list[pb.EmbedMediaResponse]:
    answers = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        answers.append(answer)
    return answers


class Refused:
    """How a call failed: its code, and the details of its status by type."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        trailer = dict(error.trailing_metadata() or ())
        self.status = Status.FromString(trailer[STATUS_TRAILER])
        self.by_type: dict[type, Any] = {}
        for kind in DETAILS:
            for detail in self.status.details:
                message = kind()
                if detail.Unpack(message):
                    self.by_type[kind] = message

    @property
    def reason(self) -> str:
        return str(self.by_type[details.ErrorInfo].reason)


async def refusal(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return Refused(failed.value)


async def eventually(what: Any, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.02)


def reader_processes() -> list[psutil.Process]:
    """Those that read an upload now; they are children of the one that they are forked from."""
    zygotes = [p for p in psutil.Process().children() if "zygote" in " ".join(p.cmdline())]
    return [child for zygote in zygotes for child in zygote.children()]


def same_title(title: pb.Title, expected: MediaEmbedding) -> None:
    np.testing.assert_allclose(np.array(title.vector), expected.title, atol=1e-6)
    np.testing.assert_allclose(title.salience, [s.salience or 0 for s in expected.segments], atol=1e-6)


async def test_the_space_is_the_servers(stub: EmbeddingServiceStub, embedder: Embedder) -> None:
    space = await embedder.space()
    answer = await stub.GetSpace(pb.GetSpaceRequest())
    assert (answer.fingerprint, answer.name, answer.trained) == (space.fingerprint, space.name, space.trained)
    assert answer.descriptor_json == space.to_json()


async def test_a_file_gives_what_reading_it_here_gives(
    stub: EmbeddingServiceStub, embedder: Embedder, media: Path
) -> None:
    expected = await embedder.embed(media / LONG)
    found = by_kind(await answers_of(stub, [started(), *chunks((media / LONG).read_bytes())]))
    (accepted,), (info,), (title,) = found["accepted"], found["info"], found["title"]
    assert accepted.fingerprint == title.fingerprint == expected.space.fingerprint
    assert (accepted.first_index, accepted.sampling) == (0, pb.SAMPLING_KEYFRAMES)
    assert info.codecs["video"]
    assert [s.index for s in found["segment"]] == [s.index for s in expected.segments]
    for segment, want in zip(found["segment"], expected.segments, strict=True):
        np.testing.assert_allclose(np.array(segment.vector), want.vector, atol=1e-6)
        assert tuple(segment.frame_times_s) == pytest.approx(want.frame_times_s)
    same_title(title, expected)
    assert (title.media_id, title.rolling) == ("film", False)


async def test_a_resumed_call_gives_the_rest_and_the_same_title(
    stub: EmbeddingServiceStub, media: Path
) -> None:
    data = (media / LONG).read_bytes()
    whole = by_kind(await answers_of(stub, [started(), *chunks(data)]))
    stored = pb.StoredSegments(segments=whole["segment"][:2], fingerprint=whole["accepted"][0].fingerprint)
    rest = by_kind(await answers_of(stub, [started(), pb.EmbedMediaRequest(stored=stored), *chunks(data)]))
    assert rest["accepted"][0].first_index == 2
    assert [s.index for s in rest["segment"]] == [s.index for s in whole["segment"][2:]]
    assert rest["segment"][0].vector == whole["segment"][2].vector
    np.testing.assert_allclose(rest["title"][0].vector, whole["title"][0].vector, atol=1e-6)
    np.testing.assert_allclose(rest["title"][0].salience, whole["title"][0].salience, atol=1e-6)


async def test_stored_segments_are_bounded(make_gateway: MakeGateway, media: Path) -> None:
    film = chunks((media / LONG).read_bytes())
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        whole = by_kind(await answers_of(EmbeddingServiceStub(channel), [started(), *film]))
    fingerprint = whole["accepted"][0].fingerprint
    many = [pb.Segment(), pb.Segment(), pb.Segment()]
    for at, segment in enumerate(many):
        segment.CopyFrom(whole["segment"][0])
        segment.index = at
    for segments, came in ((many, "3 segments"), ([], "no segment")):
        stored = pb.StoredSegments(segments=segments, fingerprint=fingerprint)
        call = [started(), pb.EmbedMediaRequest(stored=stored)]
        refused = await over(make_gateway, GatewayLimits(max_media_s=8), call)
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"stored.segments: {came}; expected 1 to 2 of a title" in refused.status.message


async def test_stored_segments_of_another_space_are_refused(stub: EmbeddingServiceStub, media: Path) -> None:
    other = pb.EmbedMediaRequest(stored=pb.StoredSegments(fingerprint="0" * 64))
    refused = await refusal(answers_of(stub, [started(), other]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH")
    refused = await refusal(answers_of(stub, [started(expected_fingerprint="0" * 64)]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH")


async def test_segments_come_back_before_the_upload_ends(stub: EmbeddingServiceStub, media: Path) -> None:
    call = stub.EmbedMedia()
    await call.write(started())
    sent = chunks((media / INDEX_FIRST).read_bytes())
    for message in sent[:-1]:
        await call.write(message)
    kinds = []
    while "segment" not in kinds:
        answer = await asyncio.wait_for(call.read(), 10)
        kinds.append(answer.WhichOneof("message"))
    assert kinds[:2] == ["accepted", "info"]
    await call.write(sent[-1])
    await call.done_writing()
    kinds += [answer.WhichOneof("message") for answer in await rest_of(call)]
    assert kinds[-1] == "title"


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "message"),
        ([pb.EmbedMediaRequest(chunk=pb.Chunk(data=b"x"))], "message"),
        ([started(mode=pb.MODE_UNSPECIFIED)], "start.mode"),
        ([started(), frame(0)], "message"),
        ([started(), started()], "message"),
        ([started(mode=pb.MODE_FRAMES, modalities=[pb.MODALITY_VISUAL]), *chunks(b"x")], "message"),
        ([started(mode=pb.MODE_FRAMES), frame(-1.0)], "frame.time_s"),
        ([started(mode=pb.MODE_FRAMES), frame(float("nan"))], "frame.time_s"),
        (
            [
                started(mode=pb.MODE_FRAMES),
                pb.EmbedMediaRequest(frame=pb.Frame(width_px=9, height_px=9, rgb=b"")),
            ],
            "frame.rgb",
        ),
        (
            [
                started(mode=pb.MODE_FRAMES),
                pb.EmbedMediaRequest(sound=pb.Sound(sample_rate_hz=1, channels=1, format=1, data=b"")),
            ],
            "sound.sample_rate_hz",
        ),
    ],
)
async def test_what_a_message_may_not_say_is_named(
    stub: EmbeddingServiceStub, requests: list[pb.EmbedMediaRequest], field: str
) -> None:
    refused = await refusal(answers_of(stub, requests))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason == "INVALID_FIELD"
    (violation,) = refused.by_type[details.BadRequest].field_violations
    assert violation.field == field
    assert "expected" in violation.description


async def test_bad_media_are_the_callers_fault_and_named(stub: EmbeddingServiceStub) -> None:
    refused = await refusal(answers_of(stub, [started(media_id="m7"), *chunks(b"no media at all" * 99)]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NOT_MEDIA")
    assert refused.by_type[details.ResourceInfo].resource_name == "m7"
    assert set(refused.by_type[details.ErrorInfo].metadata) == {"came", "expected"}


async def test_a_later_call_with_the_same_key_takes_the_earlier_ones_place(
    stub: EmbeddingServiceStub, media: Path
) -> None:
    earlier = stub.EmbedMedia()
    await earlier.write(started(idempotency_key="k"))
    await earlier.write(chunks((media / LONG).read_bytes())[0])
    await earlier.read()
    later = await answers_of(stub, [started(idempotency_key="k"), *chunks((media / SHORT).read_bytes())])
    assert by_kind(later)["title"]

    refused = await refusal(rest_of(earlier))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SUPERSEDED")


SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
BOOK = [started(mode=pb.MODE_TEXT, idempotency_key="book"), *chunks(b"some words of a long book. " * 1000)]


async def unread_book(channel: grpc.aio.Channel) -> Any:
    """A call whose caller has sent all and takes no answer after the first; over a `SMALL_WINDOW`."""
    call = EmbeddingServiceStub(channel).EmbedMedia()
    for message in BOOK:
        await call.write(message)
    await call.done_writing()
    await call.read()
    return call


async def test_a_call_made_again_is_not_kept_out_by_its_own_earlier_one(make_gateway: MakeGateway) -> None:
    limits = GatewayLimits(max_live_feeds=1, max_uploads=1, max_queued=1, queue_timeout_s=0.1)
    feed = [started(mode=pb.MODE_FRAMES, live=True, idempotency_key="camera"), frame(0)]
    async with (
        make_gateway(limits) as gateway,
        grpc.aio.insecure_channel(gateway.address, SMALL_WINDOW) as lost,
        grpc.aio.insecure_channel(gateway.address) as channel,
    ):
        stub = EmbeddingServiceStub(channel)
        earlier = EmbeddingServiceStub(lost).EmbedMedia()
        for message in feed:
            await earlier.write(message)
        await earlier.read()
        assert (await answers_of(stub, feed))[0].HasField("accepted")
        assert (await refusal(rest_of(earlier))).reason == "SUPERSEDED"

        unread = await unread_book(lost)
        await asyncio.sleep(0.3)  # an answer is being written that is not taken
        assert (await answers_of(stub, BOOK))[-1].HasField("title")
        assert (await refusal(rest_of(unread))).reason == "SUPERSEDED"
        assert gateway.metrics.refused_by_reason() == {}


async def test_frames_sound_and_words_as_they_happen(stub: EmbeddingServiceStub) -> None:
    call = stub.EmbedMedia()
    await call.write(started(mode=pb.MODE_FRAMES, live=True, rolling_title_segments=2, media_id="camera"))
    tone = (0.2 * np.sin(np.arange(4000) * 0.3)).astype("<f4").tobytes()
    found: dict[str, list[Any]] = {}

    async def read() -> None:
        async for answer in call:
            kind = str(answer.WhichOneof("message"))
            found.setdefault(kind, []).append(getattr(answer, kind))

    reading = asyncio.create_task(read())
    for tick in range(5 * 16):  # two a second, 40 s
        time_s = tick / 2
        await call.write(frame(time_s, level=60 + tick))
        sound = pb.Sound(time_s=time_s, sample_rate_hz=8000, channels=1, data=tone)
        sound.format = pb.SAMPLE_FORMAT_F32LE
        await call.write(pb.EmbedMediaRequest(sound=sound))
        if tick % 16 == 4:
            cue = pb.Cue(start_s=time_s, end_s=time_s + 1, text=f"words of minute {tick}")
            await call.write(pb.EmbedMediaRequest(cue=cue))
    await eventually(lambda: len(found.get("title", [])) == 2)  # while the feed goes on
    assert all(title.rolling for title in found["title"])
    await call.done_writing()
    await reading
    assert [s.index for s in found["segment"]] == [0, 1, 2, 3, 4]
    assert all(s.present.visual and s.present.audio and s.present.transcript for s in found["segment"])
    assert [s.start_s for s in found["segment"]] == [0, 8, 16, 24, 32]
    assert not found["title"][-1].rolling
    assert found["title"][-1].media_id == "camera"


def late_words(**fields: Any) -> list[pb.EmbedMediaRequest]:
    """A feed of pictures with words for its first window, which come when that is complete."""
    seen = [pb.MODALITY_VISUAL, pb.MODALITY_TRANSCRIPT]
    cue = pb.EmbedMediaRequest(cue=pb.Cue(start_s=1, end_s=2, text="said long ago"))
    begun = started(mode=pb.MODE_FRAMES, modalities=seen, **fields)
    return [begun, *map(frame, range(14)), cue, *map(frame, range(14, 32))]


async def test_what_came_late_in_a_live_feed_is_told(make_gateway: MakeGateway) -> None:
    feed = late_words(live=True, rolling_title_segments=1)
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        titles = by_kind(await answers_of(EmbeddingServiceStub(channel), feed))["title"]
        assert gateway.metrics.value("late_cues_total") == 1
    assert [title.rolling for title in titles] == [True, True, True, True, False]
    assert [title.damage for title in titles[1:]] == [pb.Damage(late_cues=1)] * 4


async def test_what_is_late_only_for_its_order_is_refused(stub: EmbeddingServiceStub) -> None:
    feed = late_words()
    del feed[16:]  # grpc.aio tells of an inner error where a call ends while something is written
    assert feed[-1].HasField("cue")
    refused = await refusal(answers_of(stub, feed))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    (violation,) = refused.by_type[details.BadRequest].field_violations
    assert violation.field == "cue.start_s"


async def test_a_query_equals_that_of_the_embedder(
    stub: EmbeddingServiceStub, embedder: Embedder, media: Path
) -> None:
    picture = next((media / "image").glob("*.jpg")).read_bytes()
    sound = next((media / "audio").glob("*.wav")).read_bytes()
    weights = {"visual": 2.0, "audio": 0.5}
    expected = await embedder.embed_query(image=picture, sound=sound, text="a dog", weights=weights)
    answer = await stub.EmbedQuery(
        pb.EmbedQueryRequest(
            parts=[pb.QueryPart(image=picture), pb.QueryPart(sound=sound), pb.QueryPart(text="a dog")],
            weights=pb.Weights(**weights),
        )
    )
    np.testing.assert_allclose(answer.vector, expected.vector, atol=1e-5)
    np.testing.assert_allclose(answer.unweighted, expected.unweighted, atol=1e-5)
    assert (answer.present.visual, answer.present.audio, answer.present.transcript) == (True,) * 3


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.EmbedQueryRequest(), "INVALID_FIELD"),
        (pb.EmbedQueryRequest(parts=[pb.QueryPart()]), "INVALID_FIELD"),
        (pb.EmbedQueryRequest(parts=[pb.QueryPart(text="x")] * 17), "INVALID_FIELD"),
        (pb.EmbedQueryRequest(parts=[pb.QueryPart(text="x", weight=-1)]), "INVALID_FIELD"),
        (pb.EmbedQueryRequest(parts=[pb.QueryPart(text=" ")]), "NO_MODALITY"),
        (pb.EmbedQueryRequest(parts=[pb.QueryPart(image=b"nothing")]), "NOT_MEDIA"),
        (
            pb.EmbedQueryRequest(
                parts=[pb.QueryPart(text="x")], weights=pb.Weights(visual=0, audio=0, transcript=0)
            ),
            "WEIGHT",
        ),
    ],
)
async def test_a_query_that_cannot_be_is_refused(
    stub: EmbeddingServiceStub, request_: pb.EmbedQueryRequest, reason: str
) -> None:
    refused = await refusal(stub.EmbedQuery(request_))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    if (bad := refused.by_type.get(details.BadRequest)) is not None:
        assert all(violation.field for violation in bad.field_violations)


async def test_stored_segments_are_fused_again(stub: EmbeddingServiceStub, media: Path) -> None:
    whole = by_kind(await answers_of(stub, [started(), *chunks((media / LONG).read_bytes())]))
    fingerprint = whole["accepted"][0].fingerprint
    request = pb.FuseTitleRequest(media_id="film", segments=whole["segment"], fingerprint=fingerprint)
    fused = (await stub.FuseTitle(request)).title
    np.testing.assert_allclose(fused.vector, whole["title"][0].vector, atol=1e-6)
    assert fused.arcs == whole["title"][0].arcs
    request.segments[1].vector[7] = 40.0
    refused = await refusal(stub.FuseTitle(request))
    assert refused.by_type[details.BadRequest].field_violations[0].field == "segments[1].vector"
    other = await refusal(stub.FuseTitle(pb.FuseTitleRequest(fingerprint="0" * 64)))
    assert other.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_call_that_is_given_up_ends_its_work(
    gateway: Gateway, stub: EmbeddingServiceStub, media: Path
) -> None:
    call = stub.EmbedMedia()
    await call.write(started())
    await call.write(chunks((media / LONG).read_bytes())[0])
    await call.read()
    status = await stub.GetStatus(pb.GetStatusRequest())
    assert (status.uploads, status.abandoned) == (1, 0)
    assert len(reader_processes()) == 1
    assert status.spooled_bytes > 0
    call.cancel()
    await eventually(lambda: gateway.metrics.abandoned() == 1)
    await eventually(lambda: not reader_processes())
    status = await stub.GetStatus(pb.GetStatusRequest())
    assert (status.uploads, status.segments_in_flight, status.spooled_bytes) == (0, 0, 0)


async def test_the_callers_deadline_is_kept(stub: EmbeddingServiceStub, media: Path) -> None:
    began = time.monotonic()
    call = stub.EmbedMedia(timeout=0.6)
    await call.write(started())
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await call.read()
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2


async def test_status_and_health_tell_each_model(
    gateway: Gateway, stub: EmbeddingServiceStub, server: TritonServer
) -> None:
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE, "visual_encoder", "title_fusion"):
            watch = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=10)
            async for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            watch.cancel()
    status = await stub.GetStatus(pb.GetStatusRequest())
    assert {m.name for m in status.models} == set(server.models)
    assert all(m.state == pb.MODEL_STATE_SERVING for m in status.models)
    assert status.space_name == "tiny"


async def test_a_gateway_that_stops_sends_feeds_away_to_come_again(
    make_gateway: MakeGateway,
) -> None:
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        call = EmbeddingServiceStub(channel).EmbedMedia()
        await call.write(started(mode=pb.MODE_FRAMES, live=True))
        await call.write(frame(0))
        await call.read()
        stopping = asyncio.create_task(gateway.stop())

        refused = await refusal(rest_of(call))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_UNAVAILABLE")
        assert refused.by_type[details.RetryInfo].retry_delay.ToMilliseconds() == 1000
        await asyncio.wait_for(stopping, 5)


# Limits: what is over one is refused at once, with what came and what is allowed.


async def over(make_gateway: MakeGateway, limits: GatewayLimits, requests: list[Any]) -> Refused:
    async with make_gateway(limits) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        began = time.monotonic()
        refused = await refusal(answers_of(EmbeddingServiceStub(channel), requests))
        assert time.monotonic() - began < 5
        return refused


async def test_limit_of_bytes(make_gateway: MakeGateway, media: Path) -> None:
    data = (media / LONG).read_bytes()
    limits = GatewayLimits(max_media_bytes=100_000)
    refused = await over(make_gateway, limits, [started(), *chunks(data)])
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_LIMIT")
    assert "100,000" in refused.by_type[details.ErrorInfo].metadata["expected"]
    refused = await over(make_gateway, limits, [started(size_bytes=100_001)])
    assert refused.reason == "INVALID_FIELD"


async def test_limit_of_seconds(make_gateway: MakeGateway, media: Path) -> None:
    data = (media / LONG).read_bytes()
    refused = await over(make_gateway, GatewayLimits(max_media_s=9), [started(), *chunks(data)])
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_LIMIT")
    feed = [started(mode=pb.MODE_FRAMES), frame(1), frame(9.5)]
    refused = await over(make_gateway, GatewayLimits(max_media_s=9), feed)
    assert refused.reason == "MEDIA_LIMIT"


async def test_limit_of_pixels(make_gateway: MakeGateway, media: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (200, 100)).save(picture, "PNG")
    refused = await over(
        make_gateway, GatewayLimits(max_picture_pixels=19_999), [started(), *chunks(picture.getvalue())]
    )
    assert refused.reason == "MEDIA_LIMIT"
    video = [started(), *chunks((media / SHORT).read_bytes())]
    refused = await over(make_gateway, GatewayLimits(max_video_pixels=1000), video)
    assert refused.reason == "MEDIA_LIMIT"
    feed = [started(mode=pb.MODE_FRAMES), frame(0, side_px=32)]
    refused = await over(make_gateway, GatewayLimits(max_video_pixels=1023), feed)
    assert refused.reason == "MEDIA_LIMIT"


async def test_limit_of_streams_a_caller(make_gateway: MakeGateway) -> None:
    async with make_gateway(GatewayLimits(max_streams_per_caller=1)) as gateway:
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stub = EmbeddingServiceStub(channel)
            call = stub.EmbedMedia()
            await call.write(started(mode=pb.MODE_FRAMES, live=True))
            await call.write(frame(0))
            await call.read()
            refused = await refusal(answers_of(stub, [started(mode=pb.MODE_FRAMES, live=True)]))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            assert refused.by_type[details.RetryInfo].retry_delay.seconds == 2
            assert "expected at most 1" in refused.status.message
            call.cancel()
        assert gateway.metrics.refused_by_reason() == {"caller_streams": 1}


async def test_callers_who_send_nothing_after_the_start_keep_no_place(
    make_gateway: MakeGateway, media: Path
) -> None:
    film = [started(), *chunks((media / SHORT).read_bytes())]
    limits = GatewayLimits(max_uploads=1, max_queued=1, queue_timeout_s=20, idle_timeout_s=60)
    async with make_gateway(limits) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        stub = EmbeddingServiceStub(channel)
        silent = [stub.EmbedMedia() for _ in range(2)]
        for call in silent:
            await call.write(started())
        await eventually(lambda: gateway.metrics.value("uploads") == 2)
        answers = await asyncio.wait_for(answers_of(stub, film), 10)
        assert answers[-1].HasField("title")
        for call in silent:
            call.cancel()


async def test_a_caller_who_takes_no_answer_keeps_no_place_and_is_ended(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "UNTAKEN_S", 0.2)
    monkeypatch.setattr(calls, "ABORT_S", 0.2)
    limits = GatewayLimits(max_uploads=1, max_queued=1, queue_timeout_s=1, idle_timeout_s=6)
    async with (
        make_gateway(limits) as gateway,
        grpc.aio.insecure_channel(gateway.address, SMALL_WINDOW) as full,
        grpc.aio.insecure_channel(gateway.address) as channel,
    ):
        unread = await unread_book(full)
        await asyncio.sleep(0.5)
        other = [started(mode=pb.MODE_TEXT), *BOOK[1:]]
        assert (await answers_of(EmbeddingServiceStub(channel), other))[-1].HasField("title")
        assert gateway.metrics.value("uploads") == 1
        ended = {"method": f"/{SERVICE}/EmbedMedia", "code": "DEADLINE_EXCEEDED"}
        # it still reads nothing
        await eventually(lambda: gateway.metrics.value("calls_total", **ended) == 1, 15)
        assert gateway.metrics.value("uploads") == 0
        assert not reader_processes()
        refused = await refusal(rest_of(unread))
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no answer was taken for 6 s" in refused.status.message


def frame_bytes(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header of HPACK without index or Huffman's code."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


async def test_a_watcher_of_health_who_does_not_read_stands_in_nobodys_way(make_gateway: MakeGateway) -> None:
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        _, writer = await asyncio.open_connection(*gateway.address.split(":"))
        headers = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": b"/grpc.health.v1.Health/Watch",
            b":authority": b"x",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        window_of_nothing = frame_bytes(4, 0, 0, (4).to_bytes(2, "big") + (0).to_bytes(4, "big"))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + window_of_nothing + frame_bytes(4, 1, 0, b""))
        writer.write(frame_bytes(1, 4, 1, b"".join(literal(*header) for header in headers.items())))
        writer.write(frame_bytes(0, 1, 1, bytes(5)))
        await writer.drain()
        health = health_pb2_grpc.HealthStub(channel)
        await eventually(lambda: gateway._health_service._watchers == 1)
        watching = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(gateway.stop())
        last = await asyncio.wait_for(watching.read(), 30)
        assert last.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.wait_for(stopping, 6)
        writer.close()


async def test_a_watcher_who_is_being_told_while_the_gateway_ends_is_told_that_too() -> None:
    service = health_service.HealthService()
    service.set("", health_pb2.HealthCheckResponse.SERVING)
    told = []

    class Context:
        async def write(self, answer: health_pb2.HealthCheckResponse) -> None:
            told.append(answer.status)
            service.end()

    await asyncio.wait_for(service.Watch(health_pb2.HealthCheckRequest(), cast("Any", Context())), 5)
    assert told == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


async def test_health_is_known_from_the_first_moment(make_gateway: MakeGateway) -> None:
    """A client with several gateways calls none whose health does not say that it serves."""
    for _ in range(5):
        async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
            asked = health_pb2.HealthCheckRequest(service=SERVICE)
            first = await health_pb2_grpc.HealthStub(channel).Watch(asked).read()
            assert first.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_what_is_not_there_and_of_too_many(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_service, "MOST_WATCHERS", 1)
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="nobody")
        with pytest.raises(grpc.aio.AioRpcError, match="no service or model 'nobody'"):
            await health.Check(asked)
        first = health.Watch(asked)
        assert (await first.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError, match="1 calls of Watch are open"):
            await health.Watch(asked).read()
        first.cancel()
        await eventually(lambda: gateway._health_service._watchers == 0)


async def test_a_client_of_several_that_closes_abandons_nothing(make_gateway: MakeGateway) -> None:
    """Its channel watches health for as long as it stands, and cancels that when it closes."""
    watched = {"method": "/grpc.health.v1.Health/Watch", "code": "OK"}
    async with make_gateway() as gateway:
        client = GatewayConnection(f"dns:///{gateway.address}", None, timeout_s=10, retries=RetryPolicy())
        await client.ask("GetSpace", pb.GetSpaceRequest())
        assert gateway._health_service._watchers == 1
        await client.close()
        await eventually(lambda: gateway.metrics.value("calls_total", **watched) == 1)
        assert gateway.metrics.abandoned() == 0


async def test_watchers_of_health_do_not_keep_a_gateway_from_ending(make_gateway: MakeGateway) -> None:
    watched = {"method": "/grpc.health.v1.Health/Watch", "code": "OK"}
    async with make_gateway(drain_s=20) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        client = GatewayConnection(f"dns:///{gateway.address}", None, timeout_s=1, retries=RetryPolicy())
        await client.ask("GetSpace", pb.GetSpaceRequest())
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.wait_for(gateway.stop(), 5)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.read() is grpc.aio.EOF
        assert await watching.code() is grpc.StatusCode.OK
        assert (
            gateway.metrics.value("calls_total", **watched) == 2
        )  # the client's does not come again at once
        await client.close()


async def test_settings_that_nothing_could_work_with_are_refused_at_the_start(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    for settings, said in (
        ({"spool_folder": tmp_path / "nowhere"}, "no file can be made there"),
        ({"metrics_host": "no.such.host.invalid"}, "not an address"),
    ):
        with pytest.raises(ServingError, match=said):
            async with make_gateway(**settings):
                pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            async with make_gateway(host="127.0.0.2", metrics_port=port):
                pass
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 (with the port that metrics are to have on loopback)
        with pytest.raises(PortTakenError, match=str(port)):
            async with make_gateway(host=host, port=port, metrics_port=port, insecure_anywhere=True):
                pass


@pytest.mark.parametrize(
    ("environment", "flags"),
    [
        ({}, ("--port", "--metrics-port")),
        ({"RESONANCE_SUPERVISED": "1"}, ("--gateway-port", "--metrics-port after --")),
    ],
    ids=["alone", "behind serve"],
)
async def test_a_port_that_is_taken_is_told_with_the_flag_that_moves_it(
    make_gateway: MakeGateway,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flags: tuple[str, str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for wanted, flag in zip(({"port": port}, {"metrics_port": port}), flags, strict=True):
            with pytest.raises(PortTakenError, match=rf"give another with {flag} \(0"):
                async with make_gateway(**wanted):
                    pass


async def test_a_proxy_of_the_environment_is_not_for_triton(
    make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    options = [("grpc.enable_http_proxy", 0)]
    async with make_gateway() as gateway, grpc.aio.insecure_channel(gateway.address, options) as channel:
        film = [started(), *chunks((media / SHORT).read_bytes())]
        assert (await answers_of(EmbeddingServiceStub(channel), film))[-1].HasField("title")
        health = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        while (await watching.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass


async def test_limit_of_the_spool(make_gateway: MakeGateway, media: Path) -> None:
    first_bytes = chunks((media / LONG).read_bytes()[:150_000])
    limits = GatewayLimits(max_media_bytes=200_000, max_spool_bytes=200_000)
    async with make_gateway(limits) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        stub = EmbeddingServiceStub(channel)
        call = stub.EmbedMedia()
        for message in (started(), *first_bytes):
            await call.write(message)
        await call.read()
        refused = await refusal(answers_of(stub, [started(), *first_bytes]))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert details.RetryInfo in refused.by_type
        call.cancel()
        await eventually(lambda: gateway.metrics.value("spooled_bytes") == 0)
        last = await refusal(answers_of(stub, [started(), *first_bytes]))  # there is room again
        assert last.reason != "OVERLOADED"


async def test_limit_of_silence(make_gateway: MakeGateway) -> None:
    async def silent() -> AsyncIterator[pb.EmbedMediaRequest]:
        yield started(mode=pb.MODE_FRAMES)
        yield frame(0)
        await asyncio.sleep(30)

    limits = GatewayLimits(idle_timeout_s=0.3)
    async with make_gateway(limits) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        refused = await refusal(rest_of(EmbeddingServiceStub(channel).EmbedMedia(silent())))
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no message for 0.3 s" in refused.status.message


async def test_limits_of_messages_queries_and_subtitles(make_gateway: MakeGateway) -> None:
    limits = GatewayLimits(
        max_query_bytes=1000, max_query_text_bytes=500, max_subtitle_bytes=10, max_message_bytes=100_000
    )
    async with make_gateway(limits) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        stub = EmbeddingServiceStub(channel)
        refused = await refusal(stub.EmbedQuery(pb.EmbedQueryRequest(parts=[pb.QueryPart(text="x" * 1001)])))
        assert refused.by_type[details.BadRequest].field_violations[0].field == "parts"
        long = pb.EmbedQueryRequest(parts=[pb.QueryPart(text="x"), pb.QueryPart(text="x" * 501)])
        refused = await refusal(stub.EmbedQuery(long))
        assert refused.by_type[details.BadRequest].field_violations[0].field == "parts[1].text"
        subtitles = pb.SubtitleFile(format="srt", data=b"1" * 11)
        refused = await refusal(answers_of(stub, [started(subtitles=subtitles)]))
        assert refused.by_type[details.BadRequest].field_violations[0].field == "start.subtitles.data"
        with pytest.raises(grpc.aio.AioRpcError) as large:
            await stub.EmbedQuery(pb.EmbedQueryRequest(query_id="x" * 100_001))
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_feed_ends_when_its_token_is_taken_away(make_gateway: MakeGateway, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    async with (
        make_gateway(token_file=tokens) as gateway,
        grpc.aio.insecure_channel(gateway.address) as channel,
    ):
        call = EmbeddingServiceStub(channel).EmbedMedia(metadata=tuple(bearer(ALICE).items()))
        await call.write(started(mode=pb.MODE_FRAMES, live=True))
        await call.write(frame(0))
        assert (await call.read()).HasField("accepted")
        assert gateway.metrics.value("live_feeds") == 1
        write_tokens(tokens, f"bob {BOB}\n")

        async def to_the_end() -> None:
            while await call.read() is not grpc.aio.EOF:
                pass

        with pytest.raises(grpc.aio.AioRpcError, match="a valid bearer token is needed") as ended:
            await asyncio.wait_for(to_the_end(), 10)
        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
        await eventually(lambda: gateway.metrics.value("live_feeds") == 0)


async def test_tokens_that_cannot_be_used_are_told_though_nobody_calls(
    make_gateway: MakeGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    with caplog.at_level("INFO"):
        async with make_gateway(token_file=tokens):
            write_tokens(tokens, "alice\n")
            await eventually(lambda: "line 1: 1 words; expected NAME TOKEN" in caplog.text)
            write_tokens(tokens)
            await eventually(lambda: "the token file changed: 2 tokens of 2 callers" in caplog.text)
