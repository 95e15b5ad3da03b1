"""Tokens and certificates: what is refused before anything is sent. TLS itself: tests/clients/gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from resonance.clients.credentials import MAX_TOKEN_CHARACTERS, Credentials, is_loopback
from resonance.clients.errors import CredentialsError

LOOPBACK = (
    "localhost:8080",
    "127.0.0.1:1",
    "127.9.9.9:1",
    "[::1]:8080",
    "unix:/run/x.sock",
    "dns:///localhost:1",
)
ELSEWHERE = (
    "gateway:8080",
    "10.0.0.1:8080",
    "[2001:db8::1]:8080",
    "127.0.0.1.evil.example:8080",
    "localhost.evil.example:1",
    "dns://127.0.0.1/gateway:8080",
    "0.0.0.0:1",
    "",
)


def test_only_this_machine_is_this_machine() -> None:
    assert [a for a in LOOPBACK if not is_loopback(a)] == []
    assert [a for a in ELSEWHERE if is_loopback(a)] == []


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_token_never_travels_in_the_open(address: str, tmp_path: Path) -> None:
    for credentials in (Credentials(token="abc"), Credentials(token_file=tmp_path / "token")):  # noqa: S106
        with pytest.raises(CredentialsError, match="without TLS"):
            credentials.check_for(address)
    Credentials(token="abc", tls=True).check_for(address)  # noqa: S106
    Credentials().check_for(address)


def test_a_token_on_this_machine_needs_no_tls() -> None:
    for address in LOOPBACK:
        Credentials(token="abc").check_for(address)  # noqa: S106


def test_a_token_file_is_read_anew_and_a_repr_keeps_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    credentials = Credentials(token_file=file)
    for token in ("first", "second"):
        file.write_text(token + "\n")
        assert credentials.metadata() == (("authorization", f"Bearer {token}"),)
    assert "hush" not in repr(Credentials(token="hush"))  # noqa: S106
    assert Credentials().metadata() == ()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "naïve", "x" * (MAX_TOKEN_CHARACTERS + 1)])
def test_what_is_no_token_is_refused_without_showing_it(token: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    for credentials in (Credentials(token=token), Credentials(token_file=file)):
        with pytest.raises(CredentialsError) as refused:
            credentials.metadata()
        assert not token or token not in str(refused.value)


def test_contradictions_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError):
        Credentials(token="a", token_file=tmp_path)  # noqa: S106
    for one in ({"cert_file": tmp_path}, {"key_file": tmp_path}):
        with pytest.raises(CredentialsError, match="without its"):
            Credentials(**one)
    with pytest.raises(CredentialsError, match="cannot be read"):
        Credentials(token_file=tmp_path / "none").metadata()
    with pytest.raises(CredentialsError, match="cannot be read"):
        Credentials(ca_file=tmp_path / "none").channel()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CredentialsError, match="not PEM"):
        Credentials(ca_file=tmp_path / "text").channel()
    assert Credentials().channel() is None
