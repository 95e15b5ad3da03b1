"""TLS: what the gateway starts with, who gets in, and certificates that change under way."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme

from resonance.serving.errors import GatewayConfigError
from resonance.serving.gateway.binding import bind_policy
from resonance.serving.gateway.core_log import StderrLines
from resonance.serving.gateway.listening import CORE_HEADER_BYTES, MAX_HEADER_BYTES
from resonance.serving.gateway.server import Gateway, GatewaySettings
from resonance.serving.gateway.tls import ServerTls, TlsFiles
from resonance.v1 import embedding_pb2 as pb
from resonance.v1 import embedding_pb2_grpc as pb_grpc
from tests.serving.gateway.door import Door, ask, open_door, until, write_certificate

NOW = datetime.now(UTC)
LONG_AGO, YESTERDAY, TOMORROW = NOW - timedelta(days=900), NOW - timedelta(days=1), NOW + timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    return write_certificate(tmp_path, authority.issue_cert("localhost"))


@pytest.fixture
def mutual_files(files: TlsFiles, tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    return TlsFiles(certificate=files.certificate, key=files.key, client_ca=tmp_path / "clients.pem")


# what it starts with


def test_good_files_tell_when_they_end(tmp_path: Path, authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost", not_before=YESTERDAY, not_after=TOMORROW)
    tls = ServerTls(write_certificate(tmp_path, leaf))
    assert tls.validity.ends_unix_s == pytest.approx(TOMORROW.timestamp(), abs=2)
    assert tls.validity.lifetime_s == pytest.approx((TOMORROW - YESTERDAY).total_seconds(), abs=2)
    assert not tls.mutual


def test_rsa_keys_are_taken(tmp_path: Path, authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    assert ServerTls(write_certificate(tmp_path, leaf)).validity.ends_unix_s > time.time()


def test_wrong_files_are_named_with_what_to_do(
    files: TlsFiles, mutual_files: TlsFiles, tmp_path: Path, authority: trustme.CA
) -> None:
    junk, none, locked = tmp_path / "junk.pem", tmp_path / "none.pem", tmp_path / "locked.key"
    junk.write_text("hello")
    encrypt = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(files.key), "-out", str(locked)]
    subprocess.run(encrypt, check=True, capture_output=True)
    other = write_certificate(tmp_path, authority.issue_cert("localhost"), "other")
    old = authority.issue_cert("localhost", not_before=LONG_AGO, not_after=YESTERDAY)
    expired = write_certificate(tmp_path, old, "expired")
    new = authority.issue_cert("localhost", not_before=TOMORROW, not_after=TOMORROW + timedelta(days=1))
    early = write_certificate(tmp_path, new, "early")
    certificate, key = files.certificate, files.key
    for wrong, named, said in (
        (TlsFiles(certificate=none, key=key), none, "cannot be read"),
        (TlsFiles(certificate=certificate, key=none), none, "cannot be read"),
        (TlsFiles(certificate=tmp_path, key=key), tmp_path, "cannot be read"),
        (TlsFiles(certificate=junk, key=key), junk, "no certificate in it"),
        (TlsFiles(certificate=certificate, key=junk), junk, "expected a certificate and key in PEM"),
        (TlsFiles(certificate=certificate, key=locked), locked, "encrypted"),
        (TlsFiles(certificate=certificate, key=other.key), other.key, "not the key of"),
        (expired, expired.certificate, "certificate has expired"),
        (early, early.certificate, "not yet valid"),
        (TlsFiles(certificate=certificate, key=key, client_ca=junk), junk, "no authority in it"),
        (TlsFiles(certificate=certificate, key=key, client_ca=certificate), certificate, "no authority"),
    ):
        with pytest.raises(GatewayConfigError, match=said) as refused:
            ServerTls(wrong)
        assert str(named) in str(refused.value)
    assert ServerTls(mutual_files).mutual


def test_a_key_that_others_may_read_is_warned_of(
    files: TlsFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ServerTls(files)
    assert not caplog.records
    files.key.chmod(0o640)
    ServerTls(files)
    assert not caplog.records  # of this process's own group, as Kubernetes gives it
    monkeypatch.setattr(os, "getegid", lambda: 1)
    monkeypatch.setattr(os, "getgroups", lambda: [])
    ServerTls(files)
    assert "chmod 600" in caplog.text
    caplog.clear()
    files.key.chmod(0o604)
    ServerTls(files)
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    bind_policy(host, tls=False, insecure_allowed=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "::ffff:10.0.0.7"])  # noqa: S104
def test_other_addresses_need_tls_or_a_flag(host: str) -> None:
    with pytest.raises(GatewayConfigError, match=r"--tls-cert.*--insecure-anywhere"):
        bind_policy(host, tls=False, insecure_allowed=False)
    bind_policy(host, tls=True, insecure_allowed=False)
    bind_policy(host, tls=False, insecure_allowed=True)


def test_a_name_that_cannot_be_resolved() -> None:
    with pytest.raises(GatewayConfigError, match="cannot be resolved"):
        bind_policy("nowhere.invalid", tls=False, insecure_allowed=False)


# who gets in


async def test_a_client_that_trusts_the_authority_gets_in(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=files) as door:
        assert await ask(door.secure(authority)) == ("OK", "127.0.0.1")
        assert await asyncio.to_thread(_handshake, door, authority, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_protocols_are_refused(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=files) as door:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(_handshake, door, authority, version)


async def test_strangers_are_refused_counted_and_told_nothing(
    mutual_files: TlsFiles, authority: trustme.CA
) -> None:
    expired = authority.issue_cert("ingest@x", not_before=LONG_AGO, not_after=YESTERDAY)
    foreign = trustme.CA().issue_cert("ingest@x")
    async with open_door(tls=mutual_files) as door:
        with StderrLines(on_handshake_failed=door.metrics.handshake_failed):
            answers = [
                await ask(door.plain()),
                await ask(door.secure(authority)),
                await ask(door.secure(authority, expired)),
                await ask(door.secure(authority, foreign)),
            ]
        for code, said in answers:
            assert code == "UNAVAILABLE"
            assert not any(word in said.lower() for word in ("certificate", "expired", "resonance", "token"))
        value = door.metrics.value
        for reason in ("plain_text", "no_certificate", "certificate_expired", "certificate_unknown"):
            assert value("tls_handshakes_failed_total", reason=reason) >= 1, reason
        assert value("tls_connections_total") >= 4
        assert door.interceptor.begun == 0

        welcome = authority.issue_cert("ingest@x", common_name="ingest-7")
        code, name = await ask(door.secure(authority, welcome))
        assert code == "OK"
        assert name.startswith("CN=ingest-7,")


async def test_oversized_headers_are_refused_and_counted(files: TlsFiles, authority: trustme.CA) -> None:
    async with open_door(tls=files) as door:
        value = door.metrics.value
        assert (await ask(door.secure(authority), {"x-large": "x" * (MAX_HEADER_BYTES - 200)}))[0] == "OK"
        assert (await ask(door.secure(authority), method="GetStatus"))[0] == "INTERNAL"
        assert value("refused_below_total") == 0
        for header in ("authorization", "x-large"):
            code, said = await ask(door.secure(authority), {header: "x" * (MAX_HEADER_BYTES + 1)})
            assert code == "INVALID_ARGUMENT"  # the same call would never pass
            assert said.startswith("headers: 16,")
            assert said.endswith(" bytes; expected at most 16,384")
        assert value("refused_total", reason="header_bytes") == 2
        assert value("refused_below_total") == 0
        code, said = await ask(door.secure(authority), {"authorization": "x" * (CORE_HEADER_BYTES + 1)})
        assert code == "RESOURCE_EXHAUSTED"
        assert "xxx" not in said
        await until(lambda: value("refused_below_total") == 1)


# certificates that change


async def test_a_renewed_certificate_serves_the_next_connection(
    tmp_path: Path, files: TlsFiles, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(tls=files) as door, door.secure(authority) as standing:
        stub = pb_grpc.EmbeddingServiceStub(standing)
        await stub.GetSpace(pb.GetSpaceRequest(), timeout=5)
        before = await asyncio.to_thread(_serial, door, authority)
        assert await asyncio.to_thread(_serial, door, authority) == before
        write_certificate(tmp_path, authority.issue_cert("localhost"))
        after = await asyncio.to_thread(_serial, door, authority)
        assert after != before
        await stub.GetSpace(pb.GetSpaceRequest(), timeout=5)  # the standing connection goes on
        assert door.metrics.value("tls_connections_total") == 4

        # half a renewal: the new certificate beside the old key, for as long as it takes
        key = files.key.read_bytes()
        write_certificate(tmp_path, authority.issue_cert("localhost"))
        new_key = files.key.read_bytes()
        files.key.write_bytes(key)
        for _ in range(3):
            assert await asyncio.to_thread(_serial, door, authority) == after
        assert caplog.text.count("the old ones are kept") == 1
        files.key.write_bytes(new_key)
        assert await asyncio.to_thread(_serial, door, authority) not in (before, after)
        files.certificate.unlink()
        assert await asyncio.to_thread(_serial, door, authority) not in (before, after)


def test_a_certificate_that_changed_is_known_before_anybody_connects(
    tmp_path: Path, files: TlsFiles, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """Streams may stand for days; meanwhile the alert would tell of a certificate that was renewed."""
    tls = ServerTls(files)
    write_certificate(tmp_path, authority.issue_cert("localhost", not_after=TOMORROW))
    tls.look()
    assert tls.validity.ends_unix_s == pytest.approx(TOMORROW.timestamp(), abs=2)
    assert tls._fetch() is not None
    assert tls._fetch() is None
    files.certificate.write_text("half a certificate")
    tls.look()
    tls.look()
    assert caplog.text.count("the old ones are kept") == 1
    assert tls._fetch() is None


async def test_a_gateway_looks_at_its_certificate_by_itself(
    tmp_path: Path, files: TlsFiles, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resonance.serving.gateway.server._CERTIFICATE_LOOK_S", 0.01)
    gateway = Gateway(GatewaySettings(triton="nowhere", tls=files))
    gateway._bound(grpc.aio.server(), "127.0.0.1:0", 0)
    write_certificate(tmp_path, authority.issue_cert("localhost", not_after=TOMORROW))
    expires = "tls_certificate_expires_timestamp_seconds"
    await until(lambda: abs(gateway.metrics.value(expires) - TOMORROW.timestamp()) < 2)
    await gateway.stop()


def test_a_certificate_that_begins_in_a_moment_is_tried_again(
    tmp_path: Path, files: TlsFiles, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    tls = ServerTls(files, clock=lambda: now_s[0])
    begins = datetime.now(UTC) + timedelta(seconds=5)  # of an authority whose clock is ahead
    write_certificate(tmp_path, authority.issue_cert("localhost", not_before=begins, not_after=TOMORROW))
    assert tls._fetch() is None
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s and tls.validity.ends_unix_s > TOMORROW.timestamp() + 60:
        time.sleep(0.2)
        now_s[0] += 61
        tls._fetch()
    assert tls.validity.ends_unix_s == pytest.approx(TOMORROW.timestamp(), abs=2)
    assert caplog.text.count("the old ones are kept") == 1


def test_a_refused_certificate_is_not_read_at_every_connection(
    tmp_path: Path, files: TlsFiles, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ServerTls(files, clock=lambda: 0.0)
    loads, real = [], ServerTls._load

    def counted(self: ServerTls, signature: object) -> object:
        loads.append(signature)
        return real(self, signature)

    monkeypatch.setattr(ServerTls, "_load", counted)
    files.key.write_text("half a key")
    assert [tls._fetch() for _ in range(3)] == [None] * 3
    assert len(loads) == 1
    files.key.chmod(0o400)
    assert tls._fetch() is None
    assert len(loads) == 2


async def test_a_renewed_authority_counts_for_the_next_connection(
    mutual_files: TlsFiles, authority: trustme.CA
) -> None:
    assert mutual_files.client_ca is not None
    later = trustme.CA()
    async with open_door(tls=mutual_files) as door:
        client = authority.issue_cert("a@x")
        assert (await ask(door.secure(authority, client)))[0] == "OK"
        mutual_files.client_ca.write_bytes(later.cert_pem.bytes())
        assert (await ask(door.secure(authority, later.issue_cert("b@x"))))[0] == "OK"
        # another connection: gRPC would use the first client's again for the same credentials
        assert (await ask(door.secure(authority, client)))[0] == "UNAVAILABLE"


def _handshake(door: Door, authority: trustme.CA, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse old versions by itself
    context.minimum_version = context.maximum_version = version
    with _connected(door, context) as connection:
        return connection.version()


def _serial(door: Door, authority: trustme.CA) -> str:
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with _connected(door, context) as connection:
        return str((connection.getpeercert() or {})["serialNumber"])


@contextmanager
def _connected(door: Door, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", door.port), timeout=5)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as wrapped:
        yield wrapped
