"""Bearer tokens: files, reloading, and what a caller is told."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from resonance.serving.errors import GatewayConfigError
from resonance.serving.gateway.callers import Authenticator, Caller, CallerKind, peer_address
from resonance.serving.gateway.interceptors import UNAUTHENTICATED
from resonance.serving.gateway.tokens import TokenFile, bearer_token
from tests.serving.gateway.door import ALICE, BOB, SERVICE, ask, bearer, open_door, write_tokens


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_names_of_tokens(tmp_path: Path) -> None:
    tokens = TokenFile(write_tokens(tmp_path / "tokens"))
    assert tokens.names == {"alice", "bob"}
    assert tokens.name_of(ALICE.encode()) == "alice"
    assert tokens.name_of(BOB.encode()) == "bob"
    for wrong in (b"", b"c" * 40, ALICE.encode()[:-1], ALICE.encode() + b"a", b"alice"):
        assert tokens.name_of(wrong) is None


def test_a_name_may_have_two_tokens(tmp_path: Path) -> None:
    tokens = TokenFile(write_tokens(tmp_path / "tokens", f"alice {ALICE}\nalice {BOB}\n"))
    assert tokens.name_of(ALICE.encode()) == tokens.name_of(BOB.encode()) == "alice"


SECRET = "S3cret" * 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no token in it"),
        ("# only a comment\n", "no token in it"),
        (f"{SECRET}\n", "line 1: 1 words"),
        (f"alice {ALICE}\nbob {SECRET} extra\n", "line 2: 3 words"),
        ("alice S3cretshort\n", "line 1: a token of 11 characters"),
        (f"alice {SECRET * 20}\n", "line 1: a token of 960 characters"),
        (f"alice {SECRET}é\n", "line 1: characters no token may have"),
        (f"ali/ce {SECRET}\n", "line 1: not a name"),
        (f"alice {SECRET}\nbob {SECRET}\n", "line 2: a token of another name"),
    ],
)
def test_wrong_files_are_refused_without_quoting_them(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(GatewayConfigError, match=said) as refused:
        TokenFile(write_tokens(tmp_path / "tokens", text))
    assert "S3cret" not in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(GatewayConfigError, match="cannot be read"):
        TokenFile(tmp_path / "none")


def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tokens(tmp_path / "tokens")
    TokenFile(path)
    assert not caplog.records
    path.chmod(0o644)
    TokenFile(path)
    assert "chmod 600" in caplog.text


def test_a_changed_file_counts_within_a_second(tmp_path: Path) -> None:
    clock = Clock()
    tokens = TokenFile(write_tokens(tmp_path / "tokens"), clock=clock)
    write_tokens(tmp_path / "tokens", f"carol {BOB}\n")
    clock.now_s += 0.5
    assert tokens.name_of(ALICE.encode()) == "alice"  # not looked at yet
    clock.now_s += 0.6
    assert tokens.name_of(ALICE.encode()) is None
    assert tokens.name_of(BOB.encode()) == "carol"


def test_a_broken_change_keeps_the_old_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    path = write_tokens(tmp_path / "tokens")
    tokens = TokenFile(path, clock=clock)
    write_tokens(path, "alice short\n")
    for _ in range(5):
        clock.now_s += 2
        assert tokens.name_of(ALICE.encode()) == "alice"
    assert caplog.text.count("the old tokens are kept") == 1
    path.unlink()
    for _ in range(3):
        clock.now_s += 2
        assert tokens.name_of(ALICE.encode()) == "alice"
    assert caplog.text.count("the old tokens are kept") == 2
    write_tokens(path, f"dave {ALICE}\n")
    clock.now_s += 2
    assert tokens.name_of(ALICE.encode()) == "dave"


def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    path = write_tokens(tmp_path / "tokens")
    tokens = TokenFile(path, clock=clock)
    write_tokens(path, f"alice {ALICE}\n")  # bob's token is taken away
    opened, real = [], Path.open

    def broken(self: Path, *how: str) -> object:
        opened.append(self)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    for _ in range(40):
        clock.now_s += 2
        assert tokens.name_of(BOB.encode()) == "bob"
    assert len(opened) == 2
    assert caplog.text.count("the old tokens are kept") == 1
    monkeypatch.setattr(Path, "open", real)
    clock.now_s += 60  # it did not change
    assert tokens.name_of(BOB.encode()) is None


def test_a_file_that_may_be_read_now_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    path = write_tokens(tmp_path / "tokens")
    tokens = TokenFile(path, clock=clock)
    write_tokens(path, f"alice {ALICE}\n")
    real = Path.open

    def refused(self: Path, *how: str) -> object:
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr(Path, "open", refused)
    clock.now_s += 2
    assert tokens.name_of(BOB.encode()) == "bob"
    monkeypatch.setattr(Path, "open", real)
    path.chmod(0o400)
    clock.now_s += 2
    assert tokens.name_of(BOB.encode()) is None


def test_every_entry_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resonance.serving.gateway import tokens as module

    compared: list[bytes] = []
    real = module.hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return real(a, b)

    many = "".join(f"name{i} {i:040d}\n" for i in range(20))
    tokens = TokenFile(write_tokens(tmp_path / "tokens", many))
    monkeypatch.setattr(module.hmac, "compare_digest", counting)
    for token in (b"0" * 40, f"{19:040d}".encode(), b"nobody"):
        compared.clear()
        tokens.name_of(token)
        assert len(set(compared)) == 20


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        [ALICE],
        [f"Basic {ALICE}"],
        [f"Bearer  {ALICE}"],
        [f"Bearer {ALICE} "],
        [f"Bearer {ALICE},Bearer {BOB}"],
        [f"Bearer {ALICE}", f"Bearer {ALICE}"],
        [f"Bearer {ALICE}".encode()],
        [f"Bearer {ALICE}ü"],
        ["Bearer " + "a" * 513],
    ],
)
def test_malformed_headers_hold_no_token(values: list[str | bytes]) -> None:
    assert bearer_token(values) is None


def test_the_scheme_is_not_case_sensitive() -> None:
    assert bearer_token([f"bearer {ALICE}"]) == bearer_token([f"Bearer {ALICE}"]) == ALICE.encode()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B::1%5D:51234", "::1"),
        ("ipv6:[fe80::1]:1", "fe80::1"),
        ("unix:/run/x", "/run/x"),
    ],
)
def test_the_address_of_a_peer(peer: str, address: str) -> None:
    assert peer_address(peer) == address
    assert Authenticator(None).caller((), peer, {}) == Caller(address, CallerKind.ADDRESS)


async def test_without_tokens_the_caller_is_its_address() -> None:
    async with open_door() as door:
        assert await ask(door.plain()) == ("OK", "127.0.0.1")
        assert await ask(door.plain(), bearer(ALICE)) == ("OK", "127.0.0.1")


async def test_the_same_refusal_for_no_malformed_and_wrong_tokens(tmp_path: Path) -> None:
    async with open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door:
        assert await ask(door.plain(), bearer(ALICE)) == ("OK", "alice")
        assert await ask(door.plain(), bearer(BOB)) == ("OK", "bob")
        refusals = [
            await ask(door.plain(), headers)
            for headers in ({}, bearer("wrong"), bearer("c" * 40), {"authorization": ALICE}, {"token": ALICE})
        ]
        assert refusals == [("UNAUTHENTICATED", UNAUTHENTICATED)] * 5
        assert door.metrics.value("unauthenticated_total", method=f"{SERVICE}/GetSpace") == 5
        assert door.metrics.value("calls_total", method=f"{SERVICE}/GetSpace", code="UNAUTHENTICATED") == 5
        assert door.metrics.value("caller_calls_total", caller="alice") == 1
        # what is not here is not told to strangers either
        for method, code in (("/x.Y/Z", "UNAUTHENTICATED"), (f"{SERVICE}/Nothing", "UNAUTHENTICATED")):
            assert await _call_raw(door.plain(), method) == code
        assert await _call_raw(door.plain(), "/x.Y/Z", bearer(ALICE)) == "UNIMPLEMENTED"


async def test_two_tokens_in_one_call_are_refused(tmp_path: Path) -> None:
    async with (
        open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door,
        door.plain() as channel,
    ):
        twice = (("authorization", f"Bearer {ALICE}"),) * 2
        call = channel.unary_unary(f"{SERVICE}/GetSpace")(b"", metadata=twice)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_open_and_reflection_is_not(tmp_path: Path) -> None:
    async with (
        open_door(tokens=TokenFile(write_tokens(tmp_path / "tokens"))) as door,
        door.plain() as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflect.ServerReflectionInfo(iter([request]), timeout=5)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        call = reflect.ServerReflectionInfo(iter([request]), metadata=tuple(bearer(ALICE).items()), timeout=5)
        assert "grpc.reflection" in str(await call.read())


async def _call_raw(channel: grpc.aio.Channel, method: str, headers: dict[str, str] | None = None) -> str:
    async with channel:
        call = channel.unary_unary(method)(b"", timeout=5, metadata=tuple((headers or {}).items()))
        return (await call.code()).name
